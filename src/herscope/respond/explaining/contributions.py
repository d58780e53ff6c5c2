"""What each known part of a patient moved the answer by: exact Shapley values of the parts.

The players are the parts that are there (:data:`herscope.respond.fusion.patients.PARTS`, seven at
most); a coalition's worth is the logit of response when all other parts are missing, exactly as
``Patient.without`` makes them. The network is built for missing parts, so no background patients
are needed and no value is filled in (the usual departure of SHAP, Lundberg and Lee 2017, from the
game). Contributions sum to logit(all) - logit(nothing known). All coalitions of one member go
through the network together.

It says what moved this model, not what moves the disease. A part that says the same as another
shares its contribution with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import InputError
from herscope.respond.explaining.forward import response_logits
from herscope.respond.explaining.shapley import coalitions, shapley_values
from herscope.respond.fusion.network import FusionNetwork
from herscope.respond.fusion.patients import Patient


@dataclass(frozen=True, eq=False)
class Contributions:
    """Contributions of every member.

    Attributes
    ----------
    parts
        The parts that are there.
    values
        (members, parts) logit of response.
    logit, base
        (members,) logit with all that is known, and with nothing.
    """

    parts: tuple[str, ...]
    values: NDArray[np.float64]
    logit: NDArray[np.float64]
    base: NDArray[np.float64]


def part_contributions(
    networks: Sequence[FusionNetwork], patients: Sequence[Patient]
) -> Contributions:
    """Divide a patient's logit among the parts that are known.

    Parameters
    ----------
    networks
        Members.
    patients
        The same patient for each member, as scaled for it.

    Raises
    ------
    InputError
        Another number of patients than of networks, or patients with other parts.
    """
    check_members(networks, patients)
    parts = patients[0].parts
    known = coalitions(len(parts))
    worth = np.stack(
        [
            response_logits(network, [_only(patient, parts, row) for row in known])
            for network, patient in zip(networks, patients, strict=True)
        ]
    )
    return Contributions(parts, shapley_values(worth), worth[:, -1], worth[:, 0])


def check_members(networks: Sequence[FusionNetwork], patients: Sequence[Patient]) -> None:
    """Refuse what is not one patient for each member.

    Raises
    ------
    InputError
        As said.
    """
    if not networks or len(networks) != len(patients):
        raise InputError(
            f"{len(networks)} networks and {len(patients)} patients",
            hint="give at least one network, and the patient as scaled for each",
        )
    odd = [p for p in patients if (p.name, p.parts) != (patients[0].name, patients[0].parts)]
    if odd:
        raise InputError(
            f"patient {patients[0].name} with {', '.join(patients[0].parts) or 'nothing'} and "
            f"patient {odd[0].name} with {', '.join(odd[0].parts) or 'nothing'}",
            hint="explain one patient at a time",
        )


def _only(patient: Patient, parts: Sequence[str], kept: NDArray[np.bool_]) -> Patient:
    return patient.without(*(part for part, stays in zip(parts, kept, strict=True) if not stays))
