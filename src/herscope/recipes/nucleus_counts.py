"""What a patch tells of found nuclei: rows of counts that add, and the figures made of their sums.

* ``instances``: every nucleus outlined. Matches at IoU 0.5, 0.55, ... 0.9, the sums of AJI
  (Kumar 2017), AJI+ (Graham 2019) and PQ (Kirillov 2019), and the pixels of the foreground.
* ``foreground``: one mask of all nuclei. Pixels only.
* ``points``: a point in each nucleus. Points and the found nuclei's centres of mass match one to
  one within 3 µm; found nuclei outside the area where all are marked count nowhere.

Pixels that nobody annotated count nowhere, nor do found nuclei that lie for the greater part on
them and touch no true one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from herscope.nn.patches.marked import Points
from herscope.recipes.judging import Measure, Numbers, ratio

Labels = NDArray[np.int32]

IOUS: Final = tuple(percent / 100 for percent in range(50, 95, 5))
"""0.5 to 0.9 in steps of 0.05: F1 is given at the first and as the mean over all."""

RADIUS_UM: Final = 3.0
"""Furthest that a centre may lie from its point: about the radius of a small nucleus."""

_PIXELS: Final = ("px_tp", "px_fp", "px_fn", "px_tn")
_OBJECTS: Final = ("true", "found", "count_error", "strict", "strict_iou")
_JACCARD: Final = ("aji_shared", "aji_union", "plus_shared", "plus_union")
_MATCHES: Final = tuple(f"tp_{round(100 * iou)}" for iou in IOUS)

INSTANCE_COLUMNS: Final = (*_MATCHES, *_OBJECTS, *_JACCARD, *_PIXELS)
FOREGROUND_COLUMNS: Final = _PIXELS
POINT_COLUMNS: Final = ("tp_50", "true", "found", "count_error")


def instance_row(truth: Labels, found: Labels) -> Numbers:
    """Count one patch with outlined nuclei; (len(INSTANCE_COLUMNS),).

    Parameters
    ----------
    truth
        (height, width), 0 none, above 0 a nucleus, -1 not annotated.
    found
        (height, width), 0 none, above 0 a nucleus.
    """
    from herscope.stats.detection import match_instances
    from herscope.stats.segmentation import aggregated_jaccard, aggregated_jaccard_plus

    known = truth >= 0
    found = np.where(known, without_unknown(found, truth), 0)
    truth = np.where(known, truth, 0)
    matched = match_instances(truth, found, iou=IOUS[0])
    overlap = _ious(truth, found, matched.pairs)
    # Nothing competes above one half, so the stricter matches are those of 0.5 that reach further.
    strict = overlap[overlap > 0.5]
    aji, plus = aggregated_jaccard(truth, found), aggregated_jaccard_plus(truth, found)
    n_true, n_found = matched.tp + matched.fn, matched.tp + matched.fp
    return np.array(
        [
            *(np.count_nonzero(overlap >= iou) for iou in IOUS),
            n_true,
            n_found,
            abs(n_found - n_true),
            strict.size,
            float(np.sort(strict).sum()),
            *(aji.intersection, aji.union, plus.intersection, plus.union),
            *foreground_row(truth > 0, found > 0, known),
        ],
        np.float64,
    )


def foreground_row(
    truth: NDArray[np.bool_], found: NDArray[np.bool_], known: NDArray[np.bool_] | None = None
) -> Numbers:
    """Count the pixels of one patch: true and false positives, false and true negatives."""
    inside = np.ones(truth.shape, np.bool_) if known is None else known
    tp = np.count_nonzero(truth & found & inside)
    fp = np.count_nonzero(~truth & found & inside)
    fn = np.count_nonzero(truth & ~found & inside)
    return np.array([tp, fp, fn, np.count_nonzero(inside) - tp - fp - fn], np.float64)


def point_columns(classes: Sequence[str]) -> tuple[str, ...]:
    """Name the columns of a patch with points of some classes."""
    return (*POINT_COLUMNS, *(f"{what}:{name}" for name in classes for what in ("hit", "marked")))


def point_row(
    points: Points,
    area: NDArray[np.bool_],
    found: Labels,
    mpp: float,
    classes: Sequence[str],
    *,
    radius_um: float = RADIUS_UM,
) -> Numbers:
    """Count one patch with points; (len(point_columns(classes)),).

    Parameters
    ----------
    points
        In pixels of the patch.
    area
        (height, width), where every nucleus has its point.
    found
        (height, width), 0 none, above 0 a nucleus.
    mpp
        µm/px.
    classes
        Names of all classes of the folder.
    radius_um
        Furthest that a found centre may lie from its point.
    """
    from herscope.stats.detection import match_points

    centres = centres_of(found)
    centres = centres[_within(centres, area)]
    which = _within(points.xy, area)
    names = [name for name, keep in zip(points.classes, which, strict=True) if keep]
    matched = match_points(points.xy[which] * mpp, centres * mpp, radius_um)
    hit = {names[i]: 0 for i in range(len(names))}
    for i, _ in matched.pairs:
        hit[names[i]] += 1
    per_class = [n for name in classes for n in (hit.get(name, 0), names.count(name))]
    return np.array(
        [matched.tp, len(names), len(centres), abs(len(centres) - len(names)), *per_class],
        np.float64,
    )


def centres_of(labels: Labels) -> Numbers:
    """Find the centre of mass of each label, (n, 2) x and y in pixels; a pixel's middle is 0.5."""
    flat = labels.ravel()
    area = np.bincount(flat)
    used = np.flatnonzero(area)
    used = used[used > 0]
    y, x = np.indices(labels.shape)
    sums = [np.bincount(flat, axis.ravel(), minlength=area.size)[used] for axis in (x, y)]
    return np.stack(sums, axis=1) / area[used][:, None] + 0.5


def without_unknown(found: Labels, truth: Labels) -> Labels:
    """Drop found nuclei that touch no true one and lie more than half where nobody annotated."""
    known = truth >= 0
    if known.all():
        return found
    area = np.bincount(found.ravel())
    inside, touching = (
        np.bincount(found[where].ravel(), minlength=area.size) for where in (known, truth > 0)
    )
    return np.where(((2 * inside >= area) | (touching > 0))[found], found, 0).astype(np.int32)


def measures(columns: Sequence[str]) -> dict[str, Measure]:
    """Name the figures that some columns define, and how each is made of their sums."""
    at = {name: k for k, name in enumerate(columns)}
    made: dict[str, Measure] = {}
    if "true" in at:
        true, found = at["true"], at["found"]

        def f1(column: int) -> Measure:
            return lambda c: ratio(2 * c[..., column], c[..., true] + c[..., found])

        first = at["tp_50"]
        made["f1"] = f1(first)
        made["precision"] = lambda c: ratio(c[..., first], c[..., found])
        made["recall"] = lambda c: ratio(c[..., first], c[..., true])
        made["count_difference"] = lambda c: ratio(c[..., found] - c[..., true], c[..., true])
        made["count_error"] = lambda c: ratio(c[..., at["count_error"]], c[..., true])
    if "strict" in at:
        strict, overlap = at["strict"], at["strict_iou"]
        each = [f1(at[name]) for name in _MATCHES]
        made["f1_50_to_90"] = lambda c: np.mean([one(c) for one in each], axis=0)
        made["aji"] = lambda c: ratio(c[..., at["aji_shared"]], c[..., at["aji_union"]])
        made["aji_plus"] = lambda c: ratio(c[..., at["plus_shared"]], c[..., at["plus_union"]])
        # DQ times SQ, in which the number of matches cancels: 0 without any, not undefined
        made["pq"] = lambda c: ratio(2 * c[..., overlap], c[..., true] + c[..., found])
        made["dq"] = f1(strict)
        made["sq"] = lambda c: ratio(c[..., overlap], c[..., strict])
    if "px_tp" in at:
        made |= _of_pixels(at)
    for name, hit in at.items():
        if name.startswith("hit:"):
            made[f"recall_{name[4:]}"] = _share(hit, at[f"marked:{name[4:]}"])
    return made


def _of_pixels(at: Mapping[str, int]) -> dict[str, Measure]:
    tp, fp, fn, tn = (at[name] for name in _PIXELS)
    return {
        "dice": lambda c: ratio(2 * c[..., tp], 2 * c[..., tp] + c[..., fp] + c[..., fn]),
        "iou": lambda c: ratio(c[..., tp], c[..., tp] + c[..., fp] + c[..., fn]),
        "accuracy": lambda c: ratio(
            c[..., tp] + c[..., tn], c[..., tp] + c[..., fp] + c[..., fn] + c[..., tn]
        ),
    }


def _share(part: int, whole: int) -> Measure:
    return lambda c: ratio(c[..., part], c[..., whole])


def _ious(truth: Labels, found: Labels, pairs: Sequence[tuple[int, int]]) -> Numbers:
    if not pairs:
        return np.zeros(0)
    t, p = np.array(pairs, np.int64).T
    t_area, p_area = np.bincount(truth.ravel()), np.bincount(found.ravel())
    partner = np.zeros(t_area.size, np.int64)
    partner[t] = p
    shared = np.bincount(truth[(truth > 0) & (found == partner[truth])], minlength=t_area.size)[t]
    return shared / (t_area[t] + p_area[p] - shared)


def _within(xy: Numbers, area: NDArray[np.bool_]) -> NDArray[np.bool_]:
    height, width = area.shape
    x = np.minimum(xy[:, 0].astype(np.int64), width - 1)
    y = np.minimum(xy[:, 1].astype(np.int64), height - 1)
    return np.asarray(area[y, x])
