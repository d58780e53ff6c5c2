"""Everything that moved an ensemble for one patient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import InputError, SchemaError
from herscope.respond.explaining.altered import tokens_of
from herscope.respond.explaining.contributions import check_members, part_contributions
from herscope.respond.explaining.explanation import (
    Explanation,
    InstanceEffect,
    PartContribution,
    Rows,
    TokenEffect,
)
from herscope.respond.explaining.forward import pictures_read_once, probability
from herscope.respond.explaining.grad_cam import Towards, mean_grad_cam
from herscope.respond.explaining.instances import (
    MOST_LEFT_OUT,
    InstanceEffects,
    instance_effects,
)
from herscope.respond.explaining.occlusion import TokenEffects, token_effects
from herscope.respond.explaining.places import Place
from herscope.respond.explaining.spread import Spread, spread
from herscope.respond.explaining.statement import statement
from herscope.respond.explaining.words import TokenWords, checked_words, value_words
from herscope.respond.fusion.network import FusionNetwork
from herscope.respond.fusion.patients import PARTS, Layout, Patient

LOW_RISK, HIGH_RISK = "low risk", "high risk"
FAINTEST_SCALE: Final = 1.0
"""In logit: full colour is never less, or a map of slopes near nought would look like a find."""


@dataclass(frozen=True, slots=True)
class Beside:
    """What is told of a patient beside the numbers; all of it optional.

    Attributes
    ----------
    cut
        Cut-off on the probability of response; at or above it is low risk.
    label
        1 response, 0 none.
    words
        Set of tokens (``pathology-report``, ``radiology-report``, ``patient``) to their words.
    places
        Modality to the place of each of its instances, in their order.
    availability
        Rows of the fit's result.
    notes
        Sentences for the page.
    able
        Parts the model was trained with; what its layout could take when None.
    """

    cut: float | None = None
    label: int | None = None
    words: Mapping[str, Sequence[TokenWords]] = field(default_factory=dict)
    places: Mapping[str, Sequence[Place]] = field(default_factory=dict)
    availability: Rows = ()
    notes: tuple[str, ...] = ()
    able: tuple[str, ...] | None = None


def explain_patient(
    networks: Sequence[FusionNetwork],
    patients: Sequence[Patient],
    beside: Beside | None = None,
    *,
    most_left_out: int = MOST_LEFT_OUT,
    towards: Towards = "no response",
) -> Explanation:
    """Measure contributions, tokens, instances and pictures, and average over the members.

    Parameters
    ----------
    networks
        Members; of a patient of the training, those that have not seen it.
    patients
        The same patient for each member, as scaled for it.
    beside
        What the numbers are called.
    most_left_out
        Instances that are left out in turn, of each modality.
    towards
        Class of the Grad-CAM; ``predicted`` is what the members together say.

    Raises
    ------
    InputError
        Not one patient for each member.
    SchemaError
        Words of other tokens, or places of other instances.
    """
    check_members(networks, patients)
    told = beside or Beside()
    patient = patients[0]
    _check_places(patient, told)
    with pictures_read_once(networks):
        found = part_contributions(networks, patients)
        tokens = token_effects(networks, patients)
        instances = instance_effects(networks, patients, most_left_out=most_left_out)
    answered = spread(probability(found.logit))
    contributions = tuple(
        PartContribution(part, spread(found.values[:, at])) for at, part in enumerate(found.parts)
    )
    able = layout_parts(networks[0].layout) if told.able is None else told.able
    missing = tuple(part for part in able if part not in found.parts)
    group = None
    if told.cut is not None:
        group = LOW_RISK if answered.value >= told.cut else HIGH_RISK
    said = statement(
        answered, len(networks), group=group, cut=told.cut, parts=found.parts, missing=missing,
        contributions=contributions, availability=told.availability,
    )  # fmt: skip
    both = _cams(networks, patients)
    wanted = towards
    if towards == "predicted":
        wanted = "response" if answered.value >= 0.5 else "no response"
    cams = {name: maps[wanted] for name, maps in both.items()}
    seen = {one.modality: _instances(one, told, cams.get(one.modality)) for one in instances}
    return Explanation(
        patient=patient.name,
        members=len(networks),
        probability=answered,
        cut=told.cut,
        group=group,
        label=told.label,
        parts=found.parts,
        missing=missing,
        logit=spread(found.logit),
        base=spread(found.base),
        statement=said,
        contributions=contributions,
        tokens={one.token_set: _tokens(one, patient, told) for one in tokens},
        bags=seen.get("pathology", ()),
        lesions=seen.get("radiology", ()),
        availability=tuple(told.availability),
        notes=tuple(told.notes),
        cams=cams,
        cam_scale={
            name: max(FAINTEST_SCALE, *(float(one.max()) for one in maps.values()))
            for name, maps in both.items()
        },
    )


def _cams(
    networks: Sequence[FusionNetwork], patients: Sequence[Patient]
) -> dict[str, dict[str, NDArray[np.float32]]]:
    """Modality to class to maps."""
    classes: tuple[Towards, ...] = ("no response", "response")
    return {
        name: {one: mean_grad_cam(networks, patients, name, one) for one in classes}
        for name, branch in patients[0].branches.items()
        if branch.picture
    }


def layout_parts(layout: Layout) -> tuple[str, ...]:
    """Return which of PARTS a model can take.

    Examples
    --------
    >>> layout_parts(Layout({}, (2, 3)))
    ('patient',)
    """
    able = {"patient"} if layout.tokens else set()
    for name, branch in layout.branches.items():
        there = {
            "images": bool(branch.features or branch.picture),
            "radiomics": bool(branch.omics),
            "report": bool(branch.report),
        }
        able |= {f"{name}-{what}" for what, known in there.items() if known}
    return tuple(part for part in PARTS if part in able)


def _check_places(patient: Patient, told: Beside) -> None:
    if told.cut is not None and not 0 <= told.cut <= 1:
        raise InputError(f"cut-off {told.cut} on a probability", hint="0 to 1")
    for name, places in told.places.items():
        branch = patient.branches.get(name)
        count = 0 if branch is None or branch.instances is None else len(branch.instances)
        if len(places) != count:
            raise SchemaError(
                f"patient {patient.name}: {len(places)} places for {count} instances of {name}",
                hint="give one for each, in their order",
            )


def _tokens(effects: TokenEffects, patient: Patient, told: Beside) -> tuple[TokenEffect, ...]:
    row = tokens_of(patient, effects.token_set)
    assert row is not None
    words = checked_words(told.words.get(effects.token_set), row.sizes, effects.token_set)
    ends = np.cumsum((0, *row.sizes)).tolist()
    mean = None if effects.attention is None else effects.attention.mean(axis=0)
    found = []
    for at, word in enumerate(words):
        there = bool(effects.present[at])
        values = row.values[ends[at] : ends[at + 1]]
        found.append(
            TokenEffect(
                word.title,
                value_words(values, word.levels) if there else None,
                float(mean[at]) if there and mean is not None else None,
                spread(effects.occlusion[:, at]) if there else None,
            )
        )
    return tuple(found)


def _instances(
    effects: InstanceEffects, told: Beside, cams: NDArray[np.float32] | None
) -> tuple[InstanceEffect, ...]:
    """Bags by weight, the heaviest first; lesions in their order."""
    weights = effects.weights.mean(axis=0)
    places = told.places.get(effects.modality)
    found = [
        InstanceEffect(
            number=at,
            place={} if places is None else asdict(places[at]),
            weight=float(weights[at]),
            left_out=_spread_or_none(effects.left_out[:, at]),
            cam_peak=None if cams is None else float(cams[at].max()),
        )
        for at in range(len(weights))
    ]
    if effects.modality == "pathology":
        found.sort(key=lambda one: -one.weight)
    return tuple(found)


def _spread_or_none(members: NDArray[np.float64]) -> Spread | None:
    return spread(members) if np.isfinite(members).all() else None


def dependence_document(tokens: Sequence[Any], parts: Sequence[Any]) -> dict[str, Any]:
    """Join what :mod:`dependence` found for ``Explanation.document``."""
    return {
        "tokens": [one.document() for one in tokens],
        "parts": [one.document() for one in parts],
    }
