"""Write and read a model of response: its card, its members, their scales."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import safetensors
import safetensors.torch
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from herscope.core.errors import ModelError, WeightsUnavailable, WrongInput
from herscope.core.store import make_folder, write_bytes, write_json
from herscope.nn.card_files import AGAIN, checked_bytes, read_card, unlike
from herscope.nn.compute import limit_threads
from herscope.respond.fusion.fusion_spec import FusionSpec
from herscope.respond.fusion.network import FusionNetwork
from herscope.respond.fusion.patients import Layout, Patient
from herscope.respond.training.card import FILE, SCHEMA, MemberNote, ResponseCard
from herscope.respond.training.member import Trained, logits_of, responses
from herscope.respond.training.raw import RawPatient
from herscope.respond.training.scaling import Scale, Scaled, Scaling

WEIGHTS, SCALES = "network/", "scale/"
CPU: Final = torch.device("cpu")


@dataclass(frozen=True)
class LoadedMember:
    """One member, ready to predict.

    Attributes
    ----------
    network
        Calibrated, in evaluation mode.
    scaling, cut
        What it learnt of its own training and validation patients.
    layout
        What patients look like.
    """

    network: FusionNetwork
    scaling: Scaling
    cut: float
    layout: Layout

    def patient(self, raw: RawPatient) -> Patient:
        """Return a patient as this member sees one."""
        return self.scaling.patient(raw)

    def responses(self, patients: Sequence[RawPatient]) -> NDArray[np.float64]:
        """(patients,) calibrated probabilities of a response.

        One patient at a time and one thread: sums in another order would change the last bits with
        the company a patient is in.
        """
        with limit_threads(1):
            rows = [
                logits_of(self.network, [self.scaling.patient(raw)], self.layout, CPU)
                for raw in patients
            ]
        return responses(np.concatenate([*rows, np.zeros((0, 2))]))

    def roughly(self, patients: Sequence[RawPatient]) -> NDArray[np.float64]:
        """Return the same but for the last bits, many patients at a time."""
        return responses(logits_of(self.network, Scaled(self.scaling, patients), self.layout, CPU))


@dataclass(frozen=True)
class ResponseModel:
    """A model that was read and checked."""

    folder: Path
    card: ResponseCard

    def members(self) -> list[LoadedMember]:
        """Return the members.

        Raises
        ------
        ModelError
            A file is damaged, or another network's.
        """
        return [self._member(note) for note in self.card.members]

    def check(self, raw: RawPatient) -> None:
        """Refuse a patient whose features are not those the model was trained on.

        Raises
        ------
        WrongInput
            Another encoder, other radiomics, or a modality the model knows nothing of.
        """
        card = self.card
        pictured = raw.pathology is not None and "pathology-images" in raw.parts
        if raw.pathology and pictured and raw.pathology.encoder_id != card.encoder_id:
            raise WrongInput(
                f"patient {raw.name}: bags of {raw.pathology.encoder} "
                f"({raw.pathology.encoder_id}), model {card.name} takes "
                f"{card.encoder or 'none'} ({card.encoder_id or '-'})",
                hint="embed with the model's encoder, weights, tile and normalisation, or leave "
                "the slides out",
            )
        own = {"pathology": raw.pathology, "radiology": raw.radiology}
        for name, part in own.items():
            if part is None or f"{name}-radiomics" not in raw.parts or name not in card.branches:
                continue
            if card.branches[name].omics and part.omics_names != card.omics_names[name]:
                raise WrongInput(
                    f"patient {raw.name}: other radiomics of {name} than model {card.name} was "
                    "trained on",
                    hint="measure them with the settings in the model's respond.json",
                )
        seen = raw.radiology is not None and "radiology-images" in raw.parts
        if raw.radiology and seen and "radiology" in card.branches:
            edge, asked = raw.radiology.pictures_hu.shape[-1], card.branches["radiology"].picture
            if asked and edge != asked:
                raise WrongInput(
                    f"patient {raw.name}: pictures of {edge} px, model {card.name} takes {asked}",
                    hint="prepare them with the settings in the model's respond.json",
                )

    def _member(self, note: MemberNote) -> LoadedMember:
        file = self.folder / note.file
        tensors = _read(file, note.sha256)
        layout = self.card.layout()
        # The weights follow: ImageNet's file need not be there any more.
        network = FusionNetwork(
            layout, FusionSpec.model_validate(self.card.network), pretrained=False
        )
        weights = {k.removeprefix(WEIGHTS): v for k, v in tensors.items() if k.startswith(WEIGHTS)}
        try:
            network.load_state_dict(weights)
        except RuntimeError as error:
            said = " ".join(str(error).split())[:200]
            raise ModelError(f"{file} does not fit its card: {said}", hint=AGAIN) from error
        return LoadedMember(network.eval(), _scaling(tensors, note), note.cut, layout)


def write_member(
    folder: Path, name: str, trained: Trained, scaling: Scaling, **about: Any
) -> MemberNote:
    """Write one member's weights and scales; returns its note.

    Parameters
    ----------
    folder
        Of the model.
    name
        Stem of the file.
    trained, scaling
        The member and what it learnt of its patients beforehand.
    **about
        ``repeat``, ``fold``, ``seed`` and ``seen``.
    """
    state = trained.network.state_dict()
    tensors = {f"{WEIGHTS}{k}": v.detach().contiguous() for k, v in state.items()}
    for key, scale in scaling.scales.items():
        tensors[f"{SCALES}{key}/mean"] = torch.from_numpy(scale.mean.copy())
        tensors[f"{SCALES}{key}/factor"] = torch.from_numpy(scale.factor.copy())
    data = safetensors.torch.save(tensors)
    make_folder(folder / "members")
    file = f"members/{name}.safetensors"
    write_bytes(folder / file, data)
    return MemberNote(
        file=file,
        sha256=hashlib.sha256(data).hexdigest(),
        temperatures=trained.temperatures,
        cut=trained.cut,
        windows=scaling.windows,
        epochs=len(trained.result.history),
        best_epochs=trained.result.averaged,
        monitor=trained.monitor,
        validation_auc=trained.validation_auc,
        **about,
    )


def write_card(folder: Path, card: ResponseCard) -> None:
    """Write ``respond.json``, the last file of a model."""
    write_json(folder / FILE, card.model_dump(mode="json", by_alias=True))


def read_model(folder: str | Path) -> ResponseModel:
    """Read a model folder.

    Raises
    ------
    WeightsUnavailable
        There is none, or it is not finished.
    SchemaError
        ``respond.json`` is not one of this version.
    """
    root = Path(folder)
    file = root / FILE
    if not file.is_file():
        raise WeightsUnavailable(
            f"{root} is no model of response: it has no {FILE}",
            hint="give a folder that herscope respond fit finished",
        )
    card = read_card(file, ResponseCard, SCHEMA)
    try:
        FusionSpec.model_validate(card.network)
    except ValidationError as error:
        raise unlike(file, error) from error
    return ResponseModel(root, card)


def _scaling(tensors: dict[str, torch.Tensor], note: MemberNote) -> Scaling:
    found = {k.removeprefix(SCALES): v for k, v in tensors.items() if k.startswith(SCALES)}
    names = sorted({key.rpartition("/")[0] for key in found})
    scales = {
        name: Scale(found[f"{name}/mean"].numpy(), found[f"{name}/factor"].numpy())
        for name in names
    }
    return Scaling(scales, note.windows)


def _read(file: Path, sha256: str) -> dict[str, torch.Tensor]:
    data = checked_bytes(file, sha256, FILE)
    try:
        loaded: dict[str, torch.Tensor] = safetensors.torch.load(data)
    except safetensors.SafetensorError as error:
        raise ModelError(f"{file} is damaged: {error}", hint=AGAIN) from error
    return loaded
