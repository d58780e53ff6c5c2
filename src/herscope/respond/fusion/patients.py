"""A patient as the fusion model sees one: two branches that may be missing, and tokens.

A *branch* (pathology or radiology) holds *instances*: bags of a slide, or lesions of a CT. An
instance is one vector, or several *words* that make one; beside it may stand radiomics. A *report*
is a row of tokens, some of them missing. Patient information is such a row as well. What is missing
is zeros with a mask; nothing is filled in. No torch here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import InputError, SchemaError

Floats = NDArray[np.float32]
BRANCHES: Final = ("pathology", "radiology")
TIMES: Final = 3
"""Sampling before, during or after treatment; methods of the paper give each branch such a flag."""


@dataclass(frozen=True, slots=True, eq=False)
class TokenRow:
    """Tokens of different lengths, end to end.

    Attributes
    ----------
    values
        (sum of sizes,) float32; zeros where a token is missing.
    present
        (tokens,) bool.
    sizes
        Numbers of each token.
    """

    values: Floats = field(repr=False)
    present: NDArray[np.bool_]
    sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.values.shape != (sum(self.sizes),) or self.present.shape != (len(self.sizes),):
            raise SchemaError(
                f"{self.values.shape} values and {self.present.shape} flags for tokens of "
                f"{self.sizes}",
                hint="give as many numbers as the tokens have together, and a flag a token",
            )
        if not np.isfinite(self.values).all():
            raise SchemaError("a token is no number", hint="leave it out: zeros and present=False")
        ends = np.cumsum((0, *self.sizes))
        for number, there in enumerate(self.present.tolist()):
            if not there and self.values[ends[number] : ends[number + 1]].any():
                raise SchemaError(
                    f"token {number} is said to be missing and has values",
                    hint="a missing token is zeros",
                )


def no_tokens(sizes: tuple[int, ...]) -> TokenRow:
    """Return a row in which every token is missing."""
    return TokenRow(np.zeros(sum(sizes), np.float32), np.zeros(len(sizes), np.bool_), sizes)


@dataclass(frozen=True, slots=True, eq=False)
class Branch:
    """One modality of one patient: instances, a report, or both.

    Attributes
    ----------
    instances
        (instances, features) or (instances, words, features) float32; None where there is only a
        report.
    report
        Tokens of its report.
    omics
        (instances, values) float32, or None.
    time
        0, 1 or 2: when it was sampled; None where unknown.
    kinds
        (instances,) class of each instance for the auxiliary loss, -1 where unknown; or None.
    """

    instances: Floats | None = field(repr=False)
    report: TokenRow
    omics: Floats | None = field(default=None, repr=False)
    time: int | None = None
    kinds: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        count = 0 if self.instances is None else len(self.instances)
        if self.instances is not None and (
            self.instances.ndim not in {2, 3} or not self.instances.size
        ):
            raise InputError(
                f"a branch with instances of shape {self.instances.shape}",
                hint="give (instances, features) or (instances, words, features), at least one; "
                "None where there is only a report",
            )
        if self.instances is None and not self.report.present.any():
            raise InputError(
                "a branch without instances and without a report",
                hint="leave the modality out: it is missing",
            )
        for name, values in (("instances", self.instances), ("omics", self.omics)):
            if values is not None and not np.isfinite(values).all():
                raise SchemaError(f"{name} hold values that are no numbers", hint="compute again")
        if self.omics is not None and (self.omics.ndim != 2 or len(self.omics) != count):
            raise SchemaError(
                f"omics of shape {self.omics.shape} for {count} instances",
                hint="one row an instance",
            )
        if self.time is not None and not 0 <= self.time < TIMES:
            raise InputError(f"sampling time {self.time}", hint="0, 1 or 2, or None")
        if self.kinds is not None and self.kinds.shape != (count,):
            raise SchemaError(f"{self.kinds.shape} kinds for {count} instances", hint="one each")

    @property
    def features(self) -> int | None:
        """Numbers a vector; None without instances."""
        return None if self.instances is None else int(self.instances.shape[-1])


@dataclass(frozen=True, slots=True, eq=False)
class Patient:
    """What is known of a patient.

    Attributes
    ----------
    name
        Identifier.
    branches
        Modality to branch; a modality that is not there is missing.
    tokens
        Patient information.
    """

    name: str
    branches: dict[str, Branch]
    tokens: TokenRow

    def __post_init__(self) -> None:
        odd = sorted(set(self.branches) - set(BRANCHES))
        if odd:
            raise InputError(f"there is no modality {odd[0]!r}", hint=f"{' or '.join(BRANCHES)}")

    def without(self, *names: str) -> Patient:
        """Return the patient as if these modalities were unknown."""
        kept = {name: branch for name, branch in self.branches.items() if name not in names}
        return Patient(self.name, kept, self.tokens)


@dataclass(frozen=True, slots=True)
class BranchLayout:
    """What a branch's numbers look like: a vector's, an instance's radiomics, report tokens."""

    features: int
    omics: int
    report: tuple[int, ...]
    kinds: int = 0


@dataclass(frozen=True, slots=True)
class Layout:
    """What every patient of a cohort looks like; the network is built for it."""

    branches: dict[str, BranchLayout]
    tokens: tuple[int, ...]

    def check(self, patient: Patient) -> None:
        """Refuse a patient of another layout.

        Raises
        ------
        SchemaError
            Naming patient, modality and what differs.
        """
        if patient.tokens.sizes != self.tokens:
            raise SchemaError(
                f"patient {patient.name}: tokens of {patient.tokens.sizes}, the model takes "
                f"{self.tokens}",
                hint="encode the patient with the model's own declaration",
            )
        for name, branch in patient.branches.items():
            known = self.branches.get(name)
            if known is None:
                raise SchemaError(
                    f"patient {patient.name} has {name}, of which the model knows nothing",
                    hint="leave it out, or train with it",
                )
            omics = 0 if branch.omics is None else branch.omics.shape[1]
            for what, mine, theirs in (
                ("features", branch.features or known.features, known.features),
                ("radiomics", omics or known.omics, known.omics),
                ("report", branch.report.sizes, known.report),
            ):
                if mine != theirs:
                    raise SchemaError(
                        f"patient {patient.name}, {name}: {what} {mine}, the model takes {theirs}",
                        hint="prepare the patient as those of the training were",
                    )
