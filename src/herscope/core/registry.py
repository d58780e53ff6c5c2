"""Names for things that can be chosen, and cards that say what a model may be used for.

A registry refuses an unknown name and says which known one is nearest; it never falls back to a
default. A card is enforced: a model given the wrong task or resolution raises, it predicts nothing.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from herscope.core.errors import ModelError, UnknownModel, WeightsUnavailable, WrongInput

T = TypeVar("T")
Task = Literal["nuclei", "compartments", "hscore", "embedding", "slide"]
ModelInputs = Literal["rgb", "hematoxylin", "hematoxylin-rgb", "dab-target"]

INPUT_CHANNELS: Final[dict[str, int]] = {
    "rgb": 3,
    "hematoxylin": 1,
    "hematoxylin-rgb": 4,
    "dab-target": 1,
}
"""Channels of each input a model can take; haematoxylin comes first where there are both."""

COMPARTMENT_CLASSES: Final = ("tumor", "stroma", "background", "other")
"""Classes of every compartment model, in the order of their codes 0 to 3."""

NUCLEUS_CHANNELS: Final = ("nucleus", "distance", "horizontal", "vertical")
"""What the output channels of a nucleus model may be; see :mod:`herscope.nn.nucleus_targets`."""


def nearest(name: str, known: Sequence[str], *, shown: int | None = None) -> str:
    """Return a hint that names the nearest known name, whatever the case, and the others.

    Parameters
    ----------
    name
        What was asked for.
    known
        What there is.
    shown
        How many of those to list; all when None.

    Examples
    --------
    >>> nearest("clasical", ["classical"])
    'did you mean classical? known: classical'
    >>> nearest("tils", ["TILs", "age", "sex"], shown=2)
    'did you mean TILs? known: TILs, age, ...'
    """
    lower = {one.lower(): one for one in known}
    close = difflib.get_close_matches(name.strip().lower(), list(lower), n=1, cutoff=0.6)
    more = ", ..." if shown is not None and len(known) > shown else ""
    listed = f"known: {', '.join(known[:shown]) or 'none'}{more}"
    return f"did you mean {lower[close[0]]}? {listed}" if close else listed


class Registry(Generic[T]):
    """A named set of factories of one kind.

    Parameters
    ----------
    kind
        What is registered, singular, as an error message should call it.

    Examples
    --------
    >>> readers = Registry[str]("reader")
    >>> @readers.register("tiff")
    ... def tiff() -> str:
    ...     return "a TIFF reader"
    >>> readers.make("tiff")
    'a TIFF reader'
    >>> readers.make("tif")
    Traceback (most recent call last):
    herscope.core.errors.UnknownModel: no reader is called tif
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._factories: dict[str, Callable[[], T]] = {}

    def register(self, name: str) -> Callable[[Callable[[], T]], Callable[[], T]]:
        """Register the decorated factory; a name can be given once."""

        def keep(factory: Callable[[], T]) -> Callable[[], T]:
            if name in self._factories:
                raise ModelError(f"two {self.kind} entries are called {name}")
            self._factories[name] = factory
            return factory

        return keep

    def make(self, name: str) -> T:
        """Call the factory of this name.

        Raises
        ------
        UnknownModel
            No entry has this name; the hint names the nearest.
        """
        if name not in self._factories:
            raise UnknownModel(f"no {self.kind} is called {name}", hint=nearest(name, list(self)))
        return self._factories[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._factories))

    def __len__(self) -> int:
        return len(self._factories)

    def __contains__(self, name: object) -> bool:
        return name in self._factories


class ModelCard(BaseModel):
    """What a model is for; checked before it is used and shown by ``herscope models``."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = Field(..., description="Name to give on the command line")
    task: Task = Field(..., description="What it predicts")
    summary: str = Field(..., description="One sentence")
    input_mpp_finest: float = Field(..., gt=0, description="Finest µm/px it accepts")
    input_mpp_coarsest: float = Field(..., gt=0, description="Coarsest µm/px it accepts")
    input_size_px: int | None = Field(
        None, gt=0, description="Tile edge in px; any size when absent"
    )
    normalisation: str = Field(..., description="What is done to the pixels before")
    licence: str = Field(..., description="SPDX name of the licence of method and weights")
    source: str = Field(..., description="Where the method comes from")
    training_data: str = Field(..., description="What it was trained on")
    sha256: str | None = Field(
        default=None,
        pattern="^[0-9a-f]{64}$",
        description="Checksum of the weights; absent without weights",
    )
    weights_sha256: str | None = Field(
        default=None,
        pattern="^[0-9a-f]{64}$",
        description="Checksum of the trainable weights beside them; absent without such a file",
    )
    int8_sha256: str | None = Field(
        default=None,
        pattern="^[0-9a-f]{64}$",
        description="Checksum of the 8-bit copy beside it; absent without such a file",
    )
    format: Literal["herscope.model/1"] = Field(
        default="herscope.model/1", description="Version of the model folder"
    )
    network: str | None = Field(default=None, description="Name of the architecture")
    inputs: ModelInputs | None = Field(
        default=None, description="What the network is given; absent without a network"
    )
    classes: list[str] | None = Field(
        default=None, description="Names of the output channels in order; absent without classes"
    )
    trained_px: int | None = Field(
        default=None, gt=0, description="Edge of the patches it was trained on; absent if unknown"
    )
    metrics: dict[str, float] = Field(default_factory=dict, description="Measured figures")

    def check_input(self, *, task: str, mpp: float) -> None:
        """Refuse a use the card does not allow.

        Parameters
        ----------
        task
            What the caller wants predicted.
        mpp
            µm/px of the pixels it will be given.

        Raises
        ------
        WrongInput
            Another task, or pixels finer or coarser than the card allows.
        """
        if task != self.task:
            raise WrongInput(
                f"model {self.name} predicts {self.task}, not {task}",
                hint="herscope models lists the models of each task",
            )
        # Resolutions come from metadata such as 0.2527: a thousandth is no difference in scale.
        slack = 1.001
        if not self.input_mpp_finest / slack <= mpp <= self.input_mpp_coarsest * slack:
            raise WrongInput(
                f"model {self.name} takes {self.input_mpp_finest:g} to {self.input_mpp_coarsest:g} "
                f"µm/px, got {mpp:g}",
                hint="set the working resolution within that range, or choose another model",
            )

    def check_file(self, path: str | Path) -> None:
        """Refuse a weights file that is not the one the card describes.

        Raises
        ------
        WeightsUnavailable
            There is no such file.
        ModelError
            Its sha256 differs from the card, or the card has no weights.
        """
        file = Path(path)
        if self.sha256 is None:
            raise ModelError(f"model {self.name} has no weights, so {file.name} cannot be its file")
        try:
            with file.open("rb") as stream:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise WeightsUnavailable(
                f"weights of {self.name} cannot be read: {file}",
                hint="herscope models shows where they come from",
            ) from error
        if found != self.sha256:
            raise ModelError(
                f"{file} is not the file of {self.name}: sha256 {found[:12]}, "
                f"card {self.sha256[:12]}",
                hint="fetch the weights again; a changed file is never used",
            )


CARDS: Registry[ModelCard] = Registry("model")


@CARDS.register("classical")
def classical_card() -> ModelCard:
    """Nuclei from optical density, without weights."""
    return ModelCard(
        name="classical",
        task="nuclei",
        summary="Nuclei as star-shaped outlines on the red optical density; brown and blue alike.",
        input_mpp_finest=0.1,
        input_mpp_coarsest=1.25,
        input_size_px=None,
        normalisation="optical density against the slide's own white point; no stain normalisation",
        licence="Apache-2.0",
        source="herscope.segment; no weights",
        training_data="none",
        sha256=None,
    )


@CARDS.register("nests")
def nests_card() -> ModelCard:
    """Epithelial nests by the shape of nuclei, without weights."""
    return ModelCard(
        name="nests",
        task="compartments",
        summary="Epithelial nests and stroma from the width of nuclei and what lies between them; "
        "normal epithelium and stroma with wide nuclei count as tumour.",
        input_mpp_finest=0.1,
        input_mpp_coarsest=1.25,
        input_size_px=None,
        normalisation="optical density against the slide's own white point; no stain normalisation",
        licence="Apache-2.0",
        source="herscope.segment.nests; no weights",
        training_data="none; constants set by hand on four EndoNuke tiles, two of DeepLIIF and a "
        "Ki67 region of QuPath's documentation",
        sha256=None,
        metrics={
            "endonuke_nuclei_right_tuned_on": 0.967,
            "endonuke_nuclei_right_tile_left_out": 0.774,
            "random_phantom_cells_right_balanced": 0.675,
        },
    )
