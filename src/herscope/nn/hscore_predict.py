"""H-scores of patches by a model, and of a slide from its patches. Without torch.

A regressor gives H / 300 of a patch from the DAB of its target region; here it becomes 0 to 300.
The H-score of a slide is the mean of its patches weighted by their target areas (Eq. 2 of AutoIHC),
which for pixel H-scores is the H-score of all pixels together. Patches run one at a time, so a
value never depends on what it was predicted beside.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import InputError, ModelError
from herscope.nn.inputs import network_input
from herscope.slide.protocol import Rgb
from herscope.stain.vectors import RUIFROK_JOHNSTON, StainVectors, Triple

if TYPE_CHECKING:
    from herscope.nn.model_file import ModelFile
    from herscope.nn.runtime import Engine

HIGHEST: Final = 300.0
"""H-score of cells that are all 3+."""


class TargetPatch(NamedTuple):
    """A picture (height, width, 3), which of its pixels count, and the white point."""

    rgb: Rgb
    target: NDArray[np.bool_]
    white: Triple


def h_scores_of(output: NDArray[Any]) -> NDArray[np.float64]:
    """Turn outputs of a network, H / 300, into H-scores of 0 to 300.

    Parameters
    ----------
    output
        (n, 1) or (n,).

    Examples
    --------
    >>> h_scores_of(np.array([[-0.1], [0.5], [1.2]])).tolist()
    [0.0, 150.0, 300.0]
    """
    return np.clip(output.astype(np.float64).reshape(-1) * HIGHEST, 0.0, HIGHEST)


def predict_h_scores(
    model: ModelFile,
    patches: Iterable[TargetPatch],
    *,
    mpp: float,
    engine: Engine = "onnx",
    threads: int | None = None,
    vectors: StainVectors = RUIFROK_JOHNSTON,
) -> NDArray[np.float64]:
    """Predict the H-score of each patch.

    Parameters
    ----------
    model
        A model of the task hscore.
    patches
        Pictures with their targets.
    mpp
        µm/px of the pictures.
    engine, threads
        How the model runs; see :class:`herscope.nn.runtime.Runner`.
    vectors
        Stain vectors of the slide.

    Returns
    -------
    ndarray
        (patches,) 0 to 300; NaN where a patch has no target pixel, for there is nothing to score.

    Raises
    ------
    WrongInput
        A model of another task, or another µm/px than its card allows.
    ModelError
        The model gives something else than one number a patch.
    """
    from herscope.nn.runtime import Runner

    model.card.check_input(task="hscore", mpp=mpp)
    inputs = model.card.inputs
    assert inputs is not None  # a model that was read has them
    runner = Runner(model, engine=engine, threads=threads)
    found: list[float] = []
    for patch in patches:
        if not patch.target.any():
            found.append(math.nan)
            continue
        batch = network_input(patch.rgb, inputs, patch.white, vectors, target=patch.target)[None]
        output = runner.run(batch)
        if output.shape != (1, 1):
            raise ModelError(
                f"model {model.card.name} gave {output.shape} for one patch, not one number",
                hint="an H-score network gives (patches, 1): H / 300",
            )
        found.append(float(h_scores_of(output)[0]))
    return np.array(found, np.float64)


def pooled_h_score(
    values: Sequence[float] | NDArray[np.float64], areas: Sequence[float] | NDArray[Any]
) -> float | None:
    """H-score of a slide from its patches, weighted by target area: Eq. (2) of AutoIHC.

    Parameters
    ----------
    values
        (n,) H-scores 0 to 300; ignored, and may be NaN, where the area is 0.
    areas
        (n,) target areas of the patches, in pixels or any other unit, 0 or more.

    Returns
    -------
    float or None
        None without any target.

    Raises
    ------
    InputError
        Other lengths, a negative area, or a value out of range.

    Examples
    --------
    >>> pooled_h_score([300, 0, float("nan")], [100, 300, 0])
    75.0
    """
    score, area = np.asarray(values, np.float64), np.asarray(areas, np.float64)
    if score.shape != area.shape or score.ndim != 1:
        raise InputError(f"{score.shape} H-scores and {area.shape} areas, not one each")
    if not (np.isfinite(area).all() and (area >= 0).all()):
        raise InputError("a target area is negative or no number", hint="0 or more pixels")
    counts = area > 0
    if not counts.any():
        return None
    score, area = score[counts], area[counts]
    if not ((score >= 0) & (score <= HIGHEST)).all():
        raise InputError(
            f"an H-score of a patch with target is not between 0 and {HIGHEST:g}",
            hint="patches without target have area 0",
        )
    # math.fsum: the same bits in any order of the patches.
    total = math.fsum(a * h for a, h in zip(area.tolist(), score.tolist(), strict=True))
    return total / math.fsum(area.tolist())
