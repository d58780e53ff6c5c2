"""Charts of a response cohort, from the figures of ``result.json``: ROC, survival, forest plots.

Drawn from a stored document, not from patients, so a page can be made again without the cohort.
Kaplan-Meier curves and training curves are those of the other reports.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np

from herscope.report.charts import INK, MUTED, RULE, new_figure, to_svg
from herscope.report.survival_chart import survival_chart
from herscope.respond.evaluation.predictions import PatientPrediction
from herscope.stats.estimate import spoken, spoken_p
from herscope.stats.survival.kaplan_meier import KaplanMeier, MedianTime
from herscope.stats.survival.outcome import RiskTable

LINE: Final = "#1f5687"
YES, NO, NONE = "#0072b2", "#d55e00", "#8a8f98"
"""Okabe and Ito's blue and vermilion, safe for colour blindness; grey without a label."""
READER_MARKS: Final = ("s", "^", "D", "v", "P", "X", "<", ">")
ROW_IN: Final = 0.25
"""Height of a row of a forest plot, inches."""
BINS: Final = 20
LONGEST: Final = 44


@dataclass(frozen=True)
class ForestRow:
    """One line of a forest plot; a row without value is a heading or says why there is none."""

    name: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    said: str = ""
    heading: bool = False


def response_roc_chart(figures: Mapping[str, Any]) -> bytes | None:
    """Draw the ROC curve with its band, the groups by both cut-offs, and readers; returns SVG.

    Parameters
    ----------
    figures
        Of :func:`herscope.respond.evaluation.judging.judge`; None comes back without a curve.
    """
    curve = figures.get("roc")
    if not curve:
        return None
    figure, axes = new_figure(4.6, 4.5)
    axes.plot([0, 1], [0, 1], color=MUTED, lw=0.9, ls=(0, (4, 3)))
    band = curve["band"]
    axes.fill_between(
        band["fpr"], band["low"], band["high"], color=LINE, alpha=0.16, lw=0,
        label=f"{100 * float(figures.get('level', 0.95)):g} % band",
    )  # fmt: skip
    axes.plot(curve["fpr"], curve["tpr"], color=LINE, lw=1.5, label="model")
    marks = (("members", LINE, "cut-off of other patients"), ("same_data", "white", "Youden here"))
    for kind, fill, words in marks:
        point = _point(figures.get("groups", {}).get(kind))
        if point:
            axes.plot(*point, "o", ms=6.5, mfc=fill, mec=INK, mew=0.9, ls="", label=words, zorder=4)
    for place, (name, one) in enumerate(((figures.get("readers") or {}).get("each") or {}).items()):
        point = _point(one)
        if point:
            axes.plot(
                *point, READER_MARKS[place % len(READER_MARKS)], ms=6, mfc=NO, mec="white", mew=0.6,
                ls="", alpha=0.9, label=_short(name, 24), zorder=3,
            )  # fmt: skip
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.set_aspect("equal")
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
    axes.set_xlabel("1 - specificity", fontsize=9, color=INK)
    axes.set_ylabel("sensitivity for response", fontsize=9, color=INK)
    axes.grid(color=RULE, lw=0.5)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, fontsize=7.5, loc="lower right", labelcolor=INK)
    return to_svg(figure)


def probability_chart(rows: Sequence[PatientPrediction]) -> bytes:
    """Draw how many patients have which probability, a panel a label; returns SVG."""
    kinds = [(1, "responders", YES), (0, "non-responders", NO), (-1, "without label", NONE)]
    shown = [
        (words, color, [row for row in rows if row.label == label])
        for label, words, color in kinds
        if any(row.label == label for row in rows)
    ]
    figure, first = new_figure(4.6, 0.6 + 1.3 * len(shown))
    figure.delaxes(first)
    edges = np.linspace(0, 1, BINS + 1)
    cuts = np.array([row.cut for row in rows])
    for place, (words, color, mine) in enumerate(shown):
        axes = figure.add_subplot(len(shown), 1, place + 1)
        axes.hist([row.probability for row in mine], edges, color=color, alpha=0.85, rwidth=0.92)
        # Cut-offs differ from patient to patient: the strip runs from the lowest to the highest.
        axes.axvspan(cuts.min(), cuts.max(), color=INK, alpha=0.12, lw=0)
        axes.axvline(float(np.median(cuts)), color=INK, lw=0.9, ls=(0, (4, 3)))
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        axes.set_title(f"{words} ({len(mine):,})", fontsize=8.5, color=color, loc="left")
        axes.set_xlim(0, 1)
        axes.tick_params(
            colors=MUTED, labelcolor=INK, labelsize=8, labelbottom=mine is shown[-1][2]
        )
        axes.yaxis.get_major_locator().set_params(integer=True, nbins=4)
    axes.set_xlabel("probability of response", fontsize=9, color=INK)
    return to_svg(figure)


def response_survival_chart(groups: Mapping[str, Any] | None, title: str) -> bytes | None:
    """Draw survival by risk group with numbers at risk; None where no group has a curve."""
    found = {
        name: curve_of(one)
        for name, one in ((groups or {}).get("curves") or {}).items()
        if one is not None
    }
    if not found:
        return None
    test = (groups or {}).get("log_rank")
    said = f"log-rank {spoken_p(test['p_value'])}" if test else ""
    return survival_chart(found, time_unit="days", title=title, said=said)


def curve_of(document: Mapping[str, Any]) -> KaplanMeier:
    """Return a survival curve as it was before it was written."""
    curve, median = document["curve"], document["median"]

    def values(name: str) -> Any:
        return np.array([np.nan if v is None else v for v in curve[name]], np.float64)

    return KaplanMeier(
        RiskTable(
            values("time"),
            *(np.array(curve[name], np.int64) for name in ("at_risk", "events", "censored")),
        ),
        values("survival"),
        values("low"),
        values("high"),
        MedianTime(**{name: median[name] for name in MedianTime.__slots__}),
        document["level"],
        document["method"],
        document["n"],
        document["counts"],
    )


def response_reliability_chart(
    calibration: Mapping[str, Any] | None, rows: Sequence[PatientPrediction] = ()
) -> bytes | None:
    """Draw observed response rate against probability; None where it is undefined.

    Parameters
    ----------
    calibration
        Of the figures.
    rows
        Their probabilities stand as ticks: responders above, non-responders below.
    """
    if not calibration:
        return None
    figure, axes = new_figure(4.2, 4.1)
    axes.plot([0, 1], [0, 1], color=MUTED, lw=0.9, ls=(0, (4, 3)))
    for one in calibration["bins"]:
        place = one["mean_probability"]
        axes.plot([place, place], [one["low"], one["high"]], color=LINE, lw=1.2)
        axes.plot([place], [one["observed"]], "o", ms=5, color=LINE)
        axes.annotate(
            f"{one['n']:,}", (place, one["high"]), (0, 3), textcoords="offset points", ha="center",
            fontsize=7, color=MUTED,
        )  # fmt: skip
    for label, height, color in ((1, 1.035, YES), (0, -0.035, NO)):
        mine = [row.probability for row in rows if row.label == label]
        axes.plot(mine, [height] * len(mine), "|", ms=7, mew=0.7, color=color, alpha=0.6)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.07, 1.07))
    axes.set_aspect("equal")
    axes.set_xlabel("probability of response", fontsize=9, color=INK)
    axes.set_ylabel("observed share of responders", fontsize=9, color=INK)
    axes.grid(color=RULE, lw=0.5)
    axes.set_axisbelow(True)
    return to_svg(figure)


def forest_chart(
    rows: Sequence[ForestRow], *, axis: str, line: float, limits: tuple[float, float] | None = None
) -> bytes:
    """Draw values with intervals under one another, names left and numbers right; returns SVG.

    Parameters
    ----------
    rows
        From top to bottom.
    axis
        Words under the axis.
    line
        Where nothing is different, dashed: 0.5 for an AUC, 0 for a difference.
    limits
        Ends of the axis; 0 and 1 when absent.
    """
    ends = limits or (0.0, 1.0)
    figure, axes = new_figure(9.4, 0.75 + ROW_IN * len(rows))
    axes.axvline(line, color=MUTED, lw=0.9, ls=(0, (4, 3)), zorder=0)
    for place, row in enumerate(rows):
        axes.annotate(
            _short(row.name, LONGEST), (0, place), (-8, 0), ha="right",
            xycoords=("axes fraction", "data"), textcoords="offset points", va="center",
            fontsize=8, color=INK, annotation_clip=False,
            fontweight="bold" if row.heading else "normal",
        )  # fmt: skip
        if row.value is not None:
            if row.low is not None and row.high is not None:
                low, high = max(row.low, ends[0]), min(row.high, ends[1])
                axes.plot([low, high], [place, place], color=LINE, lw=1.3, solid_capstyle="butt")
            axes.plot([row.value], [place], "s", ms=4.6, color=LINE, clip_on=False)
        said = spoken(row.value, row.low, row.high) if row.value is not None else ""
        axes.annotate(
            "   ".join(part for part in (said, row.said) if part), (1, place), (8, 0), ha="left",
            xycoords=("axes fraction", "data"), textcoords="offset points", va="center",
            fontsize=7.5, color=INK if row.value is not None else MUTED, annotation_clip=False,
        )  # fmt: skip
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(*ends)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(axis, fontsize=9, color=INK)
    axes.grid(axis="x", color=RULE, lw=0.5)
    axes.set_axisbelow(True)
    return to_svg(figure)


def _point(group: Mapping[str, Any] | None) -> tuple[list[float], list[float]] | None:
    """Return 1 - specificity and sensitivity; None where either is undefined."""
    if not group or not group.get("sensitivity") or not group.get("specificity"):
        return None
    return [1 - group["specificity"]["value"]], [group["sensitivity"]["value"]]


def _short(text: str, most: int) -> str:
    """Shorten a text and make it drawable: no formulas, no letters that the font lacks."""
    known = _letters()
    shown = text if len(text) <= most else f"{text[: most - 1]}…"
    drawable = "".join(letter if ord(letter) in known else "?" for letter in shown)
    return drawable.replace("$", r"\$")


@cache
def _letters() -> frozenset[int]:
    from matplotlib.font_manager import FontProperties, findfont, get_font

    return frozenset(get_font(findfont(FontProperties())).get_charmap())
