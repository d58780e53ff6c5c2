"""Patches cut from phantoms with the H-score of the cells that were drawn.

Slides differ as for compartments (:func:`herscope.slide.phantom.variety.random_phantom`), but for
dirt and for what bends the light after the dye: a scanner with a gamma or colours of its own makes
the amount of brown unknowable. Each patch of a slide has its own shares of grades, so that H-scores
cover 0 to 300 evenly. A tenth of the patches has none but negative cells.

The truth is 100 times the mean grade of the tumour cells whose seed lies in the patch, graded by
what was painted into the compartment their marker stains, not by what can be seen after blur, noise
and stain variation. The target is where those cells are: the whole cells, as AutoIHC's target is
(tumour and cell mask), or only the part that the marker stains. With whole cells the pixel formula
counts unstained cytoplasm of nuclear stains and unstained interiors of membrane stains as negative.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import InputError
from herscope.core.registry import nearest
from herscope.core.store import staged_folder, write_json, write_text
from herscope.nn.patches.files import SCHEMA
from herscope.nn.patches.hscores import SCORES_FILE
from herscope.nn.patches.phantom_compartments import (
    OVERSAMPLING,
    PER_SLIDE,
    check_patches,
    draw_patch,
    random_phantom,
    write_png,
)
from herscope.slide.phantom.spec import PhantomSpec, StainKind
from herscope.slide.phantom.truth import PhantomTruth, phantom_truth

TargetRegion = Literal["cell", "marker"]
REGIONS: Final = ("cell", "marker")
ZERO_EVERY: Final = 10
"""Every tenth patch has only negative cells."""
FEWEST_CELLS: Final = 8
FEWEST_SHARE: Final = 0.4
SOLID_PER_MM2: Final = 5000.0
"""A patch with fewer tumour cells than eight, or than this share of what solid tumour holds, is
drawn again on a slide that is all solid tumour."""
SMALLEST_UM: Final = 30.0
"""A smaller patch holds no cell, or half of one."""
TRIES: Final = 8
_SHIFT: Final = 4
"""OpenCV takes polygon corners in sixteenths of a pixel."""


def make_phantom_hscores(
    folder: str | Path,
    n: int,
    seed: int = 0,
    *,
    mpp: float = 0.5,
    size_px: int = 256,
    region: TargetRegion = "cell",
    stain: StainKind | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Draw a folder of patches, targets and H-scores.

    Parameters
    ----------
    folder
        To write; one that is there is replaced when all patches are drawn.
    n
        Patches; four of each slide.
    seed
        The same seed gives the same bits.
    mpp
        µm/px, 0.25 to 4; cells are to be seen, so 0.5 is right.
    size_px
        Edge of a patch, 64 to 1024.
    region
        ``cell``: the target is whole cells; ``marker``: the part of them that the marker stains.
    stain
        ``nuclear``, ``membrane`` or ``cytoplasmic`` for all slides; drawn for each when None.
    progress
        Told how many patches of how many are drawn.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    InputError
        A number out of range, or an unknown region or stain.
    OutputError
        It cannot be written.
    """
    check_patches(n, seed, mpp, size_px)
    if size_px * mpp < SMALLEST_UM:
        raise InputError(
            f"patches of {size_px} px at {mpp:g} µm/px are {size_px * mpp:g} µm wide "
            f"(at least {SMALLEST_UM:g})",
            hint="a cell is about 15 µm wide; 128 px at 0.5 µm/px hold some twenty",
        )
    for what, value, known in (
        ("region", region, REGIONS),
        ("stain", stain or "nuclear", ("nuclear", "membrane", "cytoplasmic")),
    ):
        if value not in known:
            raise InputError(f"no {what} is called {value!r}", hint=nearest(value, list(known)))
    target = Path(folder)
    whites: dict[str, tuple[float, ...]] = {}
    groups, scores = ["patch,group"], ["patch,h_score"]
    asked = _asked(n, seed)
    with staged_folder(target) as staged:
        for part in ("images", "masks"):
            (staged / part).mkdir()
        for number in range(n):
            slide, k = divmod(number, PER_SLIDE)
            stem = f"phantom{slide:04d}_{k}"
            spec = _phantom(seed, slide, float(asked[number]), size_px * mpp, mpp, stain)
            x, y = k % 2 * size_px, k // 2 * size_px
            truth = _with_cells(spec, x, y, size_px)
            picture = draw_patch(truth.spec, x, y, size_px)
            write_png(staged / "images" / f"{stem}.png", picture[..., ::-1])
            write_png(staged / "masks" / f"{stem}.png", _mask(truth, x, y, size_px, region))
            whites[stem] = tuple(float(v) for v in spec.white_point)
            groups.append(f"{stem},phantom{slide:04d}")
            scores.append(f"{stem},{truth.h_score('tumor'):.4f}")
            if progress is not None:
                progress(number + 1, n)
        write_text(staged / "groups.csv", "\n".join(groups) + "\n")
        write_text(staged / SCORES_FILE, "\n".join(scores) + "\n")
        about = {
            "schema": SCHEMA,
            "mpp": mpp,
            "white_points": whites,
            "source": (
                f"{n} patches of {size_px} px drawn by herscope (phantoms with known H-scores, "
                f"seed {seed}, target: {region})"
            ),
        }
        write_json(staged / "patches.json", about)
    return target


def grade_shares(h_score: float, spread: float) -> tuple[float, float, float, float]:
    """Shares of grades 0 to 3 with the mean grade ``h_score / 100``.

    Parameters
    ----------
    h_score
        0 to 300.
    spread
        0: cells as alike as can be, in the two grades beside the mean; 1: as unlike as can be,
        negative and 3+ only.

    Examples
    --------
    >>> grade_shares(150, 0.0), grade_shares(150, 1.0)
    ((0.0, 0.5, 0.5, 0.0), (0.5, 0.0, 0.0, 0.5))
    """
    mean = h_score / 100
    low = min(int(mean), 2)
    near = np.zeros(4)
    near[low], near[low + 1] = 1 - (mean - low), mean - low
    far = np.array([1 - mean / 3, 0, 0, mean / 3])
    shares = [round(float(v), 6) for v in (1 - spread) * near + spread * far]
    largest = shares.index(max(shares))  # it bears what rounding left over
    shares[largest] = round(shares[largest] + 1 - sum(shares), 6)
    return shares[0], shares[1], shares[2], shares[3]


def _asked(n: int, seed: int) -> NDArray[np.float64]:
    """H-scores to aim at: one in each of n equal steps of 0 to 300, shuffled; some are 0."""
    generator = np.random.Generator(np.random.PCG64([seed, n]))
    steps = 300 * (generator.permutation(n) + generator.uniform(0, 1, n)) / n
    steps[np.arange(n) % ZERO_EVERY == ZERO_EVERY - 1] = 0
    return steps


def _phantom(
    seed: int, slide: int, asked: float, size_um: float, mpp: float, stain: StainKind | None
) -> PhantomSpec:
    """Parameters of the slide, with the grades of one patch of it."""
    spec = random_phantom(seed, slide, size_um=2 * size_um, mpp=mpp / OVERSAMPLING)
    generator = np.random.Generator(np.random.PCG64([seed, slide, round(asked * 1e6)]))
    strength = round(float(generator.uniform(0.95, 1.2)), 4)
    changes = {
        "stain": stain or spec.stain,
        "tumor_grade_fractions": grade_shares(asked, float(generator.uniform(0, 0.8))),
        # Grades that the cuts of the truth (0.2, 0.4, 0.6) tell apart, so that what is asked comes.
        "grade_od": tuple(round(strength * od, 4) for od in (0.04, 0.28, 0.47, 0.85)),
        "unspecific_dab_od": min(spec.unspecific_dab_od, 0.05),
        "tissue_fraction": 1.0,
        "fat_fraction": 0.0,
        "tumor_fraction": round(float(generator.uniform(0.5, 0.9)), 4),
        "membrane_complete": 1.0,  # a broken membrane lowers a cell's grade by its gaps
        "membrane_incomplete": 0.0,
        "membrane_basolateral": 0.0,
        # Nobody scores cells under dirt, and few cells fit beside it on a slide this small.
        **dict.fromkeys(("pen_marks", "folds", "bubbles", "dust", "defocus_patches"), 0),
        "speckle_od": 0.0,
        "gamma": 1.0,
        "color_mix": (0.0,) * 6,
        "sharpening": 0.0,
    }
    return PhantomSpec.model_validate(spec.model_dump() | changes)


def _with_cells(spec: PhantomSpec, x: int, y: int, size_px: int) -> PhantomTruth:
    """Truth of a patch, drawn again as solid tumour while it holds hardly a cell."""
    area_mm2 = (size_px * OVERSAMPLING * spec.mpp / 1000) ** 2
    fewest = max(1, min(FEWEST_CELLS, int(FEWEST_SHARE * SOLID_PER_MM2 * area_mm2)))
    truth = _truth(spec, x, y, size_px)
    best, most = truth, sum(truth.counts("tumor"))
    for again in range(1, TRIES):
        if most >= fewest:
            break
        solid = {
            "seed": spec.seed + again,
            "tumor_fraction": 1.0,
            "tumor_cells_per_mm2": max(spec.tumor_cells_per_mm2, SOLID_PER_MM2),
            **dict.fromkeys(
                ("tumor_gland_fraction", "lumen_fraction", "necrosis_fraction", "vessel_fraction"),
                0.0,
            ),
        }
        truth = _truth(spec.model_copy(update=solid), x, y, size_px)
        found = sum(truth.counts("tumor"))
        if found > most:
            best, most = truth, found
    return best


def _truth(spec: PhantomSpec, x: int, y: int, size_px: int) -> PhantomTruth:
    corner = x * OVERSAMPLING, y * OVERSAMPLING
    fine = size_px * OVERSAMPLING
    return phantom_truth(spec, (*corner, corner[0] + fine, corner[1] + fine))


def _mask(
    truth: PhantomTruth, x: int, y: int, size_px: int, region: TargetRegion
) -> NDArray[np.uint8]:
    """255 where the counted cells are, or where their marker is."""
    mine = (truth.cells["compartment"] == "tumor").to_numpy()
    origin = np.array([x, y], np.float64)

    def painted(outlines: NDArray[np.float32], line_px: float = 0.0) -> NDArray[np.uint8]:
        mask = np.zeros((size_px, size_px), np.uint8)
        corners = outlines[mine].astype(np.float64) / OVERSAMPLING - origin - 0.5
        fixed = np.rint(corners * (1 << _SHIFT)).astype(np.int32)
        for polygon in fixed:
            if line_px:
                cv2.polylines(
                    mask,
                    [polygon],
                    isClosed=True,
                    color=255,
                    thickness=max(1, math.floor(line_px + 0.5)),
                    shift=_SHIFT,
                )
            else:
                cv2.fillPoly(mask, [polygon], 255, shift=_SHIFT)
        return mask

    cells = painted(truth.outlines)
    if region == "cell":
        return cells
    spec = truth.spec
    if spec.stain == "nuclear":
        return painted(truth.nuclei)
    if spec.stain == "cytoplasmic":
        return np.where(painted(truth.nuclei) > 0, np.uint8(0), cells)
    return painted(truth.outlines, spec.membrane_width_um / (spec.mpp * OVERSAMPLING))
