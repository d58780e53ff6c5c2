"""Lesions of a drawn patient: where, how large, how dense, and the CT they make.

One to four ellipsoids of 8 to 25 mm, each of a kind and where this kind occurs. Density and
granularity of a lesion differ between lesions; in one that carries the signal both are shifted by
``strength`` times their SD between lesions, up or down. The noise of the scan differs by site.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from herscope.respond.drawn_cohort.body import (
    SHAPE,
    SPACING_MM,
    Anatomy,
    Ellipsoid,
    Floats,
    axes_mm,
    draw_anatomy,
    draw_body,
    smooth,
)
from herscope.respond.drawn_cohort.spec import (
    SITES,
    DrawnCohortSpec,
    PatientPlan,
    carriers,
    generator,
)
from herscope.respond.radiology.lesions import LesionKind

MOST_LESIONS: Final = 4
MOST_OF_A_KIND: Final = 2
DIAMETER_MM: Final = (8.0, 25.0)
GAP_MM: Final = 4.0
TRIES: Final = 60
DENSITY_HU: Final = {
    LesionKind.LYMPH_NODE: 72.0, LesionKind.STOMACH: 78.0, LesionKind.LIVER: 62.0,
    LesionKind.PERITONEUM: 68.0, LesionKind.OTHER: 70.0,
}  # fmt: skip
DENSITY_SD_HU: Final = 12.0
"""Between lesions; the signal is a multiple of it."""
TEXTURE_HU: Final = 8.0
TEXTURE_LOG_SD: Final = 0.3
"""Texture is TEXTURE_HU times e to the power of a normal number with this SD."""
NOISE_HU: Final = dict(zip(SITES, (12.0, 15.0, 10.0, 18.0), strict=True))
"""SD of the noise of each site's scanner, before neighbours are averaged."""


@dataclass(frozen=True, slots=True)
class DrawnLesion:
    """A lesion.

    Attributes
    ----------
    kind, place
        What, and where in the body.
    density_hu, texture_hu
        Mean, and SD of the granularity.
    carries
        Whether it carries what radiology shows.
    """

    kind: LesionKind
    place: Ellipsoid
    density_hu: float
    texture_hu: float
    carries: bool


@dataclass(frozen=True, slots=True, eq=False)
class DrawnScan:
    """A CT with its lesions.

    Attributes
    ----------
    hu
        int16 (z, y, x).
    labels
        uint8 (z, y, x), the number of the lesion from 1, 0 outside.
    """

    hu: NDArray[np.int16]
    labels: NDArray[np.uint8]


def plan_lesions(spec: DrawnCohortSpec, plan: PatientPlan) -> tuple[Anatomy, list[DrawnLesion]]:
    """Decide on the lesions of a patient, without drawing them.

    Examples
    --------
    >>> from herscope.respond.drawn_cohort.spec import plan_patient
    >>> spec = DrawnCohortSpec(signal="radiology")
    >>> _, lesions = plan_lesions(spec, plan_patient(spec, 0))
    >>> 1 <= len(lesions) <= 4, any(one.carries for one in lesions)
    (True, True)
    """
    rng = generator(spec, "lesions", plan.number)
    anatomy = draw_anatomy(rng)
    placed: list[tuple[LesionKind, Ellipsoid]] = []
    for _ in range(int(rng.integers(1, MOST_LESIONS + 1))):
        # At most two of a kind, as RECIST 1.1 has target lesions: none is left out when read.
        counts = Counter(kind for kind, _ in placed)
        open_kinds = [kind for kind in LesionKind if counts[kind] < MOST_OF_A_KIND]
        kind = open_kinds[int(rng.integers(len(open_kinds)))]
        for _ in range(TRIES):
            place = _placed(rng, kind, anatomy)
            if all(_apart(place, other) for _, other in placed):
                placed.append((kind, place))
                break
    carries = carriers(rng, len(placed))
    found = []
    for (kind, place), carrier in zip(placed, carries.tolist(), strict=True):
        dense, rough = rng.standard_normal(2) + carrier * plan.radiology * spec.strength
        found.append(
            DrawnLesion(
                kind,
                place,
                DENSITY_HU[kind] + DENSITY_SD_HU * float(dense),
                TEXTURE_HU * float(np.exp(TEXTURE_LOG_SD * rough)),
                bool(carrier),
            )
        )
    return anatomy, found


def draw_scan(
    spec: DrawnCohortSpec, plan: PatientPlan, anatomy: Anatomy, lesions: list[DrawnLesion]
) -> DrawnScan:
    """Draw the CT of a patient and the outlines of its lesions."""
    rng = generator(spec, "body", plan.number)
    hu = draw_body(anatomy)
    labels = np.zeros(SHAPE, np.uint8)
    for number, lesion in enumerate(lesions, 1):
        _add(rng, hu, labels, lesion, number)
    noise = smooth(rng.standard_normal(SHAPE)) * NOISE_HU[plan.site]
    # Half up, by floor: the same on every machine.
    whole = np.floor(np.clip(hu + noise, -1024, 3071) + 0.5).astype(np.int16)
    return DrawnScan(whole, labels)


def _add(
    rng: np.random.Generator,
    hu: Floats,
    labels: NDArray[np.uint8],
    lesion: DrawnLesion,
    number: int,
) -> None:
    grain = rng.standard_normal(SHAPE)
    box = _around(lesion.place)
    axes = axes_mm()
    near = (axes[0][box[0]], axes[1][:, box[1]], axes[2][:, :, box[2]])
    reach = np.sqrt(lesion.place.reach(near))
    # [1 2 1] / 4 along two axes leaves 0.375 of the SD of white noise.
    texture = smooth(grain[box]) / 0.375 * lesion.texture_hu
    share = np.clip((1.12 - reach) / 0.24, 0.0, 1.0)
    hu[box] = (1 - share) * hu[box] + share * (lesion.density_hu + texture)
    labels[box][reach <= 1] = number


def _around(place: Ellipsoid) -> tuple[slice, slice, slice]:
    """Return the voxels around an ellipsoid, with a margin."""
    cut = []
    for middle, radius, size, step in zip(
        place.centre_mm, place.radii_mm, SHAPE, SPACING_MM, strict=True
    ):
        low = (middle - 1.3 * radius) / step + (size - 1) / 2
        high = (middle + 1.3 * radius) / step + (size - 1) / 2
        cut.append(slice(max(int(np.floor(low)) - 1, 0), min(int(np.ceil(high)) + 2, size)))
    return cut[0], cut[1], cut[2]


def _placed(rng: np.random.Generator, kind: LesionKind, anatomy: Anatomy) -> Ellipsoid:
    """Draw size and place; the place depends on the kind."""
    radius = float(rng.uniform(*DIAMETER_MM)) / 2
    stretch = rng.uniform(0.85, 1.15, 2)
    # At least a slice up and down: slices are 5 mm apart.
    radii = (max(radius, 5.5), float(radius * stretch[0]), float(radius * stretch[1]))
    u, v, w = rng.uniform(-1, 1, 3).tolist()
    if kind is LesionKind.LYMPH_NODE:
        _, y, x = anatomy.aorta.centre_mm
        # In front of the aorta and to its left, clear of the liver.
        middle = (45 * w, y - 15 - 3 * v, x + 11 + 6 * u)
    elif kind is LesionKind.STOMACH:
        z, y, x = anatomy.stomach.centre_mm
        angle = np.pi * (0.15 + 0.35 * u)  # the back wall and the left one, away from the gas
        _, b, a = anatomy.stomach.radii_mm
        middle = (z + 12 * w, y + 0.85 * b * np.sin(angle), x + 0.85 * a * np.cos(angle))
    elif kind is LesionKind.PERITONEUM:
        _, b, a = anatomy.cavity.radii_mm
        middle = (-34 + 18 * w, -0.62 * b + 4 * v, 12 + 0.33 * a * u)
    else:
        organ = anatomy.liver if kind is LesionKind.LIVER else anatomy.spleen
        z, y, x = organ.centre_mm
        c, b, a = organ.radii_mm
        middle = (min(z + 0.4 * c * w, 44.0), y + 0.5 * b * u, x + 0.45 * a * v)
    z, y, x = (float(one) for one in middle)
    return Ellipsoid((z, y, x), radii)


def _apart(one: Ellipsoid, other: Ellipsoid) -> bool:
    apart = np.asarray(one.centre_mm) - np.asarray(other.centre_mm)
    reach = max(one.radii_mm) + max(other.radii_mm) + GAP_MM
    return float((apart * apart).sum()) > reach * reach
