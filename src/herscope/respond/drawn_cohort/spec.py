"""What a drawn cohort is, and what is decided of a patient before anything of it is drawn.

The label is a coin. Each modality may show something, ``-1`` or ``+1``, in some of its instances:

* ``pathology``, ``radiology``: the images of that modality show the label;
* ``interaction``: both show a coin, and the label is whether the two coins agree;
* ``reports``: no image shows anything, words of both reports lean with the label;
* ``none``: nothing shows anything.

Whether a modality is taken away, the site, and whether the patient is lost from sight early are
further coins, thrown apart from the label. Every room of a patient (images, reports, outcome) has a
random stream of its own, so a patient is the same whatever the number of patients, and one whose
modality is taken away is else the same as before.

The design is that of :mod:`herscope.respond.fusion.synthetic`, whose patients are numbers only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from pydantic import Field

from herscope.core.spec import Spec

Shows = Literal["pathology", "radiology", "interaction", "reports", "none"]
Stream = Literal["plan", "outcome", "reports", "words", "radiomics", "lesions", "body", "readers"]
STREAMS: Final[dict[Stream, int]] = {
    "plan": 0, "outcome": 1, "reports": 2, "words": 3, "radiomics": 4, "lesions": 5, "body": 6,
    "readers": 7,
}  # fmt: skip
WITNESSES: Final = 0.5
"""Share of bags or lesions that carry what the modality shows; at least one does."""
SITES: Final = ("North", "South", "East", "West")
LOST_EARLY: Final = 0.12
"""Share of patients without a label: lost from sight before the cut-off, RECIST undecided."""


class DrawnCohortSpec(Spec):
    """What to draw."""

    signal: Shows = Field(default="pathology", description="Where the label sits; see the module.")
    patients: int = Field(default=120, ge=4, le=100_000, description="Patients in the cohort.")
    missing: float = Field(
        default=0.0, ge=0, le=0.9, description="Share of patients that each modality is taken from."
    )
    strength: float = Field(
        default=2.0,
        ge=0,
        le=10,
        description="Shift of what carries the signal, in SD between instances that do not.",
    )
    seed: int = Field(default=0, ge=0, lt=2**31, description="Seed of every random choice.")


@dataclass(frozen=True, slots=True)
class PatientPlan:
    """What is decided of a patient.

    Attributes
    ----------
    name
        Identifier; holds the seed, so that two cohorts share no patient.
    number
        From 0.
    site
        Hospital.
    label
        1 response, 0 none: the truth, also where the table cannot tell it.
    pathology, radiology, reports
        What each shows: -1, 0 (nothing) or +1.
    gone
        Modalities that were taken away.
    lost_early
        No label can be made.
    """

    name: str
    number: int
    site: str
    label: int
    pathology: int
    radiology: int
    reports: int
    gone: tuple[str, ...]
    lost_early: bool


def plan_patient(spec: DrawnCohortSpec, number: int) -> PatientPlan:
    """Decide on one patient.

    Parameters
    ----------
    spec
        The cohort.
    number
        From 0.

    Examples
    --------
    >>> plan = plan_patient(DrawnCohortSpec(signal="interaction", seed=7), 3)
    >>> plan.name, (plan.pathology == plan.radiology) == bool(plan.label)
    ('drawn-7-0003', True)
    """
    rng = generator(spec, "plan", number)
    label, coin, site = (int(v) for v in rng.integers(0, [2, 2, len(SITES)]))
    away = rng.uniform(size=2) < spec.missing
    lost = bool(rng.uniform() < LOST_EARLY)
    lean = 2 * label - 1
    first = 2 * coin - 1
    pathology, radiology = {
        "pathology": (lean, 0),
        "radiology": (0, lean),
        "interaction": (first, first * lean),
    }.get(spec.signal, (0, 0))
    return PatientPlan(
        f"drawn-{spec.seed}-{number:04d}",
        number,
        SITES[site],
        label,
        pathology,
        radiology,
        lean if spec.signal == "reports" else 0,
        tuple(n for n, a in zip(("pathology", "radiology"), away.tolist(), strict=True) if a),
        lost,
    )


def generator(spec: DrawnCohortSpec, stream: Stream, number: int) -> np.random.Generator:
    """Return the random numbers of one room of one patient."""
    return np.random.Generator(np.random.PCG64([spec.seed, STREAMS[stream], number]))


def carriers(rng: np.random.Generator, count: int) -> np.ndarray:
    """Choose which of some instances carry what is shown: half of them on average, at least one.

    Drawn for every patient, also where nothing is shown, so that no count tells the label.
    """
    chosen = rng.uniform(size=count) < WITNESSES
    chosen[int(rng.integers(count))] = True
    return np.asarray(chosen, np.bool_)
