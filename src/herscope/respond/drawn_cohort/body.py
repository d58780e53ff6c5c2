"""A drawn abdomen in Hounsfield units: fat, muscle, organs, bone, and air around it.

Supine, from the feet up, LPS as :class:`~herscope.respond.radiology.volume.Volume` holds it: x runs
to the patient's left, y to the back, z to the head; so the liver lies at negative x, the spine at
positive y, and gas in the stomach in front. Organs are ellipsoids with the densities of a
portal-venous scan, their sizes differ by a few per cent between patients. It is a small phantom,
no anatomy: good to see whether pictures, windows and places come out right.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
SHAPE: Final = (24, 112, 112)
SPACING_MM: Final = (5.0, 2.0, 2.0)
AIR_HU: Final = -1000.0
FAT_HU: Final = -100.0
MUSCLE_HU: Final = 55.0
LIVER_HU: Final = 112.0


@dataclass(frozen=True, slots=True)
class Ellipsoid:
    """Centre and half axes in mm, (z, y, x)."""

    centre_mm: tuple[float, float, float]
    radii_mm: tuple[float, float, float]

    def reach(self, axes: tuple[Floats, Floats, Floats]) -> Floats:
        """Return how far out each voxel lies, squared: 1 on the surface."""
        (z, y, x), (c, b, a) = self.centre_mm, self.radii_mm
        return np.asarray(
            ((axes[0] - z) / c) ** 2 + ((axes[1] - y) / b) ** 2 + ((axes[2] - x) / a) ** 2
        )

    def larger(self, mm: float) -> Ellipsoid:
        """Return it grown by some mm on every side; less than 0 shrinks it."""
        z, y, x = (max(radius + mm, 1.0) for radius in self.radii_mm)
        return Ellipsoid(self.centre_mm, (z, y, x))


@dataclass(frozen=True, slots=True)
class Anatomy:
    """Where the organs of one patient are."""

    outline: Ellipsoid
    cavity: Ellipsoid
    liver: Ellipsoid
    stomach: Ellipsoid
    spleen: Ellipsoid
    kidneys: tuple[Ellipsoid, Ellipsoid]
    aorta: Ellipsoid
    cava: Ellipsoid
    spine: Ellipsoid
    muscles: tuple[Ellipsoid, ...]
    bowel: tuple[Ellipsoid, ...]


def axes_mm() -> tuple[Floats, Floats, Floats]:
    """Return z, y and x of the voxels' centres in mm, in shapes that broadcast; the middle is 0."""
    z, y, x = (
        np.asarray((np.arange(size) - (size - 1) / 2) * step, np.float64)
        for size, step in zip(SHAPE, SPACING_MM, strict=True)
    )
    return z[:, None, None], y[None, :, None], x[None, None, :]


def origin_mm() -> tuple[float, float, float]:
    """Return x, y, z of the first voxel's centre."""
    z, y, x = (-(size - 1) / 2 * step for size, step in zip(SHAPE, SPACING_MM, strict=True))
    return x, y, z


def draw_anatomy(rng: np.random.Generator) -> Anatomy:
    """Place the organs of a patient."""
    long = 1e4  # a cylinder: as good as endless along z
    wide, deep = 96 * rng.uniform(0.95, 1.04), 70 * rng.uniform(0.94, 1.06)
    grow, shift = rng.uniform(0.93, 1.06, 5), rng.uniform(-4, 4, (5, 3))
    fat = float(rng.uniform(7, 13))

    def organ(place: int, centre: tuple[float, ...], radii: tuple[float, ...]) -> Ellipsoid:
        z, y, x = (float(v) for v in np.asarray(centre) + shift[place])
        c, b, a = (float(v) for v in np.asarray(radii) * grow[place])
        return Ellipsoid((z, y, x), (c, b, a))

    back = deep - fat
    loops = [
        Ellipsoid(
            (float(rng.uniform(-58, -22)), float(rng.uniform(-38, 6)), float(rng.uniform(-45, 50))),
            (float(rng.uniform(9, 18)), float(rng.uniform(8, 12)), float(rng.uniform(9, 15))),
        )
        for _ in range(7)
    ]
    return Anatomy(
        outline=Ellipsoid((0, 0, 0), (long, deep, wide)),
        cavity=Ellipsoid((0, -2, 0), (long, deep - fat - 9, wide - fat - 9)),
        liver=organ(0, (28, -8, -36), (62, 42, 44)),
        stomach=organ(1, (22, -22, 36), (38, 21, 28)),
        spleen=organ(2, (30, 16, 60), (34, 25, 13)),
        kidneys=(organ(3, (-22, 24, -44), (36, 15, 14)), organ(3, (-14, 24, 44), (36, 15, 14))),
        aorta=Ellipsoid((0, back - 42, 9), (long, 7.5, 7.5)),
        cava=Ellipsoid((0, back - 41, -13), (long, 7, 9.5)),
        spine=Ellipsoid((0, back - 22, 0), (long, 13, 17)),
        muscles=tuple(
            Ellipsoid((0, y, x), (long, b, a))
            for side in (-1, 1)
            for y, x, b, a in (
                (back - 9, side * 25, 10, 18),
                (back - 24, side * 27, 11, 9),
            )
        ),
        bowel=tuple(loops),
    )


def draw_body(anatomy: Anatomy) -> Floats:
    """Return HU of the body, without noise, (z, y, x); edges are soft, as voxels average."""
    axes = axes_mm()
    hu = np.full(SHAPE, AIR_HU)

    def fill(where: Ellipsoid, value: float, only: NDArray[np.bool_] | None = None) -> None:
        inside = where.reach(axes) <= 1
        hu[inside if only is None else inside & only] = value

    fill(anatomy.outline, 20.0)
    fill(anatomy.outline.larger(-2), FAT_HU)
    wall = anatomy.cavity.larger(9)
    fill(wall, MUSCLE_HU)
    fill(anatomy.cavity, FAT_HU)
    within = np.broadcast_to(anatomy.cavity.reach(axes) <= 1, SHAPE)
    for loop in anatomy.bowel:
        fill(loop, 70.0, within)
        fill(loop.larger(-3), 22.0, within)
    fill(anatomy.liver, LIVER_HU, within)
    for kidney in anatomy.kidneys:
        fill(kidney, 165.0, within)
        fill(kidney.larger(-8), 60.0, within)
    fill(anatomy.spleen, 120.0, within)
    fill(anatomy.stomach, 75.0, within)
    inner = anatomy.stomach.larger(-5)
    fill(inner, 12.0, within)
    # supine: gas gathers in front, above a level
    level = anatomy.stomach.centre_mm[1] - 0.45 * anatomy.stomach.radii_mm[1]
    fill(inner, -850.0, within & np.broadcast_to(axes[1] < level, SHAPE))
    for muscle in anatomy.muscles:
        fill(muscle, MUSCLE_HU)
    fill(anatomy.aorta, 165.0)
    fill(anatomy.cava, 140.0)
    _draw_bone(hu, anatomy, axes)
    return smooth(hu)


def _draw_bone(hu: Floats, anatomy: Anatomy, axes: tuple[Floats, Floats, Floats]) -> None:
    spine = anatomy.spine
    canal = Ellipsoid(
        (0.0, spine.centre_mm[1] + spine.radii_mm[1] + 5.0, 0.0), (spine.radii_mm[0], 6.0, 8.0)
    )
    hu[np.broadcast_to(canal.larger(4).reach(axes) <= 1, hu.shape)] = 420.0
    hu[np.broadcast_to(canal.reach(axes) <= 1, hu.shape)] = 25.0
    hu[np.broadcast_to(spine.reach(axes) <= 1, hu.shape)] = 480.0
    hu[np.broadcast_to(spine.larger(-2.5).reach(axes) <= 1, hu.shape)] = 190.0
    # discs: every third centimetre and a half of the spine is softer
    disc = (np.abs((axes[0] + 200.0) % 35.0 - 17.5) < 4.0) & (spine.reach(axes) <= 1)
    hu[np.broadcast_to(disc, hu.shape)] = 95.0


def smooth(values: Floats) -> Floats:
    """Average each voxel with its neighbours in the slice, weights 1 2 1 along y and x.

    Sums in a fixed order, so that every machine rounds alike.
    """
    out = values
    for axis in (1, 2):
        padded = np.concatenate([np.take(out, [0], axis), out, np.take(out, [-1], axis)], axis=axis)
        size = out.shape[axis]
        before, at, after = (
            np.take(padded, np.arange(start, start + size), axis) for start in (0, 1, 2)
        )
        out = (before + at + at + after) / 4
    return out
