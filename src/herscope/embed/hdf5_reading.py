"""Open an HDF5 file of others so that nothing h5py raises reaches a person."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import HerscopeError, NotComputed, SchemaError

AGAIN: Final = "copy it again, or make it again with the program it came from"


@contextlib.contextmanager
def opened_hdf5(path: Path) -> Iterator[h5py.File]:
    """Open a file for reading; damaged, cut off and foreign files become a sentence.

    Raises
    ------
    NotComputed
        There is no such file.
    SchemaError
        It is empty, cut off, damaged, or no HDF5 file.
    """
    if not path.is_file():
        raise NotComputed(
            f"feature file {path} does not exist" if not path.exists() else f"{path} is no file",
            hint="herscope embed SLIDE... --out DIR makes one",
        )
    try:
        with h5py.File(path, "r") as file:
            yield file
    except HerscopeError:
        raise
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, AttributeError) as error:
        size = path.stat().st_size
        why = " ".join(str(error).split())[:200]
        raise SchemaError(
            f"feature file {path.name} is damaged, cut off or no HDF5 file ({size:,} bytes): {why}",
            hint=AGAIN,
        ) from error


def numbers(file: h5py.File, name: str, path: Path) -> NDArray[Any]:
    """Return a dataset of numbers; a leading axis of 1 is taken off.

    Raises
    ------
    SchemaError
        It is no dataset, or holds no numbers.
    """
    found = file[name]
    if not isinstance(found, h5py.Dataset) or found.dtype.kind not in "fiu":
        raise SchemaError(
            f"feature file {path.name}: {name} holds no numbers", hint="it is no feature file"
        )
    values: NDArray[Any] = np.asarray(found[()])
    return values[0] if values.ndim == 3 and len(values) == 1 else values


def number(node: Any, name: str) -> float | None:
    """Return an attribute as a number; None where it is absent, ``None``, or no number."""
    try:
        value = float(np.ravel(node.attrs[name])[0])
    except (KeyError, ValueError, TypeError, IndexError):
        return None
    return value if np.isfinite(value) else None


def text(node: Any, name: str) -> str | None:
    """Return an attribute as text; None where it is absent, empty or ``None``."""
    value = node.attrs.get(name)
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    said = value if isinstance(value, str) else None
    return said if said not in {None, "", "None"} else None
