"""What moved the model for one patient, as it is written to ``explanation.json``.

The document (``herscope.explanation/1``); every number that has ``low`` and ``high`` is a mean over
members with their 5th and 95th percentile, null with one member. *logit* is always of response:

==================  =============================================================================
key                 what
==================  =============================================================================
schema              ``herscope.explanation/1``
patient, label      name; 1 response, 0 none, null not known
members             how many networks were asked
probability,        of response, 0 to 1
low, high
cut, group          cut-off on the probability and ``low risk`` (at or above it) or ``high risk``;
                    both null without one
parts, missing      of PARTS: known; the model could take it, and it is not known
logit, base         {value, low, high} with all that is known; with nothing
statement           plain sentences
contributions       [{part, logit, low, high}], Shapley; sum to logit - base
tokens              {set: [{token, value, attention, occlusion, low, high}]}; value null: missing.
                    low and high are of the occlusion
bags                [{number, slide, x_px, y_px, bag_px, weight, left_out, low, high}], heaviest
                    first; left_out null where not measured. Without places: number and figures.
                    A program may add ``picture``, a data URI
lesions             [{number, name, kind, source, key_slice, weight, left_out, low, high,
                    cam_peak}]; ``picture`` and ``cam_picture``, data URIs, may be added
dependence          {tokens: [...], parts: [...]} of the cohort, or null
availability        rows of the cohort's result: [{parts, without, patients, auc}]
notes               sentences
==================  =============================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from herscope.respond.explaining.spread import Spread

SCHEMA: Final = "herscope.explanation/1"
Rows = tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class PartContribution:
    """What a part moved the logit of response by."""

    part: str
    logit: Spread

    def document(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {
            "part": self.part,
            "logit": self.logit.value,
            "low": self.logit.low,
            "high": self.logit.high,
        }


@dataclass(frozen=True, slots=True)
class TokenEffect:
    """What a token says, how much it was looked at, and what it moved.

    ``value`` is None where the token is missing; ``attention`` is the mean over members.
    """

    token: str
    value: str | None
    attention: float | None
    occlusion: Spread | None

    def document(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        moved = self.occlusion
        return {
            "token": self.token,
            "value": self.value,
            "attention": self.attention,
            "occlusion": moved and moved.value,
            "low": moved and moved.low,
            "high": moved and moved.high,
        }


@dataclass(frozen=True, slots=True)
class InstanceEffect:
    """A bag or a lesion: where it is, its mean weight, and what leaving it out moved."""

    number: int
    place: Mapping[str, Any]
    weight: float
    left_out: Spread | None
    cam_peak: float | None = None

    def document(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        moved = self.left_out
        told = {
            "number": self.number,
            **self.place,
            "weight": self.weight,
            "left_out": moved and moved.value,
            "low": moved and moved.low,
            "high": moved and moved.high,
        }
        return told if self.cam_peak is None else {**told, "cam_peak": self.cam_peak}


@dataclass(frozen=True, eq=False)
class Explanation:
    """See the module for the fields.

    Attributes
    ----------
    cams
        Modality to (instances, h, w) Grad-CAM; not written.
    cam_scale
        Modality to the full colour: the strongest place of the maps of either class, 1 logit at
        least. So a lesion that hardly speaks for a class stays pale; not written.
    """

    patient: str
    members: int
    probability: Spread
    cut: float | None
    group: str | None
    label: int | None
    parts: tuple[str, ...]
    missing: tuple[str, ...]
    logit: Spread
    base: Spread
    statement: tuple[str, ...]
    contributions: tuple[PartContribution, ...]
    tokens: Mapping[str, tuple[TokenEffect, ...]]
    bags: tuple[InstanceEffect, ...]
    lesions: tuple[InstanceEffect, ...]
    availability: Rows = ()
    notes: tuple[str, ...] = ()
    cams: Mapping[str, NDArray[np.float32]] = field(default_factory=dict, repr=False)
    cam_scale: Mapping[str, float] = field(default_factory=dict)

    def document(self, *, dependence: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the JSON-ready document.

        Parameters
        ----------
        dependence
            ``{"tokens": [...], "parts": [...]}``, of the cohort; each patient's page marks its own.
        """
        return {
            "schema": SCHEMA,
            "patient": self.patient,
            "label": self.label,
            "members": self.members,
            "probability": self.probability.value,
            "low": self.probability.low,
            "high": self.probability.high,
            "cut": self.cut,
            "group": self.group,
            "parts": list(self.parts),
            "missing": list(self.missing),
            "logit": self.logit.document(),
            "base": self.base.document(),
            "statement": list(self.statement),
            "contributions": [one.document() for one in self.contributions],
            "tokens": {name: [one.document() for one in of] for name, of in self.tokens.items()},
            "bags": [one.document() for one in self.bags],
            "lesions": [one.document() for one in self.lesions],
            "dependence": None if dependence is None else dict(dependence),
            "availability": [dict(row) for row in self.availability],
            "notes": list(self.notes),
        }
