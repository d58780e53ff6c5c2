"""CT and masks from NIfTI-1 and NIfTI-2 files.

The place of the voxels comes from the file's affine (sform, else qform), turned from RAS to LPS;
``scl_slope`` and ``scl_inter`` are applied by nibabel. A file that states neither form states no
orientation, so left and right are not known: it is refused. Nothing is interpolated.

Source: the NIfTI-1.1 standard (Cox et al. 2004); read with nibabel.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import DependencyMissing, HerscopeError, NotComputed, SchemaError
from herscope.respond.radiology.grid import Grid, to_lps
from herscope.respond.radiology.volume import Mask, Volume, reading_notes

RAS_TO_LPS: Final = np.diag([-1.0, -1.0, 1.0])
MM_PER_UNIT: Final = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
"""Millimetres of NIfTI's codes for unknown, metre, millimetre, micrometre."""

FORMS_APART_MM: Final = 0.5
MOST_VOXELS: Final = 2_000_000_000
"""Header sizes above this are damage, or no CT: a whole body at 0.5 mm has 1.4 thousand million."""

LARGEST_LABEL: Final = 65535


def is_nifti(path: str | Path) -> bool:
    """Return whether a file's name is that of a NIfTI file."""
    return Path(path).name.lower().endswith((".nii", ".nii.gz"))


def read_nifti(path: str | Path) -> Volume:
    """Read a CT from a NIfTI file.

    Parameters
    ----------
    path
        ``.nii`` or ``.nii.gz`` with three axes (a fourth of length 1 is taken off), values in HU.

    Returns
    -------
    Volume
        float32 HU ``(z, y, x)``, LPS; ``notes`` says what was assumed.

    Raises
    ------
    NotComputed
        There is no such file.
    SchemaError
        Damaged, cut off, not three axes, no spacing or orientation, values that are not finite.
    DependencyMissing
        nibabel is not installed.
    """
    file = Path(path)
    array, grid, notes = _read(file, np.float32)
    values = np.ascontiguousarray(array, np.float32)
    return Volume(
        values,
        grid.spacing_mm,
        grid.origin_mm,
        grid.direction,
        file.name,
        (*notes, *reading_notes(values, grid)),
    )


def read_nifti_mask(path: str | Path, *, names: Mapping[int, str] | None = None) -> Mask:
    """Read labels from a NIfTI file, on the grid of that file.

    Parameters
    ----------
    path
        ``.nii`` or ``.nii.gz``; whole numbers from 0 (background) to 65535.
    names
        Name of each label; ``label 1`` and so on where it is absent.

    Raises
    ------
    NotComputed, SchemaError, DependencyMissing
        As :func:`read_nifti`; also labels that are no whole numbers, and a mask without any voxel.
    """
    file = Path(path)
    array, grid, notes = _read(file, np.float64)
    if not np.isfinite(array).all() or (array != np.floor(array)).any():
        raise SchemaError(
            f"mask {file.name} holds values that are no whole numbers",
            hint="this is an image, a probability map, or was resampled with interpolation; "
            "give labels: 0, 1, 2, ...",
        )
    low, high = float(array.min()), float(array.max())
    if low < 0 or high > LARGEST_LABEL:
        raise SchemaError(
            f"mask {file.name} has labels from {low:g} to {high:g} (allowed: 0 to {LARGEST_LABEL})",
            hint="this may be the CT itself; give the file of the labels",
        )
    labels = np.ascontiguousarray(array, np.uint16)
    present = np.flatnonzero(np.bincount(labels.ravel())).tolist()
    named = {one: (names or {}).get(one, f"label {one}") for one in present if one}
    return Mask(
        labels, named, grid.spacing_mm, grid.origin_mm, grid.direction, file.name, tuple(notes)
    )


def _read(path: Path, dtype: type[np.floating[Any]]) -> tuple[NDArray[Any], Grid, list[str]]:
    if not path.is_file():
        raise NotComputed(
            f"{path.name} does not exist" if not path.exists() else f"{path.name} is no file",
            hint="check the path",
        )
    nibabel = _nibabel()
    with _in_words(path, nibabel):
        image = _load(path, nibabel)
        header = image.header
        if not isinstance(image, (nibabel.Nifti1Image, nibabel.Nifti2Image)):
            raise SchemaError(f"{path.name} is no NIfTI file", hint="give .nii or .nii.gz")
        shape = _three_axes(tuple(int(size) for size in image.shape), path)
        affine, notes = _affine(header, _stated_edges(image, path, nibabel), path)
        array = np.asarray(image.get_fdata(dtype=dtype, caching="unchanged")).reshape(shape)
        # NIfTI counts to the right and to the front: x and y change sign.
        turned, grid = to_lps(array, RAS_TO_LPS @ affine[:3, :3], RAS_TO_LPS @ affine[:3, 3])
    return turned, grid, notes


@contextmanager
def _in_words(path: Path, nibabel: Any) -> Iterator[None]:
    """Turn what nibabel, gzip and zlib raise into a sentence."""
    import zlib

    broken = (OSError, EOFError, ValueError, KeyError, TypeError, OverflowError, zlib.error)
    try:
        yield
    except HerscopeError as error:
        message = error.message if path.name in error.message else f"{path.name}: {error.message}"
        raise SchemaError(message, hint=error.hint) from error
    except (
        *broken,
        nibabel.filebasedimages.ImageFileError,
        nibabel.spatialimages.HeaderDataError,
        nibabel.spatialimages.ImageDataError,
    ) as error:
        raise SchemaError(
            f"{path.name} is damaged, cut off or no NIfTI file ({path.stat().st_size:,} bytes)",
            hint="copy it again, or make it again with the program it came from",
        ) from error


def _three_axes(shape: tuple[int, ...], path: Path) -> tuple[int, int, int]:
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3:
        listed = " x ".join(str(size) for size in shape)
        raise SchemaError(
            f"{path.name} has {len(shape)} axes ({listed}), not three",
            hint="a series in time or a picture is no CT volume; give one volume",
        )
    voxels = int(np.prod(shape, dtype=object))
    if not 0 < voxels <= MOST_VOXELS:
        raise SchemaError(f"{path.name} states {voxels:,} voxels (limit {MOST_VOXELS:,})")
    return shape[0], shape[1], shape[2]


def _load(path: Path, nibabel: Any) -> Any:
    """Open a file quietly: nibabel logs how it mends odd headers, and what matters is checked."""
    logger = nibabel.imageglobals.logger
    before, logger.disabled = logger.disabled, True
    try:
        return nibabel.load(path)
    finally:
        logger.disabled = before


def _stated_edges(image: Any, path: Path, nibabel: Any) -> NDArray[np.float64]:
    """Return pixdim as it stands in the file: nibabel turns an absent edge into 1 mm."""
    with nibabel.openers.ImageOpener(path) as stream:
        raw = type(image.header).from_fileobj(stream, check=False)
    return np.asarray(raw["pixdim"][1:4], np.float64)


def _affine(
    header: Any, edges: NDArray[np.float64], path: Path
) -> tuple[NDArray[np.float64], list[str]]:
    """Return the affine in millimetres, and what was assumed."""
    sform, qform = int(header["sform_code"]), int(header["qform_code"])
    if not sform and not qform:
        raise SchemaError(
            f"{path.name} states no orientation (sform and qform code 0): left and right unknown",
            hint="export it again from the DICOM series, or set its qform in the program it "
            "came from",
        )
    stated = bool(np.isfinite(edges).all() and (edges > 0).all())
    if not stated and not sform:
        raise SchemaError(
            f"{path.name} states no spacing (pixdim {', '.join(f'{one:g}' for one in edges)})",
            hint="export it again with its spacing; a spacing is never guessed",
        )
    notes = []
    affine = np.asarray(header.get_best_affine(), np.float64)
    if sform and not (stated and np.allclose(np.linalg.norm(affine[:3, :3], axis=0), edges, 0.01)):
        notes.append("pixdim and sform state different spacings; the sform was used")
    if sform and qform:
        other = np.asarray(header.get_qform(), np.float64)
        size = [max(int(one) - 1, 0) for one in header["dim"][1:4]]
        ends = np.array([[0, 0, 0, 1], [*size, 1]], np.float64).T
        apart = float(np.abs((affine - other) @ ends).max())
        if apart > FORMS_APART_MM:
            notes.append(f"sform and qform differ by {apart:.3g} mm; the sform was used")
    unit = int(header["xyzt_units"]) & 7
    if unit not in MM_PER_UNIT:
        raise SchemaError(f"{path.name} states a unit of length that NIfTI does not know ({unit})")
    if unit == 0:
        notes.append("the file states no unit of length; millimetres, as NIfTI's default")
    affine = affine.copy()
    affine[:3] *= MM_PER_UNIT[unit]
    return affine, notes


def _nibabel() -> Any:
    try:
        import nibabel
    except ImportError as error:
        raise DependencyMissing(
            "nibabel is not installed: NIfTI files cannot be read",
            hint="pip install 'herscope[radiology]'",
        ) from error
    return nibabel
