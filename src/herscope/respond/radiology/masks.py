"""A CT and its mask from whatever files they are in, on one grid.

``read_volume`` takes a NIfTI file, a DICOM folder or DICOM files; ``read_mask`` a NIfTI label map,
a DICOM SEG or an RTSTRUCT. The kind is told by the file's content, not asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from herscope.core.errors import NotComputed, SchemaError
from herscope.respond.radiology.dicom_file import in_words, looks_like_dicom, read_dataset, words
from herscope.respond.radiology.dicom_seg import SEGMENTATION, read_dicom_seg
from herscope.respond.radiology.dicom_series import SeriesSpec, read_dicom_series
from herscope.respond.radiology.mask_spec import MaskSpec, wanted_labels
from herscope.respond.radiology.nifti import is_nifti, read_nifti, read_nifti_mask
from herscope.respond.radiology.rtstruct import STRUCTURES, read_rtstruct
from herscope.respond.radiology.volume import Mask, Volume, check_grid, resample_mask


def read_volume(path: str | Path, *, spec: SeriesSpec | None = None) -> Volume:
    """Read a CT from a NIfTI file or a folder of DICOM files.

    Parameters
    ----------
    path
        ``.nii``, ``.nii.gz``, a folder, or one DICOM file of one slice.
    spec
        How a DICOM series is read.

    Raises
    ------
    NotComputed, InputError, SchemaError, DependencyMissing
        As :func:`~herscope.respond.radiology.dicom_series.read_dicom_series` and
        :func:`~herscope.respond.radiology.nifti.read_nifti`.
    """
    return read_nifti(path) if is_nifti(path) else read_dicom_series(path, spec=spec)


def read_mask(
    path: str | Path,
    volume: Volume,
    *,
    spec: MaskSpec | None = None,
    names: Mapping[int, str] | None = None,
) -> Mask:
    """Read a mask on the grid of a CT.

    Parameters
    ----------
    path
        A NIfTI label map, a DICOM SEG or an RTSTRUCT.
    volume
        The CT.
    spec
        Which labels; the threshold of fractional objects; whether a NIfTI mask may be moved.
    names
        Names of the labels of a NIfTI file, which has none.

    Raises
    ------
    NotComputed
        There is no such file.
    InputError
        It lies on another grid, labels overlap, or a label that is wanted is not there.
    SchemaError
        It is none of the three, damaged, or has no voxel.
    """
    spec = spec or MaskSpec()
    file = Path(path)
    if is_nifti(file):
        return _nifti(file, volume, spec, names)
    if not file.is_file():
        raise NotComputed(f"mask {file.name} is no file", hint="check the path")
    if not looks_like_dicom(file):
        raise SchemaError(
            f"mask {file.name} is neither NIfTI nor DICOM",
            hint="masks are read from .nii, .nii.gz, DICOM SEG and RTSTRUCT",
        )
    dataset = read_dataset(file)
    with in_words(file):
        kind = str(dataset.SOPClassUID)
        modality = words(dataset.get("Modality"), 16) or "unknown"
    if kind == SEGMENTATION:
        return read_dicom_seg(file, volume, spec=spec, dataset=dataset)
    if kind == STRUCTURES:
        return read_rtstruct(file, volume, spec=spec, dataset=dataset)
    raise SchemaError(
        f"{file.name} holds no mask (Modality {modality})",
        hint="give a DICOM SEG, an RTSTRUCT or a NIfTI label map",
    )


def _nifti(path: Path, volume: Volume, spec: MaskSpec, names: Mapping[int, str] | None) -> Mask:
    mask = read_nifti_mask(path, names=names)
    if spec.labels is not None:
        keep = wanted_labels(spec, mask.labels, path.name)
        mask = replace(
            mask,
            array=np.where(np.isin(mask.array, keep), mask.array, np.uint16(0)),
            labels={label: mask.labels[label] for label in keep},
        )
    if spec.resample:
        return resample_mask(mask, volume)
    check_grid(volume, mask)
    return mask
