"""Charts of a classifier: confusion matrix, ROC curves with their band, reliability diagram.

The same drawing as the other charts of the reports: fixed SVG ids and no date, so the same numbers
give the same bytes. One panel per class instead of many curves in one, so that every band can be
seen, also in grey.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from herscope.report.charts import INK, MUTED, RULE, new_figure, to_svg
from herscope.stats.classification.class_figures import ClassFigures
from herscope.stats.classification.classification_summary import Calibration
from herscope.stats.classification.confusion import ConfusionTable
from herscope.stats.estimate import spoken

LINE, FILL = "#1f5687", "#1f5687"
DEEPEST = 0.85
"""Share of full colour in the fullest cell of a confusion matrix."""

PANELS_ABREAST = 4


def confusion_chart(table: ConfusionTable) -> bytes:
    """Draw counts with the share of the true class as shade; returns SVG.

    Parameters
    ----------
    table
        Cases by true class (rows) and predicted class (columns).
    """
    size = len(table.classes)
    side = max(2.6, 0.75 * size + 1.4)
    figure, axes = new_figure(side + 0.5, side)
    counts = table.array()
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(_shade(share), aspect="equal")
    small = 8 if size > 6 else 10
    for row in range(size):
        for column in range(size):
            dark = share[row, column] * DEEPEST > 0.45
            axes.annotate(
                f"{counts[row, column]:,}",
                (column, row - 0.1),
                ha="center",
                va="center",
                fontsize=small,
                color="white" if dark else INK,
                fontweight="bold" if row == column else "normal",
            )
            axes.annotate(
                f"{100 * share[row, column]:.0f} %",
                (column, row + 0.24),
                ha="center",
                va="center",
                fontsize=small - 2.5,
                color="white" if dark else INK,
            )
    totals = counts.sum(axis=1)
    axes.set_xticks(range(size), table.classes)
    axes.set_yticks(
        range(size), [f"{n}\n(n {t:,})" for n, t in zip(table.classes, totals, strict=True)]
    )
    axes.set_xticks(np.arange(size - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(size - 1) + 0.5, minor=True)
    axes.grid(which="minor", color="white", lw=1.5)
    axes.tick_params(which="both", length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("truth")
    return to_svg(figure)


def roc_chart(classes: Sequence[ClassFigures], level: float) -> bytes:
    """Draw one ROC curve per class with its pointwise bootstrap band; returns SVG.

    Parameters
    ----------
    classes
        Those without a curve are left out.
    level
        Confidence level of the bands, for the legend.
    """
    shown = [one for one in classes if one.curve is not None]
    columns = min(PANELS_ABREAST, max(1, len(shown)))
    rows = math.ceil(max(1, len(shown)) / columns)
    alone = len(shown) == 1
    figure, panels = _panels(rows, columns, 3.6 if alone else 2.6)
    for one, axes in zip(shown, panels, strict=False):
        _roc(axes, one, level)
    for axes in panels[len(shown) :]:
        axes.set_visible(False)
    return to_svg(figure)


def reliability_chart(calibration: Calibration) -> bytes:
    """Draw observed share against probability with Wilson intervals and counts; returns SVG."""
    figure, axes = new_figure(3.9, 4.3)
    grid = axes.get_subplotspec()
    figure.delaxes(axes)
    inner = grid.subgridspec(2, 1, height_ratios=(4, 1), hspace=0.05)
    axes = figure.add_subplot(inner[0])
    below = figure.add_subplot(inner[1], sharex=axes)
    _plain(axes)
    _plain(below)
    axes.plot([0, 1], [0, 1], color=MUTED, lw=0.9, ls=(0, (4, 3)))
    mean = [one.mean_probability for one in calibration.bins]
    for one in calibration.bins:
        axes.plot([one.mean_probability] * 2, [one.low, one.high], color=LINE, lw=1.1)
        below.bar(
            (one.lower + one.upper) / 2, one.n, 0.92 * (one.upper - one.lower), color="#9db4cf"
        )
    axes.plot(mean, [one.observed for one in calibration.bins], "o-", ms=4.5, lw=1, color=LINE)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.tick_params(labelbottom=False)
    axes.set_ylabel("observed share")
    below.set_ylabel("cases")
    below.set_xlabel(calibration.about)
    below.set_ylim(bottom=0)
    return to_svg(figure)


def _roc(axes: Any, one: ClassFigures, level: float) -> None:
    assert one.curve is not None
    axes.plot([0, 1], [0, 1], color=MUTED, lw=0.9, ls=(0, (4, 3)))
    if one.band is not None:
        at, low, high = one.band
        axes.fill_between(
            at, low, high, color=FILL, alpha=0.18, lw=0, label=f"{100 * level:g} % band"
        )
    axes.plot(one.curve.fpr, one.curve.tpr, color=LINE, lw=1.4)
    if one.youden is not None:
        c = one.youden.counts
        axes.plot(
            c.fp / c.negatives,
            c.tp / c.positives,
            "o",
            ms=5,
            mfc="white",
            mec=INK,
            label=f"Youden cut {one.youden.threshold:.3g}",
        )
    area = one.auc_delong or one.auc_bootstrap
    said = "" if area is None else f"\nAUC {spoken(area.value, area.low, area.high)}"
    axes.set_title(f"{one.name} (n {one.cases:,}){said}", fontsize=8.5, color=INK, loc="left")
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_aspect("equal")
    axes.set_xticks([0, 0.5, 1])
    axes.set_yticks([0, 0.5, 1])
    axes.set_xlabel("1 - specificity")
    axes.set_ylabel("sensitivity")
    axes.legend(frameon=False, fontsize=7, loc="lower right", labelcolor=INK)


def _panels(rows: int, columns: int, side: float) -> tuple[Any, list[Any]]:
    figure, first = new_figure(side * columns, (side + 0.35) * rows)
    figure.delaxes(first)
    panels = [figure.add_subplot(rows, columns, i + 1) for i in range(rows * columns)]
    for axes in panels:
        _plain(axes)
    return figure, panels


def _plain(axes: Any) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(MUTED)
    axes.tick_params(colors=MUTED, labelcolor=INK, labelsize=8, width=0.8)
    axes.grid(color=RULE, lw=0.5)
    axes.set_axisbelow(True)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(fontsize=9, color=INK)


def _shade(share: Any) -> Any:
    """(rows, columns) -> (rows, columns, 3): white to blue."""
    white, full = np.ones(3), np.array([0x1F, 0x56, 0x87]) / 255
    return white + (share[..., None] * DEEPEST) * (full - white)
