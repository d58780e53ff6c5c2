"""Cohorts of numbers with a known truth, for no patient has slide, CT and response at once here.

Every patient has bags, lesions, two reports and patient tokens; what they tell is chosen:

* ``pathology``, ``radiology``: the label sits in a share of that modality's instances;
* ``interaction``: each modality carries a coin of its own, and the label is whether the coins
  agree. Neither tells anything alone;
* ``report``: in the first token of the pathology report; ``patient``: in the last but one of the
  patient. With a response it falls into the upper half of its values in 85 of 100;
* ``none``: labels are coins.

Then each modality is taken away from a share of the patients. Times are exponential, twice as long
with a response; a third is censored. A patient is the same whatever the size of the cohort.

With ``picture_px`` lesions are pictures, three slices of a disc on a darker ground: what was a
shift of a number is the grain inside the disc, coarse or fine, with the same mean and variance.
What the best possible rule would find is in :mod:`herscope.respond.fusion.synthetic_truth`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from pydantic import Field

from herscope.core.spec import Spec
from herscope.respond.fusion.fusion_spec import PictureKind, picture_features
from herscope.respond.fusion.patients import (
    BRANCHES,
    Branch,
    BranchLayout,
    Floats,
    Layout,
    Patient,
    TokenRow,
)

Signal = Literal["pathology", "radiology", "interaction", "report", "patient", "none"]
FEATURES: Final = {"pathology": 24, "radiology": 16}
REPORTS: Final = {"pathology": (10, 4, 10), "radiology": (2, 7, 3, 5, 4, 2)}
"""Sizes of MuMo's report tokens."""
TOKENS: Final = (2, 2, 2, 2, 3, 3, 4, 13)
OMICS: Final = 12
KINDS: Final = 5
MEAN_DAYS: Final = 180.0
WITNESSES: Final = 0.5
"""Share of the instances that carry the signal."""
TELLING: Final = 0.85
"""How often a token that tells falls on the label's side."""
REPORT_TOKEN, PATIENT_TOKEN = 0, 6
"""Which token tells, of the pathology report and of the patient."""
GRAIN_PX: Final = 4
"""Edge of a coarse grain; a fine one is a pixel."""
GROUND, DISC, NOISE, GRAIN = 0.35, 0.2, 0.04, 0.05
"""Grey values of a drawn lesion: the ground, the disc above it, SD of the noise, and SD of the
grain for each unit of the shift."""


class SyntheticSpec(Spec):
    """What to draw."""

    signal: Signal = Field(default="pathology", description="Where the label sits.")
    missing: float = Field(default=0.0, ge=0, le=0.9, description="Share of each modality gone.")
    strength: float = Field(default=2.0, ge=0, le=10, description="Shift in SD of the noise.")
    picture_px: int = Field(
        default=0, ge=0, le=256, multiple_of=GRAIN_PX, description="Edge of lesions; 0: vectors."
    )
    seed: int = Field(default=0, ge=0, lt=2**32, description="Seed of the cohort.")


@dataclass(frozen=True)
class Case:
    """A patient with its truth."""

    patient: Patient
    label: int
    days: float
    event: int


def synthetic_layout(picture_px: int = 0, network: PictureKind = "small") -> Layout:
    """Return what these patients look like; ``network`` reads the pictures, where there are any."""
    branches = {
        name: BranchLayout(
            FEATURES[name], OMICS, REPORTS[name], KINDS if name == "radiology" else 0
        )
        for name in BRANCHES
    }
    if picture_px:
        branches["radiology"] = dataclasses.replace(
            branches["radiology"], features=picture_features(network), picture=picture_px
        )
    return Layout(branches, TOKENS)


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
    branches = {
        name: _branch(rng, spec, name, shown[name] * spec.strength, label) for name in BRANCHES
    }
    gone = rng.uniform(size=len(BRANCHES)) < spec.missing
    kept = {n: b for (n, b), away in zip(branches.items(), gone, strict=True) if not away}
    days = float(rng.exponential(MEAN_DAYS * (1 + label))) + 1.0
    event = int(rng.uniform() > 1 / 3)
    tells = {PATIENT_TOKEN: label} if spec.signal == "patient" else {}
    tokens = _tokens(rng, TOKENS, tells)
    return Case(Patient(f"synthetic-{number:04d}", kept, tokens), label, days, event)


def _branch(
    rng: np.random.Generator, spec: SyntheticSpec, name: str, shift: float, label: int
) -> Branch:
    count = int(rng.integers(2, 7))
    instances = rng.normal(size=(count, FEATURES[name])).astype(np.float32)
    carries = rng.uniform(size=count) < WITNESSES
    carries[int(rng.integers(count))] = True
    instances[carries, 0] += np.float32(shift)
    tells = {REPORT_TOKEN: label} if (spec.signal, name) == ("report", "pathology") else {}
    branch = Branch(
        instances=instances,
        report=_tokens(rng, REPORTS[name], tells),
        omics=rng.normal(size=(count, OMICS)).astype(np.float32),
        time=int(rng.integers(0, 3)),
        kinds=rng.integers(0, KINDS, count) if name == "radiology" else None,
    )
    if not spec.picture_px or name != "radiology":
        return branch
    pictures = [_lesion(rng, spec.picture_px, shift * bool(there)) for there in carries]
    return dataclasses.replace(branch, instances=np.stack(pictures))


def _lesion(rng: np.random.Generator, edge: int, shift: float) -> Floats:
    """Three slices of one lesion: (3, edge, edge), 0 to 1; coarse grain for a positive shift."""
    middle = (edge - 1) / 2
    y, x = np.ogrid[:edge, :edge]
    radius = rng.uniform(0.3, 0.45) * edge
    disc = (y - middle) ** 2 + (x - middle) ** 2 <= radius**2
    step = GRAIN_PX if shift > 0 else 1
    grain = rng.normal(size=(edge // step, edge // step)).repeat(step, 0).repeat(step, 1)
    picture = GROUND + disc * (DISC + GRAIN * abs(shift) * grain)
    slices = picture + NOISE * rng.normal(size=(3, edge, edge))
    return np.clip(slices, 0, 1).astype(np.float32)


def _tokens(rng: np.random.Generator, sizes: tuple[int, ...], tells: dict[int, int]) -> TokenRow:
    """One-hot tokens, a tenth of them missing; ``tells`` has the label that a token tells."""
    parts = []
    present = rng.uniform(size=len(sizes)) >= 0.1
    for token, (size, there) in enumerate(zip(sizes, present.tolist(), strict=True)):
        one = np.zeros(size, np.float32)
        if there:
            value = int(rng.integers(size))
            if token in tells:
                half = size // 2
                side = tells[token] if rng.uniform() < TELLING else 1 - tells[token]
                value = side * half + value % half
            one[value] = 1.0
        parts.append(one)
    return TokenRow(np.concatenate(parts), present, sizes)
