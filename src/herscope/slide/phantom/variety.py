"""Parameters of slides that differ in everything a laboratory, a scanner or a tissue changes.

Domain randomisation (Tobin et al., IROS 2017): where the drawn world varies more than the real one,
the real one is one more variation. A slide draws the build of its epithelium (solid nests, glands,
punched-out lumens, or all of them), the build of its stroma (fibrous, crowded, loose, with
lymphocytes), its marker and who wears it, its nuclei, dyes and scanner, each apart from the others:
so neither brown, nor crowding, nor the size of nuclei says in itself what compartment a place is.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from herscope.slide.phantom.spec import PhantomSpec

BUILDS: Final = ("solid", "glands", "punched", "mixed")
BUILD_SHARES: Final = (0.36, 0.30, 0.16, 0.18)
STROMAS: Final = ("fibrous", "crowded", "loose")
STROMA_SHARES: Final = (0.40, 0.42, 0.18)
POSITIVE_STROMA: Final = 0.4
"""Share of slides whose stroma wears the marker as the tumour may (ER in the endometrium)."""


class _Dice:
    """Rounded draws from one generator, so that a Spec reads well in a file."""

    def __init__(self, seed: int, number: int) -> None:
        self.generator = np.random.Generator(np.random.PCG64([seed, number]))

    def chance(self, share: float) -> bool:
        return bool(self.generator.random() < share)

    def between(self, low: float, high: float) -> float:
        return round(float(self.generator.uniform(low, high)), 4)

    def logarithmic(self, low: float, high: float) -> float:
        return round(math.exp(float(self.generator.uniform(math.log(low), math.log(high)))), 4)

    def sometimes(self, share: float, low: float, high: float) -> float:
        """Draw a number from a range in that share of slides, else 0."""
        here, value = self.chance(share), self.between(low, high)
        return value if here else 0.0

    def one_of(self, names: tuple[str, ...], shares: tuple[float, ...]) -> str:
        return names[int(self.generator.choice(len(names), p=shares))]

    def shares(self, *weights: float) -> tuple[float, ...]:
        drawn = [round(float(v), 4) for v in self.generator.dirichlet(weights)]
        largest = drawn.index(max(drawn))  # it bears what rounding left over
        drawn[largest] = round(drawn[largest] + 1 - sum(drawn), 6)
        return tuple(drawn)


def random_phantom(
    seed: int, number: int, *, size_um: float, mpp: float, normal_glands: float = 0.0
) -> PhantomSpec:
    """Draw the parameters of one slide.

    Parameters
    ----------
    seed, number
        Of the set and of the slide in it; they determine everything.
    size_um, mpp
        Edge of the slide and µm/px at which it is drawn.
    normal_glands
        Share of slides with normal glands, whose class is other. A phantom cannot know whether a
        regular gland is benign, so they are left out unless asked for.

    Examples
    --------
    >>> a, b = (random_phantom(1, k, size_um=300, mpp=0.5) for k in (0, 1))
    >>> a.island_um != b.island_um
    True
    """
    dice = _Dice(seed, number)
    fields: dict[str, Any] = {
        "width_um": size_um,
        "height_um": size_um,
        "mpp": mpp,
        "seed": int(dice.generator.integers(2**31)),
        **_marker(dice),
        **_tissue(dice),
        **_epithelium(dice),
        **_stroma(dice),
        **_others(dice, normal_glands),
        **_nuclei(dice),
        **_dyes(dice),
        **_scanner(dice),
    }
    return PhantomSpec(**fields)


def _marker(dice: _Dice) -> dict[str, Any]:
    strength = dice.between(0.7, 1.5)
    stain = ("nuclear", "membrane", "cytoplasmic")[int(dice.generator.integers(3))]
    # spindle cells with a stained membrane are rare
    positive = dice.chance(POSITIVE_STROMA if stain != "membrane" else 0.3 * POSITIVE_STROMA)
    rare, often = dice.shares(12.0, 0.8, 0.3, 0.1), dice.shares(1.0, 0.6, 0.6, 0.8)
    return {
        "stain": stain,
        "tumor_grade_fractions": dice.shares(1.0, 0.6, 0.6, 0.8),
        "stroma_grade_fractions": often if positive else rare,
        "grade_od": tuple(round(strength * od, 4) for od in (0.04, 0.3, 0.5, 0.9)),
        "grade_clustering": dice.between(0, 0.9),
        "unspecific_dab_od": dice.logarithmic(0.004, 0.12),
        "membrane_width_um": dice.between(0.9, 2.2),
        "nuclear_blush": dice.sometimes(0.4, 0.02, 0.35),
        "brown_unevenness": dice.sometimes(0.5, 0.1, 0.8),
        "speckle_od": dice.sometimes(0.2, 0.02, 0.2),
    }


def _tissue(dice: _Dice) -> dict[str, Any]:
    whole, part = dice.chance(0.5), dice.between(0.5, 0.95)
    return {
        "tissue_fraction": 1.0 if whole else part,
        "fat_fraction": dice.sometimes(0.45, 0.02, 0.3),
        "tumor_fraction": dice.between(0.25, 0.7),
        "island_um": dice.logarithmic(55, 450),
        "trimmed_nests": dice.chance(0.85),
    }


def _epithelium(dice: _Dice) -> dict[str, Any]:
    build = dice.one_of(BUILDS, BUILD_SHARES)
    rows = 1 if dice.chance(0.6) else int(dice.generator.integers(2, 5))
    glands, punched = dice.between(0.5, 1.0), dice.between(0.4, 1.0)
    diameter = dice.between(7.0, 12.5)
    return {
        "tumor_gland_fraction": glands if build in {"glands", "mixed"} else 0.0,
        "lumen_fraction": punched if build in {"punched", "mixed"} else 0.0,
        "gland_um": dice.logarithmic(45, 220),
        "gland_elongation": dice.between(1.1, 3.2),
        "gland_crowding": dice.between(0.5, 0.95),
        "gland_rows": rows,
        "gland_cell_um": dice.between(5.2, 9.5),
        "epithelium_um": dice.between(13, 34),
        "lumen_um": dice.logarithmic(10, 80),
        "secretion_fraction": dice.sometimes(0.5, 0.1, 0.9),
        "tumor_cells_per_mm2": dice.between(2500, 7500),
        "nucleus_diameter_um": diameter,
        "nucleus_diameter_sd_um": dice.between(0.5, 1.8),
        "nucleus_elongation": dice.between(1.15, 2.4),
        "cell_radius_um": dice.between(8.5, 14),
        "wobble_um": dice.between(0.3, 0.8),
    }


def _stroma(dice: _Dice) -> dict[str, Any]:
    build = dice.one_of(STROMAS, STROMA_SHARES)
    crowded = build == "crowded"
    low = dice.between(1.1, 2.2)
    dense, sparse = dice.between(2800, 6600), dice.between(400, 3200)
    plump, thin = dice.between(6.4, 9.8), dice.between(5.0, 7.0)
    # a crowd of plump cells is what a phantom of thin ones alone would call epithelium
    high = low + dice.between(0.4, 1.6) if crowded else low + dice.between(0.8, 2.6)
    return {
        "crowded_stroma": crowded,
        "stroma_cells_per_mm2": dense if crowded else sparse,
        "lymphocyte_fraction": dice.between(0, 0.4) if crowded else dice.between(0, 0.9),
        "stroma_nucleus_diameter_um": plump if crowded else thin,
        "stroma_nucleus_sd_um": dice.between(0.3, 1.2),
        "stroma_elongation": (low, round(high, 4)),
        "stroma_disorder": dice.between(0.15, 1.5) if crowded else dice.between(0.15, 0.6),
        "stroma_hematoxylin": dice.logarithmic(0.6, 1.5),
        "fibre_strength": dice.between(0.1, 1.15),
        "fibre_dye": dice.logarithmic(0.4, 2.0),
        "looseness": dice.between(0.4, 1.0) if build == "loose" else dice.sometimes(0.2, 0.1, 0.5),
        "capillaries_per_mm2": dice.sometimes(0.6, 10, 110),
    }


def _others(dice: _Dice, normal_glands: float) -> dict[str, Any]:
    normal, share = dice.chance(normal_glands), dice.between(0.06, 0.35)
    return {
        "normal_gland_fraction": share if normal else 0.0,
        "normal_gland_um": dice.between(38, 90),
        "vessel_fraction": dice.sometimes(0.22, 0.02, 0.15),
        "vessel_um": dice.logarithmic(45, 200),
        "blood_fraction": dice.between(0, 1),
        "necrosis_fraction": dice.sometimes(0.12, 0.05, 0.4),
    }


def _nuclei(dice: _Dice) -> dict[str, Any]:
    most = (0.6, 0.07, 0.3, 0.4, 0.04, 0.3)
    drawn = [dice.between(0, 1) ** 2 * top for top in most]
    scale = min(1.0, 0.9 / max(sum(drawn), 1e-9)) if dice.chance(0.75) else 0.0
    return {
        "nucleus_looks": tuple(round(scale * share, 4) for share in drawn),
        "nucleus_gap_um": dice.between(-0.9, 0.7),
        "chromatin_texture": dice.between(0.08, 0.35),
        "hematoxylin_od": dice.logarithmic(0.14, 0.8),
        "hematoxylin_sd": dice.between(0.1, 0.4),
    }


def _dyes(dice: _Dice) -> dict[str, Any]:
    return {
        "cytoplasm_hematoxylin_od": dice.logarithmic(0.015, 0.16),
        "epithelium_dye": dice.logarithmic(0.4, 2.0),
        "cytoplasm_texture": dice.between(0.3, 2.5),
        "blue_unevenness": dice.sometimes(0.5, 0.05, 0.4),
        "stain_rotation_deg": dice.between(-8, 8),
    }


def _scanner(dice: _Dice) -> dict[str, Any]:
    white = dice.between(222, 252)
    dirty = dice.chance(0.3)
    mixed = [dice.between(-0.07, 0.07) for _ in range(6)]
    sharp = dice.chance(0.45)
    return {
        "white_point": tuple(round(min(255.0, white + dice.between(-6, 6))) for _ in range(3)),
        "shading": dice.between(0, 0.03),
        "noise_sd": dice.between(0.3, 4),
        "blur_sigma_um": dice.logarithmic(0.15, 1.2),
        "sharpening": dice.between(0.2, 1.6) if sharp else 0.0,
        "sharpening_um": dice.between(0.4, 1.5),
        "gamma": dice.logarithmic(0.72, 1.4) if dice.chance(0.6) else 1.0,
        "color_mix": tuple(mixed) if dice.chance(0.6) else (0.0,) * 6,
        "jpeg_quality": int(dice.generator.integers(45, 97)),
        "pen_marks": int(dirty and dice.chance(0.5)),
        "folds": int(dirty and dice.chance(0.5)),
        "bubbles": int(dirty and dice.chance(0.4)),
        "dust": int(dirty) * int(dice.generator.integers(0, 8)),
        "defocus_patches": int(dice.chance(0.15)),
    }
