"""What texture matrices of a 100,000-voxel lesion cost, against plain NumPy and Python loops.

    python benchmarks/radiomics.py [--voxels 100000] [--levels 32] [--repeats 3]

* Matrices: our kernels against a formulation of the same five matrices with NumPy over grey levels
  and directions, and with Python over voxels where regions or lines have to be followed, which is
  how radiomics is written without compiled code. Both must give the same counts. 3-D, 13
  directions, 26 neighbours.
* Features: the whole default list (736 values), and all classes in 3-D.
* mirp, where it is installed: the same classes in 3-D of the same lesion, time and agreement.

Compilation is not counted; the best of the repeats, loops once.
"""

from __future__ import annotations

import argparse
import itertools
import re
import time
import warnings
from collections.abc import Callable
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from herscope.respond.radiomics.directions import directions
from herscope.respond.radiomics.discretise import fixed_bin_number
from herscope.respond.radiomics.extract import features
from herscope.respond.radiomics.neighbour_counts import neighbours
from herscope.respond.radiomics.pair_counts import cooccurrences, runs
from herscope.respond.radiomics.spec import FeatureClass, RadiomicsSpec
from herscope.respond.radiomics.zone_counts import border_steps, zones

Counts = NDArray[np.int64]
SPACING_MM = (1.0, 1.0, 1.0)
MIRP_FAMILIES = ("cm", "rlm", "szm", "dzm", "ngt", "ngl", "stat")


def lesion(voxels: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Draw a ball of about so many voxels, of noise that hangs together over 3 mm, in HU."""
    radius = (3 * voxels / (4 * np.pi)) ** (1 / 3)
    side = 2 * int(radius) + 9
    noise = np.random.Generator(np.random.PCG64(0)).normal(0, 1, (side, side, side))
    smooth = gaussian_filter(noise, 1.5)
    image = np.round(40 + 40 * smooth / smooth.std() + 10 * noise)
    away = np.linalg.norm(np.indices(image.shape) - (side - 1) / 2, axis=0)
    return image, away <= radius


def loop_glcm(levels: NDArray[np.int32], top: int) -> Counts:
    """Count pairs, for every level and direction the neighbours of all its voxels."""
    padded = np.pad(levels, 1)
    out = np.zeros((13, top, top), np.int64)
    for level in range(1, top + 1):
        at = np.argwhere(padded == level)
        for d, step in enumerate(directions(flat=False)):
            near = padded[tuple((at + step).T)]
            out[d, level - 1] += np.bincount(near, minlength=top + 1)[1:]
    return out + out.transpose(0, 2, 1)


def loop_glrlm(levels: NDArray[np.int32], top: int) -> Counts:
    """Count runs, line by line of every direction."""
    out = np.zeros((13, top, max(levels.shape)), np.int64)
    shape, flat = np.asarray(levels.shape), levels.ravel()
    strides = np.asarray((levels.shape[1] * levels.shape[2], levels.shape[2], 1))
    box = np.indices(levels.shape).reshape(3, -1).T
    for d, step in enumerate(directions(flat=False)):
        before = box - step
        starts = box[((before < 0) | (before >= shape)).any(axis=1)]
        room = np.where(step > 0, shape - starts, np.where(step < 0, starts + 1, shape.max()))
        for first, length in zip(starts @ strides, room.min(axis=1), strict=True):
            line = flat[first + np.arange(length) * (step @ strides)]
            for level, run in itertools.groupby(line.tolist()):
                if level:
                    out[d, level - 1, len(list(run)) - 1] += 1
    return out


def loop_glszm(levels: NDArray[np.int32]) -> list[tuple[int, int]]:
    """Find zones, grown from voxel to voxel."""
    padded = np.pad(levels, 1)
    steps = [s for s in itertools.product((-1, 0, 1), repeat=3) if any(s)]
    found = []
    for start in map(tuple, np.argwhere(padded).tolist()):
        level = int(padded[start])
        if not level:
            continue
        padded[start] = 0
        waiting, size = [start], 0
        while waiting:
            z, y, x = waiting.pop()
            size += 1
            for dz, dy, dx in steps:
                there = (z + dz, y + dy, x + dx)
                if padded[there] == level:
                    padded[there] = 0
                    waiting.append(there)
        found.append((level, size))
    return sorted(found)


def loop_neighbours(levels: NDArray[np.int32], top: int) -> tuple[Counts, Counts, Counts]:
    """Fill the tables of NGTDM and GLDM, for every level and each of 26 neighbours."""
    padded = np.pad(levels, 1)
    steps = [np.asarray(s) for s in itertools.product((-1, 0, 1), repeat=3) if any(s)]
    out = [np.zeros((top, 27), np.int64) for _ in range(3)]
    for level in range(1, top + 1):
        at = np.argwhere(padded == level)
        near = np.stack([padded[tuple((at + step).T)] for step in steps], axis=1)
        around = (near > 0).sum(axis=1)
        apart = np.abs(around * level - near.sum(axis=1))
        out[0][level - 1] = np.bincount(around, minlength=27)
        out[1][level - 1] = np.round(np.bincount(around, weights=apart, minlength=27))
        out[2][level - 1] = np.bincount((near == level).sum(axis=1), minlength=27)
    return out[0], out[1], out[2]


def timed(work: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """Shortest of some runs in seconds, and what came out."""
    best, result = np.inf, None
    for _ in range(repeats):
        begin = time.perf_counter()
        result = work()
        best = min(best, time.perf_counter() - begin)
    return best, result


def matrices(levels: NDArray[np.int32], top: int, repeats: int) -> None:
    """Compare kernels with loops."""
    steps = directions(flat=False)

    def our_zones() -> Counts:
        return np.asarray(zones(levels, border_steps(levels > 0, False), False))

    pairs: list[tuple[str, Callable[[], Any], Callable[[], Any]]] = [
        (
            "GLCM",
            lambda: cooccurrences(levels, steps, top, False)[0],
            lambda: loop_glcm(levels, top),
        ),
        ("GLRLM", lambda: runs(levels, steps, top, False)[0], lambda: loop_glrlm(levels, top)),
        ("GLSZM", our_zones, lambda: loop_glszm(levels)),
        (
            "NGTDM, GLDM",
            lambda: [table[0] for table in neighbours(levels, top, False, False)],
            lambda: loop_neighbours(levels, top),
        ),
    ]
    sums = np.zeros(2)
    for name, ours, loops in pairs:
        ours()  # compiled
        quick, one = timed(ours, repeats)
        slow, two = timed(loops, 1)
        if name == "GLSZM":
            one = sorted(zip(*one[1:3].tolist(), strict=True))
        same = all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
        sums += quick, slow
        print(
            f"{name:12} {quick * 1e3:9.1f} ms {slow * 1e3:11.1f} ms {slow / quick:7.0f} x", end=""
        )
        print("   same counts" if same else "   NOT THE SAME COUNTS")
    print(f"{'all':12} {sums[0] * 1e3:9.1f} ms {sums[1] * 1e3:11.1f} ms {sums[1] / sums[0]:7.0f} x")


def whole(image: NDArray[np.float64], mask: NDArray[np.bool_], repeats: int) -> None:
    """Time complete lists."""
    every = RadiomicsSpec(
        classes=get_args(FeatureClass), force_2d=False, aggregation=("3D_avg",), omit=()
    )
    plain = every.model_copy(update={"wavelet": "none", "log_sigma_mm": ()})
    for name, spec in (
        ("default, 8 pictures in slices", RadiomicsSpec()),
        ("all classes in 3-D, original", plain),
        ("all classes in 3-D, 12 pictures", every),
    ):
        features(image, mask, SPACING_MM, spec)
        seconds, values = timed(lambda spec=spec: features(image, mask, SPACING_MM, spec), repeats)
        print(f"{name:32} {len(values):5} values {seconds:7.2f} s")


def against_mirp(image: NDArray[np.float64], mask: NDArray[np.bool_]) -> None:
    """Compare with mirp, where there is one."""
    try:
        from mirp import extract_features
    except ImportError:
        print("mirp is not installed; no comparison")
        return
    classes: tuple[FeatureClass, ...] = (
        *("statistics", "cooccurrence", "run_length", "size_zone", "distance_zone"),
        *("neighbour_difference", "neighbour_dependence"),
    )
    spec = RadiomicsSpec(
        classes=classes,
        force_2d=False,
        aggregation=("3D_avg",),
        wavelet="none",
        log_sigma_mm=(),
        omit=(),
        discretisation="fixed_bin_number",
    )
    quick, ours = timed(lambda: features(image, mask, SPACING_MM, spec), 3)
    families = ("statistics", "glcm", "glrlm", "glszm", "gldzm", "ngtdm", "ngldm")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        slow, table = timed(
            lambda: extract_features(
                image=image,
                mask=mask.astype(np.int32),
                by_slice=False,
                no_approximation=True,
                base_feature_families=list(families),
                base_discretisation_method="fixed_bin_number",
                base_discretisation_n_bins=32,
                glcm_spatial_method=["3d_average"],
                glrlm_spatial_method=["3d_average"],
            )[0],
            1,
        )
    theirs = {
        re.sub(r"_(d1|a0\.0|fbn|n32)(?=_|$)", "", name.lower()): float(table[name].iloc[0])
        for name in table.columns
        if name.split("_")[0] in MIRP_FAMILIES
    }
    shared = [name for name in ours if name.lower() in theirs]
    off = [
        abs((ours[name] or 0.0) - theirs[name.lower()]) / max(abs(theirs[name.lower()]), 1e-9)
        for name in shared
    ]
    print(f"mirp {slow:.2f} s, herscope {quick:.2f} s, {slow / quick:.0f} x; ", end="")
    print(f"{len(shared)} of {len(ours)} features in both, largest relative difference ", end="")
    print(f"{max(off):.1g} ({shared[int(np.argmax(off))]})" if off else "none")


def main() -> None:
    """Run all comparisons."""
    asked = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    asked.add_argument("--voxels", type=int, default=100_000)
    asked.add_argument("--levels", type=int, default=32)
    asked.add_argument("--repeats", type=int, default=3)
    args = asked.parse_args()
    image, mask = lesion(args.voxels)
    levels, top = fixed_bin_number(image, mask, args.levels)
    print(f"{int(mask.sum())} voxels, {top} grey levels; herscope, loops, ratio")
    matrices(levels, top, args.repeats)
    whole(image, mask, args.repeats)
    against_mirp(image, mask)


if __name__ == "__main__":
    main()
