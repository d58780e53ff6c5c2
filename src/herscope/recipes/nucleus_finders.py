"""Find nuclei in patches as a slide would find them: by classical means, or by a network.

Both work at 0.5 µm/px, or at the patch's own scale where that is coarser, and give labels on the
patch's own pixels. The classical method measures its contrast once per group, for a group is a
slide or a patient and a slide has one contrast; the white point is the one the folder states.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from herscope.recipes.nucleus_counts import Labels
from herscope.recipes.patch_fields import Field, field_at
from herscope.slide.protocol import Rgb
from herscope.stain.vectors import RUIFROK_JOHNSTON, Triple

if TYPE_CHECKING:
    from pathlib import Path

    from herscope.nn.runtime import Engine

CLASSICAL: Final = "classical"
WORKING_MPP: Final = 0.5
MOST_FOR_CONTRAST: Final = 32
"""Patches of a group that its contrast is measured on, evenly among them."""


class Pictures(Protocol):
    """What every patch folder offers."""

    @property
    def stems(self) -> tuple[str, ...]:
        """Names of the patches."""

    @property
    def mpp(self) -> float:
        """µm/px."""

    @property
    def whites(self) -> tuple[Triple, ...]:
        """White point of each patch."""

    @property
    def groups(self) -> tuple[str, ...]:
        """Slide or patient of each patch."""

    @property
    def images(self) -> tuple[Path, ...]:
        """Files of the patches."""


class Finder(Protocol):
    """Anything that finds the nuclei of a patch."""

    name: str

    def find(self, index: int, rgb: Rgb) -> Labels:
        """Return (height, width) int32 labels of patch ``index``, whose pixels are ``rgb``."""

    def describe(self) -> dict[str, Any]:
        """Return what a document says of it."""


class Classical:
    """The classical segmentation, calibrated on each group.

    Parameters
    ----------
    patches
        The folder.
    marker
        What was stained, such as ``nuclear``; says whether DAB speaks for a nucleus.
    """

    def __init__(self, patches: Pictures, marker: str) -> None:
        from herscope.core.registry import CARDS
        from herscope.measure.markers import get_marker
        from herscope.segment.nuclei import NucleiSpec

        self.name = CLASSICAL
        self._patches = patches
        self._dab_share = get_marker(marker).nuclear_dab_share
        self._marker = marker
        self._spec = NucleiSpec()
        self._contrast: dict[str, float] = {}
        mpp = max(WORKING_MPP, float(patches.mpp))
        CARDS.make(CLASSICAL).check_input(task="nuclei", mpp=mpp)

    def find(self, index: int, rgb: Rgb) -> Labels:
        """Return the labels of a patch; see :class:`Finder`."""
        from herscope.segment.nuclei import segment_nuclei

        group = self._patches.groups[index]
        if group not in self._contrast:
            self._contrast[group] = self._calibrate(group)
        field, signal = self._signal(index, rgb)
        found = segment_nuclei(
            signal, field.grid.mpp, self._spec, contrast_od=self._contrast[group]
        )
        return field.enlarge(found.labels).astype(np.int32)

    def describe(self) -> dict[str, Any]:
        """Return what a document says of it."""
        return {
            "marker": self._marker,
            "contrast_od": {name: round(od, 4) for name, od in sorted(self._contrast.items())},
        }

    def _calibrate(self, group: str) -> float:
        from herscope.nn.patches.images import read_image
        from herscope.segment.nuclei import calibrate_contrast

        members = [i for i, name in enumerate(self._patches.groups) if name == group]
        if len(members) > MOST_FOR_CONTRAST:
            last = MOST_FOR_CONTRAST - 1
            members = [members[k * (len(members) - 1) // last] for k in range(MOST_FOR_CONTRAST)]
        signals = []
        for i in members:
            field, signal = self._signal(i, read_image(self._patches.images[i]))
            signals.append(signal)
        return calibrate_contrast(signals, field.grid.mpp, self._spec)

    def _signal(self, index: int, rgb: Rgb) -> tuple[Field, NDArray[np.uint16]]:
        from herscope.stain.deconvolve import deconvolution_table, deconvolve, nuclear_signal

        patches = self._patches
        field = field_at(rgb, float(patches.mpp), WORKING_MPP, patches.stems[index])
        table = deconvolution_table(
            RUIFROK_JOHNSTON, patches.whites[index], nuclear_dab_share=self._dab_share
        )
        return field, nuclear_signal(deconvolve(field.rgb, table))


class Learned:
    """A network of the task ``nuclei``.

    Parameters
    ----------
    folder
        Of the model.
    patches
        The folder.
    engine, threads
        How it runs.

    Raises
    ------
    WrongInput
        It is of another task, or takes pixels of another size than the patches have.
    """

    def __init__(
        self, folder: Path, patches: Pictures, engine: Engine, threads: int | None
    ) -> None:
        from herscope.nn.inference import InferenceSpec, use_model
        from herscope.nn.model_file import read_model
        from herscope.nn.runtime import Runner
        from herscope.segment.learned_nuclei import check_classes

        self._use = use_model(folder, "nuclei")
        self._model = read_model(folder, task="nuclei")
        card = self._model.card
        self.name = card.name
        self._patches, self._card = patches, card
        self._classes = check_classes(card.classes, f"model {card.name}")
        self._mpp = max(working_mpp(card), float(patches.mpp))
        card.check_input(task="nuclei", mpp=self._mpp)
        self._inference = InferenceSpec(engine=engine)
        self._runner = Runner(self._model, engine=engine, threads=threads)

    def find(self, index: int, rgb: Rgb) -> Labels:
        """Return the labels of a patch; see :class:`Finder`."""
        from herscope.segment.learned_nuclei import LearnedNucleiSpec, decode_nuclei

        field = field_at(rgb, float(self._patches.mpp), self._mpp, self._patches.stems[index])
        maps = self._maps(field, self._patches.whites[index])
        found = decode_nuclei(maps, self._classes, float(field.grid.mpp), LearnedNucleiSpec())
        return field.enlarge(found.labels).astype(np.int32)

    def _maps(self, field: Field, white: Triple) -> NDArray[np.uint8]:
        """Predict every window of a patch as if it were a slide of its own, all of it tissue."""
        from herscope.segment.nucleus_maps import predict_window
        from herscope.segment.nucleus_windows import plan_windows

        tissue = np.ones((1, 1), np.bool_)
        windows = plan_windows(
            self._model, self._use, self._inference, field.grid, tissue, white, RUIFROK_JOHNSTON
        )
        height, width = field.grid.height_px, field.grid.width_px
        maps = np.zeros((len(self._classes), height, width), np.uint8)
        for row, column in np.argwhere(windows.wanted).tolist():
            core = windows.core((row, column))
            batch = windows.input((row, column), field.read)
            found = predict_window(windows, self._runner, batch)
            rows, columns = slice(core.y, core.y + core.height), slice(core.x, core.x + core.width)
            maps[:, rows, columns] = found[:, : core.height, : core.width]
        return maps

    def describe(self) -> dict[str, Any]:
        """Return what a document says of it."""
        card = self._card
        return {
            "network": card.network,
            "inputs": card.inputs,
            "sha256": card.sha256,
            "training_data": card.training_data,
            "mpp": self._mpp,
        }


def working_mpp(card: Any) -> float:
    """Return 0.5 µm/px where a model takes that, else the middle of what it takes."""
    finest, coarsest = card.input_mpp_finest, card.input_mpp_coarsest
    if finest <= WORKING_MPP <= coarsest:
        return WORKING_MPP
    return math.sqrt(finest * coarsest)


def make_finder(
    model: str | Path,
    patches: Pictures,
    *,
    marker: str,
    engine: Engine,
    threads: int | None,
) -> tuple[Finder, Path | None]:
    """Make what a word names: ``classical``, or the model of a folder or a bare name.

    Returns
    -------
    tuple
        The finder, and the model's folder where it has one.
    """
    from herscope.nn.model_file import find_model

    if str(model) == CLASSICAL:
        return Classical(patches, marker), None
    folder = find_model(model)
    return Learned(folder, patches, engine, threads), folder
