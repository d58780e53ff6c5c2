"""The lesions of a cohort's patient as a network gets them: pictures in HU, radiomics, grey values.

Few lesions are looked at (:mod:`herscope.respond.radiology.lesion_choice`), the largest first. Each
is three slices in Hounsfield units: the window in which they are shown depends on the training
patients, so :meth:`PatientLesions.pictures` applies it later and the pictures can be kept
(:mod:`herscope.respond.radiology.lesion_store`). Radiomics are those of IBSI
(:mod:`herscope.respond.radiomics`), over the outline, or over the box where only that is known;
NaN where a lesion does not determine them.

Source: MuMo (lesions of a patient, three slices of 112 px, 736 radiomics values). Departures: all
chosen lesions and no drawing with replacement; see docs/science/ct.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from herscope.core.errors import HerscopeError, SchemaError
from herscope.respond.radiology.lesion_choice import MAX_LESIONS, MOST_OF_A_KIND, choose_lesions
from herscope.respond.radiology.lesion_sources import (
    FoundLesion,
    FoundLesions,
    LesionSourceSpec,
    find_lesions,
    naming,
)
from herscope.respond.radiology.lesions import LesionKind, lesion_voxels
from herscope.respond.radiology.slices import LesionSlices, SliceSpec, three_slices_hu
from herscope.respond.radiology.volume import Volume
from herscope.respond.radiology.windows import LesionCounts, Window, WindowTable, count_lesion
from herscope.respond.radiomics.spec import RadiomicsSpec


class PatientLesionSpec(LesionSourceSpec):
    """Which lesions of a patient are taken, and what is made of each.

    Examples
    --------
    >>> PatientLesionSpec(default_kind="liver").default_kind.name
    'LIVER'
    """

    size_px: int = Field(default=112, ge=16, le=1024, description="Edge of a picture in pixels")
    margin_mm: float = Field(
        default=10.0, ge=0, le=100, description="Tissue kept around a lesion on each side"
    )
    max_lesions: int = Field(
        default=MAX_LESIONS, ge=0, description="Lesions of a patient at most; 0 takes all"
    )
    most_of_a_kind: int = Field(
        default=MOST_OF_A_KIND, ge=0, description="Lesions of one kind at most; 0 sets no limit"
    )
    with_radiomics: bool = Field(default=True, description="Measure radiomics of each lesion")
    radiomics: RadiomicsSpec = Field(
        default=RadiomicsSpec(), description="Which radiomics, and how; 736 by default"
    )


@dataclass(frozen=True, eq=False)
class PatientLesions:
    """Lesions of one patient, the largest first; there may be none.

    Attributes
    ----------
    pictures_hu
        float32 ``(lesions, 3, size, size)``, HU of -1024..3071: slices below, at and above the key
        slice; -1024 outside of the CT.
    inside
        bool ``(lesions, size, size)``: the lesion in the picture of its key slice; its box where
        nothing was outlined.
    kinds
        int64 ``(lesions,)``, :class:`~herscope.respond.radiology.lesions.LesionKind`.
    counts
        Voxels of each by HU, for :func:`~herscope.respond.radiology.windows.fit_windows`.
    omics
        float32 ``(lesions, values)``, NaN where not measurable; None where not asked for.
    omics_names
        Of the values.
    names, sources
        Of each lesion, and the CT it is of.
    key_slices, depths
        int64 ``(lesions,)``: slice counted from 0 at the feet, and how many the CT has.
    boxes
        int64 ``(lesions, 6)``: ``z0 y0 x0 z1 y1 x1`` in voxels of the CT.
    volumes_ml
        float64 ``(lesions,)``; of the box where nothing was outlined.
    outlined
        bool ``(lesions,)``.
    spacing_mm
        float64 ``(lesions, 3)``: voxels of the CT, z, y, x.
    pixel_mm
        float64 ``(lesions, 2)``: pixels of the picture, y, x.
    notes
        What was assumed, made up, left out or not measurable.

    Raises
    ------
    SchemaError
        The parts are not of one number of lesions.
    """

    pictures_hu: NDArray[np.float32] = field(repr=False)
    inside: NDArray[np.bool_] = field(repr=False)
    kinds: NDArray[np.int64]
    counts: tuple[LesionCounts, ...] = field(repr=False)
    omics: NDArray[np.float32] | None = field(repr=False)
    omics_names: tuple[str, ...] = field(repr=False)
    names: tuple[str, ...]
    sources: tuple[str, ...]
    key_slices: NDArray[np.int64]
    depths: NDArray[np.int64]
    boxes: NDArray[np.int64] = field(repr=False)
    volumes_ml: NDArray[np.float64]
    outlined: NDArray[np.bool_]
    spacing_mm: NDArray[np.float64] = field(repr=False)
    pixel_mm: NDArray[np.float64] = field(repr=False)
    notes: tuple[str, ...]

    def __post_init__(self) -> None:
        number, size = len(self.names), self.pictures_hu.shape[-1]
        shapes: dict[str, tuple[int, ...]] = {
            "pictures_hu": (number, 3, size, size),
            "inside": (number, size, size),
            "boxes": (number, 6),
            "spacing_mm": (number, 3),
            "pixel_mm": (number, 2),
        }
        shapes |= dict.fromkeys(
            ("kinds", "key_slices", "depths", "volumes_ml", "outlined"), (number,)
        )
        if self.omics is not None:
            shapes["omics"] = (number, len(self.omics_names))
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise SchemaError(
                    f"{name} of {number} lesions has shape {getattr(self, name).shape}, not {shape}"
                )
        if len(self.counts) != number or len(self.sources) != number:
            raise SchemaError(
                f"{number} lesions, {len(self.counts)} counts, {len(self.sources)} sources"
            )

    def __len__(self) -> int:
        return len(self.names)

    def windows(self, table: WindowTable, centre: str) -> list[tuple[Window, str]]:
        """Return the window of each lesion, and a note where it is the fallback, else nothing."""
        return [table.of(LesionKind(int(kind)), centre) for kind in self.kinds]

    def pictures(self, table: WindowTable, centre: str) -> NDArray[np.float32]:
        """Return the pictures in their windows.

        Parameters
        ----------
        table
            Windows of the training patients.
        centre
            Where the patient was scanned, as in ``table``.

        Returns
        -------
        NDArray
            float32 ``(lesions, 3, size, size)``, 0 to 1.
        """
        out = np.empty(self.pictures_hu.shape, np.float32)
        for index, (window, _) in enumerate(self.windows(table, centre)):
            out[index] = window.apply(self.pictures_hu[index]) / np.float32(255)
        return out


def read_lesions(
    patient: str,
    ct: Sequence[str | Path],
    masks: Sequence[str | Path] = (),
    boxes: Sequence[str | Path] = (),
    centre: str = "",
    spec: PatientLesionSpec | None = None,
) -> PatientLesions:
    """Read the lesions of one patient.

    Parameters
    ----------
    patient
        Identifier, as box tables write it; it stands in messages and in nothing that is returned.
    ct
        NIfTI files or folders of DICOM slices.
    masks
        NIfTI labels, DICOM SEG or RTSTRUCT, each on the grid of one of the CT.
    boxes
        Tables of boxes; rows of other patients are passed over.
    centre
        Where the patient was scanned; ``counts`` carry it.
    spec
        Which lesions, how large a picture, which radiomics.

    Returns
    -------
    PatientLesions
        Without any lesion where no CT has a mask or a box and ``on_missing_mask`` is ``missing``.

    Raises
    ------
    InputError
        A mask fits no CT or several, masks overlap, a box lies outside, a CT has neither mask nor
        box.
    SchemaError, NotComputed, DependencyMissing
        A file is damaged, absent, states no spacing, or needs what is not installed.
    """
    spec = spec or PatientLesionSpec()
    found = find_lesions(
        patient,
        [Path(one) for one in ct],
        [Path(one) for one in masks],
        [Path(one) for one in boxes],
        spec,
    )
    indices, left_out = choose_lesions(
        [(one.ct, one.lesion) for one in found.lesions],
        max_lesions=spec.max_lesions,
        most_of_a_kind=spec.most_of_a_kind,
    )
    notes = [*found.notes, *([left_out] if left_out else [])]
    with naming(patient):
        return _made([found.lesions[index] for index in indices], found, centre, spec, notes)


def _made(
    chosen: Sequence[FoundLesion],
    found: FoundLesions,
    centre: str,
    spec: PatientLesionSpec,
    notes: list[str],
) -> PatientLesions:
    """Cut out, count and measure the chosen lesions."""
    cut_spec = SliceSpec(size_px=spec.size_px, margin_mm=spec.margin_mm)
    volumes = [found.volumes[one.ct] for one in chosen]
    cuts, counts = [], []
    for one, volume in zip(chosen, volumes, strict=True):
        cut = three_slices_hu(volume, one.lesion, spec=cut_spec)
        cuts.append(cut)
        counts.append(count_lesion(volume, one.lesion, one.mask, centre=centre))
        notes += [f"lesion {one.name}: {note}" for note in cut.notes]
    omics, names = _omics(chosen, volumes, spec, notes)
    size = spec.size_px
    lesions = [one.lesion for one in chosen]
    boxes = [
        (box.z0, box.y0, box.x0, box.z1, box.y1, box.x1) for box in (one.box for one in lesions)
    ]
    return PatientLesions(
        pictures_hu=_stacked([cut.pixels for cut in cuts], (3, size, size), np.float32),
        inside=_stacked(
            [_inside(*pair, size) for pair in zip(chosen, cuts, strict=True)],
            (size, size),
            np.bool_,
        ),
        kinds=np.array([int(one.kind) for one in lesions], np.int64),
        counts=tuple(counts),
        omics=omics,
        omics_names=names,
        names=tuple(one.name for one in chosen),
        sources=tuple(volume.source for volume in volumes),
        key_slices=np.array([one.key_slice for one in lesions], np.int64),
        depths=np.array([volume.grid.shape[0] for volume in volumes], np.int64),
        boxes=_stacked(boxes, (6,), np.int64),
        volumes_ml=np.array([one.volume_ml for one in lesions], np.float64),
        outlined=np.array([one.outlined for one in lesions], np.bool_),
        spacing_mm=_stacked([volume.spacing_mm for volume in volumes], (3,), np.float64),
        pixel_mm=_stacked([cut.pixel_mm for cut in cuts], (2,), np.float64),
        notes=tuple(dict.fromkeys(notes)),
    )


def _stacked(rows: Sequence[Any], shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """Return ``(rows, *shape)``, also of no row."""
    return np.asarray(rows, dtype).reshape(len(rows), *shape)


def _inside(found: FoundLesion, cut: LesionSlices, size: int) -> NDArray[np.bool_]:
    """Return the lesion in the picture of its key slice."""
    import cv2

    lesion, box = found.lesion, cut.box
    flat = np.zeros(box.size[1:], np.uint8)
    own = lesion_voxels(lesion, found.mask)
    # The margin keeps the lesion's box within the cut-out on each side.
    y, x = lesion.box.y0 - box.y0, lesion.box.x0 - box.x0
    _, tall, wide = lesion.box.size
    drawn = (
        np.ones((tall, wide), np.bool_) if own is None else own[lesion.key_slice - lesion.box.z0]
    )
    flat[max(y, 0) : y + tall, max(x, 0) : x + wide] = drawn[max(-y, 0) :, max(-x, 0) :][
        : flat.shape[0] - max(y, 0), : flat.shape[1] - max(x, 0)
    ]
    return cv2.resize(flat, (size, size), interpolation=cv2.INTER_NEAREST).astype(np.bool_)


def _omics(
    chosen: Sequence[FoundLesion],
    volumes: Sequence[Volume],
    spec: PatientLesionSpec,
    notes: list[str],
) -> tuple[NDArray[np.float32] | None, tuple[str, ...]]:
    """Measure radiomics, NaN where there are none, and say why."""
    if not spec.with_radiomics:
        return None, ()
    from herscope.respond.radiomics.catalogue import feature_names
    from herscope.respond.radiomics.extract import features

    names = tuple(feature_names(spec.radiomics))
    out = np.full((len(chosen), len(names)), np.nan, np.float32)
    for row, (one, volume) in enumerate(zip(chosen, volumes, strict=True)):
        try:
            values = features(volume.array, _region(one, volume), volume.spacing_mm, spec.radiomics)
        except HerscopeError as error:
            notes.append(f"lesion {one.name}: no radiomics: {error.message}")
            continue
        lacking = [name for name in names if values[name] is None]
        if lacking:
            notes.append(
                f"lesion {one.name}: does not determine {len(lacking)} of {len(names)} radiomics, "
                f"such as {lacking[0]} ({one.lesion.voxels} voxels)"
            )
        out[row] = [np.nan if values[name] is None else values[name] for name in names]
    return out, names


def _region(found: FoundLesion, volume: Volume) -> NDArray[np.bool_]:
    """Return the lesion's voxels in the whole CT, beyond which filters look."""
    if found.mask is not None:
        return np.asarray(found.mask.array == found.lesion.label)
    whole = np.zeros(volume.grid.shape, np.bool_)
    whole[found.lesion.box.slices] = True
    return whole
