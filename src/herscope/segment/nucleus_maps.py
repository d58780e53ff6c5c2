"""The maps of a block: windows that are there are taken, the others are predicted.

While the engine computes one window, another thread reads and scales the next two. Windows that a
neighbouring process is at are left for last (:mod:`herscope.segment.window_store`).
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import ModelError
from herscope.nn.inference import load_model, runner_for
from herscope.nn.runtime import Runner
from herscope.nn.windows import ahead
from herscope.segment.learned_nuclei import SIGNED, quantise
from herscope.segment.nucleus_windows import (
    CORE_PX,
    MARGIN_PX,
    WINDOW_PX,
    NucleusWindows,
    ReadRect,
)
from herscope.segment.window_store import Key, WindowStore
from herscope.tiles import Rect

MOST_SLIDES: Final = 2
"""Slides whose windows a process keeps: it works on one and may begin the next."""

_NEUTRAL: Final = 128  # of a signed map where nothing was predicted


class _Slides:
    """Windows of the slides that this process works on, the latest used last."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.stores: OrderedDict[str, WindowStore] = OrderedDict()


_SLIDES: Final = _Slides()


def store_of(windows: NucleusWindows, folder: Path | None = None) -> WindowStore:
    """Return this process' store of a slide's windows.

    Parameters
    ----------
    windows
        Of the slide.
    folder
        Shared with other processes.
    """
    with _SLIDES.lock:
        store = _SLIDES.stores.get(windows.token)
        if store is None:
            store = WindowStore((len(windows.classes), CORE_PX, CORE_PX), folder)
            _SLIDES.stores[windows.token] = store
        _SLIDES.stores.move_to_end(windows.token)
        while len(_SLIDES.stores) > MOST_SLIDES:
            _SLIDES.stores.popitem(last=False)
        return store


def forget(windows: NucleusWindows) -> None:
    """Free the memory of a slide's windows."""
    with _SLIDES.lock:
        _SLIDES.stores.pop(windows.token, None)


def predict_maps(
    windows: NucleusWindows, area: Rect, read: ReadRect, folder: Path | None = None
) -> NDArray[np.uint8]:
    """Return the maps of a rectangle, as ``learned_nuclei.decode_nuclei`` takes them.

    Parameters
    ----------
    windows
        The network on the slide.
    area
        Rectangle of working pixels; may reach beyond the slide, where no nucleus is.
    read
        Pixels of the slide; called from one other thread, never twice at a time.
    folder
        Where windows are shared with other processes; None: not at all.

    Raises
    ------
    ModelError, WrongInput, InputError
        The model cannot be read or run, or gives no map of its input's size.
    """
    store = store_of(windows, folder)
    maps = np.zeros((len(windows.classes), area.height, area.width), np.uint8)
    for channel, name in enumerate(windows.classes):
        if name in SIGNED:
            maps[channel] = _NEUTRAL
    for key, found in _windows(windows, store, area, read):
        core = windows.core(key)
        y0, y1 = max(core.y, area.y), min(core.y + core.height, area.y + area.height)
        x0, x1 = max(core.x, area.x), min(core.x + core.width, area.x + area.width)
        maps[:, y0 - area.y : y1 - area.y, x0 - area.x : x1 - area.x] = found[
            :, y0 - core.y : y1 - core.y, x0 - core.x : x1 - core.x
        ]
    return maps


def _windows(
    windows: NucleusWindows, store: WindowStore, area: Rect, read: ReadRect
) -> Iterator[tuple[Key, NDArray[np.uint8]]]:
    """Every window of an area, those that others are making last."""
    absent = []
    for key in windows.covering(area):
        found = store.get(key)
        if found is None:
            absent.append(key)
        else:
            yield key, found
    if absent:
        yield from _absent(windows, store, absent, read)


def _absent(
    windows: NucleusWindows, store: WindowStore, absent: list[Key], read: ReadRect
) -> Iterator[tuple[Key, NDArray[np.uint8]]]:
    """Make the windows that nobody has made, then wait for those that others are making."""
    runner = load_once(windows)
    mine: deque[Key] = deque()
    later: list[Key] = []

    def claimed() -> Iterator[Key]:
        for key in absent:
            if store.claim(key):
                mine.append(key)
                yield key
            else:
                later.append(key)

    try:
        for batch in ahead(lambda key: windows.input(key, read), claimed()):
            key = mine[0]
            # A neighbour may have stored it between our look and our claim.
            found = store.get(key)
            if found is None:
                found = predict_window(windows, runner, batch)
                store.put(key, found)
            store.release(mine.popleft())
            yield key, found
        for key in later:
            found = store.wait(key)
            if found is None:
                mine.append(key)
                found = predict_window(windows, runner, windows.input(key, read))
                store.put(key, found)
                mine.pop()
            yield key, found
    finally:
        for key in mine:
            store.release(key)


def load_once(windows: NucleusWindows) -> Runner:
    """Return this process' runner; the file is read and compiled the first time."""
    with _RUNNERS.lock:
        key = (windows.use.sha256, windows.use.folder, windows.inference)
        if _RUNNERS.key != key or _RUNNERS.runner is None:
            model = load_model(windows.use, task="nuclei", mpp=windows.mpp)
            _RUNNERS.runner, _RUNNERS.key = runner_for(model, windows.inference), key
        return _RUNNERS.runner


class _Latest:
    """The runner used last, so that the model's file is not read for every block."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.key: object = None
        self.runner: Runner | None = None


_RUNNERS: Final = _Latest()


def predict_window(
    windows: NucleusWindows, runner: Runner, batch: NDArray[np.float32]
) -> NDArray[np.uint8]:
    """Predict one window: (channels, 448, 448) uint8 of its core."""
    found = runner.run(batch)
    expected = (1, len(windows.classes), WINDOW_PX, WINDOW_PX)
    if found.shape != expected:
        raise ModelError(
            f"model {windows.use.name} gave {found.shape} for one window of {WINDOW_PX} px and the "
            f"channels {', '.join(windows.classes)}",
            hint="a nuclei model gives a map of the same size for each of its classes",
        )
    inner = slice(MARGIN_PX, MARGIN_PX + CORE_PX)
    return quantise(np.ascontiguousarray(found[0, :, inner, inner]), windows.classes)
