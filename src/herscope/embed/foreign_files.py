"""Feature files of TRIDENT, CLAM and STAMP, read as they are.

The layouts, from the three programs' public code:

* TRIDENT: HDF5 with ``features`` and ``coords`` (level-0 pixels, upper left corners); attributes
  of ``coords`` give ``patch_size_level0``, ``level0_magnification``, ``target_magnification``,
  ``overlap``, ``name`` and in later versions ``level0_width`` and ``level0_height``. The encoder
  stands only in the name of the folder it was saved to (``savetodir``, ``features_uni_v1``).
* CLAM: HDF5 with ``features`` and ``coords`` (level-0 pixels), mostly without attributes; the size
  of the patches stands in the file of places (``patches/<slide>.h5``: ``patch_size``,
  ``patch_level``, ``downsample``). Or a torch tensor ``pt_files/<slide>.pt`` whose places lie in
  ``h5_files`` or ``patches``.
* STAMP: HDF5 with ``feats`` and ``coords``; attributes of the file give ``extractor``, ``unit``,
  ``tile_size_um`` (``tile_size`` before 2.1), ``tile_size_px`` and ``feat_type``. Places are in µm.
  Before version 2 there are no such attributes, and places have 224 steps to 256 µm.

None of them states µm per pixel of the slide. What a file does not say is asked of the user or
stays open with a note; nothing is made up from a magnification.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import h5py
import numpy as np

from herscope.core.errors import InputError, SchemaError
from herscope.core.units import Mpp
from herscope.embed.bag import FeatureBag, make_bag
from herscope.embed.foreign_found import Found, smallest_step
from herscope.embed.foreign_writing import FORMATS, write_foreign
from herscope.embed.hdf5_reading import AGAIN, opened_hdf5
from herscope.embed.slide_lab_layouts import (
    TRIDENT_ATTRIBUTES,
    read_clam,
    read_clam_tensor,
    read_trident,
)
from herscope.embed.stamp_layout import read_stamp

__all__ = ["FORMATS", "Layout", "is_torch", "layout_of", "read_foreign", "write_foreign"]

Layout = Literal["herscope", "trident", "clam", "stamp"]


def layout_of(file: h5py.File) -> Layout | None:
    """Return whose layout an open file has, by its content; None of none.

    A file with places and no features (TRIDENT's and CLAM's ``patches``) has none.
    """
    if "uns/schema" in file:
        return "herscope"
    if "feats" in file:
        return "stamp"
    if "features" in file and "coords" in file:
        said = any(name in file["coords"].attrs for name in TRIDENT_ATTRIBUTES)
        return "trident" if said else "clam"
    return None


def read_foreign(
    path: str | Path, *, mpp: float | None = None, tile_px: float | None = None
) -> FeatureBag:
    """Read a feature file of TRIDENT, CLAM or STAMP.

    Parameters
    ----------
    path
        HDF5 of one of the three, or CLAM's tensor (``.pt``).
    mpp
        µm per level-0 pixel of the slide, which none of them states.
    tile_px
        Edge of a tile in level-0 pixels, where the file does not say.

    Returns
    -------
    FeatureBag
        ``slide`` is the file's stem; ``notes`` say what is not known, or how it was found.

    Raises
    ------
    NotComputed
        There is no such file.
    SchemaError
        Damaged, of no known layout, without places, of a whole slide, or with values that are no
        numbers.
    InputError
        No tiles; the size of tiles is not to be found; what was stated contradicts the file.
    """
    path = Path(path)
    if mpp is not None:
        mpp = float(Mpp(mpp))
    if tile_px is not None and not tile_px > 0:
        raise InputError(f"tiles of {tile_px:g} px cannot be", hint="state tile_px above 0")
    if is_torch(path):
        return _bag(path, read_clam_tensor(path), mpp, tile_px)
    with opened_hdf5(path) as file:
        layout = layout_of(file)
        if layout == "stamp":
            return _bag(path, read_stamp(file, path, mpp, tile_px), mpp, tile_px)
        if layout == "trident":
            return _bag(path, read_trident(file, path), mpp, tile_px)
        if layout == "clam":
            return _bag(path, read_clam(file, path), mpp, tile_px)
        held = ", ".join(sorted(file)[:6]) or "nothing"
    raise SchemaError(
        f"{path.name} is no feature file of TRIDENT, CLAM or STAMP: it holds {held}",
        hint="it holds places without features: give the folder with the features"
        if "coords" in held
        else "needed are features (or feats) and coords",
    )


def is_torch(path: Path) -> bool:
    """Whether a file begins as those that torch saves (a zip, or an old pickle)."""
    try:
        with path.open("rb") as stream:
            return stream.read(2) in {b"PK", b"\x80\x02"}
    except OSError:
        return False


def _bag(path: Path, found: Found, mpp: float | None, tile_px: float | None) -> FeatureBag:
    """Join what the file says and what the user states."""
    notes = list(found.notes)
    features, places = found.features, found.places
    if features.ndim == 1:
        raise SchemaError(
            f"{path.name} holds one row of {len(features)} features for the whole slide",
            hint="it was made by a slide encoder; give the folder with the tiles' features",
        )
    if places.ndim == 2 and not np.isfinite(places).all():
        raise SchemaError(f"{path.name} holds places that are no numbers", hint=AGAIN)
    size = _stated(path.name, "tiles", "px", found.tile_px, tile_px)
    if size is None:
        size = smallest_step(path.name, places)
        notes.append(
            f"the file does not say how large tiles are: {size:g} px is the smallest step between "
            "two of them; state tile_px if tiles overlap or have gaps"
        )
    resolution = mpp if mpp is not None else found.mpp
    if resolution is None:
        notes.append("µm per pixel is not in the file; state mpp where lengths matter")
    encoder = found.encoder or "unknown"
    width = features.shape[1] if features.ndim == 2 else 0
    return make_bag(
        path.stem,
        features,
        places,
        tile_px=size,
        mpp=resolution,
        encoder=encoder,
        encoder_id=found.encoder_id or f"{encoder}:{width}",
        width_px=found.width_px,
        height_px=found.height_px,
        notes=tuple(notes),
    )


def _stated(
    name: str, what: str, unit: str, file: float | None, user: float | None
) -> float | None:
    if file is not None and user is not None and abs(file - user) > 0.5:
        raise InputError(
            f"{name} says {what} of {file:g} {unit}, you said {user:g}",
            hint="leave the option out; the file's own value is taken",
        )
    return user if file is None else file
