"""What each bag of a slide or lesion of a CT moved the answer by, and how much it weighed.

*Weight*: the attention that gathers instances into the modality's vector; sums to one. *Left out*:
the logit of response as it is minus the logit without this instance and what was measured in it.
Weights are the published importance of bags (MuMo); leaving out is the check on them, and the two
can disagree. Bags that say the same replace one another: each of them left out alone moves little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from herscope.respond.explaining.altered import without_instance
from herscope.respond.explaining.contributions import check_members
from herscope.respond.explaining.forward import looked_at, response_logits
from herscope.respond.fusion.network import FusionNetwork
from herscope.respond.fusion.patients import Patient

MOST_LEFT_OUT: Final = 200
"""Each is a run of the whole patient; more instances have weights only."""


@dataclass(frozen=True, eq=False)
class InstanceEffects:
    """Effects of one modality's instances.

    Attributes
    ----------
    modality
        ``pathology`` or ``radiology``.
    weights
        (members, instances); sum to one.
    left_out
        (members, instances) logit of response; NaN where it was not measured.
    """

    modality: str
    weights: NDArray[np.float64]
    left_out: NDArray[np.float64]


def instance_effects(
    networks: Sequence[FusionNetwork],
    patients: Sequence[Patient],
    *,
    most_left_out: int = MOST_LEFT_OUT,
) -> list[InstanceEffects]:
    """Measure the instances of every modality that has any.

    Parameters
    ----------
    networks, patients
        Members, and the same patient as scaled for each.
    most_left_out
        How many are left out in turn, those of the largest mean weight; 0 for none.

    Raises
    ------
    InputError
        Not one patient for each member.
    """
    check_members(networks, patients)
    pairs = list(zip(networks, patients, strict=True))
    seen = [looked_at(network, patient).weights for network, patient in pairs]
    found = []
    for name, branch in patients[0].branches.items():
        if branch.instances is None:
            continue
        count = len(branch.instances)
        weights = np.stack(
            [one[f"{name}.instances"][0, :count].double().cpu().numpy() for one in seen]
        )
        order = np.argsort(-weights.mean(axis=0), kind="stable")
        at = np.sort(order[:most_left_out]).tolist()
        moved = np.full(weights.shape, np.nan)
        for member, (network, patient) in enumerate(pairs):
            cases = [patient, *(without_instance(patient, name, number) for number in at)]
            logits = response_logits(network, cases)
            moved[member, at] = logits[0] - logits[1:]
        found.append(InstanceEffects(name, weights, moved))
    return found
