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
    epithelium_dye: float
    cytoplasm_texture: float
    fibre_strength: float
    fibre_dye: float
    looseness: float
    nuclear_blush: float
    brown_unevenness: float
    blue_unevenness: float
    speckle: float
    nuclear_blue: float


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
        epithelium_dye=spec.epithelium_dye,
        cytoplasm_texture=spec.cytoplasm_texture,
        fibre_strength=spec.fibre_strength,
        fibre_dye=spec.fibre_dye,
        looseness=spec.looseness,
        nuclear_blush=spec.nuclear_blush,
        brown_unevenness=spec.brown_unevenness,
        blue_unevenness=spec.blue_unevenness,
        nuclear_blue=spec.hematoxylin_od,
        speckle=0.0 if he else spec.speckle_od,
    )
