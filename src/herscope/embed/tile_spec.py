"""Parameters of the tiles that are turned into features; light, so that a command can list them."""

from __future__ import annotations

from pydantic import Field

from herscope.core.spec import Spec
from herscope.core.units import Mpp


class LatticeSpec(Spec):
    """The tiles of a lattice whose resolution is said elsewhere."""

    coarsest_mpp: Mpp = Field(
        default=Mpp(1.1),
        description="A slide coarser than the working resolution is cut at its own, up to this.",
    )
    size_px: int = Field(
        default=256, ge=64, le=4096, description="Edge of a tile in working pixels."
    )
    step_px: int | None = Field(
        default=None,
        ge=16,
        le=65_536,
        description="From one tile to the next, working pixels; the edge when absent: no overlap.",
    )
    min_tissue: float = Field(
        default=0.1, ge=0, le=1, description="Tiles with less tissue than this are left out."
    )
    max_tiles: int | None = Field(
        default=None,
        ge=1,
        le=10_000_000,
        description="Of more tiles than this, so many are taken, evenly over the slide; all when "
        "absent.",
    )

    @property
    def step(self) -> int:
        """From one tile to the next, working pixels."""
        return self.size_px if self.step_px is None else self.step_px


class EmbedTileSpec(LatticeSpec):
    """How a slide is cut for an encoder.

    Examples
    --------
    >>> EmbedTileSpec().size_px * EmbedTileSpec().mpp
    128.0
    """

    mpp: Mpp = Field(default=Mpp(0.5), description="Working resolution, µm/px.")
