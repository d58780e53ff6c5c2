"""Charts of slide-level models: probabilities of a slide, and every epoch of the training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from herscope.mil.predictions import SlidePrediction
from herscope.report.charts import INK, MUTED, RULE, new_figure, to_svg

BAR, CHOSEN = "#b9c2cd", "#1f5687"
BEST: Final = "#a35a00"
PANELS_ABREAST: Final = 3
LOSS, VALIDATION_LOSS, VALIDATION_AUC = "loss", "val_loss", "val_auc"
"""Keys of a row of the training curves, beside ``fold``, ``seed`` and ``epoch``."""


def probability_chart(prediction: SlidePrediction) -> bytes:
    """Draw a slide's probabilities: mean as bar, SD over members as line, members as dots; SVG.

    Parameters
    ----------
    prediction
        The classes stand in their order, the first on top; the true one is marked where known.
    """
    names = list(prediction.classes)
    figure, axes = new_figure(6.0, 0.55 + 0.42 * len(names))
    for row, name in enumerate(names):
        mean, sd = prediction.probabilities[name], prediction.spread[name]
        chosen = name == prediction.predicted
        axes.barh(row, mean, 0.62, color=CHOSEN if chosen else BAR, alpha=0.9)
        each = prediction.members[:, row]
        if sd is not None:
            axes.plot([max(0.0, mean - sd), min(1.0, mean + sd)], [row, row], color=INK, lw=1.6)
            # Members side by side: equal ones would hide each other.
            lift = np.linspace(-0.2, 0.2, len(each)) if len(each) > 1 else np.zeros(1)
            axes.plot(each, row + lift, "o", ms=3.2, mfc="white", mec=INK, mew=0.7)
        axes.annotate(
            f"{mean:.3f}" + (f" (SD {sd:.3f})" if sd is not None else ""),
            (1.02, row),
            va="center",
            fontsize=8.5,
            color=INK,
            fontweight="bold" if chosen else "normal",
            annotation_clip=False,
        )
    labels = [f"{name} (truth)" if name == prediction.truth else name for name in names]
    axes.set_yticks(range(len(names)), labels)
    axes.tick_params(axis="y", length=0, labelsize=9)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(0, 1.28)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
    axes.spines["bottom"].set_bounds(0, 1)
    axes.set_xlabel("probability", loc="left")
    axes.grid(axis="x", color=RULE, lw=0.5)
    axes.set_axisbelow(True)
    return to_svg(figure)


def has_curves(curves: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether the rows hold any epoch."""
    return any("epoch" in row and "fold" in row for row in curves)


def curves_chart(curves: Sequence[Mapping[str, Any]], best: Mapping[tuple[int, int], int]) -> bytes:
    """Draw every epoch of every member, a panel a fold; returns SVG.

    Parameters
    ----------
    curves
        Rows with ``fold``, ``epoch``, ``loss`` (training), ``val_loss``, ``val_auc`` and, with
        several members a fold, ``seed``. A missing figure leaves a gap.
    best
        (fold, seed) to the epoch whose weights were kept; marked.
    """
    members: dict[tuple[int, int], list[Mapping[str, Any]]] = {}
    for row in curves:
        members.setdefault((int(row["fold"]), int(row.get("seed") or 0)), []).append(row)
    folds = sorted({fold for fold, _ in members})
    across = min(PANELS_ABREAST, len(folds))
    down = -(-len(folds) // across)
    figure, first = new_figure(3.4 * across, 3.0 * down)
    figure.delaxes(first)
    top = _top([row for rows in members.values() for row in rows])
    for number, fold in enumerate(folds):
        upper = figure.add_subplot(2 * down, across, _place(number, across, 0))
        lower = figure.add_subplot(2 * down, across, _place(number, across, 1), sharex=upper)
        for (of, seed), rows in sorted(members.items()):
            if of == fold:
                _member(upper, lower, rows, best.get((fold, seed)))
        _panel(upper, lower, f"Fold {fold}", top)
    return to_svg(figure)


def _place(number: int, across: int, half: int) -> int:
    row, column = divmod(number, across)
    return (2 * row + half) * across + column + 1


def _top(rows: Sequence[Mapping[str, Any]]) -> float:
    """End of the loss axis: one epoch that went astray must not flatten all others."""
    found = [float(row[key]) for row in rows for key in (LOSS, VALIDATION_LOSS)
             if row.get(key) is not None]  # fmt: skip
    return 1.05 * float(np.percentile(found, 98)) if found else 1.0


def _member(upper: Any, lower: Any, rows: Sequence[Mapping[str, Any]], best: int | None) -> None:
    ordered = sorted(rows, key=lambda row: int(row["epoch"]))
    epochs = [int(row["epoch"]) for row in ordered]
    upper.plot(epochs, _values(ordered, LOSS), color=MUTED, lw=1, ls=(0, (4, 2)))
    upper.plot(epochs, _values(ordered, VALIDATION_LOSS), color=CHOSEN, lw=1.2)
    lower.plot(epochs, _values(ordered, VALIDATION_AUC), color=CHOSEN, lw=1.2)
    for axes, key in ((upper, VALIDATION_LOSS), (lower, VALIDATION_AUC)):
        if best in epochs:
            value = _values(ordered, key)[epochs.index(best)]
            axes.plot([best], [value], "o", ms=5, mfc="white", mec=BEST, mew=1.4, zorder=3)


def _values(rows: Sequence[Mapping[str, Any]], key: str) -> list[float]:
    return [np.nan if row.get(key) is None else float(row[key]) for row in rows]


def _panel(upper: Any, lower: Any, title: str, top: float) -> None:
    for axes in (upper, lower):
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        for side in ("left", "bottom"):
            axes.spines[side].set_color(MUTED)
        axes.tick_params(colors=MUTED, labelcolor=INK, labelsize=7.5, width=0.8)
        axes.grid(color=RULE, lw=0.5)
        axes.set_axisbelow(True)
    upper.set_title(title, fontsize=9, color=INK, loc="left")
    upper.tick_params(labelbottom=False)
    upper.set_ylim(0, top)
    upper.set_ylabel("loss", fontsize=8, color=INK)
    lower.set_ylim(0, 1.02)
    lower.axhline(0.5, color=MUTED, lw=0.7, ls=(0, (2, 3)))
    lower.set_ylabel("AUC", fontsize=8, color=INK)
    lower.set_xlabel("epoch", fontsize=8, color=INK)
    lower.xaxis.get_major_locator().set_params(integer=True)
