"""Charts of agreement: Bland-Altman plot, scatter with two lines, table of two readers' categories.

Intervals are drawn as bands around the line they belong to. Both axes of the scatter have one
scale, so that the line of identity is the diagonal.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from herscope.report.charts import INK, MUTED, RULE, new_figure, to_svg
from herscope.report.ramp import ramp_colors
from herscope.stats.agreement.bland_altman import BlandAltman
from herscope.stats.agreement.categories import PairCounts
from herscope.stats.agreement.method_comparison import Line
from herscope.stats.estimate import Estimate, spoken

BLUE, RED, DOT = "#1f5687", "#a5121f", "#3c4654"
MANY = 400


def bland_altman_chart(
    values: NDArray[np.float64], names: tuple[str, str], result: BlandAltman
) -> bytes:
    """Draw differences against means with bias, limits and their intervals; returns SVG.

    Parameters
    ----------
    values
        (2, cases) numbers.
    names
        The two readers; the difference is the first minus the second.
    result
        From :func:`herscope.stats.agreement.bland_altman.bland_altman` of the same values.
    """
    figure, axes = new_figure(5.6, 3.9)
    means, differences = values.mean(axis=0), values[0] - values[1]
    axes.axhline(0, color=MUTED, lw=0.8)
    for estimate, color, name in (
        (result.bias, BLUE, "bias"),
        (result.upper, RED, "upper limit"),
        (result.lower, RED, "lower limit"),
    ):
        _banded(axes, estimate, color)
        axes.annotate(
            f"{name}\n{spoken(estimate.value, None, None)}",
            (1.01, estimate.value),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=8,
            color=color,
            annotation_clip=False,
        )
    _dots(axes, means, differences)
    if result.slope is not None:
        ends = np.array([means.min(), means.max()])
        fitted = result.slope.counts["intercept"] + result.slope.value * ends
        axes.plot(ends, fitted, color=BLUE, lw=1.2, ls=(0, (2, 2)))
    axes.set_xlabel(f"mean of {_short(names[0])} and {_short(names[1])}")
    axes.set_ylabel(f"{_short(names[0])} − {_short(names[1])}")
    axes.margins(x=0.04, y=0.08)
    return to_svg(figure)


def scatter_chart(values: NDArray[np.float64], names: tuple[str, str], line: Line | None) -> bytes:
    """Draw two readers against each other with identity and Passing-Bablok's line; returns SVG.

    Parameters
    ----------
    values
        (2, cases) numbers; the first reader is on the horizontal axis.
    names
        The two readers.
    line
        From :func:`herscope.stats.agreement.method_comparison.passing_bablok`; None draws none.
    """
    figure, axes = new_figure(4.6, 4.2)
    low, high = float(values.min()), float(values.max())
    margin = 0.05 * ((high - low) or 1.0)
    ends = np.array([low - margin, high + margin])
    axes.plot(ends, ends, color=MUTED, lw=1, ls=(0, (4, 3)), label="identity")
    if line is not None:
        slope, intercept = line.slope, line.intercept
        x = np.linspace(ends[0], ends[1], 60)
        label = f"Passing-Bablok: {intercept.value:.3g} + {slope.value:.3g} x"
        axes.plot(x, intercept.value + slope.value * x, color=BLUE, lw=1.5, label=label)
        if (
            slope.low is not None
            and slope.high is not None
            and intercept.low is not None
            and intercept.high is not None
        ):
            # Bounds of the slope go with the opposite bounds of the intercept, as they are made.
            steep = intercept.low + slope.high * x
            flat = intercept.high + slope.low * x
            axes.fill_between(
                x, np.minimum(steep, flat), np.maximum(steep, flat), color=BLUE, alpha=0.13, lw=0
            )
    _dots(axes, *values)
    axes.set_xlim(*ends)
    axes.set_ylim(*ends)
    axes.set_aspect("equal")
    axes.set_xlabel(_short(names[0]))
    axes.set_ylabel(_short(names[1]))
    axes.legend(frameon=False, fontsize=8, loc="upper left", labelcolor=INK)
    return to_svg(figure)


def table_chart(pairs: PairCounts, names: tuple[str, str]) -> bytes:
    """Draw how often each pair of categories occurred, with totals; returns SVG.

    Parameters
    ----------
    pairs
        From :func:`herscope.stats.agreement.categories.count_pairs`.
    names
        The reader of the rows and the reader of the columns.
    """
    counts, size = pairs.counts, len(pairs.scale.names)
    side = min(max(2.4, 0.55 * (size + 1) + 0.9), 9.0)
    figure, axes = new_figure(side + 0.4, side)
    colors = ramp_colors(np.sqrt(counts / counts.max()).ravel()).reshape(size, size, 3) / 255
    colors[counts == 0] = 1.0
    axes.imshow(colors, interpolation="nearest")
    font = 9 if size <= 8 else 7
    for i, j in np.ndindex(size, size):
        if counts[i, j]:
            dark = colors[i, j].mean() < 0.55
            axes.text(j, i, f"{counts[i, j]:,}", ha="center", va="center", fontsize=font,
                      color="white" if dark else INK,
                      weight="bold" if i == j else "normal")  # fmt: skip
    for i in range(size):
        for place, total in (((size - 0.05, i), counts[i]), ((i, size - 0.15), counts[:, i])):
            axes.text(*place, f"{int(total.sum()):,}", ha="center", va="center", fontsize=font,
                      color=MUTED)  # fmt: skip
        axes.add_patch(_frame(i))  # above the grid
    names_short = [_short(name, 14) for name in pairs.scale.names]
    axes.set_xticks(range(size), names_short)
    axes.set_yticks(range(size), names_short)
    if max(len(name) for name in names_short) > 5:
        axes.tick_params(axis="x", labelrotation=35)
    inside = np.arange(size + 1) - 0.5
    axes.hlines(inside, -0.5, size - 0.5, color=RULE, lw=0.8, zorder=1)
    axes.vlines(inside, -0.5, size - 0.5, color=RULE, lw=0.8, zorder=1)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xlim(-0.55, size + 0.4)
    axes.set_ylim(size + 0.15, -0.55)
    axes.set_xlabel(_short(names[1]))
    axes.set_ylabel(_short(names[0]))
    return to_svg(figure)


def _frame(place: int) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((place - 0.5, place - 0.5), 1, 1, fill=False, edgecolor=INK, lw=1.2, zorder=3)


def _banded(axes: Any, estimate: Estimate, color: str) -> None:
    axes.axhline(estimate.value, color=color, lw=1.3, ls="-" if color == BLUE else (0, (5, 3)))
    if estimate.low is not None and estimate.high is not None:
        axes.axhspan(estimate.low, estimate.high, color=color, alpha=0.10, lw=0)


def _dots(axes: Any, x: NDArray[np.float64], y: NDArray[np.float64]) -> None:
    many = x.size > MANY
    axes.plot(x, y, "o", ms=2.2 if many else 4, mfc=DOT, mec="white", mew=0 if many else 0.5,
              alpha=0.35 if many else 0.85)  # fmt: skip


def _short(name: str, longest: int = 28) -> str:
    # A dollar sign would start a formula.
    text = name if len(name) <= longest else f"{name[: longest - 1]}…"
    return text.replace("$", r"\$")
