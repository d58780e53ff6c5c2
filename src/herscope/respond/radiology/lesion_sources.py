"""All lesions of one patient: which mask and which box lie on which CT, and of what kind they are.

A mask belongs to the CT on whose grid it lies; one that fits none, or more than one, is refused.
A kind is stated by a row of a box table, or by a label that is called like one; neither the name of
a file nor the place in the body is taken for a statement, and what is left gets the default kind.

Where outlines and boxes are both given, a box that holds more than half of an outlined lesion's
voxels speaks of that lesion (its kind and its name); a box that holds nothing outlined is a lesion
of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Final, Literal

import numpy as np
from pydantic import BeforeValidator, Field

from herscope.core.errors import HerscopeError, InputError, SchemaError
from herscope.core.spec import Spec
from herscope.respond.radiology.dicom_series import SeriesSpec
from herscope.respond.radiology.lesion_boxes import lesions_from_boxes, read_boxes
from herscope.respond.radiology.lesions import (
    Lesion,
    LesionKind,
    LesionSpec,
    kind_of,
    lesions_from_mask,
)
from herscope.respond.radiology.mask_spec import MaskSpec
from herscope.respond.radiology.masks import read_mask, read_volume
from herscope.respond.radiology.volume import Mask, Volume
from herscope.stats.table import Table

CT_COLUMN: Final = "ct"
Kind = Annotated[LesionKind, BeforeValidator(kind_of)]


class LesionSourceSpec(Spec):
    """How CT, masks and boxes of a patient are read."""

    series: SeriesSpec = Field(default=SeriesSpec(), description="How a DICOM series is read")
    mask_spec: MaskSpec = Field(default=MaskSpec(), description="Which labels of masks count")
    lesion_spec: LesionSpec = Field(default=LesionSpec(), description="From a mask to lesions")
    default_kind: Kind = Field(
        default=LesionKind.OTHER,
        description="Kind of a lesion of which nothing states one: a word such as liver, or 0 to 4",
    )
    on_missing_mask: Literal["error", "missing"] = Field(
        default="error",
        description="A CT with neither mask nor box: refuse the patient, or take the CT as missing",
    )


@dataclass(frozen=True, eq=False)
class FoundLesion:
    """A lesion and what it lies on.

    Attributes
    ----------
    ct
        Which of the patient's CT.
    lesion
        Place, size and kind.
    mask
        The numbered mask it is in; None where only a box is known.
    name
        Different for each of the patient's.
    stated
        Whether a table or a label states its kind.
    """

    ct: int
    lesion: Lesion
    mask: Mask | None
    name: str
    stated: bool


@dataclass(eq=False)
class FoundLesions:
    """The CT of a patient and the lesions on them."""

    volumes: list[Volume] = field(default_factory=list)
    lesions: list[FoundLesion] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@contextmanager
def naming(patient: str, path: Path | None = None) -> Iterator[None]:
    """Put patient and file before the message of what fails inside."""
    try:
        yield
    except HerscopeError as error:
        where = [] if f"patient {patient}" in error.message else [f"patient {patient}"]
        if path is not None and path.name not in error.message:
            where.append(path.name)
        message = ": ".join([", ".join(where), error.message]) if where else error.message
        raise type(error)(message, hint=error.hint) from error


def find_lesions(
    patient: str,
    ct: Sequence[Path],
    masks: Sequence[Path],
    boxes: Sequence[Path],
    spec: LesionSourceSpec,
) -> FoundLesions:
    """Read the CT of a patient and all lesions on them.

    Parameters
    ----------
    patient
        As the box tables write it.
    ct
        NIfTI files or DICOM folders.
    masks
        NIfTI labels, DICOM SEG or RTSTRUCT.
    boxes
        Tables of :mod:`~herscope.respond.radiology.lesion_boxes`; of a patient with several CT they
        have a column ``ct`` with the name of its file or folder.
    spec
        How they are read.

    Returns
    -------
    FoundLesions
        Nothing in it where the CT has neither mask nor box and that is allowed.

    Raises
    ------
    InputError, SchemaError, NotComputed, DependencyMissing
        The files cannot be used; patient and file are named.
    """
    out = FoundLesions()
    with naming(patient):
        _check_paths([*ct], [*masks])
        tables = [table for path in boxes if len(table := _rows_of(path, patient))]
        if not masks and not tables:
            _no_lesion(ct[0].name, spec, out)
            return out
    for path in ct:
        with naming(patient, path):
            out.volumes.append(read_volume(path, spec=spec.series))
    for path in masks:
        with naming(patient, path):
            _add_mask(out, path, [one.name for one in ct], spec)
    with naming(patient):
        _check_apart(out.lesions)
        for table in tables:
            _add_boxes(out, table, patient, ct)
        _name_apart(out)
        for number, path in enumerate(ct):
            out.notes += [f"{path.name}: {note}" for note in out.volumes[number].notes]
            if all(one.ct != number for one in out.lesions):
                _no_lesion(path.name, spec, out)
    unstated = sum(not one.stated for one in out.lesions)
    if unstated:
        word = spec.default_kind.name.lower().replace("_", " ")
        out.notes.append(
            f"nothing states the kind of {unstated} of {len(out.lesions)} lesions: {word}"
        )
    out.notes += [
        f"{mask.source}: {note}"
        for mask in dict.fromkeys(one.mask for one in out.lesions if one.mask is not None)
        for note in mask.notes
    ]
    return out


def _check_paths(ct: list[Path], masks: list[Path]) -> None:
    if not ct:
        raise InputError(
            "no CT to look for lesions in", hint="give a CT, or leave the patient's radiology out"
        )
    for what, paths in (("CT", ct), ("mask", masks)):
        twice = [one.name for one in paths if paths.count(one) > 1]
        if twice:
            raise InputError(f"{what} {twice[0]} is given twice", hint="give each file once")


def _no_lesion(name: str, spec: LesionSourceSpec, out: FoundLesions) -> None:
    if spec.on_missing_mask == "error":
        raise InputError(
            f"CT {name} has neither a mask nor a box; a lesion is not found by itself",
            hint="outline its lesions or type their boxes, or take such CT as missing with "
            "on_missing_mask = 'missing'",
        )
    out.notes.append(f"CT {name} has neither a mask nor a box: taken as missing")


def _rows_of(path: Path, patient: str) -> Table:
    """Return the rows of a box table that are of a patient."""
    table = read_boxes(path)
    keep = [who == patient for who in table.labels("patient")]
    return table.where(keep, "of other patients")


def _add_mask(out: FoundLesions, path: Path, ct: list[str], spec: LesionSourceSpec) -> None:
    number, mask = _fitting(out.volumes, path, ct, spec.mask_spec)
    volume = out.volumes[number]
    kinds, stated = {}, set()
    for label in mask.counts():
        kind = _kind_called(mask.labels.get(label, ""))
        kinds[label] = spec.default_kind if kind is None else kind
        if kind is not None:
            stated.add(mask.labels[label])
    lesions, numbered = lesions_from_mask(volume, mask, kinds, spec=spec.lesion_spec)
    stem = path.name.removesuffix(".gz").rpartition(".")[0]
    for one in lesions:
        called = "" if not one.name or one.name == f"label {one.label}" else f", {one.name}"
        called = "" if called.startswith(", label ") else called
        name = f"{stem} {one.label}{called}"
        out.lesions.append(FoundLesion(number, one, numbered, name, one.name in stated))


def _kind_called(name: str) -> LesionKind | None:
    """Return the kind that a label is called; its number is no name."""
    try:
        return None if name.strip().isdigit() else kind_of(name)
    except InputError:
        return None


def _fitting(
    volumes: Sequence[Volume], path: Path, ct: list[str], spec: MaskSpec
) -> tuple[int, Mask]:
    """Return the CT on whose grid a mask lies, and the mask."""
    if len(volumes) == 1:
        return 0, read_mask(path, volumes[0], spec=spec)
    fits, misfits = [], []
    # Moving a mask would make it fit any CT.
    exact = spec.model_copy(update={"resample": False})
    for number, volume in enumerate(volumes):
        try:
            fits.append((number, read_mask(path, volume, spec=exact)))
        except SchemaError:
            raise
        except InputError as error:
            misfits.append(f"{ct[number]}: {error.message}")
    if not fits:
        raise InputError(
            f"mask {path.name} fits none of {len(volumes)} CT ({'; '.join(misfits)})",
            hint="give the CT it was drawn on, in the form it was drawn on",
        )
    if len(fits) > 1:
        alike = " and ".join(ct[number] for number, _ in fits)
        raise InputError(
            f"mask {path.name} fits {alike}: they lie on one grid, as phases of one scan do",
            hint="give one of them, the phase the mask was drawn on",
        )
    return fits[0]


def _check_apart(lesions: Sequence[FoundLesion]) -> None:
    """Refuse two masks that share voxels: a lesion would count twice."""
    by_mask = {id(one.mask): one for one in lesions}
    masks = [(one.ct, one.mask) for one in by_mask.values() if one.mask is not None]
    for index, (ct, first) in enumerate(masks):
        for other_ct, second in masks[index + 1 :]:
            if ct == other_ct and (shared := int(((first.array > 0) & (second.array > 0)).sum())):
                raise InputError(
                    f"masks {first.source} and {second.source} share {shared:,} voxels",
                    hint="give each lesion once: one reader's outline, without the organ around it "
                    "(mask_spec.labels)",
                )


def _add_boxes(out: FoundLesions, table: Table, patient: str, ct: Sequence[Path]) -> None:
    """Let the boxes of a table speak of outlined lesions, or be lesions of their own."""
    for number, volume in enumerate(out.volumes):
        rows = _rows_on(table, number, ct)
        if not len(rows):
            continue
        spoken: dict[int, str] = {}
        for box in lesions_from_boxes(rows, patient, volume):
            held = _held(out.lesions, number, box)
            if not held:
                out.lesions.append(FoundLesion(number, box, None, box.name, stated=True))
            for index in held:
                found = out.lesions[index]
                if index in spoken and found.lesion.kind != box.kind:
                    raise InputError(
                        f"{table.name}: boxes {spoken[index]} and {box.name} both hold lesion "
                        f"{found.name} and state two kinds",
                        hint="make the boxes smaller, or state one kind",
                    )
                spoken[index] = box.name
                lesion = replace(found.lesion, kind=box.kind)
                out.lesions[index] = replace(found, lesion=lesion, name=box.name, stated=True)


def _rows_on(table: Table, number: int, ct: Sequence[Path]) -> Table:
    """Return the rows that are of one CT."""
    names = [{one.name, one.name.removesuffix(".gz").removesuffix(".nii")} for one in ct]
    if CT_COLUMN not in table.columns:
        if len(ct) == 1:
            return table
        raise InputError(
            f"{table.name} does not say on which of {len(ct)} CT its boxes lie",
            hint=f"add a column {CT_COLUMN} with the name of the CT's file or folder",
        )
    cells = table.labels(CT_COLUMN)
    strange = [cell for cell in cells if not any(cell in known for known in names)]
    if strange:
        raise InputError(
            f"{table.name} has boxes on CT {strange[0]}, which is not given "
            f"({', '.join(one.name for one in ct)} are)",
            hint=f"column {CT_COLUMN} holds names of files or folders of this patient's CT",
        )
    return table.where([cell in names[number] for cell in cells], "on other CT")


def _held(lesions: Sequence[FoundLesion], ct: int, box: Lesion) -> list[int]:
    """Return which outlined lesions lie in a box with more than half of their voxels."""
    held, most = [], (0.0, "")
    for index, one in enumerate(lesions):
        if one.ct != ct or one.mask is None:
            continue
        inside = int(np.count_nonzero(one.mask.array[box.box.slices] == one.lesion.label))
        if 2 * inside > one.lesion.voxels:
            held.append(index)
        most = max(most, (inside / one.lesion.voxels, one.name))
    if not held and most[0] > 0:
        raise InputError(
            f"box {box.name} holds {most[0]:.0%} of lesion {most[1]}: the same lesion or another?",
            hint="make the box as large as the outline, or take one of them away",
        )
    return held


def _name_apart(out: FoundLesions) -> None:
    """Give lesions of one name numbers."""
    names = [one.name for one in out.lesions]
    for index, one in enumerate(out.lesions):
        if names.count(one.name) > 1:
            again = names[:index].count(one.name) + 1
            out.lesions[index] = replace(one, name=f"{one.name} ({again})")
