"""Phantoms with a name: the ones tests, benchmarks and examples ask for.

``PRESETS`` maps a name to a Spec; for another size or seed build one with the fields that differ,
``PhantomSpec(**{**MEMBRANE.model_dump(), "seed": 7})``, which checks them again.
"""

from __future__ import annotations

from typing import Final

from herscope.slide.phantom.spec import PhantomSpec

SMALL: Final = PhantomSpec()
"""1 mm x 1 mm, nuclear marker: seconds to draw, thousands of cells."""

GIGAPIXEL: Final = PhantomSpec(
    width_um=8000.0, height_um=8000.0, tissue_fraction=0.6, jpeg_quality=80
)
"""8 mm x 8 mm at 0.25 µm/px (32,000 x 32,000), tissue over half of it."""

MEMBRANE: Final = PhantomSpec(stain="membrane", tumor_grade_fractions=(0.2, 0.3, 0.25, 0.25))
"""HER2-like: all grades, complete, broken and basolateral membranes."""

PALE_BLUE: Final = PhantomSpec(
    tumor_grade_fractions=(1.0, 0.0, 0.0, 0.0),
    stroma_grade_fractions=(1.0, 0.0, 0.0, 0.0),
    hematoxylin_od=0.16,
    cytoplasm_hematoxylin_od=0.02,
    unspecific_dab_od=0.004,
)
"""No brown at all and a weak counterstain: hard for tissue detection and nuclei."""

STRONG_DAB: Final = PhantomSpec(
    tumor_grade_fractions=(0.02, 0.03, 0.15, 0.80),
    grade_od=(0.06, 0.30, 0.50, 1.15),
    grade_od_sd=(0.015, 0.03, 0.03, 0.15),
    tumor_cells_per_mm2=5800.0,
    nucleus_diameter_um=10.2,
    unspecific_dab_od=0.06,
)
"""Crowded, nearly black nuclei on a brown haze: hard for nuclei and for saturation alerts."""

DIRTY: Final = PhantomSpec(
    width_um=2000.0,
    height_um=1500.0,
    tissue_fraction=0.6,
    pen_marks=2,
    dust=60,
    folds=2,
    defocus_patches=1,
    bubbles=1,
    border_um=40.0,
)
"""Every artefact at once."""

H_AND_E: Final = PhantomSpec(stain="he", hematoxylin_od=0.6)
"""Haematoxylin and eosin: IHC code must say that this is not IHC."""

PRESETS: Final[dict[str, PhantomSpec]] = {
    "small": SMALL,
    "gigapixel": GIGAPIXEL,
    "membrane": MEMBRANE,
    "pale-blue": PALE_BLUE,
    "strong-dab": STRONG_DAB,
    "dirty": DIRTY,
    "h-and-e": H_AND_E,
}
