"""The Kaplan-Meier figure: curves with interval bands and censor marks, numbers at risk below.

As journals ask for it (Pocock, Clayton and Altman, Lancet 2002;359:1686): survival from 0 to 100 %,
the uncertainty shown, and how many patients each part of the curve rests on. Groups differ in
colour (Okabe and Ito 2008, safe for colour blindness) and in dash, for print in grey.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from herscope.report.charts import INK, MUTED, RULE, new_figure, to_svg
from herscope.stats.survival.kaplan_meier import KaplanMeier

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#8a6d00", "#6b6b6b")
DASHES = ("-", (0, (6, 2)), (0, (2, 1.5)), (0, (6, 2, 1.5, 2)))

MOST_BANDS = 4
"""More bands than these cover each other; the intervals then stand in the table alone."""

MONTH_STEPS = (1, 2, 3, 6, 12, 24, 36, 48, 60, 120, 240)
FEWEST_TICKS, MOST_TICKS = 5, 9


def survival_chart(
    curves: Mapping[str, KaplanMeier],
    *,
    time_unit: str = "",
    title: str = "",
    said: str = "",
) -> bytes:
    """Draw survival curves; returns SVG.

    Parameters
    ----------
    curves
        Group name to curve, in the order of the legend.
    time_unit
        For the axis, such as ``days``.
    title, said
        First line of the legend, such as the column of the groups, and its last, such as the
        log-rank p.
    """
    height = 3.6 + 0.2 * (len(curves) + 1)
    figure, axes = new_figure(7.0, height)
    end = max(float(curve.table.time[-1]) for curve in curves.values()) or 1.0
    ticks = time_ticks(end, time_unit)
    for place, (name, curve) in enumerate(curves.items()):
        _draw(axes, name, curve, place, band=len(curves) <= MOST_BANDS)
    axes.axhline(50, color=RULE, lw=0.8, zorder=0)
    axes.set(xlim=(0, max(end, ticks[-1]) * 1.01), ylim=(0, 102))
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_ylabel("patients without the event, %", fontsize=9, color=INK)
    if said:
        axes.plot([], [], ls="", label=said)  # a line of the legend, where no curve can cross it
    axes.legend(
        frameon=False, fontsize=8, labelcolor=INK, title=title or None, title_fontsize=8.5,
        alignment="left", **_empty_corner(curves, end),
    )  # fmt: skip
    axes.set_xlabel(f"time, {time_unit}" if time_unit else "time", fontsize=9, color=INK)
    _numbers_at_risk(axes, curves, ticks)
    return to_svg(figure)


def time_ticks(end: float, time_unit: str) -> list[float]:
    """Return ticks from 0 at round steps; months go in halves and wholes of years.

    Examples
    --------
    >>> time_ticks(61.0, "months")
    [0.0, 12.0, 24.0, 36.0, 48.0, 60.0]
    """
    if time_unit.lower().startswith("month"):
        steps = [s for s in MONTH_STEPS if end / s < MOST_TICKS] or [MONTH_STEPS[-1]]
        step = float(steps[0])
    else:
        rough = end / FEWEST_TICKS
        power = 10.0 ** np.floor(np.log10(rough))
        step = float(power * max(s for s in (1, 2, 2.5, 5) if s * power <= rough))
    return [float(step * k) for k in range(int(end / step + 1e-9) + 1)]


def _draw(axes: Any, name: str, curve: KaplanMeier, place: int, *, band: bool) -> None:
    color, dash = COLORS[place % len(COLORS)], DASHES[place % len(DASHES)]
    table = curve.table
    time = np.concatenate(([0.0], table.time))
    shares = [np.concatenate(([1.0], a)) * 100 for a in (curve.survival, curve.low, curve.high)]
    survival, low, high = shares
    axes.step(time, survival, where="post", color=color, ls=dash, lw=1.6, label=_label(name, curve))
    if band:
        axes.fill_between(time, low, high, step="post", color=color, alpha=0.13, lw=0)
    left = table.censored > 0
    axes.plot(
        table.time[left], 100 * curve.survival[left], ls="", marker="|", ms=5, mew=0.8,
        color=color, alpha=0.8,
    )  # fmt: skip


def _empty_corner(curves: Mapping[str, KaplanMeier], end: float) -> dict[str, Any]:
    """Return where a legend hides no curve: a corner that stays empty, else above the frame."""
    lowest = [c.survival[c.table.time <= 0.5 * end].min(initial=1.0) for c in curves.values()]
    half = [c.survival[c.table.time <= 0.55 * end] for c in curves.values()]
    highest = [s[-1] if s.size else 1.0 for s in half]
    tall = 0.1 + 0.07 * (len(curves) + 2)
    if min(lowest) > tall + 0.1:
        return {"loc": "lower left"}
    if max(highest) < 0.9 - tall:
        return {"loc": "upper right"}
    return {"loc": "lower left", "bbox_to_anchor": (0.0, 1.0)}


def _label(name: str, curve: KaplanMeier) -> str:
    return f"{name} ({curve.counts['events']:,} events of {curve.n:,})"


def _numbers_at_risk(axes: Any, curves: Mapping[str, KaplanMeier], ticks: list[float]) -> None:
    """Write the table in points below the axis, so that it lines up with the ticks."""
    top, row = -40.0, 13.0
    axes.annotate(
        "at risk", (0, 0), (-6, top), xycoords="axes fraction", textcoords="offset points",
        ha="right", va="center", fontsize=8, color=MUTED, fontweight="bold",
    )  # fmt: skip
    for place, (name, curve) in enumerate(curves.items()):
        color, y = COLORS[place % len(COLORS)], top - row * (place + 1)
        short = name if len(name) <= 18 else f"{name[:17]}…"
        axes.annotate(
            short, (0, 0), (-6, y), xycoords="axes fraction", textcoords="offset points",
            ha="right", va="center", fontsize=8, color=color,
        )  # fmt: skip
        for tick, left in zip(ticks, curve.at_risk(ticks), strict=True):
            inwards = 8 if tick == 0 else 0  # the first number would touch the group's name
            axes.annotate(
                f"{left:,}", (tick, 0), (inwards, y), xycoords=("data", "axes fraction"),
                textcoords="offset points", ha="center", va="center", fontsize=8, color=INK,
            )  # fmt: skip
