"""Pictures of one patient's explanation: probability, contributions, bags, lesions, dependence.

Blue is towards response, ochre towards no response, in every chart; the two differ in lightness as
well. Attention and Grad-CAM have the colours of the other heatmaps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from herscope.report.charts import INK, MUTED, RULE, new_figure, to_svg
from herscope.report.heat_paint import heat_colors
from herscope.report.jpeg import fitting
from herscope.report.sheet import Rgb, Sheet
from herscope.respond.explaining.words import PART_WORDS

TOWARDS_RESPONSE, TOWARDS_NONE = "#1f5687", "#b5701c"
CUT_INK: Final = "#a5121f"
BAND: Final = "#dfe4ea"
MAP_PX: Final = 620
MARGIN: Final = 14
KEY_PX: Final = 46


def probability_strip(document: Mapping[str, Any]) -> bytes:
    """Draw the probability with the spread of the members, and the cut-off; SVG."""
    figure, axes = new_figure(6.4, 1.15)
    value, low, high, cut = (document.get(k) for k in ("probability", "low", "high", "cut"))
    if low is not None and high is not None:
        axes.plot([low, high], [0, 0], color=INK, lw=5, alpha=0.35, solid_capstyle="butt")
    axes.plot([value], [0], "o", ms=9, color=INK, zorder=3, clip_on=False)
    if cut is not None:
        axes.axvline(cut, color=CUT_INK, lw=1.1, ls=(0, (4, 2)))
        side = "left" if cut < 0.75 else "right"
        axes.annotate(f" cut-off {cut:.2f} ", (cut, 0.72), fontsize=8, color=CUT_INK, ha=side)
    axes.set_xlim(0, 1)
    axes.set_ylim(-0.8, 1.1)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
    axes.grid(axis="x", color=RULE, lw=0.5)
    axes.set_axisbelow(True)
    axes.set_xlabel("probability of response", loc="left")
    return to_svg(figure)


def contribution_chart(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Draw what each part moved, as bars with the spread of the members; SVG."""
    figure, axes = new_figure(6.8, 0.75 + 0.36 * len(rows))
    reach = 0.1
    for at, row in enumerate(rows):
        value, low, high = row["logit"], row.get("low"), row.get("high")
        color = TOWARDS_RESPONSE if value >= 0 else TOWARDS_NONE
        axes.barh(at, value, 0.6, color=color, alpha=0.9)
        ends = [value]
        if low is not None and high is not None:
            axes.plot([low, high], [at, at], color=INK, lw=1.5)
            ends += [low, high]
        reach = max(reach, *(abs(x) for x in ends))
        words = ranged(row, "logit", 2)
        axes.annotate(words, (1.02, at), xycoords=("axes fraction", "data"), va="center",
                      fontsize=8.5, color=INK, annotation_clip=False)  # fmt: skip
    axes.axvline(0, color=INK, lw=0.9)
    axes.set_yticks(range(len(rows)), [PART_WORDS.get(r["part"], str(r["part"])) for r in rows])
    axes.tick_params(axis="y", length=0, labelsize=9)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(-1.08 * reach, 1.08 * reach)
    axes.grid(axis="x", color=RULE, lw=0.5)
    axes.set_axisbelow(True)
    axes.set_xlabel("towards no response  ←  logit  →  towards response")
    return to_svg(figure)


def dependence_chart(token: Mapping[str, Any], own: str | None = None) -> bytes:
    """Draw risk along a token's levels; the patient's own level is marked; SVG."""
    levels = token["levels"]
    figure, axes = new_figure(3.7, 0.72 + 0.26 * len(levels))
    for at, level in enumerate(levels):
        mine = level["level"] == own
        axes.barh(at, level["individual_high"] - level["individual_low"], 0.66,
                  left=level["individual_low"], color=BAND)  # fmt: skip
        if level.get("low") is not None:
            axes.plot([level["low"], level["high"]], [at, at], color=INK, lw=1.5)
        axes.plot([level["mean"]], [at], "o", ms=5, color=CUT_INK if mine else INK, zorder=3)
        if level.get("observed") is not None:
            axes.plot([level["observed"]], [at], "D", ms=4.2, mfc="white", mec=MUTED, mew=1.1,
                      zorder=2, clip_on=False)  # fmt: skip
    named = [_short(level["level"]) for level in levels]
    axes.set_yticks(range(len(levels)), named)
    for label, level in zip(axes.get_yticklabels(), levels, strict=True):
        if level["level"] == own:
            label.set(color=CUT_INK, fontweight="bold")
    axes.tick_params(axis="y", length=0, labelsize=8)
    axes.set_ylim(len(levels) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.5, 1])
    axes.grid(axis="x", color=RULE, lw=0.5)
    axes.set_axisbelow(True)
    axes.set_title(f"{token['token']} (n {token['patients']:,})", fontsize=9, color=INK, loc="left")
    return to_svg(figure)


def part_dependence_chart(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Draw how far the risk of a patient of the cohort moves when a part is unknown; SVG."""
    figure, axes = new_figure(6.8, 0.75 + 0.34 * len(rows))
    for at, row in enumerate(rows):
        axes.barh(at, row["moved"], 0.6, color=MUTED, alpha=0.8)
        words = f"{row['moved']:.3f}; mean {ranged(row, 'difference', 3)}, n {row['patients']:,}"
        axes.annotate(words, (1.02, at), xycoords=("axes fraction", "data"), va="center",
                      fontsize=8, color=INK, annotation_clip=False)  # fmt: skip
    axes.set_yticks(range(len(rows)), [PART_WORDS.get(r["part"], str(r["part"])) for r in rows])
    axes.tick_params(axis="y", length=0, labelsize=9)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(0, max(0.1, 1.08 * max(row["moved"] for row in rows)))
    axes.grid(axis="x", color=RULE, lw=0.5)
    axes.set_axisbelow(True)
    axes.set_xlabel("mean change of risk, either way", loc="left")
    return to_svg(figure)


def bag_map(
    bags: Sequence[Mapping[str, Any]],
    peak: float,
    even: float,
    *,
    thumbnail: Rgb | None = None,
    size_px: tuple[int, int] | None = None,
) -> Sheet:
    """Lay a slide's bags over its thumbnail, coloured by their weight.

    Parameters
    ----------
    bags
        With ``x_px``, ``y_px``, ``bag_px`` (level 0) and ``weight``, of one slide.
    peak
        Weight at the end of the scale: the largest of the patient.
    even
        Weight each bag would have if all counted alike.
    thumbnail
        (height, width, 3); white without.
    size_px
        Width and height of the slide at level 0; without, the bags' own extent.
    """
    right = max(bag["x_px"] + bag["bag_px"] for bag in bags)
    bottom = max(bag["y_px"] + bag["bag_px"] for bag in bags)
    left, top = (0.0, 0.0)
    if size_px is None:
        left, top = (float(min(bag[key] for bag in bags)) for key in ("x_px", "y_px"))
        size_px = (int(right - left), int(bottom - top))
    scale = MAP_PX / max(size_px)
    width, height = (max(1, round(scale * edge)) for edge in size_px)
    sheet = Sheet(max(width, 240) + 2 * MARGIN, height + 2 * MARGIN + KEY_PX)
    if thumbnail is not None:
        sheet.image(MARGIN, MARGIN, fitting(thumbnail, 2 * MAP_PX), width=width, height=height)
    sheet.box(MARGIN, MARGIN, width, height, line=MUTED)
    colors = heat_colors(np.array([bag["weight"] / peak if peak else 0.0 for bag in bags]))
    for bag, color in zip(bags, colors, strict=True):
        edge = max(3.0, scale * bag["bag_px"])
        x, y = (MARGIN + scale * (bag[k] - o) for k, o in (("x_px", left), ("y_px", top)))
        sheet.box(x, y, edge, edge, fill=_hex(color), opacity=0.72, line=INK, line_px=0.6)
    _key(sheet, height + 2 * MARGIN, peak / even if even else 0.0)
    return sheet


def _key(sheet: Sheet, y: float, most: float) -> None:
    ramp = np.repeat(heat_colors(np.linspace(0, 1, 120))[None], 10, axis=0)
    sheet.image(MARGIN, y, ramp)
    sheet.words(MARGIN, y + 25, "0", size=12)
    sheet.words(MARGIN + 120, y + 25, f"{most:.1f}× an even share", size=12)


def _hex(color: NDArray[np.uint8]) -> str:
    return "#" + "".join(f"{int(part):02x}" for part in color)


def signed(value: float, digits: int) -> str:
    """Write a number with its sign, and nought without.

    Examples
    --------
    >>> signed(0.2, 1), signed(-0.001, 2)
    ('+0.2', '0.00')
    """
    text = f"{value:+.{digits}f}"
    return text if float(text) else text[1:]


def ranged(row: Mapping[str, Any], key: str, digits: int) -> str:
    """Write a difference with the ends ``low`` and ``high`` that stand beside it.

    Examples
    --------
    >>> ranged({"moved": 0.5, "low": -0.1, "high": 1.1}, "moved", 1)
    '+0.5 (-0.1 to +1.1)'
    """
    value, low, high = row.get(key), row.get("low"), row.get("high")
    if value is None:
        return "not measured"
    if low is None or high is None:
        return signed(value, digits)
    return f"{signed(value, digits)} ({signed(low, digits)} to {signed(high, digits)})"


def _short(words: str) -> str:
    return words if len(words) < 23 else words[:21] + "…"
