"""Feature files become samples on disk, once, before any fold is trained.

A sample that was prepared from the same file, for the same model, is taken as it is; so a training
that goes on, or is repeated with other folds, makes no graph twice.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from herscope.core.errors import HerscopeError, InputError, WrongInput
from herscope.core.spec import Spec
from herscope.core.store import make_folder, read_json, write_json
from herscope.embed.bag import FeatureBag
from herscope.embed.open_features import read_any
from herscope.mil.kinds import make_model
from herscope.mil.sample_store import save_sample

VERSION = "herscope.sample/1"


class Reading(Spec):
    """What is stated of foreign feature files that do not say it themselves."""

    mpp: float | None = Field(
        default=None, gt=0, description="µm per level-0 pixel of feature files that do not say."
    )
    tile_px: float | None = Field(
        default=None,
        gt=0,
        description="Edge of a tile in level-0 pixels of feature files that do not say.",
    )

    def bag(self, path: Path) -> FeatureBag:
        """Read one file."""
        return read_any(path, mpp=self.mpp, tile_px=self.tile_px)


@dataclass(frozen=True)
class Prepared:
    """A slide that is ready: where its sample lies and what its features are.

    ``mean`` is its mean feature, ``key`` what the sample was made of.
    """

    name: str
    file: str
    key: str
    encoder: str
    encoder_id: str
    features: int
    tiles: int
    tile_um: float | None
    mean: tuple[float, ...]
    notes: tuple[str, ...] = ()


def prepare(
    name: str, path: Path, model: str, spec: Spec, folder: Path, reading: Reading
) -> Prepared:
    """Make one slide's sample, or find it made.

    Parameters
    ----------
    name, path
        The slide and its feature file.
    model, spec
        The family of models and its parameters.
    folder
        Where samples go.
    reading
        What is stated of foreign files.

    Raises
    ------
    InputError, SchemaError
        The file cannot be used.
    """
    key = _key(path, model, spec, reading)
    note, file = folder / f"{name}.json", folder / f"{name}.npz"
    if note.is_file() and file.is_file():
        found = read_json(note)
        if isinstance(found, dict) and found.get("key") == key:
            values: dict[str, Any] = {
                k: tuple(v) if isinstance(v, list) else v for k, v in found.items()
            }
            return Prepared(**{**values, "file": str(file)})
    bag = reading.bag(path)
    make_folder(folder)
    sample = make_model(model, spec).sample(bag)
    save_sample(file, sample)
    made = Prepared(
        name=name,
        file=str(file),
        key=key,
        encoder=bag.encoder,
        encoder_id=bag.encoder_id,
        features=bag.size,
        tiles=sample.tiles,
        tile_um=None if bag.mpp is None else bag.tile_px * bag.mpp,
        mean=tuple(bag.features.mean(axis=0, dtype=np.float64).tolist()),
        notes=(*bag.notes, *getattr(sample, "notes", ())),
    )
    write_json(note, {**asdict(made), "file": file.name})
    return made


def prepare_or_tell(*given: Any) -> Prepared | HerscopeError:
    """Prepare one slide; a deliberate error is returned, for the pool to bring home."""
    try:
        return prepare(*given)
    except HerscopeError as error:
        return error


def one_encoder(slides: Sequence[Prepared]) -> Prepared:
    """Return a slide that stands for all, or refuse features that cannot be compared.

    Raises
    ------
    WrongInput
        Slides were embedded with different encoders, preparations or sizes.
    """
    kinds = Counter((s.encoder, s.encoder_id, s.features) for s in slides)
    if len(kinds) > 1:
        (usual, many), *others = kinds.most_common()
        odd = next(s for s in slides if (s.encoder, s.encoder_id, s.features) == others[0][0])
        raise WrongInput(
            f"the features are of {len(kinds)} kinds: {many} slides {_kind(usual)}, but slide "
            f"{odd.name} {_kind(others[0][0])}",
            hint="embed all slides with the same encoder, weights, µm/px, tile and normalisation",
        )
    return slides[0]


def unusable(found: Mapping[str, HerscopeError]) -> InputError:
    """Return the error for labelled slides whose features cannot be read."""
    name, first = next(iter(found.items()))
    return InputError(
        f"features of {len(found)} labelled slide(s) cannot be used, first {name}: {first.message}",
        hint=f"{first.hint}; or take these slides out of the label table",
    )


def _kind(kind: tuple[str, str, int]) -> str:
    return f"have {kind[2]} features of {kind[0]} ({kind[1]})"


def _key(path: Path, model: str, spec: Spec, reading: Reading) -> str:
    try:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InputError(
            f"features {path} cannot be read: {error.strerror or error}", hint="embed it again"
        ) from error
    return spec.fingerprint(VERSION, model, digest, reading.fingerprint())
