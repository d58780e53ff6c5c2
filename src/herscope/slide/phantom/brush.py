"""The slide-wide numbers that painting needs, in the form compiled code takes."""

from __future__ import annotations

from typing import Final, NamedTuple

from herscope.slide.phantom.spec import PhantomSpec

NUCLEAR, MEMBRANE, CYTOPLASMIC, EOSIN = 0, 1, 2, 3
MARKERS: Final = {"nuclear": NUCLEAR, "membrane": MEMBRANE, "cytoplasmic": CYTOPLASMIC, "he": EOSIN}


class Brush(NamedTuple):
    """The slide-wide numbers painting needs."""

    seed: int
    mpp: float
    marker: int
    unspecific: float
    pale_blue: float
    eosin: float
    half_membrane_um: float
    blush: float
    dab_texture: float
    chromatin: float
    width_px: int
    height_px: int


def make_brush(spec: PhantomSpec) -> Brush:
    """Collect what painting needs from a Spec."""
    he = spec.stain == "he"
    return Brush(
        seed=spec.seed,
        mpp=spec.mpp,
        marker=MARKERS[spec.stain],
        unspecific=0.0 if he else spec.unspecific_dab_od,
        pale_blue=spec.cytoplasm_hematoxylin_od,
        eosin=spec.eosin_od if he else 0.0,
        half_membrane_um=0.5 * spec.membrane_width_um,
        blush=spec.membrane_blush,
        dab_texture=spec.dab_texture,
        chromatin=spec.chromatin_texture,
        width_px=spec.width_px,
        height_px=spec.height_px,
    )
