"""The HER2 part of a slide's page: the score, the rule that fired, and the membranes behind it.

A membrane marker has two parts: what was measured (classes of cells, completeness, example cells
with their sectors) and, for HER2, what the guideline makes of it. The words here are about the
document alone; nothing is computed that the result does not hold. Treatment categories (HER2-low,
ultralow, null) stand in a box of their own and are never called a score.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from herscope.core.errors import SchemaError
from herscope.guidelines.her2_reading import ORDER, Her2Floors
from herscope.report import her2_charts
from herscope.report.folder import AGAIN, load_table, present
from herscope.report.her2_caveats import caveats
from herscope.report.her2_examples import EXAMPLE_CLASSES, EXAMPLE_COLUMNS
from herscope.report.palette import GRADE_COLORS, marker_words
from herscope.score.result import Ci95, Her2, Membrane, SlideResult

if TYPE_CHECKING:
    from herscope.measure.completeness import CompletenessSpec

Cuts = tuple[float, float, float]

CLASS_WORDS: Final = {
    "complete_intense": "Complete, intense",
    "complete_moderate": "Complete, moderate",
    "complete_weak": "Complete, weak",
    "incomplete_moderate": "Incomplete, moderate to intense",
    "incomplete_faint": "Incomplete, faint",
    "none": "No membrane staining",
}
SHEET_WORDS: Final = {"none": "None, no membrane staining"}
"""Where a label of one line is too long for the sheet of examples."""
U_SHAPED_WORDS: Final = {
    "basolateral_intense": "of them U-shaped, intense",
    "basolateral_moderate": "of them U-shaped, moderate",
    "basolateral_weak": "of them U-shaped, weak",
}
_FOLLOWS: Final = {
    "incomplete_moderate": ("basolateral_intense", "basolateral_moderate"),
    "incomplete_faint": ("basolateral_weak",),
}
_GRADE_OF: Final = {"intense": 3, "moderate": 2, "weak": 1, "faint": 1, "none": 0}
CLUSTER_WORDS: Final = {
    "complete_intense": "complete and intense",
    "intense": "intense; complete, basolateral or lateral",
    "moderate": "weak or stronger; complete, basolateral or lateral",
    "faint": "any membrane staining",
}
STATUS_WORDS: Final = {
    "positive": "positive",
    "equivocal": "equivocal: needs another test",
    "negative": "negative",
    "indeterminate": "indeterminate: no score",
}
_U_SHAPE_COUNTS: Final = ("her2-gastric-resection", "her2-gastric-biopsy", "her2-colorectal")
_CELL_COLUMNS: Final = ("compartment", "membrane_class", *(f"completeness_{k}" for k in (1, 2, 3)))


def membrane_context(
    folder: Path, result: SlideResult, cuts: Cuts | None, spec: CompletenessSpec | None
) -> dict[str, Any] | None:
    """Return what the template needs of a membrane marker; None when nothing was measured.

    Parameters
    ----------
    folder
        ``RUN/slides/<name>``.
    result
        Its document.
    cuts
        The cut-offs in DAB optical density, None when they are not recorded.
    spec
        The shares that completeness was judged by, None when they are not recorded.

    Raises
    ------
    NotComputed, SchemaError
        A file of the folder is missing or broken.
    """
    membrane = result.membrane
    if membrane is None:
        return None
    return {
        "document": membrane,
        "rows": class_rows(membrane, u_shaped=result.marker in _U_SHAPE_COUNTS),
        "clusters": [(CLUSTER_WORDS.get(k, k), n) for k, n in membrane.largest_clusters.items()],
        "pcms_ci95": _ends(membrane.ci95, "pcms"),
        "pcms_settings": _ends(membrane.ci95_settings, "pcms"),
        "completeness": _completeness(folder, membrane, cuts, spec),
        "examples": _examples(folder / "membrane_examples.parquet", membrane, cuts),
        "across": her2_charts.scale_words(),
        "marks": _marks(cuts),
        "spec": spec,
        "caveats": caveats(result, spec),
    }


def her2_context(her2: Her2 | None) -> dict[str, Any] | None:
    """Return what the template needs of a HER2 score; None without one."""
    if her2 is None:
        return None
    return {
        "document": her2,
        "guideline_of": marker_words(her2.marker),
        "status": STATUS_WORDS.get(her2.status, her2.status),
        "kind": her2.status if her2.status in STATUS_WORDS else "indeterminate",
        "bars": probability_bars(her2),
        "twice": read_twice(her2),
        "floors": floor_rows(her2.floors),
        "controls": str(her2.inputs.get("controls", "unknown")),
    }


def class_rows(membrane: Membrane, *, u_shaped: bool) -> list[dict[str, Any]]:
    """Return one row a class with its count, percentage and both intervals.

    Parameters
    ----------
    membrane
        The block.
    u_shaped
        Whether the guideline counts U-shaped membranes: their rows follow the class they are of.
    """
    rows = []
    for name in EXAMPLE_CLASSES:
        rows.append(_row(membrane, name, CLASS_WORDS[name], part=False))
        parts = _FOLLOWS.get(name, ()) if u_shaped else ()
        rows += [_row(membrane, part, U_SHAPED_WORDS[part], part=True) for part in parts]
    return rows


def probability_bars(her2: Her2) -> list[dict[str, Any]]:
    """Return one bar a score, from low to high; empty when no probability was computed.

    Examples
    --------
    >>> [bar["score"] for bar in probability_bars(Her2.model_construct(
    ...     score="2+", probability={"3+": 0.1, "2+": 0.9}))]
    ['2+', '3+']
    """
    found = her2.probability or {}
    order = [*ORDER, "indeterminate"]
    rank = {score: order.index(score) if score in order else len(order) for score in found}
    return [
        {"score": score, "percent": 100 * found[score], "chosen": score == her2.score,
         "said": percent_words(found[score])}
        for score in sorted(found, key=lambda score: (rank[score], score))
    ]  # fmt: skip


def percent_words(share: float) -> str:
    """Return a probability in whole per cent; neither 0 nor 100 unless it is.

    Examples
    --------
    >>> percent_words(0.004), percent_words(0.996), percent_words(0.0), percent_words(0.87)
    ('< 1 %', '> 99 %', '0 %', '87 %')
    """
    if 0 < share < 0.01:
        return "< 1 %"
    if 0.99 < share < 1:
        return "> 99 %"
    return f"{100 * share:.0f} %"


def read_twice(her2: Her2) -> str:
    """Return why the case should be read twice, or an empty text."""
    if not her2.borderline:
        return ""
    others = {k: v for k, v in (her2.probability or {}).items() if k != her2.score and v > 0}
    reasons = []
    if others:
        most = max(sorted(others), key=lambda score: others[score])
        reasons.append(f"{most} is possible too ({percent_words(others[most])} of the resamples)")
    if her2.distance_to_cutoff is not None:
        reasons.append(
            f"the nearest cut-off is {her2.distance_to_cutoff:.1f} percentage points away"
        )
    return "; ".join(reasons) or "the score is close to another one"


def floor_rows(floors: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return our limits as used, each with what it is for."""
    known = Her2Floors.model_fields
    return [
        (
            str(known[name].description) if name in known else name.replace("_", " "),
            f"{value:g}" + (" %" if name.endswith("_percent") else " cells"),
        )
        for name, value in floors.items()
        if isinstance(value, int | float)
    ]


def _row(membrane: Membrane, name: str, words: str, *, part: bool) -> dict[str, Any]:
    value = getattr(membrane, f"{name}_percent")
    kind, _, strength = name.rpartition("_")
    return {
        "name": name,
        "words": words,
        "part": part,
        "count": membrane.counts.get(name),
        "percent": value,
        "ci95": _ends(membrane.ci95, name),
        "settings": _ends(membrane.ci95_settings, name),
        "icon": {"complete": "ring", "incomplete": "arc", "basolateral": "u"}.get(kind, "none"),
        "color": GRADE_COLORS[_GRADE_OF[strength]],
    }


def _ends(intervals: Mapping[str, Ci95], name: str) -> Ci95 | None:
    return intervals.get(f"{name}_percent", intervals.get(name))


def _marks(cuts: Cuts | None) -> list[tuple[str, str]]:
    """SVG of each mark and its words."""
    if cuts is None:
        return [
            (her2_charts.mark(0, 6, 6, plain=True), "sector (its grade is not known)"),
            (her2_charts.mark(None, 6, 6), "not seen"),
        ]
    edges = [f"below {cuts[0]:g}", *(f"{cut:g} or more" for cut in cuts)]
    marks = [(her2_charts.mark(g, 6, 6), f"{g}{'+' if g else ''}: {edges[g]}") for g in range(4)]
    return [*marks, (her2_charts.mark(None, 6, 6), "not seen")]


def _completeness(
    folder: Path, membrane: Membrane, cuts: Cuts | None, spec: CompletenessSpec | None
) -> bytes | None:
    """Draw the completeness of the evaluable cells; None where the cells do not tell it."""
    cells = _cells(folder / "cells.parquet")
    if cells is None:
        return None
    names = np.asarray(cells["membrane_class"].to_pylist(), dtype=object)
    keep = np.isin(names, EXAMPLE_CLASSES)
    if membrane.compartment != "all":
        keep &= np.asarray(cells["compartment"].to_pylist(), dtype=object) == membrane.compartment
    shares = np.stack([np.asarray(cells[f"completeness_{k}"])[keep] for k in (1, 2, 3)], axis=1)
    keep_finite = np.isfinite(shares).all(axis=1)
    shares, names = shares[keep_finite], names[keep][keep_finite]
    if not len(names):
        return None
    marks = (None, None, None) if spec is None else (
        spec.complete_share, spec.intensity_share, spec.intensity_share)  # fmt: skip
    said = ("complete", "complete, moderate or intense", "complete and intense")
    counted = [int(np.isin(names, EXAMPLE_CLASSES[:n]).sum()) for n in (3, 2, 1)]
    return her2_charts.completeness_chart(
        shares.astype(np.float32),
        np.isin(names, EXAMPLE_CLASSES[:3]),
        cuts=cuts,
        thresholds=marks,
        notes=[
            f"{100 * n / len(names):.1f} % of cells {word}"
            for n, word in zip(counted, said, strict=True)
        ],
    )


def _cells(path: Path) -> Any:
    """Return the few columns that are drawn; None for cells measured without membranes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = present(path)
    try:
        if not set(_CELL_COLUMNS) <= set(pq.read_schema(path).names):
            return None
        return pq.read_table(path, columns=list(_CELL_COLUMNS))
    except (pa.ArrowException, OSError) as bad:
        raise SchemaError(
            f"{path} is not a readable Parquet file: {' '.join(str(bad).split())[:200]}",
            hint=AGAIN,
        ) from bad


def _examples(path: Path, membrane: Membrane, cuts: Cuts | None) -> bytes | None:
    if not path.is_file():
        return None
    rows = load_table(path, EXAMPLE_COLUMNS).to_pylist()
    if not rows:
        return None
    groups = []
    for name in EXAMPLE_CLASSES:
        count = membrane.counts.get(name, 0)
        cells = f"{count:,} cell{'' if count == 1 else 's'}" if count else "no cell"
        groups.append(
            (
                SHEET_WORDS.get(name, CLASS_WORDS[name]),
                cells,
                [row for row in rows if row["membrane_class"] == name],
            )
        )
    return her2_charts.ring_sheet(groups, cuts)
