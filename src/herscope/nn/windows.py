"""Predict a whole picture window by window, without seams and in little memory.

Windows overlap. Near its rim a window lacks context, so its rim counts nothing, and across the rest
of the overlap its weight rises evenly (blending as in Ronneberger et al. 2015, who cut the rim off,
and Isensee et al. 2021, who weight by a Gaussian). We depart in three ways, each for one reason:

* Class probabilities are rounded to 14 bits and weights are whole numbers, so that the sums are
  exact: order and batches of windows cannot change a class.
* Windows begin at multiples of 32 px, the coarsest grid of the networks here. Where the context of
  a network ends within the rim, the map equals that of the whole picture in one piece.
* Rows of windows are finished as they are passed: memory is one row of windows, not the picture.

Reading the next windows goes on in one thread while the engine computes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import InputError, ModelError, WrongInput

T = TypeVar("T")
Floats = NDArray[np.float32]
Read = Callable[[int, int, int, int], Floats]
"""``read(y, x, height, width)`` gives float32 (channels, height, width) inside the picture."""

NOT_PREDICTED: Final = 255
"""Code of pixels nobody asked for."""

ALIGN_PX: Final = 32
SIZE_PX: Final = 512
OVERLAP_PX: Final = 128

_PROBABILITY_STEPS: Final = 2**14 - 1
_WEIGHT_STEPS: Final = 64
# 64 * 64 * 16383 is 6.7e7; a pixel lies in at most 16 windows, so a sum stays below 2**31.


class Network(Protocol):
    """Anything that predicts a batch; a :class:`herscope.nn.runtime.Runner` does."""

    def run(self, batch: Floats) -> Floats:
        """Return logits (batch, classes, height, width) of (batch, channels, height, width)."""


class _Group(NamedTuple):
    """Windows of one row that are predicted together."""

    y: int
    xs: list[int]


def predict_map(
    read: Read,
    shape: tuple[int, int],
    runner: Network,
    *,
    size_px: int = SIZE_PX,
    overlap_px: int = OVERLAP_PX,
    batch: int = 1,
    wanted: NDArray[np.bool_] | None = None,
) -> NDArray[np.uint8]:
    """Predict the class of every pixel.

    Parameters
    ----------
    read
        ``read(y, x, height, width)`` gives float32 (channels, height, width) of a rectangle, as the
        network takes it. It is called from one other thread, never twice at a time, and only for
        rectangles inside the picture; where a window reaches over the edge, the picture is
        mirrored.
    shape
        (height, width) of the picture, in pixels of the grid that is read.
    runner
        The network.
    size_px, overlap_px
        Edge of a window, and how much neighbours share at least: multiples of 32, the overlap at
        most half of the edge. A pixel has at least a quarter of the overlap as context.
    batch
        Windows predicted at once. More than 1 costs memory and gains nothing on a CPU.
    wanted
        (height, width) mask; windows without such a pixel are neither read nor predicted. The
        classes of wanted pixels do not depend on it.

    Returns
    -------
    ndarray
        (height, width) uint8: the class with the greatest blended probability (the first among
        equals), 255 where nothing was wanted.

    Raises
    ------
    InputError
        Sizes that are no multiples of 32, too large an overlap, an empty picture, another shape
        of the mask.
    WrongInput
        ``read`` gives another size than asked; or what the network refuses.
    ModelError
        The network's output is no map of the input's size.

    Examples
    --------
    >>> class Brightest:
    ...     def run(self, batch):
    ...         return batch
    >>> picture = np.zeros((2, 40, 50), np.float32)
    >>> picture[1, :, 25:] = 9
    >>> found = predict_map(
    ...     lambda y, x, h, w: picture[:, y : y + h, x : x + w],
    ...     (40, 50),
    ...     Brightest(),
    ...     size_px=32,
    ...     overlap_px=0,
    ... )
    >>> found[0, 24:26].tolist()
    [0, 1]
    """
    _check(shape, size_px, overlap_px, batch, wanted)
    rows, columns = shape
    ys, xs = (window_starts(extent, size_px, overlap_px) for extent in shape)
    groups = [
        [_Group(y, part) for part in _parts(_wanted(wanted, y, xs, size_px), batch)] for y in ys
    ]
    inputs = ahead(
        lambda group: _read(read, group, shape, size_px), (one for row in groups for one in row)
    )
    codes = np.full(shape, NOT_PREDICTED, np.uint8)
    sums: NDArray[np.int32] | None = None  # (classes, size, width of all windows) of this row
    across = [window_weights(x, xs[-1], size_px, overlap_px) for x in xs]
    weight_at = dict(zip(xs, across, strict=True))
    for number, y in enumerate(ys):
        down = window_weights(y, ys[-1], size_px, overlap_px)
        for group in groups[number]:
            steps = _probability_steps(runner.run(next(inputs)), len(group.xs), size_px)
            if sums is None:
                sums = np.zeros((steps.shape[1], size_px, xs[-1] + size_px), np.int32)
            for x, window in zip(group.xs, steps, strict=True):
                weights = down[:, None] * weight_at[x][None, :]
                sums[:, :, x : x + size_px] += window * weights
        if sums is None:
            continue
        last = number + 1 == len(ys)
        done = size_px if last else ys[number + 1] - y
        finished = sums[:, :done, :columns]
        best = finished.argmax(axis=0).astype(np.uint8)
        best[~finished.any(axis=0)] = NOT_PREDICTED
        codes[y : y + done] = best[: rows - y]
        sums[:, : size_px - done] = sums[:, done:].copy()
        sums[:, size_px - done :] = 0
    if wanted is not None:
        codes[~wanted] = NOT_PREDICTED
    return codes


def window_starts(extent: int, size_px: int, overlap_px: int) -> list[int]:
    """Return where the windows along one axis begin, at multiples of 32 and evenly spread.

    Parameters
    ----------
    extent
        Length of the axis in px.
    size_px, overlap_px
        Multiples of 32; neighbours share at least ``overlap_px``.

    Examples
    --------
    >>> window_starts(1000, 512, 128)
    [0, 256, 512]
    >>> window_starts(300, 512, 128)
    [0]
    """
    last = -(-max(extent - size_px, 0) // ALIGN_PX)
    steps = -(-last * ALIGN_PX // (size_px - overlap_px))
    return [ALIGN_PX * (last * i // steps) for i in range(steps + 1)] if steps else [0]


def window_weights(start: int, last: int, size_px: int, overlap_px: int) -> NDArray[np.int32]:
    """Return the weights 0 to 64 of a window's pixels along one axis.

    Nothing in the outer quarter of the overlap, an even rise over its middle half, then 64. At the
    first and last edge of the picture there is no neighbour, and the weight is 64 up to it.

    Parameters
    ----------
    start, last
        Where this window begins, and the last one.
    size_px, overlap_px
        As for :func:`window_starts`.

    Examples
    --------
    >>> window_weights(0, 64, 96, 32)[[0, 60, 71, 72, 79, 87, 88, 95]].tolist()
    [64, 64, 64, 64, 36, 4, 0, 0]
    """
    if not overlap_px:
        return np.full(size_px, _WEIGHT_STEPS, np.int32)
    inner = np.arange(size_px, dtype=np.int64)
    rise = np.clip(
        (inner - overlap_px // 4 + 1) * _WEIGHT_STEPS // (overlap_px // 2), 0, _WEIGHT_STEPS
    )
    weights = np.full(size_px, _WEIGHT_STEPS, np.int64)
    if start > 0:
        weights = np.minimum(weights, rise)
    if start < last:
        weights = np.minimum(weights, rise[::-1])
    return weights.astype(np.int32)


def _check(
    shape: tuple[int, int],
    size_px: int,
    overlap_px: int,
    batch: int,
    wanted: NDArray[np.bool_] | None,
) -> None:
    fault = ""
    if min(shape) < 1:
        fault = f"a picture of {shape[1]} x {shape[0]} px has nothing to predict"
    elif size_px < ALIGN_PX or size_px % ALIGN_PX:
        fault = f"window size {size_px} px is no multiple of {ALIGN_PX}"
    elif overlap_px < 0 or overlap_px % ALIGN_PX or overlap_px > size_px // 2:
        fault = (
            f"overlap {overlap_px} px of windows of {size_px} px is no multiple of {ALIGN_PX} "
            f"between 0 and {size_px // 2}"
        )
    elif batch < 1:
        fault = f"a batch of {batch} windows (at least 1)"
    elif wanted is not None and (wanted.shape != shape or wanted.dtype != np.bool_):
        fault = f"mask {wanted.dtype} {wanted.shape} for a picture of {shape}"
    if fault:
        raise InputError(
            f"cannot predict in windows: {fault}",
            hint=f"the defaults are {SIZE_PX} and {OVERLAP_PX} px, one window at a time",
        )


def _wanted(wanted: NDArray[np.bool_] | None, y: int, xs: list[int], size_px: int) -> list[int]:
    if wanted is None:
        return xs
    columns: NDArray[np.bool_] = np.asarray(wanted[y : y + size_px].any(axis=0))
    return [x for x in xs if columns[x : x + size_px].any()]


def _parts(xs: list[int], batch: int) -> Iterator[list[int]]:
    return (xs[i : i + batch] for i in range(0, len(xs), batch))


def _read(read: Read, group: _Group, shape: tuple[int, int], size_px: int) -> Floats:
    windows = []
    for x in group.xs:
        height, width = min(size_px, shape[0] - group.y), min(size_px, shape[1] - x)
        pixels = read(group.y, x, height, width)
        if pixels.ndim != 3 or pixels.shape[1:] != (height, width):
            raise WrongInput(
                f"asked for (channels, {height}, {width}) at y {group.y}, x {x}, "
                f"was given {pixels.shape}",
                hint="the function that reads must give exactly the rectangle it is asked for",
            )
        beyond = ((0, 0), (0, size_px - height), (0, size_px - width))
        windows.append(np.pad(pixels, beyond, mode="symmetric"))
    return np.stack(windows)


def _probability_steps(logits: Floats, count: int, size_px: int) -> NDArray[np.int32]:
    """Softmax over the classes in steps of 1/16383: (n, classes, h, w) int32."""
    if logits.ndim != 4 or len(logits) != count or logits.shape[2:] != (size_px, size_px):
        raise ModelError(
            f"the network gave {logits.shape} for {count} window(s) of {size_px} px; "
            "a map of the same size is needed",
            hint="choose a segmentation model; one made for whole tiles cannot draw a map",
        )
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    shifted *= np.float32(_PROBABILITY_STEPS) / shifted.sum(axis=1, keepdims=True)
    return np.rint(shifted).astype(np.int32)


def ahead(make: Callable[[T], Floats], items: Iterable[T]) -> Iterator[Floats]:
    """Make each input in one other thread, two in advance, in order.

    Parameters
    ----------
    make
        Called in that thread, never twice at a time.
    items
        Taken in this thread, two more than were given out.

    Examples
    --------
    >>> [float(made) for made in ahead(np.float32, [1, 2, 3])]
    [1.0, 2.0, 3.0]
    """
    pool = ThreadPoolExecutor(1, thread_name_prefix="windows")
    waiting: deque[Future[Floats]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(make, item))
            if len(waiting) > 2:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
