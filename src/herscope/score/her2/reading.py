"""Cells by membrane class to a HER2 score: which guideline a marker is read by."""

from __future__ import annotations

from collections.abc import Mapping

from herscope.core.errors import UndefinedStatistic, UnknownModel
from herscope.guidelines.her2_breast import her2_breast
from herscope.guidelines.her2_colorectal import her2_colorectal
from herscope.guidelines.her2_gastric import her2_gastric_biopsy, her2_gastric_resection
from herscope.guidelines.her2_reading import Her2Floors, Her2Reading
from herscope.guidelines.membrane_percent import MembranePercent


def read_her2(
    marker: str,
    counts: Mapping[str, int],
    clusters: Mapping[str, int],
    floors: Her2Floors,
) -> Her2Reading | None:
    """Apply the guideline of a HER2 marker; None when there is no evaluable cell.

    Parameters
    ----------
    marker
        ``her2-breast``, ``her2-gastric-resection``, ``her2-gastric-biopsy`` or ``her2-colorectal``.
    counts
        From :func:`herscope.measure.completeness.class_counts`.
    clusters
        From :func:`herscope.score.her2.clusters.largest_clusters`.
    floors
        Our limits.

    Examples
    --------
    >>> from herscope.guidelines.membrane_percent import CLASSES
    >>> counts = dict.fromkeys(CLASSES, 0) | {"complete_intense": 90, "none": 110}
    >>> read_her2("her2-breast", counts, {"complete_intense": 40}, Her2Floors()).score
    '3+'
    """
    if marker == "her2-gastric-biopsy":
        if not sum(counts.values()):
            return None
        return her2_gastric_biopsy(
            intense=clusters["intense"], moderate=clusters["moderate"], faint=clusters["faint"]
        )
    try:
        membrane = MembranePercent.of_counts(counts)
    except UndefinedStatistic:
        return None
    if marker == "her2-breast":
        return her2_breast(
            membrane, largest_intense_cluster=clusters["complete_intense"], floors=floors
        )
    if marker == "her2-gastric-resection":
        return her2_gastric_resection(membrane, floors=floors)
    if marker == "her2-colorectal":
        return her2_colorectal(membrane, floors=floors)
    raise UnknownModel(f"no HER2 guideline reads {marker!r}", hint="such as her2-breast")
