"""A folder of DICOM files, or a list of them, as one CT in Hounsfield units.

Files are grouped by SeriesInstanceUID and sorted by their position along the normal of the slices,
never by name or InstanceNumber. RescaleSlope and RescaleIntercept of each slice are applied.
What would move or invent a voxel is an error that names the slice: missing or doubled slices,
a tilted gantry, mixed sizes or spacings (:mod:`herscope.respond.radiology.slice_order`).

Source: DICOM PS3.3 A.3 (CT image), C.7.6.2 (image plane), C.8.2.1 (CT image module).
Not read: enhanced (multi-frame) CT; MR, PET and scout views are no CT here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from herscope.core.errors import InputError, NotComputed, SchemaError
from herscope.core.spec import Spec
from herscope.respond.radiology.dicom_file import (
    in_words,
    looks_like_dicom,
    numbers,
    pixel_array,
    pydicom_module,
    read_dataset,
    words,
)
from herscope.respond.radiology.grid import to_lps
from herscope.respond.radiology.slice_order import Slice, SliceOrder, order_slices
from herscope.respond.radiology.volume import Volume, reading_notes

CT_IMAGE: Final = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT: Final = "1.2.840.10008.5.1.4.1.1.2.1"
LOWEST_HU: Final = -1024.0
"""What padding outside the scanner's field of view is set to; scanners write -2000 or -3024."""

MOST_FILES: Final = 20_000


class SeriesSpec(Spec):
    """How a DICOM series is read."""

    series: str | None = Field(
        default=None,
        description="SeriesInstanceUID to read where there are several; its end is enough",
    )
    spacing_tolerance: float = Field(
        default=0.1,
        gt=0,
        le=0.5,
        description="Share of the slice distance (at least 0.1 mm) by which a slice may be off",
    )
    allow_gaps: bool = Field(
        default=False,
        description="Accept slices further apart than they are thick; tissue between is not seen",
    )


def read_dicom_series(
    source: str | Path | Sequence[str | Path], *, spec: SeriesSpec | None = None
) -> Volume:
    """Read one CT series.

    Parameters
    ----------
    source
        A folder (and its subfolders), or the files. Files that are no DICOM and DICOM that is no CT
        are passed over and counted in ``notes``.
    spec
        Which series, and how far slices may be off.

    Returns
    -------
    Volume
        HU ``(z, y, x)``, LPS.

    Raises
    ------
    NotComputed
        There is no such folder or no DICOM file in it.
    InputError
        Several series and none was named, or none of that name; the message lists them.
    SchemaError
        No CT, no spacing, slices missing, doubled or mixed, a tilted gantry, damaged files.
    DependencyMissing
        pydicom or a decoder is not installed.
    """
    spec = spec or SeriesSpec()
    pydicom_module()
    files = _files(source)
    found, notes = _ct_slices(files)
    uid = _one_series(found, spec)
    order = order_slices(found[uid], tolerance=spec.spacing_tolerance, allow_gaps=spec.allow_gaps)
    name = f"series ...{uid[-12:]}" if len(uid) > 12 else f"series {uid}"
    array, more = _stack(order)
    turned, grid = to_lps(array, order.matrix, order.origin_mm)
    values = np.ascontiguousarray(turned)
    return Volume(
        values,
        grid.spacing_mm,
        grid.origin_mm,
        grid.direction,
        name,
        (*notes, *order.notes, *more, *reading_notes(values, grid)),
        order.slices[0].frame,
    )


def list_series(source: str | Path | Sequence[str | Path]) -> dict[str, int]:
    """Return the CT series of a folder and how many slices each has.

    Raises
    ------
    NotComputed, SchemaError, DependencyMissing
        As :func:`read_dicom_series`.
    """
    found, _ = _ct_slices(_files(source))
    return {uid: len(slices) for uid, slices in sorted(found.items())}


def _files(source: str | Path | Sequence[str | Path]) -> list[Path]:
    if isinstance(source, str | Path):
        folder = Path(source)
        if not folder.exists():
            raise NotComputed(f"{folder.name} does not exist", hint="check the path")
        listed = sorted(folder.rglob("*")) if folder.is_dir() else [folder]
    else:
        listed = [Path(one) for one in source]
        absent = [one.name for one in listed if not one.is_file()]
        if absent:
            raise NotComputed(f"{absent[0]} does not exist", hint="check the paths")
    files = [one for one in listed if one.is_file() and one.name != "DICOMDIR"]
    if len(files) > MOST_FILES:
        raise InputError(
            f"{len(files):,} files (limit {MOST_FILES:,})", hint="give the folder of one patient"
        )
    dicom = [one for one in files if looks_like_dicom(one)]
    if not dicom:
        where = Path(source).name if isinstance(source, str | Path) else f"{len(files)} files"
        raise NotComputed(
            f"no DICOM file in {where} ({len(files)} other files)",
            hint="give the folder that holds the slices of the series",
        )
    return dicom


def _ct_slices(files: Sequence[Path]) -> tuple[dict[str, list[Slice]], list[str]]:
    """Group the CT slices among the files by series; notes say what was passed over."""
    series: dict[str, list[Slice]] = defaultdict(list)
    passed: dict[str, int] = defaultdict(int)
    for path in files:
        dataset = read_dataset(path, pixels=False)
        with in_words(path):
            other = _no_ct_slice(dataset, path)
            if other:
                passed[other] += 1
            else:
                series[words(dataset.SeriesInstanceUID)].append(_slice(dataset, path))
    counted = ", ".join(f"{count} {kind}" for kind, count in sorted(passed.items()))
    if not series:
        raise SchemaError(
            f"no CT slice among {len(files)} DICOM files: {counted}",
            hint="give the CT series; MR, PET and others have no Hounsfield units",
        )
    return dict(series), [f"passed over: {counted}"] if passed else []


def _no_ct_slice(dataset: Any, path: Path) -> str:
    """Return what a file holds that is no slice of a CT; empty where it is one."""
    kind = str(dataset.SOPClassUID)
    if kind == ENHANCED_CT:
        raise SchemaError(
            f"{path.name} is an enhanced (multi-frame) CT, which is not read",
            hint="convert it to one file a slice or to NIfTI, for example with dcm2niix",
        )
    if kind != CT_IMAGE:
        return words(dataset.get("Modality"), 16) or "unknown"
    parts = [str(one) for one in (dataset.get("ImageType") or [])]
    return "scout view" if "LOCALIZER" in parts else ""


def _slice(dataset: Any, path: Path) -> Slice:
    """Read the geometry of one slice."""
    position = numbers(dataset, "ImagePositionPatient", 3)
    orientation = numbers(dataset, "ImageOrientationPatient", 6)
    if position is None or orientation is None:
        raise SchemaError(
            f"{path.name} states no position or orientation of its slice",
            hint="export the series again with its geometry; a place is never guessed",
        )
    spacing = numbers(dataset, "PixelSpacing", 2)
    if spacing is None or (spacing <= 0).any():
        raise SchemaError(
            f"{path.name} states no PixelSpacing",
            hint="export the series again with its spacing; a spacing is never guessed",
        )
    thickness = numbers(dataset, "SliceThickness", 1)
    return Slice(
        path=path,
        position_mm=position,
        orientation=orientation,
        spacing_mm=(float(spacing[0]), float(spacing[1])),
        thickness_mm=None if thickness is None or thickness[0] <= 0 else float(thickness[0]),
        rows=int(dataset.Rows),
        columns=int(dataset.Columns),
        frame=words(dataset.get("FrameOfReferenceUID")),
    )


def _one_series(found: dict[str, list[Slice]], spec: SeriesSpec) -> str:
    listed = "; ".join(f"{uid} ({len(found[uid])} slices)" for uid in sorted(found))
    if spec.series is None:
        if len(found) == 1:
            return next(iter(found))
        raise InputError(
            f"{len(found)} CT series are here and none was named: {listed}",
            hint="name one with series=UID (the last digits are enough)",
        )
    fitting = [uid for uid in sorted(found) if uid.endswith(spec.series)]
    exact = [uid for uid in fitting if uid == spec.series]
    if len(exact or fitting) != 1:
        raise InputError(
            f"series {spec.series} is {'not here' if not fitting else 'not one of'}: {listed}",
            hint="give one of these UIDs, or so much of its end that only one fits",
        )
    return (exact or fitting)[0]


def _stack(order: SliceOrder) -> tuple[NDArray[np.float32], list[str]]:
    """Decode the slices in order into HU ``(slice, row, column)``."""
    first = order.slices[0]
    array = np.empty((len(order.slices), first.rows, first.columns), np.float32)
    padded = 0
    lossy = False
    for index, one in enumerate(order.slices):
        dataset = read_dataset(one.path)
        with in_words(one.path):
            padded += _into_hu(dataset, one, array[index])
            lossy |= str(dataset.get("LossyImageCompression", "")) == "01"
    notes = []
    if padded:
        notes.append(f"{padded:,} padding voxels outside the scan were set to {LOWEST_HU:g} HU")
    if lossy:
        notes.append("the pixels were compressed with loss: textures may be altered")
    return array, notes


def _into_hu(dataset: Any, one: Slice, out: NDArray[np.float32]) -> int:
    """Write one slice as HU; return how many voxels were padding."""
    name = one.path.name
    if dataset.get("SamplesPerPixel", 1) != 1 or not str(
        dataset.get("PhotometricInterpretation", "")
    ).startswith("MONOCHROME"):
        raise SchemaError(
            f"{name} is a colour picture, not a CT slice in grey values",
            hint="a screenshot or a fused picture has no Hounsfield units; give the original",
        )
    slope = numbers(dataset, "RescaleSlope", 1)
    intercept = numbers(dataset, "RescaleIntercept", 1)
    if slope is None or intercept is None or slope[0] == 0:
        raise SchemaError(
            f"{name} states no RescaleSlope and RescaleIntercept: its values are no HU",
            hint="export the original series; derived pictures lose the rescale",
        )
    unit = words(dataset.get("RescaleType"), 16) or "HU"
    if unit not in {"HU", "US"}:
        raise SchemaError(f"{name} holds {unit}, not Hounsfield units")
    stored = pixel_array(dataset, one.path)
    if stored.shape != out.shape:
        raise SchemaError(f"{name} has pixels of shape {stored.shape}, not {out.shape}")
    # Float64 first: slope times a 16-bit number is exact there, and rounded to float32 once.
    out[...] = stored.astype(np.float64) * slope[0] + intercept[0]
    padding = numbers(dataset, "PixelPaddingValue", 1)
    if padding is None:
        return 0
    outside = (stored == padding[0]) & (out < LOWEST_HU)
    out[outside] = LOWEST_HU
    return int(outside.sum())
