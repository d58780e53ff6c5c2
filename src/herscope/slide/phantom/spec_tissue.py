"""Parameters of a drawn slide that make tissue more than solid nests in loose stroma.

Glands, lumens, vessels, necrosis, crowded stroma and texture. With the defaults none of them is
drawn and a slide is the same to the bit as one without these fields.
"""

from __future__ import annotations

from typing import Final

from pydantic import Field

from herscope.core.spec import Spec
from herscope.slide.phantom.spec_basic import Share

SPARSEST_CROWD: Final = 4000.0
"""Stroma cells per mm² above which places must be relaxed: at random there is no room."""


class TissueFields(Spec):
    """Structures of tissue; part of :class:`~herscope.slide.phantom.spec.PhantomSpec`."""

    # epithelium
    tumor_gland_fraction: Share = Field(
        default=0.0,
        description="Share of the tumour's area that is glands in stroma instead of solid nests.",
    )
    gland_um: float = Field(
        default=80.0, ge=24, le=400, description="Mean width of a tumour gland, wall to wall."
    )
    gland_elongation: float = Field(
        default=1.6, ge=1, le=4, description="Largest ratio of a gland's length to its width."
    )
    gland_crowding: Share = Field(
        default=0.7, description="Share of the places for tumour glands that hold one."
    )
    gland_rows: int = Field(
        default=1, ge=1, le=5, description="Rows of nuclei in the wall of a tumour gland."
    )
    gland_cell_um: float = Field(
        default=7.0, ge=4.5, le=14, description="Width of a columnar cell along the wall."
    )
    epithelium_um: float = Field(
        default=22.0, ge=9, le=50, description="Height of a one-row epithelium."
    )
    lumen_fraction: Share = Field(
        default=0.0, description="Share of the solid tumour's area that has punched-out lumens."
    )
    lumen_um: float = Field(
        default=30.0, ge=6, le=200, description="Mean width of a punched-out lumen."
    )
    secretion_fraction: Share = Field(
        default=0.0, description="Share of the lumens with secretion instead of clear glass."
    )
    trimmed_nests: bool = Field(
        default=False,
        description="Epithelial cells end where their nest ends; otherwise they bulge over it.",
    )

    # what is neither tumour nor stroma
    normal_gland_fraction: Share = Field(
        default=0.0, description="Share of the stroma given to small regular one-row glands."
    )
    normal_gland_um: float = Field(
        default=55.0, ge=24, le=300, description="Mean width of a normal gland."
    )
    vessel_fraction: Share = Field(
        default=0.0, description="Share of the stroma given to vessels with a wall of muscle."
    )
    vessel_um: float = Field(
        default=90.0, ge=30, le=600, description="Mean outer width of such a vessel."
    )
    capillaries_per_mm2: float = Field(
        default=0.0, ge=0, le=400, description="Small vessels per mm² of stroma; stroma to truth."
    )
    blood_fraction: Share = Field(
        default=0.5, description="Share of the vessels, small and large, that hold red cells."
    )
    necrosis_fraction: Share = Field(
        default=0.0, description="Share of the tumour's area that is necrotic, without cells."
    )

    # stroma
    crowded_stroma: bool = Field(
        default=False,
        description="Stroma cells keep their distance, as a crowd does, instead of lying at "
        "random; needed above 4,000 per mm².",
    )
    stroma_nucleus_diameter_um: float = Field(
        default=5.6, ge=4, le=12, description="Mean diameter of a spindle cell's nucleus."
    )
    stroma_nucleus_sd_um: float = Field(default=0.6, ge=0, le=3, description="SD of that diameter.")
    stroma_elongation: tuple[float, float] = Field(
        default=(2.0, 4.6),
        description="Smallest and largest ratio of long to short axis of a spindle cell, 1 to 6.",
    )
    stroma_disorder: float = Field(
        default=0.22,
        ge=0,
        le=2,
        description="SD, in radians, of a spindle cell's direction about the fibres'.",
    )
    stroma_hematoxylin: float = Field(
        default=1.15,
        ge=0.3,
        le=2.5,
        description="Haematoxylin of a spindle nucleus, tumour nuclei 1.",
    )
    fibre_strength: float = Field(
        default=1.0, ge=0, le=2.5, description="Contrast of fibres and clefts in the stroma."
    )
    fibre_dye: float = Field(
        default=1.0, ge=0, le=4, description="Dye of the fibres, relative to the usual."
    )
    looseness: Share = Field(
        default=0.0, description="0: fibrous stroma; 1: a net of thin walls around pale gaps."
    )

    # dye that is nobody's
    epithelium_dye: float = Field(
        default=1.0, ge=0, le=4, description="Dye of epithelial cytoplasm, relative to the usual."
    )
    cytoplasm_texture: float = Field(
        default=1.0, ge=0, le=4, description="Contrast of cytoplasm, relative to the usual."
    )
    nuclear_blush: Share = Field(
        default=0.0, description="DAB around a stained nucleus, as share of the nucleus' density."
    )
    brown_unevenness: float = Field(
        default=0.0, ge=0, le=2, description="How much unspecific DAB varies over 0.3 mm (log SD)."
    )
    blue_unevenness: float = Field(
        default=0.0, ge=0, le=1, description="How much haematoxylin varies over 0.3 mm (log SD)."
    )
    speckle_od: float = Field(
        default=0.0, ge=0, le=1, description="DAB of fine grains of precipitate over the tissue."
    )
