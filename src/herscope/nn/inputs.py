"""What a network is given: RGB, the haematoxylin image, both, or the DAB image of a target.

One function makes the input for training, evaluation and slides, so that a network never meets
another scaling than the one it was trained with. RGB is divided by 255. Haematoxylin is log10
optical density against the slide's own white point by :mod:`herscope.stain.deconvolve` (AutoIHC
gives its compartment network the H image, so that brown does not tell it what to call tumour);
negative amounts are kept. The input of an H-score network is the optical density of DAB, 0 outside
the target (AutoIHC). No stain normalisation.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import InputError
from herscope.core.registry import INPUT_CHANNELS, nearest
from herscope.slide.protocol import Rgb
from herscope.stain.deconvolve import MILLI_OD, deconvolution_table, deconvolve
from herscope.stain.vectors import RUIFROK_JOHNSTON, StainVectors, Triple

RGB: Final = "rgb"
HEMATOXYLIN: Final = "hematoxylin"
HEMATOXYLIN_RGB: Final = "hematoxylin-rgb"
DAB_TARGET: Final = "dab-target"
NORMALISATION: Final = {
    RGB: "red, green and blue divided by 255",
    HEMATOXYLIN: "log10 optical density of haematoxylin against the slide's own white point",
    HEMATOXYLIN_RGB: (
        "log10 optical density of haematoxylin against the slide's own white point; "
        "red, green and blue divided by 255"
    ),
    DAB_TARGET: (
        "log10 optical density of DAB against the slide's own white point, 0 outside the target"
    ),
}
"""What the card of a model says of its input."""


def channels_of(inputs: str) -> int:
    """Return how many channels an input has; an unknown name is refused.

    Examples
    --------
    >>> channels_of("hematoxylin-rgb")
    4
    """
    if inputs not in INPUT_CHANNELS:
        raise InputError(
            f"no input is called {inputs!r}", hint=nearest(inputs, sorted(INPUT_CHANNELS))
        )
    return INPUT_CHANNELS[inputs]


def network_input(
    rgb: Rgb,
    inputs: str,
    white: Triple,
    vectors: StainVectors = RUIFROK_JOHNSTON,
    *,
    target: NDArray[np.bool_] | None = None,
) -> NDArray[np.float32]:
    """Turn pixels into what the network takes.

    Parameters
    ----------
    rgb
        (height, width, 3) uint8.
    inputs
        ``rgb``, ``hematoxylin``, ``hematoxylin-rgb`` or ``dab-target``.
    white
        White point in red, green, blue, 0 to 255.
    vectors
        Stain vectors of the slide.
    target
        (height, width) pixels that count; needed for ``dab-target``, of no use to the others.

    Returns
    -------
    ndarray
        (channels, height, width) float32.

    Raises
    ------
    InputError
        An unknown input, or ``dab-target`` without a target of the image's size.

    Examples
    --------
    >>> grey = np.full((2, 2, 3), 51, np.uint8)
    >>> network_input(grey, "rgb", (255.0, 255.0, 255.0))[:, 0, 0].tolist()
    [0.20000000298023224, 0.20000000298023224, 0.20000000298023224]
    """
    out = np.empty((channels_of(inputs), *rgb.shape[:2]), np.float32)
    if inputs == DAB_TARGET:
        if target is None or target.shape != rgb.shape[:2]:
            said = "none" if target is None else f"one of {target.shape}"
            raise InputError(
                f"the input {inputs} of an image of {rgb.shape[:2]} needs a target, got {said}",
                hint="compartment and nuclei say which pixels count; all of them is a target too",
            )
        dab = deconvolve(rgb, deconvolution_table(vectors, white)).dab
        out[0] = np.where(target, dab, 0).astype(np.float32) / np.float32(MILLI_OD)
        return out
    first = 0
    if inputs != RGB:
        stains = deconvolve(rgb, deconvolution_table(vectors, white))
        out[0] = stains.hematoxylin.astype(np.float32) / np.float32(MILLI_OD)
        first = 1
    if inputs != HEMATOXYLIN:
        out[first:] = np.moveaxis(rgb, 2, 0).astype(np.float32) / np.float32(255)
    return out
