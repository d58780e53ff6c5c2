"""A guideline applied to percentages or counts: a file, standard input, or a whole result."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from herscope.guidelines.her2_reading import Her2Floors
    from herscope.guidelines.rule import GuidelineReading

RULE_MARKERS: Final = (
    "her2-breast",
    "her2-gastric-resection",
    "her2-gastric-biopsy",
    "her2-colorectal",
    "er",
    "pr",
    "ki67",
    "pdl1",
    "allred",
    "ish",
)
_HINT: Final = "see docs/howto/rule.md for the keys of each marker"


def rule(marker: str, document: Mapping[str, Any], **stated: Any) -> dict[str, Any]:
    """Apply the guideline of a marker.

    Parameters
    ----------
    marker
        One of ``RULE_MARKERS``.
    document
        The marker's numbers under their names (``docs/howto/rule.md``), or a whole ``result.json``.
    stated
        More keys, such as ``ish="negative"``, put beside or over those of the document; those that
        are None are left out.

    Returns
    -------
    dict
        For HER2 the ``her2`` block of a result, for others a block of the same form.

    Raises
    ------
    UnknownModel
        No guideline has this name.
    InputError
        A key is missing or unknown, or its value cannot be used.

    Examples
    --------
    >>> block = rule("er", {"counts": [900, 60, 30, 10]})
    >>> block["category"], block["rule"]
    ('low positive', 'er-2020-low-positive')
    """
    from herscope.guidelines.membrane_percent import check_mapping

    read = _reader(marker)
    given = dict(check_mapping(document, "the input", _HINT))
    if "compartments" in given or "schema" in given:
        given = _of_result(marker, given)
    return read(marker, given | {key: value for key, value in stated.items() if value is not None})


def read_rule_input(text: str, where: str) -> Mapping[str, Any]:
    """Read one JSON object; :class:`SchemaError` says where it is broken.

    Examples
    --------
    >>> read_rule_input('{"counts": [1, 2, 3, 4]}', "standard input")
    {'counts': [1, 2, 3, 4]}
    """
    from herscope.core.errors import SchemaError
    from herscope.guidelines.membrane_percent import check_mapping

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(pairs)
        if len(table) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise SchemaError(f"{where} gives {twice!r} twice", hint="keep one of them")
        return table

    try:
        found = json.loads(text, object_pairs_hook=once)
    except json.JSONDecodeError as error:
        raise SchemaError(
            f"{where} is no JSON: {error.msg}, line {error.lineno} column {error.colno}", hint=_HINT
        ) from error
    except (RecursionError, ValueError) as error:
        if isinstance(error, SchemaError):
            raise
        raise SchemaError(f"{where} is no JSON that can be read", hint=_HINT) from error
    return check_mapping(found, where, _HINT)


def rule_text(path: str | Path) -> str:
    """Return the text of a file; :class:`InputError` when it cannot be read."""
    from herscope.core.errors import InputError

    file = Path(path)
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is not a text file in UTF-8", hint=_HINT) from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(
            f"cannot read {file}: {reason}", hint="give a JSON file, or - for standard input"
        ) from error


def _reader(marker: str) -> Callable[[str, dict[str, Any]], dict[str, Any]]:
    import difflib

    from herscope.core.errors import UnknownModel

    if marker not in RULE_MARKERS:
        near = difflib.get_close_matches(marker, RULE_MARKERS, n=1)
        guess = f"did you mean {near[0]}? " if near else ""
        raise UnknownModel(
            f"no guideline is called {marker!r}", hint=f"{guess}known: {', '.join(RULE_MARKERS)}"
        )
    readers: dict[str, Callable[[str, dict[str, Any]], dict[str, Any]]] = {
        "her2-breast": _breast,
        "her2-gastric-resection": _resection,
        "her2-gastric-biopsy": _biopsy,
        "her2-colorectal": _colorectal,
        "pdl1": _pdl1,
        "ish": _ish,
    }
    return readers.get(marker, _grades)


def _of_result(marker: str, document: Mapping[str, Any]) -> dict[str, Any]:
    """Take from a whole result what the marker's guideline reads."""
    from herscope.core.errors import InputError, NotComputed, SchemaError
    from herscope.guidelines.membrane_percent import BASOLATERAL, CLASSES

    parts = document.get("compartments")
    part = (parts.get("tumor") or parts.get("all")) if isinstance(parts, Mapping) else None
    if marker == "ish":
        raise InputError(f"a result.json holds nothing that {marker} reads", hint=_HINT)
    if not isinstance(part, Mapping) or not isinstance(part.get("counts"), list):
        raise SchemaError(
            "the result holds no cell counts of a tumor or all compartment",
            hint="give a result.json that herscope score wrote",
        )
    if marker == "pdl1":
        return _tumor_cells(document)
    if not marker.startswith("her2-"):
        return {"counts": part["counts"]}
    membrane = document.get("membrane")
    if not isinstance(membrane, Mapping):
        raise NotComputed(
            "the result holds no membrane percentages",
            hint="give the percentages themselves; see docs/howto/rule.md",
        )
    if marker == "her2-gastric-biopsy":
        return {"largest_cluster": _clusters(membrane)}
    counts = membrane.get("counts")
    if not isinstance(counts, Mapping):
        known = [f"{name}_percent" for name in (*CLASSES, *BASOLATERAL)]
        found = {key: membrane[key] for key in known if membrane.get(key) is not None}
        cells = part.get("cells")
        return found if cells is None else found | {"cells": cells}
    # Counts are exact where a rounded percentage may lie on the wrong side of a cut-off.
    her2 = document.get("her2")
    floors = her2.get("floors") if isinstance(her2, Mapping) else None
    read = {"counts": dict(counts), "floors": floors or {}}
    if marker == "her2-breast":
        read["largest_intense_cluster"] = membrane.get("largest_intense_cluster")
    return read


def _clusters(membrane: Mapping[str, Any]) -> dict[str, Any]:
    from herscope.core.errors import NotComputed
    from herscope.guidelines.her2_gastric import CLUSTERS

    largest = membrane.get("largest_clusters")
    if not isinstance(largest, Mapping) or not all(name in largest for name in CLUSTERS):
        raise NotComputed(
            "the result holds no largest clusters of stained cells",
            hint="score the slide with --marker her2-gastric-biopsy",
        )
    return {name: largest[name] for name in CLUSTERS}


def _tumor_cells(document: Mapping[str, Any]) -> dict[str, Any]:
    from herscope.core.errors import NotComputed
    from herscope.guidelines.rule import GradeCounts

    tumor = document["compartments"].get("tumor")
    if not tumor:
        raise NotComputed(
            "the result has no tumor compartment, and TPS counts tumour cells only",
            hint="score the slide with --compartments annotations.geojson",
        )
    counts = GradeCounts.checked(tumor["counts"])
    return {"tumor_cells": counts.total, "positive_tumor_cells": counts.positive}


def _breast(marker: str, given: dict[str, Any]) -> dict[str, Any]:
    from herscope.guidelines.her2_breast import her2_breast
    from herscope.guidelines.membrane_percent import whole

    del marker
    options: dict[str, Any] = {key: given.pop(key) for key in ("controls", "ish") if key in given}
    cluster = given.pop("largest_intense_cluster", None)
    if cluster is not None:
        options["largest_intense_cluster"] = whole("largest_intense_cluster", cluster)
    floors = _floors(given)
    return her2_breast(_membrane(given), floors=floors, **options).as_block()


def _resection(marker: str, given: dict[str, Any]) -> dict[str, Any]:
    from herscope.guidelines.her2_gastric import her2_gastric_resection

    del marker
    controls, floors = given.pop("controls", "unknown"), _floors(given)
    return her2_gastric_resection(_membrane(given), controls=controls, floors=floors).as_block()


def _colorectal(marker: str, given: dict[str, Any]) -> dict[str, Any]:
    from herscope.guidelines.her2_colorectal import her2_colorectal

    del marker
    controls, floors = given.pop("controls", "unknown"), _floors(given)
    return her2_colorectal(_membrane(given), controls=controls, floors=floors).as_block()


def _biopsy(marker: str, given: dict[str, Any]) -> dict[str, Any]:
    from herscope.guidelines.her2_gastric import CLUSTERS, her2_gastric_biopsy

    del marker
    controls = given.pop("controls", "unknown")
    clusters = _table(given, ("largest_cluster",), ())["largest_cluster"]
    cells = _table(clusters, CLUSTERS, (), "largest_cluster")
    return her2_gastric_biopsy(**cells, controls=controls).as_block()


def _pdl1(marker: str, given: dict[str, Any]) -> dict[str, Any]:
    from herscope.guidelines.pdl1 import cps, tps

    del marker
    counts = _table(given, ("tumor_cells", "positive_tumor_cells"), ("positive_immune_cells",))
    return (cps(**counts) if "positive_immune_cells" in counts else tps(**counts)).as_block()


def _ish(marker: str, given: dict[str, Any]) -> dict[str, Any]:
    from herscope.guidelines.ish import her2_ish

    del marker
    case = _table(given, ("ratio", "copies", "ihc", "cells_counted"), ("recounted",))
    again = case.pop("recounted", None)
    if again is not None:
        names = ("ratio", "copies", "cells")
        table = _table(again, names, (), "recounted")
        case["recounted"] = tuple(table[name] for name in names)
    return her2_ish(**case).as_block()


def _table(
    given: Any, needed: tuple[str, ...], optional: tuple[str, ...], where: str = "the input"
) -> dict[str, Any]:
    """Check names; a table beside the others is named by ``where``."""
    from herscope.core.errors import InputError
    from herscope.guidelines.membrane_percent import check_mapping, refuse_unknown

    table = dict(check_mapping(given, where, _HINT))
    refuse_unknown(table, dict.fromkeys((*needed, *optional), ""))
    for name in needed:
        if name not in table:
            inside = "" if where == "the input" else f" in {where}"
            raise InputError(f"{name} is missing{inside}", hint=f"give {', '.join(needed)}")
    return table


def _floors(given: dict[str, Any]) -> Her2Floors:
    from herscope.core.study import with_values
    from herscope.guidelines.her2_reading import Her2Floors
    from herscope.guidelines.membrane_percent import check_mapping

    floors = check_mapping(given.pop("floors", {}), "floors", _HINT)
    return with_values(Her2Floors(), dict(floors), where="floors")


def _membrane(given: dict[str, Any]) -> Any:
    """Make exact percentages from ``counts`` or from percentages beside each other."""
    from herscope.guidelines.membrane_percent import MembranePercent, check_mapping, refuse_unknown

    if "counts" in given:
        counts = check_mapping(given.pop("counts"), "counts", _HINT)
        refuse_unknown(given, dict.fromkeys(("counts", "controls", "ish", "floors"), ""))
        return MembranePercent.of_counts(counts)
    cells = given.pop("cells", None)
    return MembranePercent.of_percent(given, cells=cells)


def _grades(marker: str, given: dict[str, Any]) -> dict[str, Any]:
    """ER, PR, Ki-67 and Allred: four counts of cells by grade."""
    from herscope.core.errors import InputError
    from herscope.guidelines.allred import allred
    from herscope.guidelines.hormone_receptor import er_reading, pr_reading
    from herscope.guidelines.ki67 import ki67_reading
    from herscope.guidelines.membrane_percent import refuse_unknown

    hormone = {"er": er_reading, "pr": pr_reading}.get(marker)
    known = {"counts": "", "internal_control": ""} if hormone else {"counts": ""}
    refuse_unknown(given, known)
    counts = given.get("counts")
    if not isinstance(counts, list):
        what = "counts is missing" if counts is None else f"counts is {counts!r}, not a list"
        raise InputError(what, hint='give "counts": [cells of grade 0, 1+, 2+, 3+]')
    if marker == "allred":
        score = allred(counts)
        return {
            "marker": marker,
            "score": score.total,
            "status": score.status,
            "proportion": score.proportion,
            "intensity": score.intensity,
            "rule": score.rule.id,
            "rule_text": score.rule.text,
            "guideline": f"{score.rule.guideline} {score.rule.year}",
            "source": score.rule.source,
            "comment": "",
            "inputs": given,
        }
    if hormone:
        control = given.get("internal_control", "unknown")
        return _block(marker, hormone(counts, internal_control=control), given)
    return _block(marker, ki67_reading(counts), given)


def _block(marker: str, reading: GuidelineReading, given: dict[str, Any]) -> dict[str, Any]:
    return {
        "marker": marker,
        "category": reading.category,
        "percent": reading.percent,
        "cells": reading.cells,
        "intensity": reading.intensity,
        "rule": reading.rule.id,
        "rule_text": reading.rule.text,
        "guideline": f"{reading.rule.guideline} {reading.rule.year}",
        "source": reading.rule.source,
        "comment": reading.comment,
        "inputs": given,
    }
