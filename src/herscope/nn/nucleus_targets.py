"""What a nucleus network learns, made from numbered nuclei.

Channels are named as on the model's card:

* ``nucleus``: 1 inside, 0 outside;
* ``distance``: Euclidean distance to the border of the nucleus, divided by the largest in it, so
  that it is 1 at the middle of small and large nuclei alike (a Euclidean variant of the maps of
  Naylor et al., IEEE Trans Med Imaging 2019;38:448, who do not divide);
* ``horizontal``, ``vertical``: position from the centre of mass, -1 to 1 in each nucleus (Graham et
  al., Med Image Anal 2019;58:101563);
* ``contour``: the nucleus' pixels that touch another nucleus or none, and those just outside (Zhao
  et al., Med Image Anal 2020;65:101786).

A pixel that nobody annotated has 255 in ``nucleus`` and ``contour``; the others count only inside
nuclei.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from herscope.core.errors import InputError
from herscope.core.registry import NUCLEUS_CHANNELS

Instances = NDArray[np.int32]
"""(height, width): 0 no nucleus, 1..n the nucleus, -1 not annotated."""

NOT_ANNOTATED: Final = 255.0


def nucleus_target(instances: Instances, channels: Sequence[str]) -> NDArray[np.float32]:
    """Turn numbered nuclei into what a network should give.

    Parameters
    ----------
    instances
        (height, width) int32; 0 outside, -1 where nobody annotated. A nucleus that was cropped is
        taken as it lies in the picture.
    channels
        Names, from ``nucleus``, ``distance``, ``horizontal``, ``vertical``, ``contour``.

    Returns
    -------
    ndarray
        (channels, height, width) float32.

    Raises
    ------
    InputError
        An unknown channel.

    Examples
    --------
    >>> one = np.zeros((5, 5), np.int32)
    >>> one[1:4, 1:4] = 1
    >>> nucleus_target(one, ["nucleus", "distance"])[1, 2].tolist()
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    out = np.zeros((len(channels), *instances.shape), np.float32)
    for place, name in enumerate(channels):
        if name == "nucleus":
            out[place] = instances > 0
        elif name == "distance":
            out[place] = _distance(instances)
        elif name == "contour":
            out[place] = _contour(instances)
        elif name in {"horizontal", "vertical"}:
            out[place] = _position(instances, axis=1 if name == "horizontal" else 0)
        else:
            raise InputError(
                f"no channel of nuclei is called {name}",
                hint=f"known: {', '.join(sorted({*NUCLEUS_CHANNELS, 'contour'}))}",
            )
        if name in {"nucleus", "contour"}:
            out[place][instances < 0] = NOT_ANNOTATED
    return out


def _borders(instances: Instances) -> NDArray[np.bool_]:
    """Pixels of a nucleus of which one of four neighbours is not of it."""
    edge = np.zeros(instances.shape, np.bool_)
    across = instances[:, 1:] != instances[:, :-1]
    down = instances[1:] != instances[:-1]
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    edge[1:] |= down
    edge[:-1] |= down
    return edge & (instances > 0)


def _distance(instances: Instances) -> NDArray[np.float32]:
    """0 < d <= 1 inside; the outermost pixel is half a pixel from the border."""
    inner = ((instances > 0) & ~_borders(instances)).astype(np.uint8)
    deep = cv2.distanceTransform(inner, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) + np.float32(1)
    deep = np.where(instances > 0, deep, 0).astype(np.float32)
    numbers = int(instances.max(initial=0))
    if numbers < 1:
        return deep
    labels = np.maximum(instances, 0)
    most = np.asarray(ndimage.maximum(deep, labels, np.arange(numbers + 1)), np.float32)
    return np.where(instances > 0, deep / np.maximum(most, 1)[labels], 0).astype(np.float32)


def _contour(instances: Instances) -> NDArray[np.float32]:
    labels = np.maximum(instances, 0)
    grown = cv2.dilate(_borders(labels).astype(np.uint8), np.ones((3, 3), np.uint8))
    return np.asarray(grown, np.float32)


def _position(instances: Instances, axis: int) -> NDArray[np.float32]:
    numbers = int(instances.max(initial=0))
    if numbers < 1:
        return np.zeros(instances.shape, np.float32)
    labels = np.maximum(instances, 0)
    place = np.broadcast_to(
        np.expand_dims(np.arange(instances.shape[axis], dtype=np.float64), 1 - axis),
        instances.shape,
    )
    size = np.maximum(np.bincount(labels.ravel(), minlength=numbers + 1), 1)
    centre = np.bincount(labels.ravel(), place.ravel(), numbers + 1) / size
    offset = np.where(instances > 0, place - centre[labels], 0.0)
    every = np.arange(numbers + 1)
    reach_low = -np.minimum(ndimage.minimum(offset, labels, every), 0)
    reach_high = np.maximum(ndimage.maximum(offset, labels, every), 0)
    # Each side by its own reach, as the authors do.
    scale = np.where(offset < 0, reach_low[labels], reach_high[labels])
    return np.asarray(offset / np.maximum(scale, 1e-9), np.float32)
