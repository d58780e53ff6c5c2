"""A patient as the fusion model sees one: two branches that may be missing, and tokens.

A *branch* (pathology or radiology) holds *instances*: bags of a slide, or lesions of a CT. An
instance is one vector, several *words* that make one, or a picture for a network that is trained
along; beside it may stand radiomics. A *report* is a row of tokens, some of them missing. Patient
information is such a row as well. What is missing is zeros with a mask; nothing is filled in.

The *parts* of a patient are what can be there or not, one without the other: pictures, radiomics
and report of each modality, and patient information. No torch here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import InputError, SchemaError
from herscope.core.registry import nearest

Floats = NDArray[np.float32]
BRANCHES: Final = ("pathology", "radiology")
PARTS: Final = (
    "pathology-images",
    "pathology-radiomics",
    "pathology-report",
    "radiology-images",
    "radiology-radiomics",
    "radiology-report",
    "patient",
)
"""What may be there or missing; a modality's name stands for its three."""
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
        (instances, features), (instances, words, features), or pictures (instances, 3, edge, edge)
        of 0 to 1; float32. None where there are none.
    report
        Tokens of its report.
    omics
        (instances, values) float32, or None; without instances, a row of whatever was measured.
    time
        0, 1 or 2: when it was sampled; None where unknown.
    kinds
        (instances,) class of each instance for the auxiliary loss, -1 where unknown; or None.
    word_there
        (instances, words) bool, where an instance at an edge has fewer words; None: all are there.
    """

    instances: Floats | None = field(repr=False)
    report: TokenRow
    omics: Floats | None = field(default=None, repr=False)
    time: int | None = None
    kinds: NDArray[np.int64] | None = None
    word_there: NDArray[np.bool_] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        count = 0 if self.instances is None else len(self.instances)
        if self.instances is not None and (
            self.instances.ndim not in {2, 3, 4} or not self.instances.size
        ):
            raise InputError(
                f"a branch with instances of shape {self.instances.shape}",
                hint="give (instances, features), (instances, words, features) or pictures, at "
                "least one; None where there is only a report",
            )
        if self.instances is None and self.omics is None and not self.report.present.any():
            raise InputError(
                "a branch without instances, radiomics and report",
                hint="leave the modality out: it is missing",
            )
        for name, values in (("instances", self.instances), ("omics", self.omics)):
            if values is not None and not np.isfinite(values).all():
                raise SchemaError(f"{name} hold values that are no numbers", hint="compute again")
        if self.omics is not None and (
            self.omics.ndim != 2 or len(self.omics) != (count or len(self.omics) or 1)
        ):
            raise SchemaError(
                f"omics of shape {self.omics.shape} for {count} instances",
                hint="one row an instance",
            )
        if self.time is not None and not 0 <= self.time < TIMES:
            raise InputError(f"sampling time {self.time}", hint="0, 1 or 2, or None")
        if self.kinds is not None and self.kinds.shape != (count,):
            raise SchemaError(f"{self.kinds.shape} kinds for {count} instances", hint="one each")
        self._check_words(count)

    def _check_words(self, count: int) -> None:
        if self.word_there is None:
            return
        words = None if self.instances is None else self.instances.shape[1]
        if self.instances is None or self.instances.ndim != 3:
            raise SchemaError("word_there without words", hint="leave it out")
        if self.word_there.shape != (count, words) or not self.word_there.any(axis=1).all():
            raise SchemaError(
                f"word_there of shape {self.word_there.shape} for {count} instances of {words} "
                "words",
                hint="a flag a word, at least one True an instance",
            )

    @property
    def features(self) -> int | None:
        """Numbers a vector; None without instances, and for pictures."""
        vectors = self.instances is not None and self.instances.ndim < 4
        return int(self.instances.shape[-1]) if vectors and self.instances is not None else None

    @property
    def picture(self) -> int:
        """Edge of a picture in pixels; 0 where there are none."""
        if self.instances is None or self.instances.ndim < 4:
            return 0
        return int(self.instances.shape[-1])

    def parts(self, name: str) -> list[str]:
        """Return the parts of this branch that are there, as of modality ``name``."""
        there = {
            "images": self.instances is not None,
            "radiomics": self.omics is not None,
            "report": bool(self.report.present.any()),
        }
        return [f"{name}-{what}" for what, known in there.items() if known]

    def keeping(self, name: str, gone: Collection[str]) -> Branch | None:
        """Return the branch without some parts; None where nothing is left."""
        left = [part for part in self.parts(name) if part not in gone]
        if not left:
            return None
        images = f"{name}-images" in left
        return Branch(
            self.instances if images else None,
            self.report if f"{name}-report" in left else no_tokens(self.report.sizes),
            self.omics if f"{name}-radiomics" in left else None,
            self.time,
            self.kinds if images else None,
            self.word_there if images else None,
        )


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

    @property
    def parts(self) -> tuple[str, ...]:
        """Which of :data:`PARTS` are there."""
        found = [part for name, branch in self.branches.items() for part in branch.parts(name)]
        found += ["patient"] if self.tokens.present.any() else []
        return tuple(part for part in PARTS if part in found)

    def without(self, *names: str) -> Patient:
        """Return the patient as if these parts (or modalities) were unknown.

        Raises
        ------
        InputError
            There is no such part.
        """
        gone = set(parts_of(names))
        kept = {
            name: left
            for name, branch in self.branches.items()
            if (left := branch.keeping(name, gone)) is not None
        }
        tokens = no_tokens(self.tokens.sizes) if "patient" in gone else self.tokens
        return Patient(self.name, kept, tokens)


def parts_of(names: Iterable[str]) -> tuple[str, ...]:
    """Return the parts that names of parts or modalities stand for, in the order of PARTS.

    Raises
    ------
    InputError
        There is no such part.

    Examples
    --------
    >>> parts_of(["radiology", "patient"])[-2:]
    ('radiology-report', 'patient')
    """
    found: set[str] = set()
    for name in names:
        own = {p for p in PARTS if p == name or (name in BRANCHES and p.startswith(f"{name}-"))}
        if not own:
            raise InputError(
                f"there is no part {name!r} of a patient", hint=nearest(name, [*BRANCHES, *PARTS])
            )
        found |= own
    return tuple(part for part in PARTS if part in found)


@dataclass(frozen=True, slots=True)
class BranchLayout:
    """What a branch's numbers look like.

    Attributes
    ----------
    features
        Numbers of an instance's (or word's) vector; of a picture, what its network makes of it.
    omics
        Radiomics of an instance; 0 without.
    report
        Sizes of the report's tokens.
    kinds
        Classes of instances for the auxiliary loss; 0 without.
    picture
        Edge of the pictures in pixels; 0 where instances are vectors.
    """

    features: int
    omics: int
    report: tuple[int, ...]
    kinds: int = 0
    picture: int = 0


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
            pictured = branch.features is None
            for what, mine, theirs in (
                ("features", branch.features or known.features, known.features),
                ("edge of pictures", branch.picture or pictured * known.picture, known.picture),
                ("radiomics", omics or known.omics, known.omics),
                ("report", branch.report.sizes, known.report),
            ):
                if mine != theirs:
                    raise SchemaError(
                        f"patient {patient.name}, {name}: {what} {mine}, the model takes {theirs}",
                        hint="prepare the patient as those of the training were",
                    )
