"""Detection quality: how many true objects were found, by overlap or by distance.

Instances match when their intersection over union (IoU) reaches a threshold, points when they lie
within a radius. Matching is one-to-one. Above an IoU of 0.5 each object has at most one partner, so
nothing has to be chosen; at lower thresholds (and for points) the matching with the most pairs is
taken and, among these, the one with the largest total IoU (the smallest total distance), by the
Hungarian method on each group of objects that compete (Kuhn, Nav Res Logist Q 1955;2:83).

Precision TP / (TP + FP), recall TP / (TP + FN), F1 = 2 TP / (2 TP + FP + FN). Counts add over
images, so pool the counts and then take the ratio; a ratio of nothing is None, never 0 or 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from herscope.core.errors import InputError

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class DetectionCounts:
    """Matches of one image, or of many after :func:`pooled`.

    Parameters
    ----------
    tp, fp, fn
        Matched pairs, predicted objects without a partner, true objects without a partner.
    iou_sum
        Sum of the IoU over the matched pairs; None for points, which have no area.
    pairs
        (truth, predicted) labels for instances, row numbers for points; empty after pooling, where
        labels of different images would mix.

    Examples
    --------
    >>> DetectionCounts(tp=6, fp=2, fn=4, iou_sum=4.8).f1
    0.6666666666666666
    """

    tp: int
    fp: int
    fn: int
    iou_sum: float | None = None
    pairs: tuple[Pair, ...] = ()

    @property
    def precision(self) -> float | None:
        """Share of the predicted objects that are true; None when none was predicted."""
        return _ratio(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float | None:
        """Share of the true objects that were found; None when there is none."""
        return _ratio(self.tp, self.tp + self.fn)

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall; None when there is no object at all."""
        return _ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def mean_iou(self) -> float | None:
        """Mean IoU of the matched pairs; None without pairs, and for points."""
        return None if self.iou_sum is None else _ratio(self.iou_sum, self.tp)


def pooled(counts: Iterable[DetectionCounts]) -> DetectionCounts:
    """Add the counts of several images; the IoU is kept when all of them have one.

    Examples
    --------
    >>> pooled([DetectionCounts(1, 0, 1, 0.9), DetectionCounts(3, 0, 0, 2.1)]).recall
    0.8
    """
    rows = list(counts)
    ious = [row.iou_sum for row in rows]
    return DetectionCounts(
        tp=sum(row.tp for row in rows),
        fp=sum(row.fp for row in rows),
        fn=sum(row.fn for row in rows),
        iou_sum=math.fsum(i for i in ious if i is not None) if None not in ious else None,
    )


def match_instances(truth: ArrayLike, predicted: ArrayLike, *, iou: float = 0.5) -> DetectionCounts:
    """Match two label images of the same field.

    Parameters
    ----------
    truth, predicted
        (height, width) whole numbers, 0 is background, every other value one object.
    iou
        Smallest intersection over union of a match, above 0, at most 1; reached counts.

    Raises
    ------
    InputError
        When the shapes differ, labels are negative or no whole numbers, or ``iou`` is out of
        range.

    Examples
    --------
    >>> counts = match_instances([[1, 1, 0, 2]], [[7, 7, 7, 0]])
    >>> counts.tp, counts.fp, counts.fn, counts.pairs
    (1, 0, 1, ((1, 7),))
    """
    if not 0 < iou <= 1:
        raise InputError(f"IoU threshold is {iou:g}", hint="give a number above 0, at most 1")
    t, p = _labels(truth, "truth"), _labels(predicted, "prediction")
    if t.shape != p.shape:
        raise InputError(
            f"truth is {t.shape} and prediction {p.shape} pixels",
            hint="compare label images of the same field at the same resolution",
        )
    t_names, t_index = _compact(t)
    p_names, p_index = _compact(p)
    t_area = np.bincount(t_index[t_index >= 0], minlength=t_names.size)
    p_area = np.bincount(p_index[p_index >= 0], minlength=p_names.size)
    both = (t_index >= 0) & (p_index >= 0)
    codes, shared = np.unique(t_index[both] * p_names.size + p_index[both], return_counts=True)
    ti, pi = codes // max(p_names.size, 1), codes % max(p_names.size, 1)
    overlap = shared / (t_area[ti] + p_area[pi] - shared)
    keep = overlap >= iou
    chosen = assign_pairs(ti[keep], pi[keep], overlap[keep])
    ti, pi, overlap = ti[keep][chosen], pi[keep][chosen], overlap[keep][chosen]
    return DetectionCounts(
        tp=int(ti.size),
        fp=int(p_names.size - ti.size),
        fn=int(t_names.size - ti.size),
        iou_sum=math.fsum(overlap.tolist()),
        pairs=tuple(zip(t_names[ti].tolist(), p_names[pi].tolist(), strict=True)),
    )


def match_points(truth_xy: ArrayLike, predicted_xy: ArrayLike, radius: float) -> DetectionCounts:
    """Match two sets of points one to one within a radius.

    Parameters
    ----------
    truth_xy, predicted_xy
        (n, 2) and (m, 2) positions in the same unit.
    radius
        Largest distance of a match in that unit, above 0; reached counts.

    Raises
    ------
    InputError
        When an array is not (n, 2), holds what is not finite, or the radius is not above 0.

    Examples
    --------
    >>> counts = match_points([[0, 0], [10, 0]], [[1, 0], [30, 0]], radius=3)
    >>> counts.tp, counts.fp, counts.fn
    (1, 1, 1)
    """
    from scipy.spatial import cKDTree

    if not (math.isfinite(radius) and radius > 0):
        raise InputError(f"matching radius is {radius:g}", hint="give a radius above 0")
    t, p = _points(truth_xy, "truth"), _points(predicted_xy, "prediction")
    ti, pi = np.zeros(0, np.int64), np.zeros(0, np.int64)
    if len(t) and len(p):
        near = cKDTree(p).query_ball_point(t, radius, return_sorted=True)
        ti = np.repeat(np.arange(len(t)), [len(row) for row in near])
        pi = np.array([j for row in near for j in row], np.int64)
    distance = np.hypot(*(t[ti] - p[pi]).T)
    # A closeness in 0 to 1 makes the nearest pairs the best ones, as a large IoU does for areas.
    chosen = assign_pairs(ti, pi, 1 - distance / radius)
    ti, pi = ti[chosen], pi[chosen]
    return DetectionCounts(
        tp=int(ti.size),
        fp=len(p) - int(ti.size),
        fn=len(t) - int(ti.size),
        pairs=tuple(zip(ti.tolist(), pi.tolist(), strict=True)),
    )


def assign_pairs(
    a: NDArray[np.int64],
    b: NDArray[np.int64],
    score: NDArray[np.float64],
    *,
    most_pairs: bool = True,
) -> NDArray[np.int64]:
    """Choose among candidate pairs so that each object is used at most once.

    Parameters
    ----------
    a, b
        (n,) objects of the two sides of each candidate pair, whole numbers from 0.
    score
        (n,) how good each pair is, above 0 to 1.
    most_pairs
        The most pairs first, then the largest total score; False: the largest total score.

    Returns
    -------
    ndarray
        Rising places of the chosen pairs.

    Examples
    --------
    >>> a, b = np.array([0, 0, 1]), np.array([0, 1, 1])
    >>> assign_pairs(a, b, np.array([0.1, 0.9, 0.2])).tolist()
    [0, 2]
    >>> assign_pairs(a, b, np.array([0.1, 0.9, 0.2]), most_pairs=False).tolist()
    [1]
    """
    if a.size == 0:
        return np.zeros(0, np.int64)
    lonely = (np.bincount(a)[a] == 1) & (np.bincount(b)[b] == 1)
    chosen = np.flatnonzero(lonely).tolist()
    contested = np.flatnonzero(~lonely)
    if contested.size:
        for group in _groups(a[contested], b[contested]):
            chosen += _hungarian(a, b, score, contested[group], most_pairs=most_pairs)
    return np.sort(np.array(chosen, np.int64))


def _groups(a: NDArray[np.int64], b: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Split candidate pairs into groups that share no object, so that matrices stay small."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    a_names, i = np.unique(a, return_inverse=True)
    b_names, j = np.unique(b, return_inverse=True)
    n = a_names.size + b_names.size
    graph = coo_array((np.ones(a.size), (i, j + a_names.size)), shape=(n, n))
    _, group = connected_components(graph, directed=False)
    order = np.argsort(group[i], kind="stable")
    return np.split(order, np.flatnonzero(np.diff(group[i][order])) + 1)


def _hungarian(
    a: NDArray[np.int64],
    b: NDArray[np.int64],
    score: NDArray[np.float64],
    rows: NDArray[np.int64],
    *,
    most_pairs: bool,
) -> list[int]:
    from scipy.optimize import linear_sum_assignment

    a_names, i = np.unique(a[rows], return_inverse=True)
    b_names, j = np.unique(b[rows], return_inverse=True)
    which = np.full((a_names.size, b_names.size), -1, np.int64)
    which[i, j] = rows
    value = np.zeros(which.shape)
    # One pair more outweighs any sum of scores, which are at most 1 each.
    value[i, j] = score[rows] + (min(which.shape) + 1 if most_pairs else 0)
    return [int(k) for k in which[linear_sum_assignment(value, maximize=True)] if k >= 0]


def _labels(image: ArrayLike, what: str) -> NDArray[np.int64]:
    labels = np.asarray(image)
    if labels.ndim != 2 or not (
        np.issubdtype(labels.dtype, np.integer) or labels.dtype == np.bool_
    ):
        raise InputError(
            f"the {what} is an array of {labels.dtype} with the shape {labels.shape}",
            hint="give a (height, width) image of whole numbers, 0 for background",
        )
    labels = labels.astype(np.int64)
    if labels.size and int(labels.min()) < 0:
        raise InputError(f"the {what} has negative labels", hint="labels start at 0")
    return labels


def _compact(labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the labels in use and, per pixel, the place of its label among them or -1."""
    names, index = np.unique(labels, return_inverse=True)
    if names.size and names[0] == 0:
        return names[1:], index.reshape(-1) - 1
    return names, index.reshape(-1)


def _points(xy: ArrayLike, what: str) -> NDArray[np.float64]:
    points = np.asarray(xy, np.float64)
    if points.size == 0:
        return points.reshape(0, 2)
    if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
        raise InputError(
            f"the {what} has points of the shape {points.shape}, or some are not finite",
            hint="give (n, 2) finite positions",
        )
    return points


def _ratio(part: float, whole: int) -> float | None:
    return part / whole if whole else None
