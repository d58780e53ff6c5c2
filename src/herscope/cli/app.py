"""Commands by name, and what happens around each of them: output, errors, exit codes.

==== =====================================================================================
code meaning
==== =====================================================================================
0    done
1    a deliberate error: one line and a hint on stderr
2    usage: an unknown option, command or value
3    some slides failed; the rest is done and ``failures.json`` says which and why
130  interrupted by Ctrl-C; what is finished is kept
==== =====================================================================================

With ``--json`` stdout holds exactly one JSON document, also for an error. Whatever a library prints
meanwhile goes to stderr.
"""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NamedTuple

from cyclopts import App, CycloptsError

from herscope import __version__
from herscope.cli.output import Outcome, print_document, print_error, print_text
from herscope.core.errors import HerscopeError

USAGE, FAILED, INTERRUPTED = 2, 1, 130

COMMANDS = {
    "demo": "Score the real IHC field that scikit-image carries.",
    "info": "Size, levels, µm/px and its source, vendor, stain and problems of a slide.",
    "init": "Write a commented study.toml with every parameter.",
    "score": "Score slides: files, folders or patterns.",
    "calibrate": "Fit the cut-offs, and the HER2 completeness, to readers' scores of a run.",
    "stains": "Estimate the stain vectors of a study, for score --stains.",
    "rule": "Apply a guideline to percentages or counts: HER2, ISH, ER, Ki-67, PD-L1.",
    "report": "Rebuild the HTML of a run, cohort table included.",
    "agree": "Agreement of readers: kappas, correlation, limits, with intervals.",
    "phantom": "Draw a slide with known truth.",
    "fit": "Train a model from patches, for compartments, nuclei or H-scores.",
    "evaluate": "Judge models on patches: overlap, detection, percentage error, intervals.",
    "embed": "Tiles of slides as features, for the slide-level models.",
    "mil": "HER2 from H&E: slide-level models, their predictions and heatmaps.",
    "respond": "Towards response to treatment: cohorts, lesions of a CT, radiomics.",
    "classify": "Judge a classifier from a table: accuracy, F1, AUC, calibration, intervals.",
    "survive": "Kaplan-Meier, log-rank, C-index, AUC over time and Cox from a table.",
    "models": "Cards of the models: task, µm/px, licence, source, checksum.",
    "bench": "Where the time goes on this machine, against the decode floor.",
    "doctor": "What is installed, what is missing, what to do.",
}

TASKS = {
    "fit": {
        "compartments": ("fit:compartments", "Tumour, stroma, background and other, from masks."),
        "nuclei": ("fit_nuclei:nuclei", "Nuclei, from patches in which they are numbered."),
        "hscore": ("fit_hscore:hscore", "The H-score of a target region, from readers' scores."),
    },
    "evaluate": {
        "compartments": ("evaluate:compartments", "IoU, Dice, sensitivity, specificity."),
        "nuclei": ("evaluate_nuclei:nuclei", "F1, AJI, PQ, Dice by outlines, points or masks."),
        "points": ("evaluate_points:points", "Compartments by marked nuclei."),
        "hscore": ("evaluate_hscore:hscore", "Percentage error, agreement; the formula beside."),
    },
    "mil": {
        "fit": ("mil_fit:fit", "Train and cross-validate a model from labels and features."),
        "predict": ("mil_predict:predict", "Probabilities of slides, with the members' spread."),
        "heatmap": ("mil_heatmap:heatmap", "Where on a slide the model looked."),
    },
    "respond": {
        "cohort": ("respond_cohort:cohort", "Labels with reasons, tokens, contradictions."),
        "bags": ("respond_bags:bags", "Words, bags and their radiomics, from slides."),
        "lesions": ("respond_lesions:lesions", "Volume, radiomics and a picture of each lesion."),
        "fit": ("respond_fit:fit", "Train and test a model of response on a cohort."),
        "predict": ("respond_predict:predict", "Response of patients, whatever is known of them."),
        "explain": ("respond_explain:explain", "What a prediction rests on, a page a patient."),
    },
}
"""Commands that have others below them, one for every task or step."""


def make_app() -> App:
    """Build the command tree; no command's module is imported."""
    app = App(
        name="herscope",
        help="From a stained slide to a number you can defend. Research software.",
        version=__version__,
        help_format="plaintext",
        result_action="return_value",
        suppress_keyboard_interrupt=False,
    )
    for name, about in COMMANDS.items():
        if name not in TASKS:
            app.command(f"herscope.cli.{name}:{name}", name=name, help=about)
            continue
        group = App(name=name, help=about, help_format="plaintext", result_action="return_value")
        for task, (place, said) in TASKS[name].items():
            group.command(f"herscope.cli.{place}", name=task, help=said)
        app.command(group)
    return app


def run(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv
        Words after ``herscope``; those of the process when ``None``.

    Returns
    -------
    int
        The exit code.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    options = words[: words.index("--")] if "--" in words else words
    as_json, debug = "--json" in options, "--debug" in options
    try:
        return _run(words, as_json=as_json, debug=debug)
    except OSError as error:  # standard output on a full disk
        print_error(f"cannot write the output: {error.strerror or error}", "")
        return FAILED


def _run(words: list[str], *, as_json: bool, debug: bool) -> int:
    out = sys.stdout
    quiet = contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext()
    try:
        app = make_app()
        with quiet:
            result: Any = app(words, exit_on_error=False, print_error=False)
    except SystemExit:  # rich, when the reader of a help page has gone
        return 0
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the last line of defence
        if debug:
            traceback.print_exc()
        refusal = refuse(error, words)
        print_error(refusal.message, refusal.hint)
        if as_json:
            told = {"error": refusal.error, "message": refusal.message, "hint": refusal.hint}
            print_document({"error": told}, out)
        return refusal.code
    if not isinstance(result, Outcome):
        return 0  # --help and --version have printed what they had to say
    if as_json:
        print_document(result.document, out)
    else:
        print_text(result.text, out)
    return result.code


class Refusal(NamedTuple):
    """How an error is told: exit code, its kind, one line, a hint."""

    code: int
    error: str
    message: str
    hint: str


def refuse(error: BaseException, words: Sequence[str]) -> Refusal:
    """Turn any error into what a person is told."""
    kind = type(error).__name__
    if isinstance(error, CycloptsError):
        command = next((f" {word}" for word in words if word in COMMANDS), "")
        below = TASKS.get(command.strip(), {})
        command += next((f" {word}" for word in words if word in below), "")
        return Refusal(USAGE, "UsageError", _usage(error), f"herscope{command} --help")
    if isinstance(error, HerscopeError):
        return Refusal(FAILED, kind, error.message, error.hint)
    if isinstance(error, KeyboardInterrupt):
        hint = "what is finished is kept; run it again to go on, a training with --resume"
        return Refusal(INTERRUPTED, "Interrupted", "interrupted", hint)
    if isinstance(error, MemoryError):
        return Refusal(FAILED, kind, "not enough memory", "use fewer --workers")
    said = f"internal error: {kind}: {error}"
    return Refusal(FAILED, kind, said, "run it again with --debug and report what it shows")


def _usage(error: CycloptsError) -> str:
    """Say which option is wrong; options made from a Spec are explained as its fields are."""
    from pydantic import ValidationError

    from herscope.core.study import plain

    cause = error.__cause__ or error.__context__
    if not isinstance(cause, ValidationError):
        return str(error)
    first = cause.errors(include_url=False)[0]
    option = "".join(f" --{str(part).replace('_', '-')}" for part in first["loc"][:1])
    return f"option{option}: {plain(first)[0]}" if option else plain(first)[0]
