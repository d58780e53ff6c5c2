"""What a model's own test says of patients like this one: of like predictions, of like gaps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from herscope.core.store import read_json

if TYPE_CHECKING:
    from herscope.respond.evaluation.predictions import PatientPrediction
    from herscope.respond.training.ensemble import ResponseModel

FEWEST_ALIKE: Final = 20
SHARE_ALIKE: Final = 5
"""A fifth of the tested patients, the nearest by prediction, and at least 20 of them."""


def availability_of(model: ResponseModel) -> list[dict[str, Any]]:
    """Return what missing parts cost in the model's own test; empty where that is not told."""
    file = model.folder / "result.json"
    found = read_json(file) if file.is_file() else {}
    rows: list[dict[str, Any]] = found.get("availability", [])
    return rows


def tested_by(model: ResponseModel) -> tuple[PatientPrediction, ...]:
    """Return the model's own predictions of labelled patients; none where it has no such file."""
    from herscope.respond.evaluation.predictions import CSV_NAME, read_predictions

    file = model.folder / CSV_NAME
    found = read_predictions(file) if file.is_file() else ()
    return tuple(row for row in found if row.label >= 0)


def observed(tested: Sequence[PatientPrediction], row: PatientPrediction) -> dict[str, Any] | None:
    """Return how many tested patients with the nearest predictions responded; None of too few.

    They are those of whom the same modalities were known: a figure made with slides does not hold
    for somebody without. A patient of the training is not counted among those like them: that would
    tell the label.
    """
    from herscope.stats.classification.confusion import proportion

    own = modalities(row.parts)
    rows = [one for one in tested if one.patient != row.patient and modalities(one.parts) == own]
    if len(rows) < FEWEST_ALIKE:
        return None
    near = sorted(rows, key=lambda one: (abs(one.probability - row.probability), one.patient))
    near = near[: max(FEWEST_ALIKE, len(rows) // SHARE_ALIKE)]
    count = sum(one.label == 1 for one in near)
    rate = proportion(count, len(near), "response rate")
    return {
        "responders": count,
        "patients": len(near),
        "rate": rate.value,
        "low": rate.low,
        "high": rate.high,
        "from": min(one.probability for one in near),
        "to": max(one.probability for one in near),
    }


def modalities(parts: Sequence[str]) -> frozenset[str]:
    """Return which of pathology, radiology and patient data are known.

    Examples
    --------
    >>> sorted(modalities(["patient", "radiology-report", "radiology-images"]))
    ['patient', 'radiology']
    """
    return frozenset(part.partition("-")[0] for part in parts)


def alike_words(found: dict[str, Any] | None) -> list[str]:
    """Return a sentence on patients alike; none where there were too few."""
    if found is None:
        return []
    near = f"{found['from']:.2f} to {found['to']:.2f}"
    rate = f"{found['rate']:.0%} ({found['low']:.0%} to {found['high']:.0%})"
    said = (
        f"Of the {found['patients']} patients of the training cohort of whom the same modalities "
        f"were known, with the nearest out-of-fold predictions ({near}), {found['responders']} "
        f"responded: {rate}."
    )
    return [said]
