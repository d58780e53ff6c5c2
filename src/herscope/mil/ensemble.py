"""A trained slide-level model as a folder: members, their calibration, and what they may be given.

    <name>/
      mil.json                      what it is: family, parameters, classes, encoder, members
      members/fold1-seed0.safetensors
      reference.safetensors         mean features of the training slides, for the outlier note

Every file's SHA-256 stands in ``mil.json``, which is written last. Nothing in the folder is
executed; weights go into networks of this package.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from herscope import __version__
from herscope.core.errors import (
    DependencyMissing,
    ModelError,
    SchemaError,
    WeightsUnavailable,
    WrongInput,
)
from herscope.core.store import make_folder, write_bytes, write_json
from herscope.embed.bag import FeatureBag
from herscope.mil.kinds import KINDS, make_model
from herscope.mil.outliers import Reference
from herscope.nn.card_files import AGAIN, checked_bytes, read_card
from herscope.nn.probabilities import Calibration

if TYPE_CHECKING:
    from torch import nn

    from herscope.mil.member import Trained

SCHEMA: Final = "herscope.mil/1"
FILE: Final = "mil.json"
REFERENCE: Final = "reference.safetensors"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class MemberCard(_Strict):
    """One member: its file, the fold and seed it was trained with, its calibration."""

    file: str = Field(pattern=r"^members/[A-Za-z0-9_.-]+\.safetensors$")
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    fold: int = Field(ge=1)
    seed: int = Field(ge=0)
    calibration: Calibration
    best_epoch: int = Field(ge=1)
    epochs: int = Field(ge=1)
    monitor: str


class EncoderNote(_Strict):
    """Which features the model takes."""

    name: str
    id: str
    features: int = Field(ge=1)
    tile_um: float | None = Field(default=None, gt=0)


class EnsembleCard(_Strict):
    """``mil.json``."""

    schema_: str = Field(default=SCHEMA, alias="schema")
    herscope: str = __version__
    name: str
    model: str
    model_spec: dict[str, Any]
    spec: dict[str, Any]
    task: str
    classes: tuple[str, ...] = Field(min_length=2)
    outputs: int = Field(ge=1)
    encoder: EncoderNote
    members: tuple[MemberCard, ...] = Field(min_length=1)
    reference_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    licence: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ensemble:
    """A model that was read and checked."""

    folder: Path
    card: EnsembleCard
    reference: Reference

    def model(self) -> Any:
        """Return the family with its parameters: samples and tile scores."""
        kind = KINDS.make(self.card.model)
        try:
            spec = kind.spec.model_validate(self.card.model_spec)
        except ValidationError as error:
            raise SchemaError(
                f"the parameters in {self.folder / FILE} are none of {self.card.model}", hint=AGAIN
            ) from error
        return make_model(self.card.model, spec)

    def modules(self) -> list[nn.Module]:
        """Return the members' networks in evaluation mode.

        Raises
        ------
        DependencyMissing
            torch is not installed.
        ModelError
            A file is damaged, or another network's.
        """
        try:
            import safetensors.torch
        except ImportError as error:
            raise DependencyMissing(
                f"slide-level models need torch and safetensors: {error}",
                hint="pip install 'herscope[learn]'",
            ) from error
        model, made = self.model(), []
        for member in self.card.members:
            module = model.build(self.card.encoder.features, self.card.outputs)
            data = checked_bytes(self.folder / member.file, member.sha256, FILE)
            try:
                module.load_state_dict(safetensors.torch.load(data))
            except (RuntimeError, safetensors.SafetensorError) as error:
                said = " ".join(str(error).split())[:200]
                raise ModelError(
                    f"{self.folder / member.file} does not fit {self.card.model}: {said}",
                    hint=AGAIN,
                ) from error
            made.append(module.eval())
        return made

    def check(self, bag: FeatureBag) -> None:
        """Refuse features that the model was not trained on.

        Raises
        ------
        WrongInput
            Another encoder, another preparation, another number of features.
        """
        card = self.card.encoder
        if bag.size != card.features:
            raise WrongInput(
                f"slide {bag.slide} has {bag.size} features a tile ({bag.encoder}), model "
                f"{self.card.name} takes {card.features} ({card.name})",
                hint=f"embed the slides with {card.name}",
            )
        if bag.encoder_id != card.id:
            raise WrongInput(
                f"slide {bag.slide} was embedded otherwise ({bag.encoder}, {bag.encoder_id}) than "
                f"the slides of model {self.card.name} ({card.name}, {card.id})",
                hint="embed with the same encoder, weights, µm/px, tile and normalisation",
            )

    def has_seen(self, bag: FeatureBag) -> bool:
        """Whether this slide, by its features, trained the model or stopped its training."""
        return self.reference.holds(bag)


def write_member(folder: Path, name: str, trained: Trained, *, fold: int, seed: int) -> MemberCard:
    """Write one member's weights; returns its card."""
    import safetensors.torch

    tensors = {k: v.detach().contiguous() for k, v in trained.module.state_dict().items()}
    data = safetensors.torch.save(tensors)
    make_folder(folder / "members")
    file = f"members/{name}.safetensors"
    write_bytes(folder / file, data)
    return MemberCard(
        file=file,
        sha256=hashlib.sha256(data).hexdigest(),
        fold=fold,
        seed=seed,
        calibration=trained.calibration,
        best_epoch=trained.result.best_epoch,
        epochs=len(trained.result.history),
        monitor=trained.monitor,
    )


def write_reference(folder: Path, reference: Reference) -> str:
    """Write the reference; returns its SHA-256."""
    import safetensors.numpy

    arrays = {name: np.ascontiguousarray(a) for name, a in reference.arrays().items()}
    data = safetensors.numpy.save(arrays)
    write_bytes(folder / REFERENCE, data)
    return hashlib.sha256(data).hexdigest()


def write_card(folder: Path, card: EnsembleCard) -> None:
    """Write ``mil.json``, the last file of a model."""
    write_json(folder / FILE, card.model_dump(mode="json", by_alias=True))


def read_ensemble(folder: str | Path) -> Ensemble:
    """Read a model folder.

    Raises
    ------
    WeightsUnavailable
        There is none, or it is not finished.
    SchemaError
        ``mil.json`` is not one of this version.
    ModelError
        A file is damaged.
    """
    root = Path(folder)
    file = root / FILE
    if not file.is_file():
        if (root / "card.json").is_file():
            raise WrongInput(
                f"{root} is a model of another task, not of slides",
                hint="give a folder that herscope mil fit wrote",
            )
        raise WeightsUnavailable(
            f"{root} is no slide-level model: it has no {FILE}",
            hint="give a folder that herscope mil fit finished",
        )
    card = read_card(file, EnsembleCard, SCHEMA)
    return Ensemble(root, card, _read_reference(root / REFERENCE, card.reference_sha256))


def _read_reference(file: Path, sha256: str) -> Reference:
    try:
        import safetensors.numpy
    except ImportError as error:
        raise DependencyMissing(
            "slide-level models need safetensors", hint="pip install 'herscope[learn]'"
        ) from error
    found: Mapping[str, Any] = safetensors.numpy.load(checked_bytes(file, sha256, FILE))
    return Reference(**{name: found[name] for name in ("mean", "scale", "slides", "usual")})
