"""H-scores of a slide by a network, tile by tile, beside those that are counted.

After AutoIHC: a patch is a tile, its target the pixels that the pixel H-score grades (nuclei of a
nuclear marker, whole cells otherwise) in one compartment. A network is given the DAB of the target,
0 elsewhere, and gives the patch's H-score; the slide's is their mean weighted by target areas, Eq.
(2) of :mod:`herscope.nn.hscore_predict`. Tiles without target count nothing. A tile that is cut by
the slide's edge is filled up with zeros, which a network cannot tell from glass or other tissue.

Where we depart from AutoIHC: its patches are 512 px at 0.46 µm/px, ours are the counting tiles, 512
px at 0.5 µm/px unless told otherwise. This is the one number of a result that depends on the size
of the tiles: a network averages what it sees over the whole patch, and one that learnt from patches
of 128 px gives a third more on tiles of 512 px (docs/science/hscore-models.md).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import ModelError, WrongInput
from herscope.nn.hscore_predict import h_scores_of, pooled_h_score
from herscope.nn.inference import InferenceSpec, ModelUse, load_model, runner_for
from herscope.nn.inputs import DAB_TARGET, network_input
from herscope.nn.model_file import ModelFile
from herscope.score.alerts import AlertSpec, alert, only_drawn
from herscope.score.result import Alert, Compartment, CompartmentName, ModelHScore
from herscope.slide.protocol import Rgb
from herscope.stain.vectors import StainVectors, Triple
from herscope.tiles import Rect, TileSize

if TYPE_CHECKING:
    from herscope.nn.runtime import Runner

SAME_SIZE: Final = 1.11
"""Tiles move by up to a tenth to end on those of the file; that much is the same size."""

Parts = dict[CompartmentName, tuple[int, ...]]
"""Compartments of a result, each with the codes of its pixels; ``all`` holds the others."""


@dataclass(frozen=True)
class LearnedHScore:
    """An H-score network on a slide: a plain value that travels to worker processes.

    Parameters
    ----------
    use, inference
        Which model, and how it is computed.
    training_data
        What it was trained on, by its card.
    trained_px
        Edge of the patches it was trained on, by its card.
    mpp
        µm/px of the working grid.
    patch_px, patch_um
        Edge of a patch in working pixels and on glass.
    white, vectors
        White point and stain vectors of the slide.
    """

    use: ModelUse
    inference: InferenceSpec
    training_data: str
    trained_px: int | None
    mpp: float
    patch_px: int
    patch_um: float
    white: Triple
    vectors: StainVectors

    def runner(self) -> Runner:
        """Return this process' runner; the file is read and compiled the first time."""
        return runner_for(_model(self.use, self.mpp), self.inference)


@lru_cache(maxsize=1)
def _model(use: ModelUse, mpp: float) -> ModelFile:
    """Read the model once, not for every block."""
    return load_model(use, task="hscore", mpp=mpp)


def plan_h_score(
    use: ModelUse,
    inference: InferenceSpec,
    mpp: float,
    tile: TileSize,
    white: Triple,
    vectors: StainVectors,
) -> LearnedHScore:
    """Read an H-score model and see that it can score the tiles of a slide.

    Parameters
    ----------
    use, inference
        Which model, and how it is computed.
    mpp
        µm/px of the working grid.
    tile
        The tiles, which are its patches.
    white, vectors
        White point and stain vectors of the slide.

    Raises
    ------
    WrongInput
        A model of another task, resolution or patch size, or one that is shown no target.
    ModelError, WeightsUnavailable, SchemaError
        It cannot be read, or is not the one that was chosen.
    """
    card = _model(use, mpp).card
    if card.inputs != DAB_TARGET:
        raise WrongInput(
            f"model {card.name} takes {card.inputs}, which does not say which pixels count; the "
            f"H-score of a compartment needs {DAB_TARGET}",
            hint="herscope fit hscore makes such a model",
        )
    if card.input_size_px not in {None, tile.working_px}:
        raise WrongInput(
            f"model {card.name} takes patches of {card.input_size_px} px alone; the tiles of this "
            f"slide have {tile.working_px} px (asked: {tile.asked_px})",
            hint="set size_px under [tiles] of a study file, or export the model for any size",
        )
    return LearnedHScore(
        use=use,
        inference=inference,
        training_data=card.training_data,
        trained_px=card.trained_px,
        mpp=mpp,
        patch_px=tile.working_px,
        patch_um=tile.covered_um,
        white=white,
        vectors=vectors,
    )


def score_patches(
    model: LearnedHScore,
    rgb: Rgb,
    target: NDArray[np.bool_],
    codes: NDArray[np.uint8],
    area: Rect,
    tiles: Sequence[Rect],
    parts: Parts,
) -> NDArray[np.float64]:
    """Give the H-score of each tile in each compartment.

    Parameters
    ----------
    model
        From :func:`plan_h_score`.
    rgb
        Pixels (height, width, 3).
    target
        (height, width) pixels that are graded.
    codes
        (height, width) compartment codes.
    area
        Where these pixels lie on the slide.
    tiles
        Where the patches lie on it, within the area; none larger than the model's patch.
    parts
        The compartments; ``all`` last.

    Returns
    -------
    ndarray
        (tiles, compartments) 0 to 300; NaN where a tile has no target.

    Raises
    ------
    ModelError
        The model gives something else than one number a patch.
    """
    found = np.full((len(tiles), len(parts)), np.nan)
    for i, tile in enumerate(tiles):
        y, x = tile.y - area.y, tile.x - area.x
        here = np.s_[y : y + tile.height, x : x + tile.width]
        graded, code = target[here], codes[here]
        *apart, whole = (graded & np.isin(code, which) for which in parts.values())
        for k, mask in enumerate(apart):
            if mask.any():
                found[i, k] = _score(model, rgb[here], mask)
        if whole.any():
            # Many tiles lie in one compartment, whose H-score is then that of all.
            same = [k for k, mask in enumerate(apart) if np.array_equal(mask, whole)]
            found[i, -1] = found[i, same[0]] if same else _score(model, rgb[here], whole)
    return found


def _score(model: LearnedHScore, rgb: Rgb, target: NDArray[np.bool_]) -> float:
    edge = model.patch_px
    height, width = target.shape
    batch = np.zeros((1, 1, edge, edge), np.float32)
    batch[0, :, :height, :width] = network_input(
        np.ascontiguousarray(rgb), DAB_TARGET, model.white, model.vectors, target=target
    )
    output = model.runner().run(batch)
    if output.shape != (1, 1):
        raise ModelError(
            f"model {model.use.name} gave {output.shape} for one patch, not one number",
            hint="an H-score network gives (patches, 1): H / 300",
        )
    return float(h_scores_of(output)[0])


def pool(
    model: LearnedHScore, values: NDArray[np.float64], target_px: NDArray[Any], px_um2: float
) -> ModelHScore:
    """Pool the patches of one compartment: Eq. (2) of AutoIHC.

    Parameters
    ----------
    model
        From :func:`plan_h_score`.
    values, target_px
        (patches,) H-scores, and how many pixels each target has.
    px_um2
        Area of a working pixel.
    """
    value = pooled_h_score(values, target_px)
    return ModelHScore(
        value=None if value is None else round(value, 4),
        patches=int((target_px > 0).sum()),
        area_mm2=round(int(target_px.sum()) * px_um2 / 1e6, 6),
        patch_um=round(model.patch_um, 4),
        model=model.use.name,
    )


def h_score_alerts(
    model: LearnedHScore, found: dict[CompartmentName, Compartment], spec: AlertSpec
) -> Iterator[Alert]:
    """Say what the model was trained on, whether it fits, and where it and the pixels disagree.

    Parameters
    ----------
    model
        From :func:`plan_h_score`.
    found
        The compartments; where tumour and stroma are apart, ``all`` is not looked at.
    spec
        Limits.
    """
    trained = model.training_data
    yield alert(
        "predicted-h-score",
        "note",
        f"H-scores by the model {model.use.name}, trained on: {trained}. "
        + ("It has seen no real tissue. " if only_drawn(trained) else "")
        + f"They are those of tiles of {model.patch_um:g} µm; other tiles give other values.",
        model.use.name,
    )
    size = model.trained_px
    if size and not 1 / SAME_SIZE <= model.patch_px / size <= SAME_SIZE:
        yield alert(
            "h-score-patch-size",
            "warning",
            f"The model {model.use.name} was trained on patches of {size} px and was given tiles "
            f"of {model.patch_px} px: its H-scores may be far off. Set size_px = {size} under "
            "[tiles].",
            model.patch_px,
            size,
        )
    for name, part in found.items():
        counted, by_model = part.h_score_pixel.value, part.h_score_model
        if (name == "all" and len(found) > 1) or counted is None or by_model is None:
            continue
        apart = math.nan if by_model.value is None else abs(by_model.value - counted)
        if apart > spec.h_score_apart:
            yield alert(
                "h-scores-disagree",
                "warning",
                f"Two methods disagree on compartment {name}: {by_model.value:.0f} by the model "
                f"{model.use.name}, {counted:.0f} by the pixel formula. Neither is known to be "
                "right; look at the slide.",
                round(apart, 4),
                spec.h_score_apart,
            )
