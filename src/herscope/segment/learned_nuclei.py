"""Nuclei from the maps of a network.

Pixels that the network takes for nucleus are cut into single nuclei along the valleys of a
landscape (:mod:`herscope.segment.landscapes`) by climbing to local summits
(:mod:`herscope.segment.basins`). HoVer-Net, Triple U-Net and the distance U-Nets flood markers over
whole regions instead (watershed); we depart because there a pixel's nucleus may depend on pixels
anywhere in the region, and slides are read in pieces. Here a nucleus depends on nothing further
than ``LearnedNucleiSpec.support_um`` from its seed, and every step works in whole numbers, so a
slide gives the same nuclei to the bit whatever the tiles. ``docs/science/learned-nuclei.md`` has
the reach of each step, what was measured and where it fails.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from herscope.core.errors import InputError, WrongInput
from herscope.core.spec import Spec
from herscope.core.units import Um
from herscope.segment.basins import climb, gather, join, tidy
from herscope.segment.landscapes import landscape
from herscope.segment.nuclei import COARSEST_MPP, Nuclei
from herscope.segment.selection import renumbered
from herscope.segment.smoothing import TRUNCATION_SIGMAS

NUCLEUS: Final = "nucleus"
CLASS_LISTS: Final = (
    (NUCLEUS,),
    (NUCLEUS, "distance"),
    (NUCLEUS, "horizontal", "vertical"),
)
"""Output channels that a nuclei model may have, in this order."""

SIGNED: Final = frozenset({"horizontal", "vertical"})
"""Channels with values from -1 to 1; the others are logits."""

_ROUNDING_UM: Final = 6.0  # what whole pixels add to the steps' reach, up to 1.25 µm/px


class LearnedNucleiSpec(Spec):
    """How single nuclei are made from a network's maps.

    Examples
    --------
    >>> LearnedNucleiSpec().support_um < 50
    True
    """

    threshold: float = Field(
        default=0.5, gt=0, lt=1, description="Least probability of a pixel of a nucleus."
    )
    smoothing_um: Um = Field(
        default=Um(1.0), ge=0, le=3, description="Gaussian sigma of the landscape."
    )
    spacing_um: Um = Field(
        default=Um(2.0), ge=0, le=5, description="Summits at most so far apart are one nucleus."
    )
    join_um: Um = Field(
        default=Um(6.0), ge=0, le=12, description="Summits further apart are never one nucleus."
    )
    join_depth: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="Summits up to join_um apart are one nucleus when the pass between them lies "
        "less than this share below the lower one.",
    )
    depth_um: Um = Field(
        default=Um(6.0),
        gt=1,
        le=15,
        description="Where the network gives no distance: the background is sought so far away.",
    )
    max_radius_um: Um = Field(
        default=Um(11.0), gt=3, le=25, description="No nucleus reaches further from its seed."
    )
    min_area_um2: float = Field(default=12.0, gt=0, description="Smaller objects are dropped.")

    @property
    def support_um(self) -> float:
        """How far from a nucleus' seed anything can matter to its pixels or its being there.

        What joins it lies within ``join_um``, what that might join instead as far again, and what
        keeps this from staying once more; passes and climbs lie within a radius of the last of
        them, and heights look as far as the smoothing and the search for background.
        """
        heights = self.depth_um + TRUNCATION_SIGMAS * self.smoothing_um
        return 3 * self.join_um + self.max_radius_um + heights + _ROUNDING_UM


def decode_nuclei(
    maps: NDArray[np.uint8], classes: Sequence[str], mpp: float, spec: LearnedNucleiSpec
) -> Nuclei:
    """Make single nuclei from a network's maps.

    Parameters
    ----------
    maps
        (channels, height, width) uint8: ``nucleus`` and ``distance`` are 255 times the sigmoid of
        the logit, ``horizontal`` and ``vertical`` 127.5 + 127.5 times the value, all rounded.
    classes
        Names of the channels, one of :data:`CLASS_LISTS`: ``card.classes``.
    mpp
        Micrometres per pixel, at most 1.25.
    spec
        Parameters.

    Returns
    -------
    Nuclei
        Nuclei whose seeds lie within ``spec.support_um`` of the border may differ from those of a
        larger picture; all others are the same to the bit. Each is one 4-connected piece that holds
        its seed; labels follow the raster order of the seeds.

    Raises
    ------
    WrongInput
        Other channels.
    InputError
        No (channels, height, width) uint8, or too coarse pixels.

    Examples
    --------
    >>> yy, xx = np.mgrid[:40, :60]
    >>> near = np.minimum(np.hypot(yy - 20, xx - 20), np.hypot(yy - 20, xx - 36))
    >>> rise = np.clip(255 - 28 * near, 0, 255).astype(np.uint8)
    >>> maps = np.stack([np.where(near < 9, 255, 0).astype(np.uint8), rise])
    >>> found = decode_nuclei(maps, ["nucleus", "distance"], 0.5, LearnedNucleiSpec())
    >>> found.seeds.tolist()
    [[20, 20], [20, 36]]
    """
    _check(maps, classes, mpp)
    if maps.size == 0:
        return Nuclei(np.zeros(maps.shape[1:], np.int32), np.zeros((0, 2), np.int32))
    maps = np.ascontiguousarray(maps)
    inside = maps[0] >= math.ceil(255 * spec.threshold)
    heights = landscape(
        maps,
        classes,
        inside,
        smoothing_px=spec.smoothing_um / mpp,
        depth_px=max(1, math.floor(spec.depth_um / mpp)),
    )
    reach = max(1, math.floor(spec.max_radius_um / mpp))
    near, far = (math.floor(length / mpp) for length in (spec.spacing_um, spec.join_um))
    labels, summits = climb(heights, inside, reach)
    into = join(heights, labels, summits, near, max(near, far), round(1000 * spec.join_depth))
    seeds, boxes, cut = gather(labels, summits, into, reach)
    area_px = tidy(labels, seeds, boxes, cut)
    wanted = area_px * (mpp * mpp) >= spec.min_area_um2
    names = np.zeros(len(seeds) + 1, np.int32)
    names[1:][wanted] = np.arange(1, int(wanted.sum()) + 1, dtype=np.int32)
    return Nuclei(renumbered(labels, names), seeds[wanted])


def quantise(found: NDArray[np.float32], classes: Sequence[str]) -> NDArray[np.uint8]:
    """Round a network's output to 0..255, as nuclei are made from it.

    Parameters
    ----------
    found
        float32 (channels, height, width): logits, or values from -1 to 1 where the channel is
        ``horizontal`` or ``vertical``.
    classes
        Names of the channels.

    Examples
    --------
    >>> values = np.array([0.0, -1.0, 2.0], np.float32).reshape(3, 1, 1)
    >>> quantise(values, ["nucleus", "horizontal", "vertical"]).ravel().tolist()
    [128, 0, 255]
    """
    out = np.empty(found.shape, np.uint8)
    for k, name in enumerate(classes):
        if name in SIGNED:
            value = np.float32(127.5) + np.float32(127.5) * np.clip(found[k], -1, 1)
        else:
            value = np.float32(255) / (1 + np.exp(-np.clip(found[k], -60, 60)))
        out[k] = np.floor(value + np.float32(0.5)).astype(np.uint8)
    return out


def check_classes(classes: Sequence[str] | None, name: str) -> tuple[str, ...]:
    """Return a model's channels; refuse those no nuclei can be made from.

    Raises
    ------
    WrongInput
        They are none of :data:`CLASS_LISTS`.
    """
    given = tuple(classes or ())
    if given not in CLASS_LISTS:
        known = "; ".join(", ".join(one) for one in CLASS_LISTS)
        raise WrongInput(
            f"{name} gives {', '.join(given) or 'no named channels'}; single nuclei are made from "
            f"one of: {known}",
            hint="the classes of the card name the channels in their order",
        )
    return given


def _check(maps: NDArray[np.uint8], classes: Sequence[str], mpp: float) -> None:
    channels = check_classes(classes, "the network")
    if maps.ndim != 3 or maps.dtype != np.uint8 or len(maps) != len(channels):
        raise InputError(
            f"the maps are {maps.dtype} with the shape {maps.shape}",
            hint=f"give ({len(channels)}, height, width) uint8: {', '.join(channels)}",
        )
    if not 0 < mpp <= COARSEST_MPP:
        raise InputError(
            f"{mpp:g} µm/px is too coarse to part nuclei (at most {COARSEST_MPP:g})",
            hint="work at 0.5 µm/px, or finer",
        )
