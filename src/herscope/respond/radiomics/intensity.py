"""Intensity statistics, intensity histogram and intensity-volume histogram, IBSI 3.3 to 3.5.

Variances are of the population (divided by n), kurtosis is the excess over 3, percentiles are
interpolated linearly between ranks. Where IBSI gives 0 for a quotient by zero (skewness and
kurtosis of one intensity) we give none.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

Values = dict[str, float | None]
Array = NDArray[np.float64]

STATISTICS: Final = (
    *("mean", "var", "skew", "kurt", "median", "min", "p10", "p90", "max", "iqr", "range", "mad"),
    *("rmad", "medad", "cov", "qcod", "energy", "rms"),
)
HISTOGRAM: Final = (
    *("mean", "var", "skew", "kurt", "median", "min", "p10", "p90", "max", "mode", "iqr", "range"),
    *("mad", "rmad", "medad", "cov", "qcod", "entropy", "uniformity"),
    *("max_grad", "max_grad_g", "min_grad", "min_grad_g"),
)
VOLUME_HISTOGRAM: Final = ("v10", "v90", "i10", "i90", "diff_v10_v90", "diff_i10_i90")


def intensity_statistics(inside: Array) -> Values:
    """Summarise the intensities of the region.

    Parameters
    ----------
    inside
        ``(n,)`` intensities of the voxels in the mask, in units of the image.

    Returns
    -------
    dict
        ``stat_..`` names of :data:`STATISTICS`; None where the voxels do not determine one.

    Examples
    --------
    >>> values = intensity_statistics(np.array([1.0, 1.0, 4.0]))
    >>> values["stat_mean"], values["stat_energy"]
    (2.0, 18.0)
    >>> intensity_statistics(np.array([7.0]))["stat_skew"] is None
    True
    """
    values = _moments(inside) | {
        "energy": float((inside**2).sum()),
        "rms": math.sqrt(float((inside**2).mean())),
    }
    return {f"stat_{name}": values[name] for name in STATISTICS}


def intensity_histogram(levels: NDArray[np.int64], top: int) -> Values:
    """Summarise the grey levels of the region and the shape of their histogram.

    Parameters
    ----------
    levels
        ``(n,)`` grey levels, 1 to ``top``.
    top
        Number of grey levels; levels without voxels count in the gradient.

    Returns
    -------
    dict
        ``ih_..`` names of :data:`HISTOGRAM`; entropy in bits, gradients in voxels per level.

    Examples
    --------
    >>> values = intensity_histogram(np.array([1, 1, 2, 4]), 4)
    >>> values["ih_mode"], values["ih_entropy"], values["ih_min_grad"]
    (1.0, 1.5, -1.0)
    """
    counts = np.bincount(levels, minlength=top + 1)[1:].astype(np.float64)
    share = counts[counts > 0] / len(levels)
    values = _moments(levels.astype(np.float64))
    # Of several levels that are equally frequent the one nearest to the mean (IBSI), the lower one
    # of two that are equally near.
    often = np.flatnonzero(counts == counts.max()) + 1.0
    mean = values["mean"]
    assert mean is not None
    values["mode"] = float(often[np.argmin(np.abs(often - mean))])
    values["entropy"] = float(-(share * np.log2(share)).sum() + 0.0)
    values["uniformity"] = float((share**2).sum())
    if top > 1:
        gradient = np.gradient(counts)
        values["max_grad"] = float(gradient.max())
        values["max_grad_g"] = float(np.argmax(gradient) + 1)
        values["min_grad"] = float(gradient.min())
        values["min_grad_g"] = float(np.argmin(gradient) + 1)
    return {f"ih_{name}": values.get(name) for name in HISTOGRAM}


def volume_histogram(inside: Array, *, integer: bool) -> Values:
    """Describe which share of the volume has at least which intensity.

    Parameters
    ----------
    inside
        ``(n,)`` intensities of the region.
    integer
        Steps are whole numbers of the image's unit (IBSI: calibrated, discrete); else 1000 bins
        between minimum and maximum, and ``i10`` and ``i90`` are bins (IBSI: arbitrary units).

    Returns
    -------
    dict
        ``ivh_..``: ``v10`` is the largest share of the volume with at least 10 % of the range,
        ``i10`` the least intensity that at most 10 % of the volume reaches. None with one
        intensity.

    Examples
    --------
    >>> volume_histogram(np.array([1.0, 2.0, 3.0]), integer=True)["ivh_v10"] # doctest: +ELLIPSIS
    0.666...
    """
    low, high = float(inside.min()), float(inside.max())
    if high <= low:
        return {f"ivh_{name}": None for name in VOLUME_HISTOGRAM}
    if integer:
        first = math.floor(low)
        step = np.floor(inside).astype(np.int64) - first
        grey = np.arange(first, first + int(step.max()) + 1, dtype=np.float64)
    else:
        step = np.minimum((1000 * (inside - low) / (high - low)).astype(np.int64), 999)
        grey = np.arange(1.0, 1001.0)
    counts = np.bincount(step, minlength=len(grey))
    volume = 1 - (np.cumsum(counts) - counts) / len(inside)  # share with at least this grey
    fraction = (grey - grey[0]) / (grey[-1] - grey[0]) if len(grey) > 1 else np.zeros(1)
    v10, v90 = (float(volume[fraction >= cut].max()) for cut in (0.1, 0.9))
    reached = [grey[volume <= cut] for cut in (0.1, 0.9)]
    i10, i90 = (float(of.min()) if of.size else None for of in reached)
    values = {"v10": v10, "v90": v90, "i10": i10, "i90": i90, "diff_v10_v90": v10 - v90}
    known = i10 is not None and i90 is not None
    values["diff_i10_i90"] = i10 - i90 if known else None  # type: ignore[operator]
    return {f"ivh_{name}": values[name] for name in VOLUME_HISTOGRAM}


def _moments(x: Array) -> Values:
    """Return what statistics and histogram have in common."""
    mean, median = float(x.mean()), float(np.median(x))
    low, high = float(x.min()), float(x.max())
    off = x - mean
    square = off * off  # numpy's power of 3 and 4 is ten times slower
    # Rounding of the mean would give one intensity a tiny spread.
    variance = float(square.mean()) if high > low else 0.0
    p10, p25, p75, p90 = (float(p) for p in np.percentile(x, (10, 25, 75, 90)))
    middle = x[(x >= p10) & (x <= p90)]
    return {
        "mean": mean,
        "var": variance,
        "skew": _quotient(float((square * off).mean()), variance**1.5),
        "kurt": _quotient(float((square * square).mean()), variance**2, less=3.0),
        "median": median,
        "min": low,
        "p10": p10,
        "p90": p90,
        "max": high,
        "iqr": p75 - p25,
        "range": high - low,
        "mad": float(np.abs(off).mean()),
        "rmad": float(np.abs(middle - middle.mean()).mean()) if middle.size else None,
        "medad": float(np.abs(x - median).mean()),
        "cov": _quotient(math.sqrt(variance), mean),
        "qcod": _quotient(p75 - p25, p75 + p25),
    }


def _quotient(above: float, below: float, *, less: float = 0.0) -> float | None:
    return None if below == 0 else above / below - less
