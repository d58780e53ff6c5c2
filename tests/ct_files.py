"""Makes tiny CT series, SEG objects, structure sets and NIfTI files; no person is in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
SEG = "1.2.840.10008.5.1.4.1.1.66.4"
RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
SERIES = "1.2.826.0.1.3680043.10.1.100"
FRAME = "1.2.826.0.1.3680043.10.1.200"
PATIENT = "Doe^Jane"


def hu_block(shape: tuple[int, int, int] = (4, 6, 8)) -> NDArray[np.int16]:
    """Voxels that all differ, so that a swap or a flip of any axis is seen."""
    return (np.arange(np.prod(shape)).reshape(shape) * 3 - 1000).astype(np.int16)


def _dataset(sop_class: str, uid: str, modality: str) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = sop_class
    dataset.file_meta.MediaStorageSOPInstanceUID = uid
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = uid
    dataset.Modality = modality
    dataset.PatientName = PATIENT
    dataset.PatientID = "4711"
    dataset.FrameOfReferenceUID = FRAME
    return dataset


def save(dataset: Dataset, path: Path) -> Path:
    dataset.save_as(path, enforce_file_format=True)
    return path


def ct_slice(
    hu: NDArray[Any],
    position: Sequence[float],
    *,
    series: str = SERIES,
    orientation: Sequence[float] = (1, 0, 0, 0, 1, 0),
    spacing: Sequence[float] = (0.8, 0.5),
    thickness: float | None = 5.0,
    slope: float = 1.0,
    intercept: float = -1024.0,
    number: int = 1,
) -> Dataset:
    dataset = _dataset(CT_IMAGE, f"{series}.{abs(hash(tuple(position))) % 10**9}", "CT")
    dataset.SeriesInstanceUID = series
    dataset.InstanceNumber = number
    dataset.ImagePositionPatient = [f"{one:.4f}" for one in position]
    dataset.ImageOrientationPatient = [f"{one:.6f}" for one in orientation]
    dataset.PixelSpacing = list(spacing)
    if thickness is not None:
        dataset.SliceThickness = thickness
    dataset.Rows, dataset.Columns = hu.shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = 1
    dataset.RescaleSlope, dataset.RescaleIntercept = slope, intercept
    dataset.PixelData = np.round((hu - intercept) / slope).astype("<i2").tobytes()
    return dataset


def ct_series(
    folder: Path,
    hu: NDArray[Any] | None = None,
    *,
    step_mm: float = 5.0,
    order: Sequence[int] | None = None,
    skip: Sequence[int] = (),
    **changes: Any,
) -> list[Path]:
    """Write one file a slice, feet first in space, under names that say nothing of the order."""
    hu = hu_block() if hu is None else hu
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    places = list(order) if order is not None else list(range(len(hu)))
    for name, z in enumerate(places):
        if z in skip:
            continue
        at = (-10.0, -20.0, 100.0 + step_mm * z)
        made = ct_slice(hu[z], at, number=len(places) - z, **changes)
        paths.append(save(made, folder / f"img{name:03d}.dcm"))
    return paths


def seg_file(
    path: Path,
    frames: Sequence[tuple[int, Sequence[float], NDArray[Any]]],
    *,
    names: Mapping[int, str],
    fractional: bool = False,
    spacing: Sequence[float] = (0.8, 0.5),
    orientation: Sequence[float] = (1, 0, 0, 0, 1, 0),
    frame: str = FRAME,
) -> Path:
    """Write a SEG of ``(segment, position, pixels)`` frames."""
    dataset = _dataset(SEG, "1.2.826.0.1.3680043.10.1.300", "SEG")
    dataset.FrameOfReferenceUID = frame
    dataset.NumberOfFrames = len(frames)
    dataset.Rows, dataset.Columns = frames[0][2].shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.PixelRepresentation = 0
    pixels = np.stack([one for _, _, one in frames]).astype(np.uint8)
    if fractional:
        dataset.SegmentationType = "FRACTIONAL"
        dataset.SegmentationFractionalType = "PROBABILITY"
        dataset.MaximumFractionalValue = 200
        dataset.BitsAllocated = dataset.BitsStored = 8
        dataset.HighBit = 7
        data = pixels.tobytes()
    else:
        dataset.SegmentationType = "BINARY"
        dataset.BitsAllocated = dataset.BitsStored = 1
        dataset.HighBit = 0
        data = np.packbits(pixels.ravel(), bitorder="little").tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset.SegmentSequence = []
    for number, label in names.items():
        segment = Dataset()
        segment.SegmentNumber, segment.SegmentLabel = number, label
        dataset.SegmentSequence.append(segment)
    shared = Dataset()
    shared.PixelMeasuresSequence = [Dataset()]
    shared.PixelMeasuresSequence[0].PixelSpacing = list(spacing)
    shared.PlaneOrientationSequence = [Dataset()]
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = list(orientation)
    dataset.SharedFunctionalGroupsSequence = [shared]
    groups = []
    for number, position, _ in frames:
        group = Dataset()
        group.PlanePositionSequence = [Dataset()]
        group.PlanePositionSequence[0].ImagePositionPatient = list(position)
        group.SegmentIdentificationSequence = [Dataset()]
        group.SegmentIdentificationSequence[0].ReferencedSegmentNumber = number
        groups.append(group)
    dataset.PerFrameFunctionalGroupsSequence = groups
    return save(dataset, path)


def rtstruct_file(
    path: Path,
    rois: Mapping[int, tuple[str, Sequence[NDArray[np.float64]]]],
    *,
    kind: str = "CLOSED_PLANAR",
) -> Path:
    """Write a structure set; each ROI is a name and contours of ``(points, 3)`` LPS mm."""
    dataset = _dataset(RTSTRUCT, "1.2.826.0.1.3680043.10.1.400", "RTSTRUCT")
    del dataset.FrameOfReferenceUID
    reference = Dataset()
    reference.FrameOfReferenceUID = FRAME
    dataset.ReferencedFrameOfReferenceSequence = [reference]
    dataset.StructureSetROISequence, dataset.ROIContourSequence = [], []
    for number, (name, contours) in rois.items():
        roi, drawn = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName = number, name
        dataset.StructureSetROISequence.append(roi)
        drawn.ReferencedROINumber = number
        drawn.ContourSequence = []
        for points in contours:
            contour = Dataset()
            contour.ContourGeometricType = kind
            contour.NumberOfContourPoints = len(points)
            contour.ContourData = [f"{one:.4f}" for one in points.ravel()]
            drawn.ContourSequence.append(contour)
        dataset.ROIContourSequence.append(drawn)
    return save(dataset, path)


def change(path: Path, **values: Any) -> None:
    """Set elements of a DICOM file; None takes one away."""
    dataset = pydicom.dcmread(path)
    for name, value in values.items():
        if value is None:
            delattr(dataset, name)
        elif name == "PixelPaddingValue":
            dataset.add_new("PixelPaddingValue", "SS", value)
        else:
            setattr(dataset, name, value)
    save(dataset, path)


def nifti_file(
    path: Path, array: NDArray[Any], affine: NDArray[Any], *, units: str | None = "mm"
) -> Path:
    """Write ``(i, j, k)`` with an affine in RAS."""
    import nibabel as nib

    image = nib.Nifti1Image(array, affine)
    if units:
        image.header.set_xyzt_units(units)
    nib.save(image, path)
    return path
