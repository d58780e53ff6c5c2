"""Drawn H&E slides of breast carcinoma whose morphology follows a HER2 class: a cohort with truth.

One number, the *grade* from 0 to 1, stands for what HER2-positive carcinomas tend to show more of:
large, uneven, vesicular and coarse nuclei, mitoses, solid sheets instead of glands, necrosis. That
they are of higher grade on the whole is common knowledge; the amounts are ours. A HER2 class shifts
the mean of the grade; patients, slides and every single feature scatter about it, so that no
feature tells the class for certain. Dyes, scanner, tissue and stroma are drawn apart from the
class, per site and per slide: colour says where a slide is from, never what it is.

This is a planted signal to test a chain with, not a model of disease.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray
from pydantic import Field

from herscope.core.errors import InputError
from herscope.core.spec import Spec
from herscope.slide.phantom.fields import (
    FAT_FIELD,
    TISSUE_FIELD,
    TUMOR_FIELD,
    Fields,
    evaluate,
    make_fields,
)
from herscope.slide.phantom.render import BLOCK_PX, render_region
from herscope.slide.phantom.spec import PhantomSpec
from herscope.slide.phantom.write import write_pyramid
from herscope.slide.protocol import Rgb

Ihc = Literal["0", "1+", "2+", "3+"]
Fish = Literal["", "amplified", "not amplified"]
Box = tuple[int, int, int, int]
"""x, y, width, height in level-0 pixels."""

IHC: Final[tuple[Ihc, ...]] = ("0", "1+", "2+", "3+")
AMPLIFIED_SHARE: Final = 0.25
"""Of 2+: 29 of 120 with a decided FISH in TCGA-BRCA, 4 of 20 in the KAT paper's own check."""
AMPLIFIED_LEVEL: Final = 2.7
"""An amplified 2+ looks nearly like a 3+, which is 3."""
SPAN: Final = 0.75
"""Difference of the mean grade between 0 and 3+ at full signal."""
PATIENT_SD, SLIDE_SD, FEATURE_SD = 0.11, 0.04, 0.08
"""Scatter of the grade between patients, between slides of one, and of single features."""
SLIDES_A_ROUND: Final = 5
"""The last of five slides is the second one of its patient."""
REGION_SHARE: Final = 0.4
"""Edge of a region with the class, as share of the slide's edge."""
TILE_PX: Final = 256
"""Regions end where tiles of this size do."""
SAMPLES_A_TILE: Final = 4


class HeCohortSpec(Spec):
    """What cohort to draw."""

    slides: int = Field(default=40, ge=2, le=10_000, description="Slides in the cohort.")
    signal: float = Field(
        default=1.0, ge=0, le=1, description="How much of the class the morphology shows; 0 none."
    )
    region: bool = Field(
        default=False,
        description="In every second slide only one rectangle shows the class, the rest looks as "
        "class 0; which it is stands in the truth.",
    )
    sites: int = Field(default=3, ge=1, le=4, description="Sites, each with dyes and scanner.")
    size_px: int = Field(default=2560, ge=512, le=20_000, description="Edge of a slide at level 0.")
    mpp: float = Field(default=0.5, ge=0.2, le=1.0, description="Micrometres per pixel.")
    seed: int = Field(default=0, ge=0, lt=2**31, description="Seed of every random choice.")


@dataclass(frozen=True, slots=True)
class HeSlide:
    """One slide of a cohort, before it is drawn.

    Attributes
    ----------
    name, patient, site
        As in the labels.
    ihc, fish
        The labels; ``fish`` is empty but for 2+.
    grade
        What the morphology follows, 0 to 1; in a slide with a region, inside the region.
    spec
        The slide, or what is around its region.
    region
        Where the class shows, None when everywhere.
    inside
        The slide as it is inside the region.
    """

    name: str
    patient: str
    site: str
    ihc: Ihc
    fish: Fish
    grade: float
    spec: PhantomSpec
    region: Box | None = None
    inside: PhantomSpec | None = None


def he_slide(cohort: HeCohortSpec, number: int) -> HeSlide:
    """Choose everything about one slide.

    Parameters
    ----------
    cohort
        The set.
    number
        From 0 to ``cohort.slides`` - 1; a slide does not depend on how many there are.

    Raises
    ------
    InputError
        No such slide.

    Examples
    --------
    >>> slides = [he_slide(HeCohortSpec(), n) for n in range(5)]
    >>> slides[3].patient == slides[4].patient, slides[0].spec.stain
    (True, 'he')
    """
    if not 0 <= number < cohort.slides:
        raise InputError(f"slide {number} of a cohort of {cohort.slides}", hint="from 0")
    rounds, place = divmod(number, SLIDES_A_ROUND)
    patient = rounds * (SLIDES_A_ROUND - 1) + min(place, SLIDES_A_ROUND - 2)
    level, site, amplified, whose = _patient(cohort, patient)
    dice = _generator(cohort, 2, number)
    own = SLIDE_SD * float(dice.standard_normal())
    scatter = FEATURE_SD * dice.standard_normal(6)
    shared = _common(cohort, dice, site)
    shown = AMPLIFIED_LEVEL if amplified else float(level)

    def drawn(of: float) -> tuple[float, PhantomSpec]:
        grade = min(max(0.5 + cohort.signal * SPAN * (of / 3 - 0.5) + whose + own, 0.0), 1.0)
        return grade, PhantomSpec(**shared, **_morphology(grade, scatter))

    grade, spec = drawn(shown)
    region, inside = None, None
    # both slides of a patient, and every class, come with and without
    if cohort.region and dice.random() < 0.5 and level > 0:
        inside, (_, spec) = spec, drawn(0.0)
        region = _where_tumor_is(spec, dice)
    return HeSlide(
        name=f"he-{number:04d}",
        patient=f"patient-{patient:04d}",
        site=f"site-{'ABCD'[site]}",
        ihc=IHC[level],
        fish=("amplified" if amplified else "not amplified") if level == 2 else "",
        grade=round(grade, 4),
        spec=spec,
        region=region,
        inside=inside,
    )


def draw_he_slide(slide: HeSlide, path: Path) -> None:
    """Draw a slide as a pyramidal TIFF; see :func:`herscope.slide.phantom.write.write_pyramid`."""
    write_pyramid(slide.spec, _bands(slide), path)


def _bands(slide: HeSlide) -> Iterator[Rgb]:
    width, height = slide.spec.width_px, slide.spec.height_px
    for top in range(0, height, BLOCK_PX):
        rows = min(BLOCK_PX, height - top)
        band = render_region(slide.spec, 0, top, width, rows)
        if slide.region is not None and slide.inside is not None:
            x, y, wide, high = slide.region
            first, last = max(y, top), min(y + high, top + rows)
            if first < last:
                part = render_region(slide.inside, x, first, wide, last - first)
                band[first - top : last - top, x : x + wide] = part
        yield band


def _patient(cohort: HeCohortSpec, patient: int) -> tuple[int, int, bool, float]:
    """Class, site, whether amplified, and the patient's own share of the grade."""
    order = _generator(cohort, 0, patient // len(IHC)).permutation(len(IHC))
    level = int(order[patient % len(IHC)])
    dice = _generator(cohort, 1, patient)
    # Drawn apart from the class, and not balanced over it: where every class meets every site
    # equally often, leaving patients out always tilts the rest the other way, and folds of slides
    # without any signal come out far below one half.
    site = int(dice.integers(cohort.sites))
    own = PATIENT_SD * float(dice.standard_normal())
    amplified = level == 2 and bool(dice.random() < AMPLIFIED_SHARE)
    return level, site, amplified, own


def _morphology(grade: float, scatter: NDArray[np.float64]) -> dict[str, Any]:
    """Fields that follow the grade; each scatters about it on its own."""
    size, uneven, looks, glands, dead, crowd = np.clip(grade + scatter, 0.0, 1.0).tolist()
    return {
        "nucleus_diameter_um": round(7.4 + 3.6 * size, 3),
        "nucleus_diameter_sd_um": round(0.5 + 1.6 * uneven, 3),
        "nucleus_elongation": round(1.25 + 0.6 * uneven, 3),
        "cell_radius_um": round(9.5 + 3.0 * size, 3),
        "tumor_cells_per_mm2": round(4700 - 1300 * (0.5 * size + 0.5 * crowd)),
        "nucleus_looks": (
            round(0.06 + 0.38 * looks, 4),
            0.02,
            0.02,
            round(0.03 + 0.17 * looks, 4),
            round(0.002 + 0.02 * looks, 4),
            0.08,
        ),
        "tumor_gland_fraction": round(0.6 * (1 - glands), 3),
        "necrosis_fraction": round(max(0.14 * (dead - 0.5), 0.0), 3),
    }


def _common(cohort: HeCohortSpec, dice: np.random.Generator, site: int) -> dict[str, Any]:
    """Fields that know nothing of the class: tissue, stroma, dyes and scanner."""
    lab = _generator(cohort, 3, site)

    def between(who: np.random.Generator, low: float, high: float) -> float:
        return round(float(who.uniform(low, high)), 4)

    def about(middle: float, spread: float) -> float:
        return round(middle * math.exp(spread * float(dice.standard_normal())), 4)

    white = between(lab, 234, 248)
    edge = cohort.size_px * cohort.mpp
    return {
        "stain": "he",
        "width_um": edge,
        "height_um": edge,
        "mpp": cohort.mpp,
        "seed": int(dice.integers(2**31)),
        "tissue_fraction": between(dice, 0.86, 0.96),
        "tumor_fraction": between(dice, 0.4, 0.62),
        "fat_fraction": between(dice, 0.0, 0.1),
        "island_um": between(dice, 130, 300),
        "trimmed_nests": True,
        "gland_um": between(dice, 55, 100),
        "epithelium_um": between(dice, 16, 22),
        "nucleus_gap_um": between(dice, -0.5, 0.2),
        "stroma_cells_per_mm2": between(dice, 900, 2200),
        "lymphocyte_fraction": between(dice, 0.1, 0.6),
        "fibre_strength": between(dice, 0.5, 1.0),
        "capillaries_per_mm2": between(dice, 10, 60),
        "hematoxylin_od": about(between(lab, 0.42, 0.68), 0.08),
        "eosin_od": about(between(lab, 0.13, 0.24), 0.1),
        "cytoplasm_hematoxylin_od": about(between(lab, 0.035, 0.06), 0.12),
        "stain_rotation_deg": round(between(lab, -5, 3) + between(dice, -1, 1), 4),
        "chromatin_texture": between(dice, 0.14, 0.22),
        "white_point": tuple(round(white + between(lab, -4, 4)) for _ in range(3)),
        "gamma": between(lab, 0.85, 1.12),
        "color_mix": tuple(between(lab, -0.04, 0.06) for _ in range(6)),
        "noise_sd": between(lab, 0.6, 2.0),
        "blur_sigma_um": between(lab, 0.25, 0.5),
        "sharpening": between(lab, 0.0, 0.8),
        "jpeg_quality": int(lab.integers(78, 93)),
    }


def _where_tumor_is(spec: PhantomSpec, dice: np.random.Generator) -> Box:
    """Choose a square, on the lattice of tiles, among the three with the most tumour."""
    count = spec.width_px // TILE_PX
    side = min(max(round(REGION_SHARE * count), 1), count)
    tumor = _tumor_samples(make_fields(spec), count * SAMPLES_A_TILE, TILE_PX * spec.mpp)
    reach = side * SAMPLES_A_TILE
    found: list[tuple[int, int, int]] = []
    for row in range(count - side + 1):
        for column in range(count - side + 1):
            top, left = row * SAMPLES_A_TILE, column * SAMPLES_A_TILE
            inside = tumor[top : top + reach, left : left + reach]
            found.append((-int(inside.sum()), row, column))
    _, row, column = sorted(found)[int(dice.integers(min(3, len(found))))]
    return column * TILE_PX, row * TILE_PX, side * TILE_PX, side * TILE_PX


@njit(cache=True)
def _tumor_samples(fields: Fields, count: int, tile_um: float) -> NDArray[np.bool_]:
    """(count, count): whether a place is tumour, four places along a tile's edge."""
    out = np.zeros((count, count), np.bool_)
    values = np.empty(5)
    for j in range(count):
        for i in range(count):
            step = tile_um / SAMPLES_A_TILE
            evaluate(fields, (i + 0.5) * step, (j + 0.5) * step, values)
            tissue = values[TISSUE_FIELD] > 0 and values[FAT_FIELD] <= 0
            out[j, i] = tissue and values[TUMOR_FIELD] > 0
    return out


def _generator(cohort: HeCohortSpec, stream: int, number: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64([cohort.seed, stream, number]))
