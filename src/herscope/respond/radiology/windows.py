"""Windows of grey values for each kind of lesion and each centre, from training patients only.

A window runs from the 1st to the 99th percentile of the Hounsfield units of all lesion voxels of
one kind at one centre. The counts of whole HU are what is kept (4096 bins, -1024 to 3071): they
add up exactly over voxels, lesions and workers, so the window is the same for any order. The
percentile is the lowest HU up to which at least that share of the voxels lies (nearest rank,
decided in integers). A kind and centre with too few voxels, or one the table does not know, gets
the fallback: centre 40 HU, width 400 HU, the usual one for the abdomen.

Source: MuMo (dynamic windows; its table is not published, so percentiles are our reading of it, see
docs/science/ct.md). Departure: the fallback is used for a centre that was not trained on, not a
neighbour's window.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from herscope.core.errors import InputError, NotComputed, SchemaError
from herscope.core.spec import Spec
from herscope.core.store import read_json, write_json
from herscope.respond.radiology.lesions import Lesion, LesionKind, lesion_voxels
from herscope.respond.radiology.volume import Mask, Volume

LOWEST_HU: Final = -1024
BINS: Final = 4096
LOWER_PERCENT: Final = 1
UPPER_PERCENT: Final = 99
FALLBACK_CENTRE_HU: Final = 40.0
FALLBACK_WIDTH_HU: Final = 400.0
FEWEST_VOXELS: Final = 100
"""With fewer, the 1st percentile is the minimum: one voxel would make the window."""


class Window(Spec):
    """Grey values from black to white.

    Examples
    --------
    >>> Window(low_hu=-160, high_hu=240).apply(np.array([-500.0, 40.0, 240.0])).tolist()
    [0.0, 127.5, 255.0]
    """

    low_hu: float = Field(default=..., description="HU shown black, and all below")
    high_hu: float = Field(default=..., description="HU shown white, and all above")

    def model_post_init(self, _: Any, /) -> None:
        """Refuse a window without width."""
        if not self.low_hu < self.high_hu:
            raise ValueError(f"window from {self.low_hu:g} to {self.high_hu:g} HU has no width")

    @property
    def centre_hu(self) -> float:
        """Middle, as a workstation states it."""
        return (self.low_hu + self.high_hu) / 2

    @property
    def width_hu(self) -> float:
        """Width, as a workstation states it."""
        return self.high_hu - self.low_hu

    def apply(self, hu: NDArray[Any]) -> NDArray[np.float32]:
        """Clip and scale HU of any shape to float32 0..255."""
        wide = np.clip(np.asarray(hu, np.float64), self.low_hu, self.high_hu) - self.low_hu
        return np.asarray(wide * (255.0 / self.width_hu), np.float32)


FALLBACK: Final = Window(
    low_hu=FALLBACK_CENTRE_HU - FALLBACK_WIDTH_HU / 2,
    high_hu=FALLBACK_CENTRE_HU + FALLBACK_WIDTH_HU / 2,
)


@dataclass(frozen=True, eq=False)
class LesionCounts:
    """Voxels of one training lesion by whole HU.

    Parameters
    ----------
    kind, centre
        What it is and where it was scanned.
    counts
        int64 ``(4096,)`` from -1024 HU on; values beyond either end are counted at that end.
    """

    kind: LesionKind
    centre: str
    counts: NDArray[np.int64]


def count_lesion(volume: Volume, lesion: Lesion, mask: Mask | None, *, centre: str) -> LesionCounts:
    """Count the HU of a lesion's voxels; of its whole box where only a box is known.

    Parameters
    ----------
    volume
        The CT.
    lesion, mask
        A lesion and the numbered mask it came with; no mask for a box.
    centre
        Where it was scanned.

    Raises
    ------
    InputError
        The mask is not the lesion's.
    """
    inside = lesion_voxels(lesion, mask)
    box = volume.array[lesion.box.slices]
    values = box.ravel() if inside is None else box[inside]
    whole = np.clip(np.floor(values.astype(np.float64) + 0.5) - LOWEST_HU, 0, BINS - 1)
    counts = np.bincount(whole.astype(np.int64), minlength=BINS).astype(np.int64)
    return LesionCounts(lesion.kind, centre, counts)


class WindowRow(Spec):
    """The window of one kind at one centre, and what it rests on."""

    kind: LesionKind = Field(..., description="Kind of lesion, 0 to 4")
    centre: str = Field(default=..., description="Where it was scanned")
    window: Window = Field(default=..., description="From the 1st to the 99th percentile")
    lesions: int = Field(default=..., gt=0, description="Training lesions")
    voxels: int = Field(default=..., gt=0, description="Training voxels")


class WindowTable(Spec):
    """Windows by kind and centre; what is absent gets the fallback."""

    format: str = Field(
        default="herscope.windows/1", pattern=r"^herscope\.windows/1$", description="Form"
    )
    rows: tuple[WindowRow, ...] = Field(default=(), description="By kind, then centre")
    fallback: Window = Field(default=FALLBACK, description="For kinds and centres without a row")

    def of(self, kind: LesionKind, centre: str) -> tuple[Window, str]:
        """Return the window of a lesion, and a note where it is the fallback, else nothing.

        Examples
        --------
        >>> window, note = WindowTable().of(LesionKind.LIVER, "A")
        >>> window.centre_hu, window.width_hu, note
        (40.0, 400.0, 'no window for liver at centre A: fallback 40/400 HU')
        """
        for row in self.rows:
            if (row.kind, row.centre) == (kind, centre):
                return row.window, ""
        word = kind.name.lower().replace("_", " ")
        return self.fallback, (
            f"no window for {word} at centre {centre}: fallback "
            f"{self.fallback.centre_hu:g}/{self.fallback.width_hu:g} HU"
        )

    def save(self, path: str | Path) -> None:
        """Write the table as JSON.

        Raises
        ------
        OutputError
            The file cannot be written.
        """
        write_json(path, self.model_dump(mode="json"))

    @classmethod
    def load(cls, path: str | Path) -> WindowTable:
        """Read a table that :meth:`save` wrote.

        Raises
        ------
        NotComputed, SchemaError
            There is no such file, or it is no table of windows.
        """
        file = Path(path)
        if not file.is_file():
            raise NotComputed(
                f"there is no table of windows {file.name}",
                hint="fit_windows makes one from the training patients",
            )
        document = read_json(file)
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            what = error.errors()[0]
            where = ".".join(str(part) for part in what["loc"]) or "the file"
            raise SchemaError(
                f"{file.name} is no table of windows: {where}: {what['msg']}",
                hint="make it again from the training patients",
            ) from error


def fit_windows(training: Iterable[LesionCounts]) -> WindowTable:
    """Make the windows of a training set.

    Parameters
    ----------
    training
        Lesions of training patients only; a window that has seen a test patient leaks.

    Returns
    -------
    WindowTable
        One row a kind and centre with at least 100 voxels and more than one HU.

    Raises
    ------
    InputError
        There is no lesion at all.

    Examples
    --------
    >>> counts = np.zeros(BINS, np.int64)
    >>> counts[1024 : 1024 + 201] = 1
    >>> table = fit_windows([LesionCounts(LesionKind.LIVER, "A", counts)])
    >>> (table.rows[0].window.low_hu, table.rows[0].window.high_hu)
    (2.0, 198.0)
    """
    sums: dict[tuple[int, str], NDArray[np.int64]] = {}
    lesions: dict[tuple[int, str], int] = {}
    for one in training:
        key = (int(one.kind), one.centre)
        sums[key] = sums.get(key, np.zeros(BINS, np.int64)) + one.counts
        lesions[key] = lesions.get(key, 0) + 1
    if not sums:
        raise InputError(
            "no training lesion to make windows from",
            hint="give lesions of training patients, or use WindowTable() with its fallback",
        )
    rows = []
    for kind, centre in sorted(sums):
        counts = sums[kind, centre]
        voxels = int(counts.sum())
        low, high = (percentile(counts, percent) for percent in (LOWER_PERCENT, UPPER_PERCENT))
        if voxels >= FEWEST_VOXELS and low < high:
            rows.append(
                WindowRow(
                    kind=LesionKind(kind),
                    centre=centre,
                    window=Window(low_hu=low, high_hu=high),
                    lesions=lesions[kind, centre],
                    voxels=voxels,
                )
            )
    return WindowTable(rows=tuple(rows))


def percentile(counts: Sequence[int] | NDArray[np.int64], percent: int) -> int:
    """Return the lowest HU up to which at least this percentage of the voxels lies.

    Examples
    --------
    >>> counts = np.zeros(BINS, np.int64)
    >>> counts[[1024, 1034]] = 1, 99
    >>> percentile(counts, 1), percentile(counts, 2)
    (0, 10)
    """
    below = np.cumsum(np.asarray(counts, np.int64))
    # Both sides are whole numbers: no rounding decides at the limit.
    return int(np.searchsorted(below * 100, int(below[-1]) * percent)) + LOWEST_HU
