"""Cohorts of numbers with a known truth, for no patient has slide, CT and response at once here.

Every patient has bags, lesions, two reports and patient tokens; what they tell is chosen:

* ``pathology``, ``radiology``: the label sits in a share of that modality's instances;
* ``interaction``: each modality carries a coin of its own, and the label is whether the coins
  agree. Neither tells anything alone;
* ``none``: labels are coins.

Then each modality is taken away from a share of the patients. Times are exponential, twice as long
with a response; a third is censored. A patient is the same whatever the size of the cohort.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from pydantic import Field

from herscope.core.spec import Spec
from herscope.respond.fusion.patients import (
    BRANCHES,
    Branch,
    BranchLayout,
    Layout,
    Patient,
    TokenRow,
)

Signal = Literal["pathology", "radiology", "interaction", "none"]
FEATURES: Final = {"pathology": 24, "radiology": 16}
REPORTS: Final = {"pathology": (10, 4, 10), "radiology": (2, 7, 3, 5, 4, 2)}
"""Sizes of MuMo's report tokens."""
TOKENS: Final = (2, 2, 2, 2, 3, 3, 4, 13)
OMICS: Final = 12
KINDS: Final = 5
MEAN_DAYS: Final = 180.0
WITNESSES: Final = 0.5
"""Share of the instances that carry the signal."""


class SyntheticSpec(Spec):
    """What to draw."""

    signal: Signal = Field(default="pathology", description="Where the label sits.")
    missing: float = Field(default=0.0, ge=0, le=0.9, description="Share of each modality gone.")
    strength: float = Field(default=2.0, ge=0, le=10, description="Shift in SD of the noise.")
    seed: int = Field(default=0, ge=0, lt=2**32, description="Seed of the cohort.")


@dataclass(frozen=True)
class Case:
    """A patient with its truth."""

    patient: Patient
    label: int
    days: float
    event: int


def synthetic_layout() -> Layout:
    """Return what these patients look like."""
    return Layout(
        {
            name: BranchLayout(
                FEATURES[name], OMICS, REPORTS[name], KINDS if name == "radiology" else 0
            )
            for name in BRANCHES
        },
        TOKENS,
    )


def synthetic_case(spec: SyntheticSpec, number: int) -> Case:
    """Draw one patient.

    Examples
    --------
    >>> case = synthetic_case(SyntheticSpec(missing=0.5, seed=3), 0)
    >>> case.label in (0, 1), set(case.patient.branches) <= {"pathology", "radiology"}
    (True, True)
    """
    rng = np.random.Generator(np.random.PCG64([spec.seed, number]))
    label, coin = (int(v) for v in rng.integers(0, 2, 2))
    shown = {"pathology": 0, "radiology": 0}
    if spec.signal in shown:
        shown[spec.signal] = 2 * label - 1
    elif spec.signal == "interaction":
        shown["pathology"] = 2 * coin - 1
        shown["radiology"] = shown["pathology"] * (2 * label - 1)
    branches = {name: _branch(rng, name, shown[name] * spec.strength) for name in BRANCHES}
    gone = rng.uniform(size=len(BRANCHES)) < spec.missing
    kept = {n: b for (n, b), away in zip(branches.items(), gone, strict=True) if not away}
    days = float(rng.exponential(MEAN_DAYS * (1 + label))) + 1.0
    event = int(rng.uniform() > 1 / 3)
    tokens = _tokens(rng, TOKENS)
    return Case(Patient(f"synthetic-{number:04d}", kept, tokens), label, days, event)


def _branch(rng: np.random.Generator, name: str, shift: float) -> Branch:
    count = int(rng.integers(2, 7))
    instances = rng.normal(size=(count, FEATURES[name])).astype(np.float32)
    carries = rng.uniform(size=count) < WITNESSES
    carries[int(rng.integers(count))] = True
    instances[carries, 0] += np.float32(shift)
    return Branch(
        instances=instances,
        report=_tokens(rng, REPORTS[name]),
        omics=rng.normal(size=(count, OMICS)).astype(np.float32),
        time=int(rng.integers(0, 3)),
        kinds=rng.integers(0, KINDS, count) if name == "radiology" else None,
    )


def _tokens(rng: np.random.Generator, sizes: tuple[int, ...]) -> TokenRow:
    """One-hot tokens, a tenth of them missing."""
    parts = []
    present = rng.uniform(size=len(sizes)) >= 0.1
    for size, there in zip(sizes, present.tolist(), strict=True):
        one = np.zeros(size, np.float32)
        if there:
            one[int(rng.integers(size))] = 1.0
        parts.append(one)
    return TokenRow(np.concatenate(parts), present, sizes)
