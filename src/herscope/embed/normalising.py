"""Stain normalisation of a slide's tiles before an encoder sees them; an option, off by default.

The slide is measured once, on a fixed sample of its tissue tiles, and every tile is moved by those
statistics: measured tile by tile, a tile of pure stroma would be stretched until its pink looked
like nuclei, and neighbours would part at their border. The two methods are those of
:mod:`herscope.stain.normalise` (Reinhard 2001, Macenko 2009); either may have a white balance in
front of it, measured on the same sample. What is measured for scores is never normalised.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from herscope.core.errors import EmptyTissue, HerscopeError, InputError
from herscope.core.spec import Spec
from herscope.core.units import Mpp
from herscope.embed.tile_list import TileList, spread
from herscope.slide.opened import Slide, open_slide
from herscope.slide.resolution import SlideSpec
from herscope.stain.normalise import MacenkoTarget, ReinhardTarget, WhiteBalance
from herscope.stain.vectors import Triple

Rgb = NDArray[np.uint8]
Method = Literal["none", "reinhard", "macenko"]

SAMPLE_TILES: Final = 32
"""Tiles on which a slide is measured, evenly spread."""
SAMPLE_STEP_PX: Final = 2
"""Every second row and column of them: half a million pixels, enough for a percentile."""
LARGEST_TARGET_PX: Final = 2048
"""Of a larger target picture the upper left part is measured."""

USUAL_REINHARD: Final = ReinhardTarget(mean=(49.8, 31.7, -13.9), sd=(16.3, 8.2, 7.0))
USUAL_MACENKO: Final = MacenkoTarget(
    first=(0.597, 0.728, 0.338), second=(0.276, 0.851, 0.446), full=(1.31, 0.75)
)
"""The targets when none is given: medians over the three real H&E pictures of
:mod:`herscope.embed.colour_texture_names`, every picture measured by itself, stain vectors brought
to unit length; ``benchmarks/embedding.py --constants`` prints them again. A drawn slide is no
target: its haematoxylin is bluer than that of nearly all real pictures we saw."""


class NormaliseSpec(Spec):
    """How tiles are normalised; the target is kept as numbers, so it is part of the fingerprint.

    Examples
    --------
    >>> NormaliseSpec(method="reinhard").reinhard().mean
    (49.8, 31.7, -13.9)
    """

    method: Method = Field(default="none", description="none, reinhard or macenko.")
    target: str = Field(default="usual", description="Name of the target picture, or 'usual'.")
    lab_mean: Triple = Field(
        default=USUAL_REINHARD.mean, description="Reinhard: mean of the target's tissue in CIELAB."
    )
    lab_sd: Triple = Field(
        default=USUAL_REINHARD.sd, description="Reinhard: its standard deviation in CIELAB."
    )
    first: Triple = Field(
        default=USUAL_MACENKO.first, description="Macenko: optical density of haematoxylin."
    )
    second: Triple = Field(
        default=USUAL_MACENKO.second, description="Macenko: optical density of eosin."
    )
    full: tuple[float, float] = Field(
        default=USUAL_MACENKO.full, description="Macenko: 99th percentile of both amounts."
    )
    white_balance: bool = Field(
        default=False, description="Scale each channel's 99th percentile to 255 before the method."
    )

    @model_validator(mode="after")
    def _before_a_method(self) -> Self:
        if self.white_balance and self.method == "none":
            raise ValueError("white_balance goes before a method: reinhard or macenko")
        return self

    @model_serializer(mode="wrap")
    def _as_before(self, fields: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave the younger field out where it is off: older features keep their fingerprint."""
        said: dict[str, Any] = fields(self)
        if not self.white_balance:
            said.pop("white_balance", None)
        return said

    def reinhard(self) -> ReinhardTarget:
        """Return the target of Reinhard's method."""
        return ReinhardTarget(mean=self.lab_mean, sd=self.lab_sd)

    def macenko(self) -> MacenkoTarget:
        """Return the target of Macenko's method."""
        return MacenkoTarget(first=self.first, second=self.second, full=self.full)


def normalise_spec(
    method: Method = "none", target: str | Path | None = None, *, white_balance: bool = False
) -> NormaliseSpec:
    """Say how tiles are normalised.

    Parameters
    ----------
    method
        ``none``, ``reinhard`` or ``macenko``.
    target
        A stained picture of the laboratory whose colours are wanted; the usual H&E when absent.
    white_balance
        Scale each channel's 99th percentile over the slide's sample to 255 before the method.

    Raises
    ------
    InputError
        A target or a white balance without a method, or a picture that cannot be read.
    EmptyTissue
        The picture holds too little stain.
    """
    if white_balance and method == "none":
        raise InputError(
            "--white-balance was given without a method",
            hint="add --normalise reinhard or --normalise macenko; it goes before them",
        )
    if target is None:
        return NormaliseSpec(method=method, white_balance=white_balance)
    path = Path(target)
    if method == "none":
        raise InputError(
            f"--normalise-to {path.name} was given without a method",
            hint="add --normalise reinhard or --normalise macenko",
        )
    try:
        with open_slide(path, SlideSpec(mpp=Mpp(0.5))) as slide:  # colours have no scale
            grid = slide.grid(max(slide.info.mpp_x, slide.info.mpp_y))
            side = [min(LARGEST_TARGET_PX, n) for n in (grid.width_px, grid.height_px)]
            picture = slide.read(grid, 0, 0, *side)
    except EmptyTissue:
        raise
    except HerscopeError as error:
        raise InputError(
            f"--normalise-to: {error.message}", hint=error.hint or "give a PNG or TIFF"
        ) from error
    if method == "reinhard":
        lab = ReinhardTarget.fit(picture)
        return NormaliseSpec(
            method=method,
            target=path.name,
            lab_mean=lab.mean,
            lab_sd=lab.sd,
            white_balance=white_balance,
        )
    stains = MacenkoTarget.fit(picture)
    return NormaliseSpec(
        method=method,
        target=path.name,
        first=stains.first,
        second=stains.second,
        full=stains.full,
        white_balance=white_balance,
    )


def normaliser(slide: Slide, tiles: TileList, spec: NormaliseSpec) -> Callable[[Rgb], Rgb] | None:
    """Measure a slide once and return what moves its tiles; None for the method ``none``.

    Raises
    ------
    EmptyTissue
        The slide holds too little stain, or only one, to be measured; or it is too dark to be
        balanced.
    """
    if spec.method == "none":
        return None
    sample = sample_pixels(slide, tiles)
    if not spec.white_balance:
        return _mover(slide, sample, spec)
    balance = WhiteBalance.measure(sample)
    if balance is None:
        raise EmptyTissue(
            f"slide {slide.info.name}: a channel is too dark for white balance",
            hint="leave white balance out, or this slide; nothing is skipped silently",
        )
    move = _mover(slide, balance.apply(sample), spec)
    return lambda rgb: move(balance.apply(rgb))


def _mover(slide: Slide, sample: Rgb, spec: NormaliseSpec) -> Callable[[Rgb], Rgb]:
    """Return what moves tiles by the statistics of the slide's sample."""
    if spec.method == "reinhard":
        lab = ReinhardTarget.measure(sample)
        if lab is None:
            raise _unmeasured(slide, spec)
        reinhard = spec.reinhard()
        return lambda rgb: reinhard.apply(rgb, lab)
    stains = MacenkoTarget.measure(sample)
    if stains is None:
        raise _unmeasured(slide, spec)
    macenko = spec.macenko()
    return lambda rgb: macenko.apply(rgb, stains)


def sample_pixels(slide: Slide, tiles: TileList) -> Rgb:
    """(height, width, 3): pixels of up to 32 tiles, evenly spread, one above the other."""
    chosen = tiles.xy[spread(tiles.cells, SAMPLE_TILES)]
    size = tiles.size_px
    return np.concatenate(
        [
            slide.read(tiles.grid, int(x), int(y), size, size)[::SAMPLE_STEP_PX, ::SAMPLE_STEP_PX]
            for x, y in chosen
        ]
    )


def _unmeasured(slide: Slide, spec: NormaliseSpec) -> EmptyTissue:
    return EmptyTissue(
        f"slide {slide.info.name}: {spec.method} finds too little stain, or one alone, to "
        "normalise",
        hint="embed this slide without --normalise, or leave it out; nothing is skipped silently",
    )
