"""Charts: OD histograms with cut-offs, grade shares with intervals, H-scores of a cohort.

Drawn with matplotlib's object interface, never with pyplot: no window, no figure that outlives
its function. Letters are stored as outlines, so a chart looks the same everywhere, and the SVG's
ids and dates are fixed, so the same numbers give the same bytes.

Intervals of the grade shares treat tiles as clusters (ratio estimator with linearised variance,
Cochran, Sampling Techniques, 3rd ed. 1977, chapter 6, on the logit scale with t quantiles), because
neighbouring cells are alike and a binomial interval over cells would be far too narrow.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from herscope.report.palette import (
    COMPARTMENT_COLORS,
    COMPARTMENTS,
    GRADE_COLORS,
    GRADE_WORDS,
    GRADES,
)

INK, MUTED, RULE = "#1b232e", "#5a6675", "#d5dae1"
OD_BIN = 0.01


def od_histogram_chart(
    histograms: Mapping[str, Sequence[int]],
    cuts: tuple[float, float, float] | None,
    *,
    log: bool = True,
) -> bytes:
    """Draw the DAB optical densities of each compartment's pixels; returns SVG.

    Parameters
    ----------
    histograms
        Compartment name to 256 counts, bin i = OD in [i, i + 1) * 0.01; empty ones are left out.
    cuts
        The three cut-offs between grades 0, 1+, 2+ and 3+; ``None`` draws none.
    log
        Logarithmic share axis (the default: unstained pixels outnumber stained ones by far).
    """
    figure, axes = new_figure(6.4, 2.9)
    filled = {name: np.asarray(h, dtype=float) for name, h in histograms.items() if sum(h)}
    top_od = _last_od(list(filled.values()), cuts)
    for name, counts in filled.items():
        share = 100 * counts / counts.sum()
        color = COMPARTMENT_COLORS.get(name, INK)
        line = np.where(share > 0, share, np.nan) if log else share
        od = (np.arange(256) + 0.5) * OD_BIN
        axes.plot(od, line, color=color, lw=1.4, ls="--" if name == "stroma" else "-",
                  label=f"{COMPARTMENTS.get(name, name)} ({int(counts.sum()):,} px)")  # fmt: skip
        if name == next(iter(filled)):
            axes.fill_between(od, line, 1e-6 if log else 0, color=color, alpha=0.08, lw=0)
    if log:
        axes.set_yscale("log")
        axes.set_ylim(bottom=_log_floor(list(filled.values())))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_minor_formatter(lambda *_: "")
    else:
        axes.set_ylim(bottom=0)
    axes.set_xlim(0, top_od)
    axes.set_xlabel("DAB optical density (log$_{10}$)")
    axes.set_ylabel("pixels, % per 0.01 OD")
    if cuts:
        _draw_cuts(axes, cuts, top_od)
    if filled:
        axes.legend(frameon=False, fontsize=8, loc="upper right", labelcolor=INK)
    return to_svg(figure)


def grade_chart(
    counts: Mapping[str, Sequence[int]],
    intervals: Mapping[str, Sequence[tuple[float, float] | None]],
) -> bytes:
    """Draw the share of cells per grade in each compartment with 95 % intervals; returns SVG.

    Parameters
    ----------
    counts
        Compartment name to cells of grade 0, 1+, 2+, 3+; compartments without cells are left out.
    intervals
        Compartment name to four intervals in percent, as :func:`share_intervals` returns them.
    """
    shown = {name: np.asarray(c, dtype=float) for name, c in counts.items() if sum(c)}
    figure, axes = new_figure(6.4, 2.9)
    width = 0.8 / max(1, len(shown))
    for index, (name, cells) in enumerate(shown.items()):
        share = 100 * cells / cells.sum()
        x = np.arange(4) + (index - (len(shown) - 1) / 2) * width
        axes.bar(x, share, width * 0.9, color=GRADE_COLORS, lw=1.3,
                 edgecolor=COMPARTMENT_COLORS.get(name, INK),
                 ls="--" if name == "stroma" else "-")  # fmt: skip
        ends = intervals.get(name, [None] * 4)
        tops = share.copy()
        for place, value, ci in zip(x, share, ends, strict=True):
            if ci is not None:
                axes.plot([place, place], ci, color=INK, lw=1.1, solid_capstyle="butt")
                tops[np.flatnonzero(x == place)] = max(ci[1], value)
        for place, value, top in zip(x, share, tops, strict=True):
            axes.annotate(f"{value:.1f}", (place, top), (0, 3), textcoords="offset points",
                          ha="center", va="bottom", fontsize=8, color=INK)  # fmt: skip
        axes.plot([], [], color=COMPARTMENT_COLORS.get(name, INK), lw=1.6,
                  ls="--" if name == "stroma" else "-",
                  label=f"{COMPARTMENTS.get(name, name)} (n = {int(cells.sum()):,})")  # fmt: skip
    labels = [f"{grade} {word}" for grade, word in zip(GRADES, GRADE_WORDS, strict=True)]
    axes.set_xticks(range(4), labels)
    axes.tick_params(axis="x", length=0)
    axes.set_ylim(0, max(10.0, axes.get_ylim()[1] * 1.05))
    axes.set_ylabel("cells, %")
    if shown:
        # Above the frame: inside it a tall bar of any grade could stand behind the words.
        axes.legend(frameon=False, fontsize=8, loc="lower right", bbox_to_anchor=(1, 1.0),
                    ncols=3, labelcolor=INK)  # fmt: skip
    return to_svg(figure)


def share_intervals(tile_counts: NDArray[np.int64]) -> list[tuple[float, float] | None]:
    """Return the 95 % interval, in percent, of each grade's share with tiles as clusters.

    Parameters
    ----------
    tile_counts
        (tile, 4) cells per grade; tiles without cells carry no information and are left out.

    Returns
    -------
    list
        Four intervals; ``None`` with fewer than two tiles or where the share is 0 or 100 %.

    Examples
    --------
    >>> low, high = share_intervals(np.array([[8, 2, 0, 0], [6, 4, 0, 0], [7, 3, 0, 0]]))[0]
    >>> low < 70 < high
    True
    """
    from scipy.special import stdtrit

    counts = np.asarray(tile_counts, dtype=np.float64)
    counts = counts[counts.sum(axis=1) > 0]
    clusters = len(counts)
    if clusters < 2:
        return [None] * 4
    cells = counts.sum(axis=1)
    total = cells.sum()
    quantile = float(stdtrit(clusters - 1, 0.975))
    found: list[tuple[float, float] | None] = []
    for grade in range(4):
        share = counts[:, grade].sum() / total
        if not 0 < share < 1:
            found.append(None)
            continue
        residual = counts[:, grade] - share * cells
        variance = clusters / (clusters - 1) * float(residual @ residual) / total**2
        step = quantile * np.sqrt(variance) / (share * (1 - share))
        logit = np.log(share / (1 - share))
        low, high = (100 / (1 + np.exp(-(logit + sign * step))) for sign in (-1, 1))
        found.append((float(low), float(high)))
    return found


def cohort_chart(rows: Sequence[Mapping[str, Any]], *, unit: str, limit: float) -> bytes:
    """Draw one point a slide, sorted, with its 95 % interval, per compartment; returns SVG.

    Parameters
    ----------
    rows
        ``value``, ``low``, ``high`` (``None`` where unknown), ``compartment`` and ``doubt`` (an
        error alert: drawn as a cross) of each slide.
    unit, limit
        Axis title and upper end, such as ``H-score`` and 300.
    """
    figure, axes = new_figure(6.4, 2.8)
    names = [name for name in COMPARTMENTS if any(row["compartment"] == name for row in rows)]
    longest = 1
    for name in names:
        mine = sorted(
            (row for row in rows if row["compartment"] == name and row["value"] is not None),
            key=lambda row: row["value"],
        )
        color = COMPARTMENT_COLORS[name]
        x = np.arange(1, len(mine) + 1)
        for place, row in zip(x, mine, strict=True):
            if row["low"] is not None and row["high"] is not None:
                axes.plot([place] * 2, [row["low"], row["high"]], color=color, lw=1, alpha=0.55)
        values = np.array([row["value"] for row in mine], dtype=float)
        doubt = np.array([bool(row["doubt"]) for row in mine])
        axes.plot(x, np.where(doubt, np.nan, values), "s" if name == "stroma" else "o", ms=4,
                  color=color, mfc="white" if name == "stroma" else color,
                  label=f"{COMPARTMENTS[name]} ({len(mine)})")  # fmt: skip
        axes.plot(x, np.where(doubt, values, np.nan), "x", ms=5, color=color)
        longest = max(longest, len(mine))
    axes.set_ylim(0, limit * 1.02)
    axes.set_xlabel("slides, sorted by value")
    axes.set_ylabel(unit)
    axes.set_xlim(0.4, longest + 0.6)
    step = -(-longest // 10)
    axes.set_xticks(range(step, longest + 1, step))
    axes.grid(axis="y", color=RULE, lw=0.6)
    if names:
        axes.legend(frameon=False, fontsize=8, loc="upper left", labelcolor=INK)
    return to_svg(figure)


def _last_od(filled: list[NDArray[np.float64]], cuts: tuple[float, float, float] | None) -> float:
    """End of the OD axis: past the last cut-off and past all but 1 in 10,000 pixels."""
    ends = [float(np.searchsorted(np.cumsum(h), 0.9999 * h.sum()) + 2) * OD_BIN for h in filled]
    return min(256 * OD_BIN, max([1.0, *ends, 1.35 * cuts[2] if cuts else 0.0]))


def _log_floor(filled: list[NDArray[np.float64]]) -> float:
    """Bottom of a log axis: one pixel, but no more than five decades."""
    return float(max([1e-4, *(min(100 / h.sum(), 0.1) for h in filled)]))


def _draw_cuts(axes: Any, cuts: tuple[float, float, float], top_od: float) -> None:
    edges = (0.0, *cuts, top_od)
    for cut in cuts:
        axes.axvline(cut, color=INK, lw=0.8, ls=(0, (4, 3)))
    for grade in range(4):
        left, right = edges[grade], edges[grade + 1]
        # A strip of the grade's colour above the frame names the interval between two cut-offs.
        axes.axvspan(left, right, ymin=1.0, ymax=1.05, color=GRADE_COLORS[grade], clip_on=False,
                     lw=0)  # fmt: skip
        axes.annotate(
            GRADES[grade],
            ((left + right) / 2, 1.06),
            xycoords=("data", "axes fraction"),
            ha="center",
            va="bottom",
            fontsize=8,
            color=INK,
            annotation_clip=False,
        )


def new_figure(width_in: float, height_in: float) -> tuple[Any, Any]:
    """Return a figure with one plain axis, sizes in inches; no global state of pyplot."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    axes = figure.add_subplot()
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(MUTED)
        axes.spines[side].set_linewidth(0.8)
    axes.tick_params(colors=MUTED, labelcolor=INK, labelsize=8, width=0.8)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(fontsize=9, color=INK)
    return figure, axes


def to_svg(figure: Any) -> bytes:
    """Draw a figure as SVG, the same bytes every time."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    out = io.BytesIO()
    # svg.hashsalt and Date: the same chart is the same bytes, today and tomorrow.
    with rc_context({"svg.fonttype": "path", "svg.hashsalt": "herscope"}):
        FigureCanvasSVG(figure).print_svg(out, metadata={"Date": None, "Creator": None})
    return out.getvalue()
