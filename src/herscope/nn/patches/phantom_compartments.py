"""Patches cut from phantoms that differ in everything a laboratory, a scanner or a tissue changes.

What a slide may be is drawn by :func:`~herscope.slide.phantom.variety.random_phantom`; four patches
are cut of it. Slides are drawn at half the asked µm/px and averaged, as a scanner's coarser level
is, and stored once as JPEG of the slide's own quality.

The mask is the field that was drawn, not what a reader would outline: tumor (nests and glands of
tumour), stroma (small vessels and lymphocytes as well), background (glass, fat, lumens) and other
(normal glands, walls of large vessels, necrosis, pen, folds of tissue). Normal glands are drawn on
request alone: a phantom cannot know whether a regular gland is benign.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from herscope.core.errors import InputError
from herscope.core.store import staged_folder, write_bytes, write_json, write_text
from herscope.nn.patches.files import CLASSES, SCHEMA
from herscope.slide.phantom.artefacts import Artefact
from herscope.slide.phantom.fields import (
    BACKGROUND,
    FAT,
    LUMEN,
    NECROSIS,
    NORMAL,
    STROMA,
    TUMOR,
    VESSEL,
    class_at,
    node_range,
)
from herscope.slide.phantom.planes import planes
from herscope.slide.phantom.render import Plan, make_plan, render_region
from herscope.slide.phantom.spec import PhantomSpec
from herscope.slide.phantom.variety import random_phantom
from herscope.slide.protocol import Rgb

__all__ = [
    "COARSEST_MPP",
    "FINEST_MPP",
    "FOLD",
    "OVERSAMPLING",
    "PEN",
    "PER_SLIDE",
    "check_patches",
    "draw_patch",
    "make_phantom_patches",
    "random_phantom",
    "write_png",
]

PER_SLIDE: Final = 4
OVERSAMPLING: Final = 2
FINEST_MPP, COARSEST_MPP = 0.25, 4.0
PEN, FOLD = "pen", "fold"
"""Under these there is no compartment to read; bubbles, dust and defocus leave it readable."""

_CODE = {TUMOR: 0, STROMA: 1, BACKGROUND: 2, FAT: 2, LUMEN: 2, NORMAL: 3, VESSEL: 3, NECROSIS: 3}
_TABLE: Final = np.array([_CODE[k] for k in range(8)], np.uint8)
_OTHER: Final = CLASSES.index("other")


def make_phantom_patches(
    folder: str | Path,
    n: int,
    seed: int = 0,
    *,
    mpp: float = 1.0,
    size_px: int = 256,
    normal_glands: float = 0.0,
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
    normal_glands
        Share of slides that have normal glands, of class other; 0 to 1.
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
    check_patches(n, seed, mpp, size_px)
    if not 0 <= normal_glands <= 1:
        raise InputError(f"{normal_glands:g} normal_glands (allowed: 0 to 1)")
    target = Path(folder)
    whites: dict[str, tuple[float, ...]] = {}
    groups = ["patch,group"]
    with staged_folder(target) as staged:
        for part in ("images", "masks"):
            (staged / part).mkdir()
        for number in range(-(-n // PER_SLIDE)):
            slide = f"phantom{number:04d}"
            size_um = 2 * size_px * mpp
            spec = random_phantom(
                seed,
                number,
                size_um=size_um,
                mpp=mpp / OVERSAMPLING,
                normal_glands=normal_glands,
            )
            for k in range(min(PER_SLIDE, n - number * PER_SLIDE)):
                stem = f"{slide}_{k}"
                rgb, mask = _cut(spec, k % 2 * size_px, k // 2 * size_px, size_px)
                write_png(staged / "images" / f"{stem}.png", rgb[..., ::-1])
                write_png(staged / "masks" / f"{stem}.png", mask)
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


def check_patches(n: int, seed: int, mpp: float, size_px: int) -> None:
    """Refuse numbers, seeds, resolutions and sizes that are out of range."""
    for what, value, low, high in (
        ("patches", n, 2, 100_000),
        ("µm/px", mpp, FINEST_MPP, COARSEST_MPP),
        ("px edge of a patch", size_px, 64, 1024),
        ("seed", seed, 0, 2**32 - 1),
    ):
        if not low <= value <= high:
            raise InputError(f"{value:g} {what} (allowed: {low:g} to {high:,g})")


def draw_patch(spec: PhantomSpec, x: int, y: int, size_px: int) -> Rgb:
    """One patch, its corner in patch pixels: drawn twice as fine, averaged, JPEG and back."""
    fine = size_px * OVERSAMPLING
    picture = render_region(spec, x * OVERSAMPLING, y * OVERSAMPLING, fine, fine)
    total = picture.reshape(size_px, OVERSAMPLING, size_px, OVERSAMPLING, 3).sum(
        axis=(1, 3), dtype=np.uint16
    )
    area = OVERSAMPLING**2
    rgb = ((total + area // 2) // area).astype(np.uint8)
    quality = [cv2.IMWRITE_JPEG_QUALITY, spec.jpeg_quality]
    _, data = cv2.imencode(".jpg", np.ascontiguousarray(rgb[..., ::-1]), quality)
    stored: Any = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return np.ascontiguousarray(stored[..., ::-1])


def _cut(spec: PhantomSpec, x: int, y: int, size_px: int) -> tuple[Rgb, NDArray[np.uint8]]:
    """One patch, its corner in patch pixels, with its mask."""
    rgb = draw_patch(spec, x, y, size_px)
    return rgb, _mask(make_plan(spec), x, y, size_px, spec.mpp * OVERSAMPLING)


def _mask(plan: Plan, x: int, y: int, size_px: int, mpp: float) -> NDArray[np.uint8]:
    box = (x * mpp, y * mpp, (x + size_px) * mpp, (y + size_px) * mpp)
    i0, j0, columns, rows = node_range(*box)
    lattice, _ = planes(plan.fields, plan.structures, i0, j0, columns, rows)
    drawn = _classes(lattice, i0, j0, x, y, size_px, mpp)
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


def write_png(path: Path, image: NDArray[np.uint8]) -> None:
    """Write an 8-bit image, blue first when it has colours."""
    _, data = cv2.imencode(".png", np.ascontiguousarray(image))
    write_bytes(path, data.tobytes())
