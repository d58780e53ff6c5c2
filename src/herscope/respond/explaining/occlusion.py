"""What each report or patient token moved the answer by, and how much was looked at it.

*Occlusion* (Zeiler and Fergus, ECCV 2014, there of picture patches): the logit of response as it is
minus the logit when this token alone is missing. *Attention*: the network's own weight of the token
among those of its set that are there; they sum to one. Attention is not explanation (Jain and
Wallace, NAACL 2019): a token can be looked at without moving anything. Both are given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from herscope.respond.explaining.altered import TOKEN_SETS, tokens_of, without_token
from herscope.respond.explaining.contributions import check_members
from herscope.respond.explaining.forward import looked_at, response_logits
from herscope.respond.fusion.network import FusionNetwork
from herscope.respond.fusion.patients import Patient

Rows = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TokenEffects:
    """Effects of one set of tokens.

    Attributes
    ----------
    token_set
        ``pathology-report``, ``radiology-report`` or ``patient``.
    present
        (tokens,) which are there.
    occlusion
        (members, tokens) logit of response, NaN where a token is missing.
    attention
        (members, tokens), zero where missing; None where the network has none of this set.
    """

    token_set: str
    present: NDArray[np.bool_]
    occlusion: Rows
    attention: Rows | None


def token_effects(
    networks: Sequence[FusionNetwork], patients: Sequence[Patient]
) -> list[TokenEffects]:
    """Measure every token that is there; sets of which nothing is there are left out.

    Parameters
    ----------
    networks, patients
        Members, and the same patient as scaled for each.

    Raises
    ------
    InputError
        Not one patient for each member.
    """
    check_members(networks, patients)
    sets = [name for name in TOKEN_SETS if name in patients[0].parts]
    pairs = list(zip(networks, patients, strict=True))
    seen = [looked_at(network, patient).weights for network, patient in pairs]
    found = []
    for name in sets:
        row = tokens_of(patients[0], name)
        assert row is not None
        at = np.flatnonzero(row.present).tolist()
        effects = np.full((len(pairs), len(row.sizes)), np.nan)
        for member, (network, patient) in enumerate(pairs):
            cases = [patient, *(without_token(patient, name, number) for number in at)]
            logits = response_logits(network, cases)
            effects[member, at] = logits[0] - logits[1:]
        modality = TOKEN_SETS[name]
        key = "tokens" if modality is None else f"{modality}.report"
        weights = [one[key][0].double().cpu().numpy() for one in seen if key in one]
        attention = np.stack(weights) if len(weights) == len(pairs) else None
        found.append(TokenEffects(name, row.present.copy(), effects, attention))
    return found
