"""Fit a run's cut-offs to readers' scores and write them as a study file."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from herscope import __version__
from herscope.core.errors import (
    InputError,
    NotComputed,
    OutputError,
)
from herscope.core.store import write_text
from herscope.core.study import build

if TYPE_CHECKING:
    from herscope.measure.markers import Marker
    from herscope.score.calibration.cells import Settings, SlideCells
    from herscope.score.calibration.fit import Calibration
    from herscope.score.calibration.predict import Her2Scored, Stained
    from herscope.score.calibration.readers import Reading
    from herscope.score.spec import ScoreSpec

SCHEMA = "herscope.calibration/1"
FILE_NAME = "calibration.toml"
SAME = 0.01
"""H-scores are stored to four decimals; more than this is another measurement."""

What = Literal["her2", "h-score", "positive"]
Objective = Literal["kappa", "spearman", "mae"]


class _Run(NamedTuple):
    """A run on disk: its parameters, and its slides that are done and that are not."""

    root: Path
    spec: ScoreSpec
    fingerprint: str
    done: tuple[str, ...]
    unfinished: tuple[str, ...]


def calibrate(
    run: str | Path,
    readers_file: str | Path,
    *,
    out: str | Path | None = None,
    objective: Objective | None = None,
    what: What | None = None,
    marker: str | None = None,
    readers: Sequence[str] | None = None,
    slide: str = "slide",
    patient: str | None = None,
    folds: int | None = None,
    mapping: bool = False,
    profile: str | None = None,
    seed: int = 20_260,
    force: bool = False,
) -> dict[str, Any]:
    """Fit cut-offs, and for HER2 the completeness, to readers' scores of a run's slides.

    Parameters
    ----------
    run
        Folder that ``herscope score`` made.
    readers_file
        CSV or Parquet, one row a slide, one column a reader.
    out
        Study file to write; ``calibration.toml`` in the run's folder when None.
    objective
        ``kappa`` (quadratic weights; HER2 scores), ``spearman`` or ``mae``; kappa for HER2 scores
        and mae for numbers when None.
    what
        What the readers gave; seen from marker and values when None.
    marker
        Guideline to read by; that of the run when None.
    readers
        Readers' columns; all other columns when None.
    slide, patient
        Columns with the slide and with its patient.
    folds
        Folds of the cross-validation; see :func:`herscope.score.calibration.calibrate`.
    mapping
        Fit the table from H-score and PCMS to the HER2 score as well.
    profile
        Name of the cut-offs; the marker's name and ``-calibrated`` when None.
    seed
        Seed of the folds and of the bootstrap.
    force
        Overwrite ``out``.

    Returns
    -------
    dict
        The document that ``herscope calibrate --json`` prints.

    Raises
    ------
    InputError, SchemaError, UndefinedStatistic, NotComputed, OutputError
        The run, the table or the readings cannot be used, or the file stands there already.
    """
    from herscope.measure.markers import get_marker
    from herscope.score.calibration.file import calibration_study
    from herscope.score.calibration.fit import calibrate as fit
    from herscope.score.calibration.mapping import fit_with_folds
    from herscope.score.calibration.readers import read_readings
    from herscope.stats.table import read_table

    found = _open(Path(run))
    target = Path(out) if out is not None else found.root / FILE_NAME
    _check_target(target, force=force)
    stained = get_marker(marker or found.spec.marker)
    _same_part(stained, get_marker(found.spec.marker))
    reading = read_readings(
        read_table(readers_file),
        [*found.done, *found.unfinished],
        stained,
        readers=readers,
        slide=slide,
        patient=patient,
        what=what,
    )
    aim = _objective(objective, reading.what, mapping=mapping)
    slides, left_out = _slides(found, reading)
    predictor = _predictor(found, reading.what, stained, slides)
    slides, unscored = _scorable(predictor, slides)
    left_out |= unscored
    reading = reading.keep([s.name for s in slides])
    predictor = _predictor(found, reading.what, stained, slides)
    calibration = fit(
        predictor,
        reading.slides,
        reading.consensus,
        objective=aim,
        patients=reading.patients,
        folds=folds,
        seed=seed,
    )
    table = fit_with_folds(calibration, slides) if mapping else None
    digest = hashlib.sha256(Path(readers_file).read_bytes()).hexdigest()
    name = profile or f"{stained.name}-calibrated"
    document = {
        "schema": SCHEMA,
        "herscope": __version__,
        "run": found.root.name,
        "run_fingerprint": found.fingerprint,
        "readers_file": Path(readers_file).name,
        "readers_sha256": digest,
        "marker": stained.name,
        "what": reading.what,
        "readers": list(reading.readers),
        "readers_agreement": reading.agreement(),
        "profile": name,
        **calibration.document(),
        "left_out": left_out,
        "mapping": None if table is None else table.document(),
        "notes": _notes(reading, slides, predictor, calibration),
        "file": str(target),
    }
    write_text(target, calibration_study(found.spec, calibration, document, table))
    return document


def _open(root: Path) -> _Run:
    from herscope.run.folder import RunFolder
    from herscope.score.spec import ScoreSpec

    folder = RunFolder(root)
    if not root.is_dir():
        raise InputError(
            f"{root} is not the folder of a run", hint="give what was passed to score --out"
        )
    folder.require()
    told = folder.read_run()
    if told is None:
        raise NotComputed(
            f"{root} has no run.json, so its cut-offs are not known", hint="score the slides again"
        )
    spec = build(ScoreSpec, told.get("spec") or {}, where=str(folder.run_file))
    names = sorted(p.name for p in folder.slides.iterdir() if p.is_dir() and p.name[0] != ".")
    if not names:
        raise NotComputed(f"{root} holds no slides", hint="score slides into it first")
    done = tuple(name for name in names if (folder.slide(name) / "result.json").is_file())
    return _Run(
        root,
        spec,
        str(told.get("spec_fingerprint", "")),
        done,
        tuple(name for name in names if name not in done),
    )


def _check_target(target: Path, *, force: bool) -> None:
    if target.exists() and not force:
        raise OutputError(f"{target} exists already", hint="--force replaces it, or name an --out")
    if not target.parent.is_dir():
        raise OutputError(
            f"cannot write {target}: the folder does not exist", hint="create the folder first"
        )


def _same_part(asked: Marker, scored: Marker) -> None:
    if asked.target != scored.target:
        raise InputError(
            f"the run measured the {scored.target} ({scored.name}); {asked.name} stains the "
            f"{asked.target}",
            hint=f"score the slides with --marker {asked.name} first",
        )


def _objective(asked: Objective | None, what: What, *, mapping: bool) -> Objective:
    if mapping and what != "her2":
        raise InputError(
            f"a mapping to HER2 scores needs HER2 scores, the readers gave: {what}",
            hint="leave --mapping out, or name columns with 0, 1+, 2+, 3+",
        )
    if asked == "kappa" and what != "her2":
        raise InputError(
            "kappa compares categories, the readers gave numbers",
            hint="--objective mae or spearman, or --what her2 if they are HER2 scores",
        )
    return asked or ("kappa" if what == "her2" else "mae")


def _slides(run: _Run, reading: Reading) -> tuple[list[SlideCells], dict[str, str]]:
    from herscope.score.calibration.cells import read_slide_cells

    left_out = {
        name: "no reader scored it" for name in reading.unread if name not in run.unfinished
    }
    left_out |= dict.fromkeys(run.unfinished, "not scored to the end")
    her2 = reading.what == "her2"
    found = []
    for name in reading.slides:
        if name in run.unfinished:
            continue
        slide = read_slide_cells(
            run.root / "slides" / name,
            completeness=run.spec.completeness if her2 else None,
            clusters=run.spec.clusters,
        )
        if slide.n == 0:
            left_out[name] = "no cells"
            continue
        found.append(slide)
    return found, left_out


def _present(spec: ScoreSpec) -> Settings:
    from herscope.score.calibration.cells import Settings

    return Settings(*spec.grading.bins, round(1000 * spec.completeness.complete_share))


def _predictor(
    run: _Run, what: What, marker: Marker, slides: list[SlideCells]
) -> Her2Scored | Stained:
    from herscope.score.calibration.predict import Her2Scored, Stained

    present = _present(run.spec)
    if what != "her2":
        return Stained(slides, what, present)
    return Her2Scored(slides, marker.name, present, run.spec.completeness, run.spec.her2)


def _scorable(
    predictor: Her2Scored | Stained, slides: list[SlideCells]
) -> tuple[list[SlideCells], dict[str, str]]:
    """Leave out slides that have no HER2 score whatever the cut-offs are."""
    from herscope.score.calibration.predict import Stained

    if isinstance(predictor, Stained):
        return slides, {}
    bad = {s.name for s in slides if predictor.score(s, predictor.present) is None}
    kept = [s for s in slides if s.name not in bad]
    return kept, dict.fromkeys(sorted(bad), "too few evaluable cells for a HER2 score")


def _notes(
    reading: Reading,
    slides: list[SlideCells],
    predictor: Her2Scored | Stained,
    calibration: Calibration,
) -> list[str]:
    from herscope.score.calibration.predict import Stained

    told = [reading.guessed] if reading.guessed else []
    if reading.split:
        told.append(
            f"readers split evenly on {len(reading.split)} slides, the lower score was taken: "
            f"{', '.join(reading.split[:8])}"
        )
    at = predictor.present
    other = [
        s.name
        for s in slides
        if s.stored_h_score is not None and abs(s.stored_h_score - s.h_score(at)) > SAME
    ]
    if not isinstance(predictor, Stained):
        ours = {s.name: predictor.score(s, at) for s in slides}
        other += [s.name for s in slides if s.stored_her2 not in {None, ours[s.name]}]
    if other:
        told.append(
            "with the run's own cut-offs the stored score does not come out again on "
            f"{', '.join(sorted(set(other))[:8])}: scored with other parameters or another version?"
        )
    if isinstance(predictor, Stained) and reading.what == "positive":
        told.append("percent positive determines the first cut-off only; the others were kept")
        if calibration.fitted[1:3] != calibration.present[1:3]:
            told.append("the second and third cut-off had to give way to the first")
    return told
