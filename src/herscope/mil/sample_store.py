"""Samples on disk while a training runs, so that no fold makes them again.

A sample is a dataclass of arrays and plain values; it becomes one uncompressed ``.npz`` without
pickle. Anchors and graphs cost seconds a slide, reading them back milliseconds.
"""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from herscope.core.errors import ModelError
from herscope.core.store import write_bytes

CACHE_BYTES: Final = 1 << 30
"""Samples that one process keeps in memory."""
_PLAIN: Final = "plain.json"


def save_sample(path: Path, sample: Any) -> None:
    """Write a sample: a dataclass of arrays, numbers, words and tuples of words.

    Examples
    --------
    >>> import dataclasses, pathlib, tempfile
    >>> @dataclasses.dataclass
    ... class Two:
    ...     tiles: int
    ...     features: Any
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "a.npz"
    >>> save_sample(file, Two(3, np.ones((3, 2))))
    >>> load_sample(file, Two).features.shape
    (3, 2)
    """
    arrays: dict[str, Any] = {}
    plain: dict[str, Any] = {}
    for each in dataclasses.fields(sample):
        value = getattr(sample, each.name)
        (arrays if isinstance(value, np.ndarray) else plain)[each.name] = value
    arrays["_plain"] = np.frombuffer(json.dumps(plain).encode(), np.uint8)
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=False, **arrays)
    write_bytes(path, stream.getvalue())


def load_sample(path: Path, kind: type[Any]) -> Any:
    """Read what :func:`save_sample` wrote.

    Raises
    ------
    ModelError
        It is absent or damaged.
    """
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as found:
            values = {name: found[name] for name in found.files}
        plain = json.loads(values.pop("_plain").tobytes())
        read = {k: tuple(v) if isinstance(v, list) else v for k, v in plain.items()}
        return kind(**values, **read)
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise ModelError(
            f"the prepared slide {path} cannot be read: {error}",
            hint="remove its folder and train again",
        ) from error


class SampleStore:
    """Samples by their place in a list; the least lately used ones leave memory first.

    Parameters
    ----------
    files
        One a slide.
    kind
        The dataclass they are.
    limit_bytes
        Memory for samples.
    """

    def __init__(
        self, files: Sequence[Path], kind: type[Any], *, limit_bytes: int = CACHE_BYTES
    ) -> None:
        self.files, self.kind, self.limit_bytes = tuple(files), kind, limit_bytes
        self._kept: OrderedDict[int, tuple[Any, int]] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, place: int) -> Any:
        """Read a sample, or take it from memory."""
        if place in self._kept:
            self._kept.move_to_end(place)
            return self._kept[place][0]
        sample = load_sample(self.files[place], self.kind)
        size = sum(
            value.nbytes
            for each in dataclasses.fields(sample)
            if isinstance(value := getattr(sample, each.name), np.ndarray)
        )
        self._kept[place] = (sample, size)
        self._bytes += size
        while self._bytes > self.limit_bytes and len(self._kept) > 1:
            _, (_, gone) = self._kept.popitem(last=False)
            self._bytes -= gone
        return sample
