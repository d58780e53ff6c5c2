"""A tensor that torch saved, as an array; nothing in the file is run.

torch is imported by its name when a file needs it: the rooms that read features (reports among
them) work without it, and only CLAM's ``.pt`` files cannot be read otherwise.
"""

from __future__ import annotations

import importlib
import pickle
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import DependencyMissing, SchemaError


def read_tensor(path: Path) -> NDArray[np.float32]:
    """Return the one tensor of a file.

    Raises
    ------
    DependencyMissing
        torch is not installed.
    SchemaError
        The file is damaged, holds a program, or something else than one tensor of numbers.
    """
    try:
        torch = importlib.import_module("torch")
    except ImportError as error:
        raise DependencyMissing(
            f"{path.name} was saved by torch, which is not installed",
            hint="pip install 'herscope[learn]', or give the .h5 files beside it",
        ) from error
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, KeyError, ValueError) as error:
        raise SchemaError(
            f"{path.name} cannot be read as a plain tensor",
            hint="it is damaged, or holds more than numbers, which is not run here",
        ) from error
    if not isinstance(found, torch.Tensor) or not found.is_floating_point():
        raise SchemaError(
            f"{path.name} holds {type(found).__name__}, not one tensor of features",
            hint="CLAM's pt_files hold one tensor of tiles x features each",
        )
    values: NDArray[np.float32] = found.detach().to(torch.float32).numpy()
    return values[0] if values.ndim == 3 and len(values) == 1 else values
