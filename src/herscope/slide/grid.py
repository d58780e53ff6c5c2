"""Which level serves an asked resolution, and the grid of pixels that results.

A level within the tolerance of the asked µm/px is used as it is: resampling by 2 % would blur
every pixel to win nothing, and the true µm/px is carried along. Otherwise the coarsest level that
is finer than asked on both axes is averaged down. Finer pixels than the slide has are refused.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from herscope.core.errors import InputError, UpsamplingRefused
from herscope.core.units import Mpp
from herscope.slide.protocol import Level

STEP_BITS = 16
ONE_PX = 1 << STEP_BITS
LARGEST_FACTOR = 1024
"""Level pixels per grid pixel and axis: 1024 ** 2 * 65536 ** 2 * 255 still fits 64 bits."""
ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Grid:
    """The pixels of a slide at one resolution; a plain value that any process can use.

    ``mpp`` is the true mean µm/px, ``asked_mpp`` what was asked; ``level`` the pyramid level read;
    ``scale_x`` and ``scale_y`` level-0 pixels per grid pixel; ``native`` whether the level's pixels
    are used as they are; ``step_x`` and ``step_y`` level pixels per grid pixel times 65536.
    """

    mpp: Mpp
    asked_mpp: Mpp
    level: int
    width_px: int
    height_px: int
    scale_x: float
    scale_y: float
    native: bool
    step_x: int = ONE_PX
    step_y: int = ONE_PX


def level_downsample(full_px: int, reduced_px: int) -> float:
    """Return the ratio of two sizes, or the whole number that explains it by rounding.

    250 px halved twice are 62, not 62.5: the level's scale is still 4, and taking 250 / 62 = 4.03
    would shift its far edge by two level-0 pixels.

    Examples
    --------
    >>> level_downsample(250, 62), level_downsample(1000, 400)
    (4.0, 2.5)
    """
    ratio = full_px / reduced_px
    whole = round(ratio)
    return float(whole) if abs(full_px / whole - reduced_px) < 1 else ratio


def choose_grid(
    levels: Sequence[Level],
    mpp_x: float,
    mpp_y: float,
    asked: float,
    *,
    tolerance: float,
    name: str,
) -> Grid:
    """Choose the level for an asked resolution.

    Parameters
    ----------
    levels
        The pyramid, the finest first.
    mpp_x, mpp_y
        µm/px of level 0.
    asked
        Wanted µm/px, 0.02 to 100.
    tolerance
        Fraction by which a level may differ and still be used as it is.
    name
        The slide, for messages.

    Raises
    ------
    UpsamplingRefused
        Finer than the slide has.
    InputError
        Over 1024 times coarser than the coarsest level.
    """
    wanted = Mpp(asked)
    native = [
        (abs(math.log(wanted * 2 / (x + y))), i)
        for i, level in enumerate(levels)
        for x, y in [(mpp_x * level.downsample_x, mpp_y * level.downsample_y)]
        if all(abs(wanted / m - 1) <= tolerance + ROUNDING for m in (x, y))
    ]
    if native:
        i = min(native)[1]
        level = levels[i]
        return Grid(
            mpp=Mpp((mpp_x * level.downsample_x + mpp_y * level.downsample_y) / 2),
            asked_mpp=wanted,
            level=i,
            width_px=level.width_px,
            height_px=level.height_px,
            scale_x=level.downsample_x,
            scale_y=level.downsample_y,
            native=True,
        )
    finer = [
        i
        for i, level in enumerate(levels)
        if max(mpp_x * level.downsample_x, mpp_y * level.downsample_y) <= wanted * (1 + ROUNDING)
    ]
    if not finer:
        finest = max(mpp_x, mpp_y)
        raise UpsamplingRefused(
            f"slide {name} has {finest:.4g} µm/px; {wanted:g} µm/px is finer than it was scanned "
            f"(allowed: {finest * (1 - tolerance):.4g} and coarser)",
            hint=f"ask for {finest:.4g} µm/px or more, or use a slide scanned finer",
        )
    i = finer[-1]
    level = levels[i]
    step_x = _step(wanted / (mpp_x * level.downsample_x), name, wanted)
    step_y = _step(wanted / (mpp_y * level.downsample_y), name, wanted)
    scale_x = level.downsample_x * step_x / ONE_PX
    scale_y = level.downsample_y * step_y / ONE_PX
    return Grid(
        mpp=Mpp((mpp_x * scale_x + mpp_y * scale_y) / 2),
        asked_mpp=wanted,
        level=i,
        # Whole grid pixels only: one over the edge would be mixed with what is not there.
        width_px=max(1, level.width_px * ONE_PX // step_x),
        height_px=max(1, level.height_px * ONE_PX // step_y),
        scale_x=scale_x,
        scale_y=scale_y,
        native=False,
        step_x=step_x,
        step_y=step_y,
    )


def _step(factor: float, name: str, wanted: float) -> int:
    if factor > LARGEST_FACTOR:
        raise InputError(
            f"slide {name}: {wanted:g} µm/px is {factor:.0f} times coarser than its coarsest level "
            f"(limit {LARGEST_FACTOR})",
            hint="ask for finer pixels",
        )
    return max(ONE_PX, math.floor(factor * ONE_PX + 0.5))
