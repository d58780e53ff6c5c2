"""Patches with numbered nuclei, cut from the same varied phantoms as those of compartments.

The numbers come from the nuclei that were drawn, not from a reader: also a nucleus that the stain
hides or the focus blurs is numbered. Drawn nuclei lie side by side; sections are thicker than that:
over half of the patches, nuclei of a second field of the same slide are laid, so that nuclei touch
and overlap (copy and paste, Ghiasi et al., CVPR 2021; ours lays light over light, as two nuclei one
above the other look). The upper one has the pixels that both share, and a nucleus of which little
is left is no nucleus of its own. One slide in three is H&E, for a network that has seen blue nuclei
on pink finds brown ones no worse and learns that a nucleus is a shape, not a colour. Where a pen
covers the tissue nothing is annotated.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.draw import polygon

from herscope.core.store import staged_folder, write_bytes, write_json, write_text
from herscope.nn.patches.files import SCHEMA
from herscope.nn.patches.nuclei import FOLDER, UNKNOWN
from herscope.nn.patches.phantom_compartments import (
    OVERSAMPLING,
    PEN,
    PER_SLIDE,
    check_patches,
    draw_patch,
    random_phantom,
    write_png,
)
from herscope.slide.phantom.render import make_plan
from herscope.slide.phantom.spec import PhantomSpec
from herscope.slide.phantom.truth import phantom_truth
from herscope.slide.protocol import Rgb

HE_SHARE: Final = 1 / 3
OVERLAID_SHARE: Final = 0.6
"""Part of the patches that have nuclei one above the other."""
LEFT_SHARE: Final = 0.35
"""Least visible part of a nucleus."""
GROUND_PX: Final = 41
GLASS_DARKNESS: Final = 0.04
"""Share of the light that less than any tissue takes."""
_REACH_UM: Final = 20.0
"""A nucleus whose seed lies further outside does not reach into a patch."""


def nucleus_phantom(seed: int, number: int, *, size_um: float, mpp: float) -> PhantomSpec:
    """Draw the parameters of one slide, H&E among them; see ``random_phantom``.

    Examples
    --------
    >>> kinds = {nucleus_phantom(0, k, size_um=100, mpp=0.25).stain for k in range(12)}
    >>> "he" in kinds and len(kinds) > 2
    True
    """
    spec = random_phantom(seed, number, size_um=size_um, mpp=mpp)
    generator = np.random.Generator(np.random.PCG64([seed, number, 1]))
    chance, eosin, blue, crowd, many, size = (float(v) for v in generator.random(6))
    varied: dict[str, Any] = {
        # Empty glass and fat teach nothing of nuclei.
        "fat_fraction": round(0.15 * spec.fat_fraction, 4),
        "tissue_fraction": max(spec.tissue_fraction, 0.85),
        "tumor_cells_per_mm2": round(2500 + 6000 * crowd),
        "stroma_cells_per_mm2": round(800 + 3000 * many),
        "nucleus_diameter_um": round(6.5 + 7.5 * size * (1 - 0.45 * crowd), 2),
    }
    if chance < HE_SHARE:
        # Nuclei of H&E are darker than a counterstain.
        varied |= {"stain": "he", "eosin_od": round(0.08 + 0.42 * eosin, 4)}
        varied |= {"hematoxylin_od": round(0.3 + 0.6 * blue, 4)}
    return PhantomSpec.model_validate({**spec.model_dump(), **varied})


def make_phantom_nuclei(
    folder: str | Path,
    n: int,
    seed: int = 0,
    *,
    mpp: float = 0.5,
    size_px: int = 256,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Draw a folder of patches with numbered nuclei.

    Parameters and errors as :func:`herscope.nn.patches.phantom_compartments.make_phantom_patches`.
    """
    check_patches(n, seed, mpp, size_px)
    target = Path(folder)
    whites: dict[str, tuple[float, ...]] = {}
    groups = ["patch,group"]
    with staged_folder(target) as staged:
        for part in ("images", FOLDER):
            (staged / part).mkdir()
        for number in range(-(-n // PER_SLIDE)):
            slide = f"phantom{number:05d}"
            spec = nucleus_phantom(seed, number, size_um=2 * size_px * mpp, mpp=mpp / OVERSAMPLING)
            for k in range(min(PER_SLIDE, n - number * PER_SLIDE)):
                stem = f"{slide}_{k}"
                x, y = k % 2 * size_px, k // 2 * size_px
                rgb, nuclei = overlaid(spec, x, y, size_px)
                write_png(staged / "images" / f"{stem}.png", rgb[..., ::-1])
                _, data = cv2.imencode(".png", nuclei)
                write_bytes(staged / FOLDER / f"{stem}.png", data.tobytes())
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
                f"{n} patches of {size_px} px with drawn nuclei by herscope (phantoms with domain "
                f"randomisation, seed {seed})"
            ),
        }
        write_json(staged / "patches.json", about)
    return target


def overlaid(spec: PhantomSpec, x: int, y: int, size_px: int) -> tuple[Rgb, NDArray[np.uint16]]:
    """One patch, and some nuclei of another field of the slide laid over it.

    The light that comes through is the product of both, against what surrounds the upper nucleus.
    """
    rgb, nuclei = draw_patch(spec, x, y, size_px), drawn_nuclei(spec, x, y, size_px)
    generator = np.random.Generator(np.random.PCG64([spec.seed, x, y, 2]))
    wanted, share = generator.random(2)
    if wanted >= OVERLAID_SHARE:
        return rgb, nuclei
    other = spec.model_copy(update={"seed": (spec.seed + 1) % 2**31})
    upper = draw_patch(other, x, y, size_px)
    above = drawn_nuclei(other, x, y, size_px)
    above[above == UNKNOWN] = 0
    chosen = generator.random(int(above.max(initial=0)) + 1) < 0.1 + 0.6 * share
    chosen &= _on_tissue(rgb, above, spec.white_point)
    laid = np.where(chosen[above], above, 0)
    # Against its surroundings, or the ground under a pasted nucleus would be there twice.
    around = (above == 0).astype(np.float32)
    ground = cv2.blur(upper * around[..., None], (GROUND_PX, GROUND_PX))
    ground /= np.maximum(cv2.blur(around, (GROUND_PX, GROUND_PX)), 1e-3)[..., None]
    light = np.clip(upper / np.maximum(ground, 1), 0.02, 1.05)
    weight = cv2.GaussianBlur((laid > 0).astype(np.float32), (0, 0), 0.6)[..., None]
    mixed = np.clip(np.rint(rgb * (1 + weight * (light - 1))), 0, 255).astype(np.uint8)
    return mixed, _laid_over(nuclei, laid)


def _on_tissue(
    rgb: Rgb, numbers: NDArray[np.uint16], white: tuple[int, int, int]
) -> NDArray[np.bool_]:
    """Which nuclei would lie on something; number 0 never does."""
    darkness = (1 - rgb.astype(np.float32) / np.asarray(white, np.float32)).max(axis=2)
    size = np.bincount(numbers.ravel())
    dark = np.bincount(numbers.ravel(), darkness.ravel()) / np.maximum(size, 1)
    dark[0] = 0
    return np.asarray(dark > GLASS_DARKNESS)


def _laid_over(under: NDArray[np.uint16], over: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Give numbers to both; a lower nucleus of which little is left goes to what covers it."""
    whole = np.bincount(under.ravel(), minlength=UNKNOWN + 1)
    first = int(under[under != UNKNOWN].max(initial=0))
    out: NDArray[np.uint16] = np.where(over > 0, over + np.uint16(first), under)
    left = np.bincount(out.ravel(), minlength=UNKNOWN + 1)[: first + 1]
    hidden = (left > 0) & (left < LEFT_SHARE * whole[: first + 1])
    hidden[0] = False
    rest = np.isin(out, np.flatnonzero(hidden))
    if rest.any():
        near = np.where(rest, 0, out).astype(np.float32)  # OpenCV widens no 16-bit numbers
        out[rest] = cv2.dilate(near, np.ones((7, 7), np.uint8))[rest].astype(np.uint16)
    return out


def drawn_nuclei(spec: PhantomSpec, x: int, y: int, size_px: int) -> NDArray[np.uint16]:
    """(size, size) numbers of the drawn nuclei of one patch, its corner in patch pixels."""
    reach = round(_REACH_UM / spec.mpp)
    left, top = x * OVERSAMPLING, y * OVERSAMPLING
    far = size_px * OVERSAMPLING
    box = (
        max(left - reach, 0),
        max(top - reach, 0),
        min(left + far + reach, spec.width_px),
        min(top + far + reach, spec.height_px),
    )
    out = np.zeros((size_px, size_px), np.uint16)
    number = 0
    for outline in phantom_truth(spec, box).nuclei:
        # A pixel is in the nucleus when its middle is.
        across = outline[:, 0] / OVERSAMPLING - x - 0.5
        down = outline[:, 1] / OVERSAMPLING - y - 0.5
        rows, columns = polygon(down, across, out.shape)
        free = out[rows, columns] == 0
        if free.any():
            number += 1
            out[rows[free], columns[free]] = number
    _hide_pen(spec, x, y, size_px, out)
    return out


def _hide_pen(spec: PhantomSpec, x: int, y: int, size_px: int, out: NDArray[np.uint16]) -> None:
    pens = [a for a in make_plan(spec).artefacts if a.kind == PEN]
    if not pens:
        return
    mpp = spec.mpp * OVERSAMPLING
    centres = (np.arange(size_px) + 0.5) * mpp
    across, down = np.meshgrid(centres + x * mpp, centres + y * mpp)
    points = np.stack([across.ravel(), down.ravel()], axis=1)
    for pen in pens:
        out[pen.covers(points).reshape(out.shape)] = UNKNOWN
