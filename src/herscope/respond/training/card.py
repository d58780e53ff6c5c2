"""``respond.json``: what a trained model of response is, and what it may be given.

The folder holds one safetensors file a member: the network's weights and the scales that were
fitted on this member's training patients. Reading it executes nothing. Patients that were trained
on are kept as hashes, to tell that one is met again; whoever has a list of identifiers can look
them up, so a model is no anonymous file.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from herscope import __version__
from herscope.respond.fusion.patients import BranchLayout, Layout
from herscope.respond.radiology.windows import WindowTable
from herscope.respond.training.raw import RawPatient

SCHEMA: Final = "herscope.respond-model/1"
FILE: Final = "respond.json"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class TokenNote(_Strict):
    """One token as the model was trained on it."""

    name: str
    categories: tuple[str, ...]


class BranchNote(_Strict):
    """What a branch takes; as :class:`BranchLayout`."""

    features: int = Field(ge=1)
    omics: int = Field(ge=0)
    report: tuple[int, ...]
    kinds: int = Field(ge=0)
    picture: int = Field(ge=0)

    def layout(self) -> BranchLayout:
        """Return it for the network."""
        return BranchLayout(self.features, self.omics, self.report, self.kinds, self.picture)


class MemberNote(_Strict):
    """One member: its file, what it was trained in, its temperatures, cut-off and windows."""

    file: str = Field(pattern=r"^members/[A-Za-z0-9_.-]+\.safetensors$")
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    repeat: int = Field(ge=1)
    fold: int = Field(ge=1)
    seed: int = Field(ge=0)
    temperatures: tuple[float, ...] = Field(min_length=1)
    """By which the network divides its logits, for each set of known modalities (the bits of the
    number say which); for reading, they are among the weights."""
    cut: float = Field(ge=0, le=1)
    windows: WindowTable
    epochs: int = Field(ge=1)
    best_epochs: tuple[int, ...] = Field(min_length=1)
    monitor: str
    validation_auc: float | None
    seen: tuple[str, ...]
    """Patients that trained it, stopped it or set its cut-off, as :func:`keys_of` keeps them."""


class ResponseCard(_Strict):
    """The whole model."""

    schema_: str = Field(default=SCHEMA, alias="schema")
    herscope: str = __version__
    name: str
    network: dict[str, Any]
    loss: dict[str, Any]
    training: dict[str, Any]
    preparation: dict[str, Any]
    branches: dict[str, BranchNote]
    tokens: dict[str, tuple[TokenNote, ...]]
    """Of pathology, radiology and patient."""
    encoder: str
    encoder_id: str
    omics_names: dict[str, tuple[str, ...]]
    cut_days: float = Field(gt=0)
    parts: tuple[str, ...]
    """Parts that some patient of the training had."""
    members: tuple[MemberNote, ...] = Field(min_length=1)
    cohort_key: str
    """Hash of the training cohort's name."""
    names: tuple[str, ...]
    """Hashes of the identifiers in it."""
    licence: str
    notes: tuple[str, ...] = ()

    def layout(self) -> Layout:
        """Return what patients must look like."""
        branches = {name: note.layout() for name, note in self.branches.items()}
        return Layout(branches, tuple(len(token.categories) for token in self.tokens["patient"]))


def keys_of(patient: RawPatient, cohort: str) -> tuple[str, ...]:
    """Return the hashes by which a patient is known again.

    One of the identifier with the cohort's name; one of the bags and one of the lesions as they
    were measured, where there are any, so that a patient is known under another name too. Tokens
    alone do not tell people apart.

    Examples
    --------
    >>> from herscope.respond.fusion.patients import no_tokens
    >>> none = no_tokens(())
    >>> one = RawPatient("p1", "", None, None, {}, none, {})
    >>> [len(key) for key in keys_of(one, "here")]
    [16]
    """
    parts = []
    if patient.pathology is not None:
        parts.append(patient.pathology.words.tobytes())
    if patient.radiology is not None:
        parts.append(patient.radiology.pictures_hu.tobytes())
    own = known_as(patient.name, cohort)
    return (own, *(hashlib.sha256(part).hexdigest()[:16] for part in parts))


def known_as(patient: str, cohort: str) -> str:
    """Return the hash of an identifier in a cohort.

    Examples
    --------
    >>> len(known_as("p1", "here"))
    16
    """
    return hashlib.sha256(f"{cohort}\0{patient}".encode()).hexdigest()[:16]


def name_key(patient: str) -> str:
    """Return the hash of an identifier alone, which another person may share.

    Examples
    --------
    >>> name_key("p1") == name_key("p1"), name_key("p1") == name_key("p2")
    (True, False)
    """
    return hashlib.sha256(patient.encode()).hexdigest()[:16]
