"""Tables of a response cohort's page, from the figures of ``result.json`` to words.

A figure that is null stands as ``undefined``, never as an empty cell; why, stands at the end of the
page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from herscope.report.mil_words import counted
from herscope.report.statistics_page import Grid
from herscope.respond.evaluation.predictions import HIGH_RISK, LOW_RISK
from herscope.respond.explaining.words import PART_WORDS, known_words
from herscope.respond.fusion.patients import PARTS
from herscope.stats.estimate import spoken, spoken_p

UNDEFINED: Final = "undefined"
KINDS: Final[Mapping[str, str]] = {
    "full": "the model",
    "without": "without a part",
    "alone": "one part alone",
    "fusion": "simpler fusion",
    "loss": "other loss",
    "baseline": "plain model",
}
CUTS: Final[Mapping[str, str]] = {
    "members": "cut-off of other patients",
    "same_data": "Youden cut-off of these patients (too good)",
}
MOST_PAIRS: Final = 40
"""Pairs of levels shown, by rising p; all of them stand in result.json."""


def said(document: Mapping[str, Any] | None) -> str:
    """Write a value with its interval, or ``undefined``.

    Examples
    --------
    >>> said({"value": 0.5, "low": 0.4, "high": 0.6}), said(None)
    ('0.500 [0.400, 0.600]', 'undefined')
    """
    if not document or document.get("value") is None:
        return UNDEFINED
    return spoken(document["value"], document.get("low"), document.get("high"))


def percent(part: float, whole: float) -> str:
    """Write a count with its share.

    Examples
    --------
    >>> percent(3, 12), percent(0, 0)
    ('3 (25 %)', '0')
    """
    return f"{part:,} ({100 * part / whole:.0f} %)" if whole else f"{part:,}"


def days(median: Mapping[str, Any] | None) -> str:
    """Write a median time with its interval; NR is not reached.

    Examples
    --------
    >>> days({"value": 253.0, "low": 231.0, "high": None})
    '253 [231, NR]'
    """
    if not median:
        return UNDEFINED
    value, low, high = (
        "NR" if median[end] is None else f"{median[end]:,.0f}" for end in ("value", "low", "high")
    )
    return f"{value} [{low}, {high}]"


def p_of(test: Mapping[str, Any] | None, key: str = "p_value") -> str:
    """Write a p value, or ``undefined``."""
    return spoken_p(test[key]) if test and test.get(key) is not None else UNDEFINED


def known_grid(figures: Mapping[str, Any]) -> Grid:
    """Return what was known of how many patients, and the AUC with and without it."""
    rows = {(one["part"], one["known"]): one for one in figures.get("by_part") or ()}
    everyone = int(figures["patients"])
    lines = []
    for part in PARTS:
        there, gone = rows.get((part, True)), rows.get((part, False))
        if not there:  # what nobody has is no finding
            continue
        lines.append(
            (
                PART_WORDS[part],
                percent(there["patients"], everyone),
                said(there["auc"]),
                said(gone["auc"]) if gone else "known of everybody",
            )
        )
    return Grid(
        "AUC of the patients of whom the part is known, and of the others: different patients, so "
        "the difference is not what the part is worth (for that, see the models).",
        ("part", "known of", "AUC where known", "AUC where not"),
        tuple(lines),
    )


def figures_grid(figures: Mapping[str, Any]) -> Grid:
    """Return the figures of discrimination and calibration."""
    auc, precision = figures["auc"], figures.get("average_precision")
    calibration = figures.get("calibration") or {}
    rate = calibration.get("brier_of_the_rate")
    error = calibration.get("error")
    expected = error["counts"]["expected_if_calibrated"] if error else None
    rows = [
        ("AUC, DeLong", said(auc["delong"]), "0.5"),
        ("AUC, bootstrap", said(auc["bootstrap"]), "0.5"),
        ("responders rank higher (Mann-Whitney)", p_of(auc["test"]), ""),
        (
            "average precision",
            said(precision),
            f"{precision['counts']['without information']:.3f}" if precision else "",
        ),
        ("Brier score", said(figures.get("brier")), "" if rate is None else f"{rate:.3f}"),
        (
            "calibration error (ECE)",
            said(error),
            "" if expected is None else f"{expected:.3f} if perfectly calibrated",
        ),
    ]
    if calibration:
        rows.append(
            (
                "mean probability",
                f"{calibration['expected']:.3f}",
                f"{calibration['observed']:.3f} observed",
            )
        )
    return Grid(
        f"{counted(figures['labelled'], 'patient')} with a label, "
        f"{counted(figures['responders'], 'responder')}.",
        ("figure", "value [interval]", "without information"),
        tuple(rows),
    )


def groups_grid(figures: Mapping[str, Any]) -> Grid:
    """Return what both cut-offs make of the patients."""
    columns = [(kind, one) for kind, one in figures["groups"].items() if one is not None]
    found: list[tuple[str, ...]] = []
    cut = figures["cut"]
    found.append(("cut-off on the probability", *(_cut(cut.get(kind)) for kind, _ in columns)))
    for group in (LOW_RISK, HIGH_RISK):
        found.append((f"{group}: patients", *(f"{one['patients'][group]:,}" for _, one in columns)))
        found.append((f"{group}: responders", *(_responders(one, group) for _, one in columns)))
    rates = (
        ("sensitivity", "sensitivity for response"),
        ("specificity", "specificity"),
        ("ppv", "PPV: responders of low risk"),
        ("npv", "NPV: non-responders of high risk"),
        ("risk_difference", "difference of response rates"),
    )
    found += [(words, *(said(one[key]) for _, one in columns)) for key, words in rates]
    found.append(
        ("number needed to treat", *(_needed(one["number_needed_to_treat"]) for _, one in columns))
    )
    return Grid(
        "Low risk: probability at or above the cut-off, response expected. Intervals: Wilson, "
        "difference and number needed to treat: Newcombe.",
        ("", *(CUTS.get(kind, kind) for kind, _ in columns)),
        tuple(found),
    )


def survival_grid(name: str, one: Mapping[str, Any] | None) -> Grid | None:
    """Return medians, log-rank and hazard ratio by both cut-offs; None without an outcome.

    Parameters
    ----------
    name, one
        ``pfs`` or ``os``, and its figures.
    """
    if one is None or one["all"] is None:
        return None
    rows = []
    for kind, groups in one["groups"].items():
        curves = (groups or {}).get("curves") or {}
        rows.append(
            (
                CUTS.get(kind, kind),
                *(days((curves.get(g) or {}).get("median")) for g in (LOW_RISK, HIGH_RISK)),
                p_of((groups or {}).get("log_rank")),
                said((groups or {}).get("hazard_ratio")),
            )
        )
    rows.append(("all patients", days(one["all"]["median"]), "", "", ""))
    return Grid(
        f"{name.upper()}: {one['events']:,} events of {counted(one['patients'], 'patient')}. "
        "Medians in days, NR: not reached; hazard ratio: high against low risk, Cox. Harrell's C "
        f"of the risk, whatever the cut-off: {said(one['harrell_c'])}, Uno's "
        f"{said(one['uno_c'])}; 0.5 is a coin.",
        ("groups by", LOW_RISK, HIGH_RISK, "log-rank", "hazard ratio"),
        tuple(rows),
    )


def models_grid(models: Sequence[Mapping[str, Any]]) -> Grid:
    """Return every model with its difference to the full one; what no model has, has no column."""
    columns: list[tuple[str, list[str]]] = [
        ("kind", [KINDS.get(str(one.get("kind")), str(one.get("kind"))) for one in models]),
        ("AUC", [said(one.get("auc")) for one in models]),
        ("SD", [_plain(one.get("auc_sd_over_repeats")) for one in models]),
        ("within folds", [_plain(one.get("auc_within_folds")) for one in models]),
        ("difference", [said(d) if (d := one.get("difference")) else "" for one in models]),
        ("p", [p_of(d, "p") if (d := one.get("difference")) else "" for one in models]),
    ]
    columns += [
        (words, [said(one.get(key)) for one in models])
        for words, key in (("C, PFS", "c_pfs"), ("C, OS", "c_os"))
        if any(one.get(key) for one in models)
    ]
    used = [(words, cells) for words, cells in columns if any(cells)]
    names = [str(one["name"]) for one in models]
    return Grid(
        "Difference: AUC of this model minus that of the full one on the same patients, DeLong; an "
        "interval that holds 0 shows no difference. SD: of the AUC over repeats. Within folds: "
        "mean AUC of test folds, which compares no scores of two folds. p is not adjusted for the "
        "number of models.",
        ("model", *(words for words, _ in used)),
        tuple(zip(names, *(cells for _, cells in used), strict=True)),
    )


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def availability_grid(availability: Sequence[Mapping[str, Any]]) -> Grid:
    """Return the AUC when parts are missing."""
    rows = tuple(
        (known_words(one["parts"], one["without"]), f"{one['patients']:,}", said(one.get("auc")))
        for one in availability
    )
    return Grid(
        "The trained model, with parts hidden from it in the test.",
        ("given", "patients", "AUC"),
        rows,
    )


def pairs_grid(subgroups: Mapping[str, Any]) -> Grid | None:
    """Return differences of the risk between levels, the smallest p first."""
    pairs = [
        (name, pair)
        for name, one in subgroups.items()
        if one is not None
        for pair in one["between"]
    ]
    if not pairs:
        return None
    pairs.sort(key=lambda pair: (pair[1]["p_value"], pair[0]))
    rows = tuple(
        (
            name,
            f"{pair['a']} against {pair['b']}",
            f"{pair['counts']['n a']:,} and {pair['counts']['n b']:,}",
            f"{pair['median_difference']:+.3f}",
            p_of(pair),
            p_of(pair, "p_holm"),
        )
        for name, pair in pairs[:MOST_PAIRS]
    )
    more = f" The first {MOST_PAIRS} of {len(pairs)}." if len(pairs) > MOST_PAIRS else ""
    return Grid(
        "Risk (1 - probability) between levels, two-sided Mann-Whitney; Holm: adjusted for the "
        f"pairs of the variable, not for the number of variables.{more}",
        ("variable", "levels", "patients", "difference of medians", "p", "p, Holm"),
        rows,
    )


def variables_grid(subgroups: Mapping[str, Any]) -> Grid | None:
    """Return how each variable goes with label and survival."""
    rows = tuple(
        (
            name,
            f"{len(one['levels'])}",
            f"{one['missing']:,}",
            p_of(one["chi_square"]),
            *(p_of((one["survival"].get(end) or {}).get("log_rank")) for end in ("pfs", "os")),
        )
        for name, one in subgroups.items()
        if one is not None
    )
    header = (
        "variable",
        "levels",
        "missing",
        "response: chi-square",
        "PFS: log-rank",
        "OS: log-rank",
    )
    words = "The variables themselves, whatever the model says."
    return Grid(words, header, rows) if rows else None


def numbers_grid(numbers: Mapping[str, Any]) -> Grid | None:
    """Return correlations of the risk with continuous variables."""
    rows = tuple(
        (
            name,
            f"{one['patients']:,}",
            said(one["pearson"]),
            said(one["spearman"]),
            p_of(one["by_label"]),
        )
        for name, one in numbers.items()
    )
    header = ("variable", "patients", "Pearson's r with the risk", "Spearman's rho", "by response")
    words = "Positive: higher values go with a higher risk. By response: Mann-Whitney, p."
    return Grid(words, header, rows) if rows else None


def sites_grid(sites: Sequence[Mapping[str, Any]]) -> Grid | None:
    """Return AUC by hospital; None for fewer than two."""
    rows = tuple(
        (str(one["site"]), f"{one['patients']:,}", percent(one["responders"], one["labelled"]),
         said(one["auc"]))
        for one in sites
    )  # fmt: skip
    header = ("hospital", "patients", "responders", "AUC")
    return Grid("Hospitals as the cohort names them.", header, rows) if len(rows) > 1 else None


def _cut(cut: Mapping[str, Any] | None) -> str:
    if not cut:
        return UNDEFINED
    if cut.get("value") is not None:
        return f"{cut['value']:.3f}"
    return f"{cut['low']:.3f} to {cut['high']:.3f}, median {cut['median']:.3f}"


def _responders(group: Mapping[str, Any], name: str) -> str:
    cells = group["table"][name]
    whole = cells["response"] + cells["no response"]
    return f"{cells['response']:,} of {whole:,}" + (
        f" ({100 * cells['response'] / whole:.0f} %)" if whole else ""
    )


def _needed(needed: Mapping[str, Any] | None) -> str:
    if not needed:
        return UNDEFINED
    harm = "" if needed["direction"] == "benefit" else "harm: "
    if needed["opposite"] is not None or needed["high"] is None:
        return f"{harm}{needed['value']:.1f} [interval runs through infinity]"
    return f"{harm}{needed['value']:.2f} [{needed['low']:.2f}, {needed['high']:.2f}]"
