"""Patches cut from phantoms that differ in everything a laboratory, a scanner or a tumour changes.

Domain randomisation (Tobin et al., IROS 2017): where the drawn world varies more than the real one,
the real one is one more variation. Each slide draws its own marker, grades, dye amounts and
directions, cell sizes and densities, islands, white point, noise, focus and artefacts from the
ranges below; four patches are cut of it. Slides are drawn at half the asked µm/px and averaged, as
a scanner's coarser level is.

The mask is the field that was drawn, not what a reader would outline: tumor, stroma, background
(glass and fat) and other. Other is pen, and folds of tissue; phantoms have no normal glands,
vessels or nerves, so a network that has seen phantoms alone knows none of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from herscope.core.errors import InputError
from herscope.core.store import staged_folder, write_bytes, write_json, write_text
from herscope.nn.patch_files import CLASSES, SCHEMA
from herscope.slide.phantom.artefacts import Artefact
from herscope.slide.phantom.fields import (
    BACKGROUND,
    FAT,
    STROMA,
    TUMOR,
    class_at,
    node_range,
    nodes,
)
from herscope.slide.phantom.render import Plan, make_plan, render_region
from herscope.slide.phantom.spec import PhantomSpec
from herscope.slide.protocol import Rgb

PER_SLIDE: Final = 4
OVERSAMPLING: Final = 2
FINEST_MPP, COARSEST_MPP = 0.25, 4.0
PEN, FOLD = "pen", "fold"
"""Under these there is no compartment to read; bubbles, dust and defocus leave it readable."""

_CODE = {TUMOR: 0, STROMA: 1, BACKGROUND: 2, FAT: 2}
_TABLE: Final = np.array([_CODE[k] for k in range(4)], np.uint8)
_OTHER: Final = CLASSES.index("other")


def random_phantom(seed: int, number: int, *, size_um: float, mpp: float) -> PhantomSpec:
    """Draw the parameters of one slide.

    Parameters
    ----------
    seed, number
        Of the set and of the slide in it; they determine everything.
    size_um, mpp
        Edge of the slide and µm/px at which it is drawn.

    Examples
    --------
    >>> a, b = (random_phantom(1, k, size_um=300, mpp=0.5) for k in (0, 1))
    >>> a.island_um != b.island_um
    True
    """
    generator = np.random.Generator(np.random.PCG64([seed, number]))

    def between(low: float, high: float) -> float:
        return round(float(generator.uniform(low, high)), 4)

    def log_between(low: float, high: float) -> float:
        return round(math.exp(float(generator.uniform(math.log(low), math.log(high)))), 4)

    def shares(*weights: float) -> tuple[float, ...]:
        drawn = [round(float(v), 4) for v in generator.dirichlet(weights)]
        largest = drawn.index(max(drawn))  # it bears what rounding left over
        drawn[largest] = round(drawn[largest] + 1 - sum(drawn), 6)
        return tuple(drawn)

    fat = between(0, 0.3) if generator.random() < 0.6 else 0.0
    strength = between(0.7, 1.5)
    white = between(222, 252)
    dirty = generator.random() < 0.35
    fields: dict[str, Any] = {
        "width_um": size_um,
        "height_um": size_um,
        "mpp": mpp,
        "seed": int(generator.integers(2**31)),
        "stain": ("nuclear", "membrane", "cytoplasmic")[int(generator.integers(3))],
        "tumor_grade_fractions": shares(1.0, 0.6, 0.6, 0.8),
        "stroma_grade_fractions": shares(12.0, 0.8, 0.3, 0.1),
        "grade_od": tuple(round(strength * od, 4) for od in (0.04, 0.3, 0.5, 0.9)),
        "grade_clustering": between(0, 0.9),
        "unspecific_dab_od": log_between(0.004, 0.12),
        "membrane_width_um": between(0.9, 2.2),
        "tissue_fraction": 1.0 if generator.random() < 0.5 else between(0.5, 0.95),
        "tumor_fraction": between(0.2, 0.7),
        "fat_fraction": fat,
        "island_um": log_between(60, 450),
        "tumor_cells_per_mm2": between(2500, 7000),
        "stroma_cells_per_mm2": between(400, 3200),
        "lymphocyte_fraction": between(0, 0.9),
        "nucleus_diameter_um": between(7.5, 12.5),
        "nucleus_diameter_sd_um": between(0.6, 1.8),
        "nucleus_elongation": between(1.2, 2.2),
        "cell_radius_um": between(8.5, 14),
        "wobble_um": between(0.3, 0.8),
        "hematoxylin_od": log_between(0.14, 0.8),
        "hematoxylin_sd": between(0.1, 0.4),
        "chromatin_texture": between(0.08, 0.35),
        "cytoplasm_hematoxylin_od": log_between(0.02, 0.16),
        "stain_rotation_deg": between(-8, 8),
        "white_point": tuple(round(min(255.0, white + between(-6, 6))) for _ in range(3)),
        "shading": between(0, 0.03),
        "noise_sd": between(0.3, 4),
        "blur_sigma_um": log_between(0.15, 1.2),
        "pen_marks": int(dirty and generator.random() < 0.5),
        "folds": int(dirty and generator.random() < 0.5),
        "bubbles": int(dirty and generator.random() < 0.4),
        "dust": int(dirty) * int(generator.integers(0, 8)),
        "defocus_patches": int(generator.random() < 0.15),
    }
    return PhantomSpec(**fields)


def make_phantom_patches(
    folder: str | Path,
    n: int,
    seed: int = 0,
    *,
    mpp: float = 1.0,
    size_px: int = 256,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Draw a patch folder.

    Parameters
    ----------
    folder
        To write; one that is there is replaced when all patches are drawn.
    n
        Patches; four of each slide.
    seed
        The same seed gives the same bits.
    mpp
        µm/px, 0.25 to 4.
    size_px
        Edge of a patch, 64 to 1024.
    progress
        Called with patches done and ``n``.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    InputError
        A number, resolution or size out of range.
    OutputError
        It cannot be written.
    """
    for what, value, low, high in (
        ("patches", n, 2, 100_000),
        ("µm/px", mpp, FINEST_MPP, COARSEST_MPP),
        ("px edge of a patch", size_px, 64, 1024),
        ("seed", seed, 0, 2**32 - 1),
    ):
        if not low <= value <= high:
            raise InputError(f"{value:g} {what} (allowed: {low:g} to {high:,g})")
    target = Path(folder)
    whites: dict[str, tuple[float, ...]] = {}
    groups = ["patch,group"]
    with staged_folder(target) as staged:
        for part in ("images", "masks"):
            (staged / part).mkdir()
        for number in range(-(-n // PER_SLIDE)):
            slide = f"phantom{number:04d}"
            size_um = 2 * size_px * mpp
            spec = random_phantom(seed, number, size_um=size_um, mpp=mpp / OVERSAMPLING)
            for k in range(min(PER_SLIDE, n - number * PER_SLIDE)):
                stem = f"{slide}_{k}"
                rgb, mask = _cut(spec, k % 2 * size_px, k // 2 * size_px, size_px)
                _png(staged / "images" / f"{stem}.png", rgb[..., ::-1])
                _png(staged / "masks" / f"{stem}.png", mask)
                whites[stem] = tuple(float(v) for v in spec.white_point)
                groups.append(f"{stem},{slide}")
                if progress is not None:
                    progress(number * PER_SLIDE + k + 1, n)
        write_text(staged / "groups.csv", "\n".join(groups) + "\n")
        about = {
            "schema": SCHEMA,
            "mpp": mpp,
            "white_points": whites,
            "source": (
                f"{n} patches of {size_px} px drawn by herscope (phantoms with domain "
                f"randomisation, seed {seed})"
            ),
        }
        write_json(staged / "patches.json", about)
    return target


def _cut(spec: PhantomSpec, x: int, y: int, size_px: int) -> tuple[Rgb, NDArray[np.uint8]]:
    """One patch, its corner in patch pixels, with its mask."""
    fine = size_px * OVERSAMPLING
    picture = render_region(spec, x * OVERSAMPLING, y * OVERSAMPLING, fine, fine)
    total = picture.reshape(size_px, OVERSAMPLING, size_px, OVERSAMPLING, 3).sum(
        axis=(1, 3), dtype=np.uint16
    )
    area = OVERSAMPLING**2
    rgb = ((total + area // 2) // area).astype(np.uint8)
    return rgb, _mask(make_plan(spec), x, y, size_px, spec.mpp * OVERSAMPLING)


def _mask(plan: Plan, x: int, y: int, size_px: int, mpp: float) -> NDArray[np.uint8]:
    box = (x * mpp, y * mpp, (x + size_px) * mpp, (y + size_px) * mpp)
    i0, j0, columns, rows = node_range(*box)
    drawn = _classes(nodes(plan.fields, i0, j0, columns, rows), i0, j0, x, y, size_px, mpp)
    mask: NDArray[np.uint8] = _TABLE[drawn]
    spoilt: list[Artefact] = [a for a in plan.artefacts if a.kind in {PEN, FOLD}]
    if spoilt:
        tissue = mask != _CODE[BACKGROUND]
        centres = (np.arange(size_px) + 0.5) * mpp
        across, down = np.meshgrid(centres + x * mpp, centres + y * mpp)
        points = np.stack([across.ravel(), down.ravel()], axis=1)
        for artefact in spoilt:
            covered = artefact.covers(points).reshape(mask.shape)
            # A fold is twice the dye, so on glass and fat there is none to see.
            mask[covered & (tissue | (artefact.kind == PEN))] = _OTHER
    return mask


@njit(cache=True)
def _classes(lattice, i0, j0, x, y, size_px, mpp):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    out = np.empty((size_px, size_px), np.uint8)
    for row in range(size_px):
        for column in range(size_px):
            out[row, column] = class_at(
                lattice, i0, j0, (x + column + 0.5) * mpp, (y + row + 0.5) * mpp
            )
    return out


def _png(path: Path, image: NDArray[np.uint8]) -> None:
    _, data = cv2.imencode(".png", np.ascontiguousarray(image))
    write_bytes(path, data.tobytes())
