"""How brown each cell is, and in which grade that puts it.

Optical density (OD) of DAB is averaged over the nucleus and over the cytoplasm (the cell without
its nucleus); the membrane is followed in :mod:`herscope.measure.membrane`.

A nucleus is averaged without its outermost pixels, which are part nucleus and part surroundings and
would lower every grade; a nucleus too small to have an inside is averaged whole. The part that the
marker stains is graded 0, 1+, 2+, 3+ by three cut-offs (``od >= cut``). Sums are over whole
milli-OD, hence exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray
from pydantic import Field, model_validator

from herscope.core.errors import InputError
from herscope.core.spec import Spec
from herscope.measure.markers import Target
from herscope.stain.deconvolve import MilliOd

HISTOGRAM_BINS: Final = 256
_STEP_MILLI: Final = 10
MIN_CORE_SHARE: Final = 4  # a core is used when it is at least a fourth of the nucleus

Cuts = tuple[float, float, float]
Labels = NDArray[np.int32]
"""(height, width): 0 is background, 1..n are cells."""


@dataclass(frozen=True, slots=True)
class CutProfile:
    """Named cut-offs between the grades 0, 1+, 2+ and 3+, in log10 optical density of DAB."""

    name: str
    cuts: Cuts
    source: str
    year: int


CUT_PROFILES: Final = {
    profile.name: profile
    for profile in (
        CutProfile(
            "qupath-default",
            (0.2, 0.4, 0.6),
            "customary starting values of QuPath's positive cell detection (Bankhead et al.)",
            2017,
        ),
        CutProfile(
            "membrane-crest",
            (0.2, 0.4, 0.7),
            "herscope: for the crest of a membrane, which is darker than a mean over a part of a "
            "cell; set on phantoms and by eye on public HER2 fields, to be calibrated",
            2026,
        ),
    )
}
BY_MARKER: Final = "by-marker"
"""Profile name that stands for the marker's own; without a marker for QuPath's."""

PROFILE_OF: Final[dict[Target, str]] = {
    "nucleus": "qupath-default",
    "cytoplasm": "qupath-default",
    "membrane": "membrane-crest",
}


class GradeSpec(Spec):
    """Cut-offs between the grades."""

    profile: str = Field(
        default=BY_MARKER,
        description="Name of the cut-offs, or of your own calibration; by-marker: qupath-default, "
        "for membrane markers membrane-crest.",
    )
    cuts: Cuts | None = Field(
        default=None,
        description="Three rising DAB optical densities, steps of 0.01; left out: the profile's.",
    )

    @model_validator(mode="after")
    def _known(self) -> GradeSpec:
        if self.cuts is None:
            if self.profile not in (BY_MARKER, *CUT_PROFILES):
                raise ValueError(
                    f"no cut-off profile is called {self.profile!r} (known: {BY_MARKER}, "
                    f"{', '.join(CUT_PROFILES)}); or give cuts = [0.2, 0.4, 0.6]"
                )
        elif not 0 < self.cuts[0] < self.cuts[1] < self.cuts[2] <= 2.5:
            raise ValueError(f"cuts must rise and lie in (0, 2.5], not {self.cuts}")
        elif any(abs(c * 100 - round(c * 100)) > 1e-9 for c in self.cuts):
            raise ValueError(f"cuts are steps of 0.01 optical density, not {self.cuts}")
        return self

    def of(self, target: Target) -> GradeSpec:
        """Return these cut-offs with the marker's own profile where none was chosen."""
        if self.cuts is not None or self.profile != BY_MARKER:
            return self
        return GradeSpec(profile=PROFILE_OF[target])

    @property
    def bins(self) -> tuple[int, int, int]:
        """First histogram bin of 1+, 2+ and 3+."""
        name = PROFILE_OF["nucleus"] if self.profile == BY_MARKER else self.profile
        low, middle, high = self.cuts or CUT_PROFILES[name].cuts
        return round(low * 100), round(middle * 100), round(high * 100)

    @property
    def values(self) -> Cuts:
        """The cut-offs in optical density."""
        low, middle, high = self.bins
        return low / 100, middle / 100, high / 100


class CellMeasures(NamedTuple):
    """One entry a label 1..n: pixel counts, exact milli-OD sums, summed nucleus coordinates.

    The core is the nucleus without its outermost pixels.
    """

    nucleus_px: NDArray[np.int64]
    core_px: NDArray[np.int64]
    cytoplasm_px: NDArray[np.int64]
    nucleus_sum: NDArray[np.int64]
    core_sum: NDArray[np.int64]
    cytoplasm_sum: NDArray[np.int64]
    x_sum: NDArray[np.int64]
    y_sum: NDArray[np.int64]

    def od(self, part: Literal["nucleus", "cytoplasm"]) -> NDArray[np.float64]:
        """Mean DAB OD of one part; NaN where the cell has no pixel of it."""
        inside = MIN_CORE_SHARE * self.core_px >= self.nucleus_px
        sums, count = {
            "nucleus": (
                np.where(inside, self.core_sum, self.nucleus_sum),
                np.where(inside, self.core_px, self.nucleus_px),
            ),
            "cytoplasm": (self.cytoplasm_sum, self.cytoplasm_px),
        }[part]
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(sums / (count * 1000.0))


def measure_cells(nuclei: Labels, cells: Labels, dab: MilliOd, count: int) -> CellMeasures:
    """Sum DAB over the parts of every cell.

    Parameters
    ----------
    nuclei, cells
        (height, width) int32 with the same numbers 1..count.
    dab
        (height, width) milli-OD.
    count
        Number of cells.

    Examples
    --------
    >>> cells = np.ones((4, 4), np.int32)
    >>> nuclei = np.zeros((4, 4), np.int32)
    >>> nuclei[1:3, 1:3] = 1
    >>> dab = np.where(nuclei > 0, 500, 100).astype(np.int16)
    >>> measured = measure_cells(nuclei, cells, dab, 1)
    >>> float(measured.od("nucleus")[0]), float(measured.od("cytoplasm")[0])
    (0.5, 0.1)
    """
    if not nuclei.shape == cells.shape == dab.shape:
        raise InputError(f"shapes differ: {nuclei.shape}, {cells.shape}, {dab.shape}")
    return CellMeasures(*_measure(nuclei, cells, dab, count))


@njit(cache=True, nogil=True)
def _measure(nuclei, cells, dab, count):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    height, width = cells.shape
    nucleus, core, rest = 0, 1, 2
    px = np.zeros((3, count), np.int64)
    sums = np.zeros((3, count), np.int64)
    xs = np.zeros(count, np.int64)
    ys = np.zeros(count, np.int64)
    for y in range(height):
        for x in range(width):
            k = cells[y, x] - 1
            if k < 0:
                continue
            v = dab[y, x]
            n = nuclei[y, x]
            if n:
                px[nucleus, k] += 1
                sums[nucleus, k] += v
                xs[k] += x
                ys[k] += y
                if (
                    0 < y < height - 1
                    and 0 < x < width - 1
                    and nuclei[y - 1, x] == n
                    and nuclei[y + 1, x] == n
                    and nuclei[y, x - 1] == n
                    and nuclei[y, x + 1] == n
                ):
                    px[core, k] += 1
                    sums[core, k] += v
            else:
                px[rest, k] += 1
                sums[rest, k] += v
    return (
        px[nucleus],
        px[core],
        px[rest],
        sums[nucleus],
        sums[core],
        sums[rest],
        xs,
        ys,
    )


def grade(od: NDArray[np.float64], spec: GradeSpec) -> NDArray[np.int8]:
    """Grade 0 to 3 of optical densities: the number of cut-offs that are reached.

    Compared in whole milli-OD, as the pixels are. An OD that is not a number is an error: an
    unmeasured cell is no negative cell.

    Examples
    --------
    >>> grade(np.array([0.1, 0.2, 0.59, 0.6]), GradeSpec()).tolist()
    [0, 1, 2, 3]
    """
    if np.isnan(od).any():
        raise InputError("a cell without a measured optical density cannot be graded")
    milli = np.floor(od * 1000 + 1e-6).astype(np.int64)
    cuts = np.array(spec.bins, np.int64) * _STEP_MILLI
    return np.searchsorted(cuts, milli, side="right").astype(np.int8)


def count_pixels(
    dab: MilliOd, target: NDArray[np.bool_], codes: NDArray[np.uint8], n_codes: int
) -> NDArray[np.int64]:
    """Histogram the DAB of target pixels for each compartment code.

    Parameters
    ----------
    dab
        (height, width) milli-OD.
    target
        (height, width) pixels to count.
    codes
        (height, width) compartment of each pixel, below ``n_codes``.

    Returns
    -------
    (n_codes, 256) int64
        Bin i counts OD in [i, i + 1) hundredths; the first and last take what lies beyond.
    """
    return np.asarray(_count(dab, target, codes, n_codes))


@njit(cache=True, nogil=True)
def _count(dab, target, codes, n_codes):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    out = np.zeros((n_codes, HISTOGRAM_BINS), np.int64)
    for y in range(dab.shape[0]):
        for x in range(dab.shape[1]):
            if target[y, x]:
                b = min(max(dab[y, x] // _STEP_MILLI, 0), HISTOGRAM_BINS - 1)
                out[codes[y, x], b] += 1
    return out


def grade_counts(histogram: NDArray[np.int64], spec: GradeSpec) -> NDArray[np.int64]:
    """Sum histograms into counts of grade 0, 1+, 2+, 3+.

    Parameters
    ----------
    histogram
        (..., 256) counts in steps of 0.01 OD.

    Returns
    -------
    (..., 4) int64
    """
    edges = [0, *spec.bins]
    return np.add.reduceat(histogram, edges, axis=-1)
