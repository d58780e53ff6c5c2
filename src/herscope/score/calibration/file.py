"""The study file of a calibration: what ``herscope score --study`` loads, and where it comes from.

The file repeats every parameter of the calibrated run that is not the default (stain vectors,
resolution, marker), for cut-offs hold only with these, and then the fitted tables. Provenance
stands in comments, for a study has no keys for it. No date: the same input gives the same file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from herscope.core.errors import InputError
from herscope.core.spec import Spec, flat_fields
from herscope.score.calibration.fit import Calibration
from herscope.score.calibration.mapping import FittedMapping
from herscope.score.her2.mapping import Her2MappingSpec
from herscope.stats.estimate import spoken

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def calibration_study(
    spec: Spec,
    calibration: Calibration,
    document: Mapping[str, Any],
    table: FittedMapping | None,
) -> str:
    """Write the study file of a calibration.

    Parameters
    ----------
    spec
        Parameters of the run that was calibrated.
    calibration, table
        What was fitted.
    document
        The command's document, for the provenance.
    """
    told = {
        key: "undefined" if value is None else spoken(value, None, None)
        for key, value in document["figures"].items()
    }
    fitted = calibration.fitted
    source = (
        f"{document['n_slides']} slides, {len(document['readers'])} reader(s), "
        f"{document['readers_file']} sha256 {document['readers_sha256'][:16]}"
    )
    names = ", ".join(document["readers"])
    figures = (
        f"{document['objective']}: present {told['present']}, fitted {told['apparent']}, "
        f"cross-validated {told['cross_validated']}, optimism {told['optimism']}"
    )
    spans = calibration.plateau.items()
    lines = [
        f"Calibrated by herscope {document['herscope']}: {source}",
        f"run {document['run']}, parameters {document['run_fingerprint']}",
        f"{document['what']}, consensus of {names}",
        figures,
        calibration.method,
        *(f"as good: {name} cut-off from {low:g} to {high:g}" for name, (low, high) in spans),
        *(f"warning: {warning}" for warning in calibration.warnings),
        f"verdict: {calibration.verdict}",
    ]
    changes: dict[str, Any] = {
        "marker": document["marker"],
        "grades.profile": document["profile"],
        "grades.cuts": list(fitted.cuts),
    }
    if document["what"] == "her2":
        changes["completeness.complete_share"] = fitted.complete_share
    if table is None:
        return study_text(spec, changes, lines)
    name = f"{document['profile']}-mapping"
    share = fitted.complete_share
    made = table.mapping.spec(name=name, source=source, cuts=fitted.cuts, complete_share=share)
    return study_text(spec, changes, lines, made)


def study_text(
    spec: Spec,
    fitted: Mapping[str, Any],
    provenance: Sequence[str],
    mapping: Her2MappingSpec | None = None,
) -> str:
    """Write the file.

    Parameters
    ----------
    spec
        Parameters of the run that was calibrated.
    fitted
        Dotted name to value: what the calibration says, over the run's.
    provenance
        Lines of the comment at the top.
    mapping
        Becomes the table ``[mapping]``; one the run had is left out, its cut-offs are others.
    """
    used, usual = (
        flat_fields(spec.model_dump(mode="json")),
        flat_fields(type(spec)().model_dump(mode="json")),
    )
    values = {
        name: value
        for name, value in used.items()
        if not name.startswith("mapping")
        and value is not None
        and _plain(value) != _plain(usual.get(name))
    }
    values |= dict(fitted)
    tables: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        table, _, key = name.rpartition(".")
        tables.setdefault(table, {})[key] = value
    lines = [f"# {' '.join(line.split())}".rstrip() for line in provenance]
    for table in sorted(tables):
        lines += ["", *([f"[{table}]"] if table else [])]
        lines += [f"{key} = {_toml(value)}" for key, value in sorted(tables[table].items())]
    if mapping is not None:
        lines += ["", *_mapping_lines(mapping)]
    return "\n".join(lines) + "\n"


def _mapping_lines(mapping: Her2MappingSpec) -> list[str]:
    lines = [
        "# HER2 from H-score and PCMS, beside the guideline's rule, never instead of it.",
        "# low <= value < high; the top of each scale is included. Only valid with these cut-offs.",
        "[mapping]",
    ]
    plain = mapping.model_dump(mode="json", exclude={"boxes"})
    lines += [f"{key} = {_toml(value)}" for key, value in plain.items()]
    for box in mapping.boxes:
        lines += ["", "[[mapping.boxes]]"]
        lines += [f"{key} = {_toml(value)}" for key, value in box.model_dump(mode="json").items()]
    return lines


def _plain(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        inner = (f"{_key(k)} = {_toml(v)}" for k, v in value.items() if v is not None)
        return "{ " + ", ".join(inner) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, (bool, int, float)):
        return json.dumps(value)
    raise InputError(f"a value of type {type(value).__name__} has no form in TOML")


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else json.dumps(name)
