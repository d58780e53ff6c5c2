"""Radiomics features of a region: of a lesion on a CT, or of a region of a tile.

Order of work, as IBSI's: cut out, resample, round, resegment, filter, discretise, measure. The
definitions are IBSI's (Zwanenburg et al., Radiology 2020;295:328); every feature of its digital
phantom comes out within tolerance. See ``docs/science/radiomics.md`` for what differs.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import UnknownResolution
from herscope.respond.radiomics.autocorrelation import autocorrelation_features
from herscope.respond.radiomics.catalogue import dimensions_of, feature_names
from herscope.respond.radiomics.discretise import fixed_bin_number, fixed_bin_size
from herscope.respond.radiomics.filters import filtered
from herscope.respond.radiomics.gathering import direction_textures, neighbourhood_textures
from herscope.respond.radiomics.intensity import (
    Values,
    intensity_histogram,
    intensity_statistics,
    volume_histogram,
)
from herscope.respond.radiomics.local_intensity import intensity_peaks
from herscope.respond.radiomics.region import Region, prepare
from herscope.respond.radiomics.shape import shape_features
from herscope.respond.radiomics.shape2d import shape2d_features
from herscope.respond.radiomics.spec import PATHOLOGY, RadiomicsSpec

DISCRETE = frozenset(
    {
        *("histogram", "cooccurrence", "run_length", "size_zone", "distance_zone"),
        *("neighbour_difference", "neighbour_dependence"),
    }
)
"""Classes that need grey levels."""


def features(
    image: NDArray[np.generic],
    mask: NDArray[np.generic],
    spacing_mm: tuple[float, ...] | None,
    spec: RadiomicsSpec | None = None,
) -> dict[str, float | None]:
    """Measure the region of an image that lies in a mask.

    Parameters
    ----------
    image
        ``(z, y, x)`` or ``(y, x)`` intensities: Hounsfield units, optical density, grey.
    mask
        The same shape: bool, or 0 and one label.
    spacing_mm
        Distance of voxels in millimetres, ``(z, y, x)`` or ``(y, x)``.
    spec
        What to measure and how; the default has 736 features.

    Returns
    -------
    dict
        Names of :func:`~.catalogue.feature_names`, in that order, to values; None where the region
        does not determine a feature (one voxel, one grey level). Never NaN. Units are those of
        :func:`~.catalogue.feature_unit`.

    Raises
    ------
    InputError
        A mask on another grid or with several labels, a spacing that is absent or not positive,
        too few voxels, more than 512 grey levels, a filter finer than the voxels.
    EmptyTissue
        An empty mask, or none of it within ``resegment_range``.
    SchemaError
        NaN or infinite intensities in or near the mask, or no image at all.

    Examples
    --------
    >>> spec = RadiomicsSpec(classes=("statistics",), wavelet="none", log_sigma_mm=())
    >>> values = features(np.arange(8.0).reshape(2, 4), np.ones((2, 4)), (1.0, 1.0), spec)
    >>> values["stat_mean"], values["stat_p90"]
    (3.5, 6.3)
    """
    spec = spec if spec is not None else RadiomicsSpec()
    image, mask = np.asarray(image), np.asarray(mask)
    names = feature_names(spec, dimensions=image.ndim)
    region = prepare(image, mask, spacing_mm, spec)
    found: Values = {}
    for picture, values in filtered(region.image, region.spacing_mm, spec, flat=region.flat):
        measured = _of_picture(region, values, spec, original=not picture)
        found |= {f"{picture}.{n}" if picture else n: v for n, v in measured.items()}
    return {name: _finite(found[name]) for name in names}


def tile_features(
    image: NDArray[np.generic],
    mask: NDArray[np.generic],
    mpp: float | None,
    spec: RadiomicsSpec = PATHOLOGY,
) -> dict[str, float | None]:
    """Measure a region of a tile of a slide.

    Parameters
    ----------
    image
        ``(y, x)`` grey or optical density.
    mask
        ``(y, x)`` bool, or 0 and one label.
    mpp
        Micrometres per pixel.
    spec
        As for :func:`features`; its lengths are millimetres, so 2 µm is 0.002.

    Returns
    -------
    dict
        As :func:`features`; lengths are millimetres.

    Raises
    ------
    UnknownResolution
        ``mpp`` is absent or not positive.

    Examples
    --------
    >>> tile = np.add.outer(np.arange(64.0), np.arange(64.0))
    >>> values = tile_features(tile, tile > 20, 0.5)
    >>> len(values), values["stat_min"]
    (736, 21.0)
    """
    if mpp is None or not math.isfinite(mpp) or mpp <= 0:
        raise UnknownResolution(
            f"a tile at {mpp} µm per pixel cannot be measured (limit: above 0)",
            hint="pass the mpp at which the tile was read",
        )
    return features(image, mask, (mpp / 1000, mpp / 1000), spec)


def _of_picture(
    region: Region, values: NDArray[np.float64], spec: RadiomicsSpec, *, original: bool
) -> Values:
    """All classes of one picture."""
    box = region.box()
    picture, inside, mask = values[box], region.inside[box], region.mask[box]
    out: Values = {}
    if original:
        out |= _unfiltered(region, spec)
    if "statistics" in spec.classes:
        out |= intensity_statistics(picture[inside])
    if not DISCRETE & set(spec.classes):
        return out
    if original and spec.discretisation == "fixed_bin_size":
        start = spec.resegment_range[0] if spec.resegment_range else None
        levels, top = fixed_bin_size(picture, inside, spec.bin_size, start)
    else:
        levels, top = fixed_bin_number(picture, inside, spec.bin_number)
    if "histogram" in spec.classes:
        out |= intensity_histogram(levels[inside].astype(np.int64), top)
    out |= direction_textures(levels, top, spec.aggregation, spec.classes)
    return out | neighbourhood_textures(levels, mask, top, dimensions_of(spec), spec.classes)


def _unfiltered(region: Region, spec: RadiomicsSpec) -> Values:
    """Classes that only the original image has."""
    box, steps = region.box(), region.spacing_mm
    picture, inside, mask = region.image[box], region.inside[box], region.mask[box]
    out: Values = {}
    if "shape" in spec.classes and region.plane:
        out |= shape2d_features(mask[0], inside[0], picture[0], steps[1:])
    elif "shape" in spec.classes:
        out |= shape_features(mask, inside, picture, steps)
    if "autocorrelation" in spec.classes:
        out |= autocorrelation_features(picture, inside, steps)
    if "local_intensity" in spec.classes:
        out |= intensity_peaks(region.image, region.inside, steps)
    if "volume_histogram" in spec.classes:
        out |= volume_histogram(picture[inside], integer=spec.ivh_levels == "integer")
    return out


def _finite(value: float | None) -> float | None:
    """None for what overflowed: a number or nothing, never NaN."""
    return value if value is not None and math.isfinite(value) else None
