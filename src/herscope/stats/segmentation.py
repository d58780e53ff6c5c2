"""Segmentation quality from pixel and object counts: Dice, IoU, AJI, panoptic quality.

*Per class*, from label maps: with TP, FP, FN and TN pixels of a class, Dice = 2 TP / (2 TP + FP +
FN) (Dice, Ecology 1945;26:297), IoU = TP / (TP + FP + FN) (Jaccard 1901), sensitivity TP / (TP +
FN), specificity TN / (TN + FP). Counts add over images, so pool and divide once. A class that is in
neither map has no Dice: it is undefined, not 1, and it must not enter a mean. Neighbouring pixels
are alike, so there is no interval over pixels; resample slides or patients.

*Per object*: AJI, the aggregated Jaccard index (Kumar et al., IEEE Trans Med Imaging
2017;36:1550): each true object takes the predicted one with the largest IoU (the lowest label of
equal ones); their intersections and their unions are summed, and objects without a partner, true or
predicted, add their area to the unions. As in the paper, a predicted object can be taken twice; in
AJI+ (Graham et al., Med Image Anal 2019;58:101563) pairs are one to one.
Panoptic quality PQ = SQ x DQ (Kirillov et al., CVPR 2019): DQ is the F1 of objects matched above an
IoU of 0.5, SQ the mean IoU of the matched ones; matching is
:func:`herscope.stats.detection.match_instances`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from herscope.core.errors import InputError, UndefinedStatistic
from herscope.stats.classification.cases import Ints
from herscope.stats.classification.confusion import ClassCounts
from herscope.stats.detection import DetectionCounts, assign_pairs, match_instances

ABOVE_HALF: Final = math.nextafter(0.5, 1.0)
"""Kirillov's condition is strict: at exactly 0.5 an object could have two partners."""


@dataclass(frozen=True, slots=True)
class Overlap:
    """Agreement of two maps about one class; a measure the counts do not define is None."""

    counts: ClassCounts

    @property
    def dice(self) -> float | None:
        """2 TP / (2 TP + FP + FN), 0 to 1."""
        c = self.counts
        return _share(2 * c.tp, 2 * c.tp + c.fp + c.fn)

    @property
    def iou(self) -> float | None:
        """TP / (TP + FP + FN), 0 to 1."""
        c = self.counts
        return _share(c.tp, c.tp + c.fp + c.fn)

    @property
    def sensitivity(self) -> float | None:
        """TP / (TP + FN), 0 to 1; None where the class is not in the truth."""
        return _share(self.counts.tp, self.counts.positives)

    @property
    def specificity(self) -> float | None:
        """TN / (TN + FP), 0 to 1; None where the truth is nothing but the class."""
        return _share(self.counts.tn, self.counts.negatives)

    def __str__(self) -> str:
        parts = [
            f"{name} {'undefined' if value is None else f'{value:.3f}'}"
            for name, value in (
                ("Dice", self.dice),
                ("IoU", self.iou),
                ("sensitivity", self.sensitivity),
                ("specificity", self.specificity),
            )
        ]
        return f"{', '.join(parts)}, {self.counts.n:,} pixels"


@dataclass(frozen=True, slots=True)
class JaccardCounts:
    """Summed intersection and union in pixels of the AJI; they add over images.

    Examples
    --------
    >>> (JaccardCounts(3, 4, 1, 1) + JaccardCounts(0, 4, 1, 0)).aji
    0.375
    """

    intersection: int
    union: int
    true_objects: int
    predicted_objects: int

    def __add__(self, other: JaccardCounts) -> JaccardCounts:
        return JaccardCounts(
            self.intersection + other.intersection,
            self.union + other.union,
            self.true_objects + other.true_objects,
            self.predicted_objects + other.predicted_objects,
        )

    @property
    def aji(self) -> float:
        """Intersection / union, 0 to 1; undefined without any object."""
        if self.union == 0:
            raise UndefinedStatistic(
                "the AJI of no objects is undefined", hint="pool images that have some"
            )
        return self.intersection / self.union


@dataclass(frozen=True, slots=True)
class PanopticQuality:
    """PQ = SQ x DQ with the matches it was made from."""

    matches: DetectionCounts

    @property
    def dq(self) -> float:
        """Detection quality, TP / (TP + FP/2 + FN/2)."""
        value = self.matches.f1
        if value is None:
            raise UndefinedStatistic(
                "panoptic quality of no objects is undefined", hint="pool images that have some"
            )
        return value

    @property
    def sq(self) -> float | None:
        """Segmentation quality, mean IoU of matched objects; None without a match."""
        return self.matches.mean_iou

    @property
    def pq(self) -> float:
        """DQ times SQ; 0 without a match."""
        dq = self.dq
        return 0.0 if self.sq is None else dq * self.sq

    def __str__(self) -> str:
        sq = "undefined" if self.sq is None else f"{self.sq:.3f}"
        m = self.matches
        return f"PQ {self.pq:.3f} = SQ {sq} x DQ {self.dq:.3f}; TP {m.tp}, FP {m.fp}, FN {m.fn}"


def overlap_by_class(
    truth: ArrayLike,
    predicted: ArrayLike,
    classes: Mapping[int, str],
    *,
    ignore: int | None = None,
) -> dict[str, Overlap]:
    """Count pixels of each class in two class maps of the same field.

    Parameters
    ----------
    truth, predicted
        (height, width) whole numbers.
    classes
        Value to name: which values are counted. Other values count as "not this class".
    ignore
        Value of the truth whose pixels are left out altogether (not annotated); None for none.

    Raises
    ------
    InputError
        When the shapes differ, values are no whole numbers, or no class is named.
    UndefinedStatistic
        When no pixel is left.

    Examples
    --------
    >>> found = overlap_by_class([[1, 1, 0, 2]], [[1, 0, 0, 2]], {1: "tumor", 2: "stroma"})
    >>> print(found["tumor"])
    Dice 0.667, IoU 0.500, sensitivity 0.500, specificity 1.000, 4 pixels
    """
    t, p = _maps(truth, predicted)
    if not classes:
        raise InputError("no class is named", hint="give {1: 'tumor', 2: 'stroma'} or the like")
    if ignore is not None:
        keep = t != ignore
        t, p = t[keep], p[keep]
    if t.size == 0:
        raise UndefinedStatistic(
            "no pixel is left to compare", hint="the annotation covers nothing; check `ignore`"
        )
    found = {}
    for value, name in classes.items():
        is_true, is_called = t == value, p == value
        tp = int(np.count_nonzero(is_true & is_called))
        fn, fp = int(np.count_nonzero(is_true)) - tp, int(np.count_nonzero(is_called)) - tp
        found[name] = Overlap(ClassCounts(tp, fp, fn, t.size - tp - fn - fp))
    return found


def pooled_overlap(images: Iterable[Mapping[str, Overlap]]) -> dict[str, Overlap]:
    """Add the pixel counts of several images, class by class.

    Examples
    --------
    >>> one = overlap_by_class([[1, 0]], [[1, 1]], {1: "tumor"})
    >>> pooled_overlap([one, one])["tumor"].counts.tp
    2
    """
    total: dict[str, Overlap] = {}
    for image in images:
        for name, overlap in image.items():
            sofar = total.get(name)
            total[name] = Overlap(sofar.counts + overlap.counts) if sofar else overlap
    return total


def aggregated_jaccard(truth: ArrayLike, predicted: ArrayLike) -> JaccardCounts:
    """Count intersections and unions of the aggregated Jaccard index (Kumar 2017).

    Parameters
    ----------
    truth, predicted
        (height, width) label images, 0 is background, every other value one object.

    Raises
    ------
    InputError
        When the shapes differ or labels are no whole numbers.

    Examples
    --------
    >>> aggregated_jaccard([[1, 1, 0, 2]], [[7, 7, 7, 0]]).aji
    0.5
    """
    o = _overlaps(truth, predicted)
    # The best partner of each true object: by IoU, then by the lower label.
    order = np.lexsort((o.p, -o.iou, o.t))
    first = order[np.unique(o.t[order], return_index=True)[1]]
    return _jaccard(o, first)


def aggregated_jaccard_plus(truth: ArrayLike, predicted: ArrayLike) -> JaccardCounts:
    """Count the AJI with each object in one pair at most: AJI+ (Graham et al. 2019).

    The pairs are those with the largest total IoU, so one large predicted object can no longer
    serve several true ones, and no true object takes away the better partner of another.

    Parameters
    ----------
    truth, predicted
        (height, width) label images, 0 is background, every other value one object.

    Raises
    ------
    InputError
        When the shapes differ or labels are no whole numbers.

    Examples
    --------
    >>> truth, found = [[1, 1, 2, 2, 2]], [[7, 7, 7, 7, 7]]
    >>> aggregated_jaccard(truth, found).aji, aggregated_jaccard_plus(truth, found).aji
    (0.5, 0.42857142857142855)
    """
    o = _overlaps(truth, predicted)
    return _jaccard(o, assign_pairs(o.t, o.p, o.iou, most_pairs=False))


class _Overlaps(NamedTuple):
    """Pairs of objects that share pixels: places ``t`` and ``p`` among those of ``areas``."""

    t: Ints
    p: Ints
    shared: Ints
    iou: NDArray[np.float64]
    t_areas: Ints
    p_areas: Ints


def _overlaps(truth: ArrayLike, predicted: ArrayLike) -> _Overlaps:
    t, p = _maps(truth, predicted)
    t_names, t_index, t_area = np.unique(t, return_inverse=True, return_counts=True)
    p_names, p_index, p_area = np.unique(p, return_inverse=True, return_counts=True)
    codes, shared = np.unique(t_index.ravel() * p_names.size + p_index.ravel(), return_counts=True)
    ti, pi = codes // p_names.size, codes % p_names.size
    objects = (t_names[ti] != 0) & (p_names[pi] != 0)
    ti, pi, shared = ti[objects], pi[objects], shared[objects]
    iou = shared / (t_area[ti] + p_area[pi] - shared)
    t_area[t_names == 0] = 0
    p_area[p_names == 0] = 0
    return _Overlaps(ti, pi, shared, iou, t_area, p_area)


def _jaccard(o: _Overlaps, pairs: Ints) -> JaccardCounts:
    """Sum the pairs, and the objects in none."""
    ti, pi, shared = o.t[pairs], o.p[pairs], o.shared[pairs]
    alone = o.t_areas.sum() - o.t_areas[np.unique(ti)].sum()
    alone += o.p_areas.sum() - o.p_areas[np.unique(pi)].sum()
    union = (o.t_areas[ti] + o.p_areas[pi] - shared).sum()
    return JaccardCounts(
        intersection=int(shared.sum()),
        union=int(union + alone),
        true_objects=int(np.count_nonzero(o.t_areas)),
        predicted_objects=int(np.count_nonzero(o.p_areas)),
    )


def panoptic_quality(truth: ArrayLike, predicted: ArrayLike) -> PanopticQuality:
    """Match objects above an IoU of 0.5 and take detection times segmentation quality.

    Parameters
    ----------
    truth, predicted
        (height, width) label images, 0 is background, every other value one object.

    Raises
    ------
    InputError
        When the shapes differ or labels are no whole numbers.

    Examples
    --------
    >>> print(panoptic_quality([[1, 1, 0, 2]], [[7, 7, 7, 0]]))
    PQ 0.444 = SQ 0.667 x DQ 0.667; TP 1, FP 0, FN 1
    """
    return PanopticQuality(match_instances(truth, predicted, iou=ABOVE_HALF))


def _maps(truth: ArrayLike, predicted: ArrayLike) -> tuple[Ints, Ints]:
    t, p = np.asarray(truth), np.asarray(predicted)
    for what, image in (("truth", t), ("prediction", p)):
        if image.ndim != 2 or image.dtype.kind not in "bui":
            raise InputError(
                f"the {what} is an array of {image.dtype} with the shape {image.shape}",
                hint="give a (height, width) map of whole numbers",
            )
    if t.shape != p.shape:
        raise InputError(
            f"truth is {t.shape} and prediction {p.shape} pixels",
            hint="compare maps of the same field at the same resolution",
        )
    return t.astype(np.int64), p.astype(np.int64)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
