"""The region to measure: checked, cut out, resampled, resegmented (IBSI 2.4 to 2.6).

Two masks, as IBSI has them: the morphological mask is the region as drawn, the intensity mask what
is left of it inside ``resegment_range``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import EmptyTissue, InputError, SchemaError
from herscope.respond.radiomics.filters import margin_voxels
from herscope.respond.radiomics.local_intensity import RADIUS_MM
from herscope.respond.radiomics.resample import new_axis, resample
from herscope.respond.radiomics.spec import RadiomicsSpec

Spacing = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Region:
    """What is measured, with a margin for filters.

    ``image`` (z, y, x) float64; ``mask`` and ``inside`` the morphological and the intensity mask;
    ``spacing_mm`` (z, y, x); ``flat``: filters stay in slices; ``plane``: the input was 2-D.
    """

    image: NDArray[np.float64]
    mask: NDArray[np.bool_]
    inside: NDArray[np.bool_]
    spacing_mm: Spacing
    flat: bool
    plane: bool

    def box(self) -> tuple[slice, ...]:
        """Return where the mask lies."""
        return _box(self.mask)


def prepare(
    image: NDArray[np.generic],
    mask: NDArray[np.generic],
    spacing_mm: tuple[float, ...] | None,
    spec: RadiomicsSpec,
) -> Region:
    """Check and prepare an image and its mask; parameters as in :func:`.extract.features`."""
    plane = image.ndim == 2
    _check_form(image, mask, spec)
    chosen = _one_label(mask)
    spacing = _checked_spacing(spacing_mm, image.ndim)
    new = _new_spacing(spec, image.ndim)
    volume, chosen = (image[None], chosen[None]) if plane else (image, chosen)
    steps: Spacing = (1.0, *spacing) if plane else spacing  # type: ignore[assignment]
    flat = plane or spec.force_2d
    now: Spacing = tuple(o if n is None else n for n, o in zip(new, steps, strict=True))  # type: ignore[assignment]
    look = margin_voxels(spec, now, flat=flat)
    sphere = RADIUS_MM if "local_intensity" in spec.classes else 0.0
    axes = []
    for k, where in enumerate(_box(chosen)):
        margin = max(sphere, look[k] * now[k])
        axes.append(
            new_axis(volume.shape[k], steps[k], new[k], where.start, where.stop - 1, margin)
        )
    linear = spec.interpolation == "linear"
    values = resample(volume, axes, linear=linear).astype(np.float64)
    if not np.isfinite(values).all():
        raise SchemaError(
            "the image has voxels without a number (NaN or infinite) in or near the mask: "
            f"{int((~np.isfinite(values)).sum())}",
            hint="fill them before measuring, air outside of the scan as -1000 HU",
        )
    covered = resample(chosen.astype(np.float64), axes, linear=True)
    # 1e-9: a half that rounding made slightly less is a half.
    covers = covered >= spec.mask_threshold - 1e-9
    if spec.round_intensities:
        values = np.floor(values + 0.5)
    if not covers.any():
        raise EmptyTissue(
            f"no voxel of {' x '.join(f'{s:g}' for s in now)} mm (z, y, x) is covered by the mask: "
            f"the {int(chosen.sum())} drawn ones are too few",
            hint="resample to finer voxels, or lower mask_threshold",
        )
    inside = covers & _in_range(values, spec)
    left = int(inside.sum())
    if left < spec.least_voxels:
        _too_few(left, int(covers.sum()), values[covers], spec)
    return Region(values, covers, inside, now, flat, plane)


def _check_form(image: NDArray[np.generic], mask: NDArray[np.generic], spec: RadiomicsSpec) -> None:
    if image.ndim not in {2, 3} or image.dtype.kind not in "biuf":
        raise SchemaError(
            f"an image of shape {image.shape} and type {image.dtype} cannot be measured",
            hint="pass real numbers as (z, y, x) or (y, x); take one channel of a colour picture",
        )
    if image.shape != mask.shape:
        raise InputError(
            f"the mask lies on another grid: {mask.shape} voxels, the image has {image.shape}",
            hint="draw the mask on this image, or move it to its grid by nearest neighbour first",
        )
    if image.ndim == 3:
        return
    volumetric = [name for name in spec.aggregation if name.startswith("3D")]
    if volumetric:
        raise InputError(
            f"aggregation {volumetric[0]} needs a volume; the image has one slice",
            hint="aggregate over 2D_avg, 2D_comb, 2_5D_avg or 2_5D_comb",
        )
    for name in ("local_intensity", "autocorrelation"):
        if name in spec.classes:
            raise InputError(
                f"{name} is defined in a volume; the image has one slice",
                hint=f"leave {name} out of classes",
            )


def _one_label(mask: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Return the mask as bool, where it is one."""
    if mask.dtype.kind not in "biuf":
        raise SchemaError(f"a mask of type {mask.dtype} is no mask", hint="pass bool or one label")
    chosen = mask != 0
    found = np.unique(mask[chosen]) if mask.dtype.kind != "b" else np.ones(int(chosen.any()))
    if found.size == 0:
        raise EmptyTissue(
            f"the mask is empty: none of {mask.size} voxels is in it",
            hint="nothing was drawn, or under another label; look at it in a viewer",
        )
    if found.size > 1:
        some = ", ".join(f"{value:g}" for value in found[:5].tolist())
        raise InputError(
            f"the mask has {found.size} different values ({some}{', ...' * (found.size > 5)}): it "
            "is not one region",
            hint=f"pass one label, for example mask == {found[0]:g}",
        )
    return np.asarray(chosen)


def _checked_spacing(spacing_mm: tuple[float, ...] | None, dimensions: int) -> tuple[float, ...]:
    axes = "(z, y, x)" if dimensions == 3 else "(y, x)"
    if spacing_mm is None:
        raise InputError(
            "the image has no spacing, and lengths, filters and textures depend on it",
            hint=f"pass spacing_mm={axes} in millimetres; it is never guessed",
        )
    spacing = tuple(float(step) for step in spacing_mm)
    if len(spacing) != dimensions or not all(math.isfinite(s) and s > 0 for s in spacing):
        raise InputError(
            f"a spacing of {spacing} mm is none of an image with {dimensions} axes (limit: "
            f"{dimensions} numbers above 0)",
            hint=f"pass spacing_mm={axes} in millimetres",
        )
    return spacing


def _new_spacing(spec: RadiomicsSpec, dimensions: int) -> tuple[float | None, ...]:
    """Return the wanted spacing (z, y, x); None keeps an axis."""
    wanted = spec.resample_to_mm
    if wanted is None:
        return (None, None, None)
    if len(wanted) != dimensions:
        raise InputError(
            f"resample_to_mm has {len(wanted)} numbers, the image {dimensions} axes",
            hint="give (z, y, x) for a volume and (y, x) for a plane; null keeps an axis",
        )
    return (None, *wanted) if dimensions == 2 else wanted


def _in_range(values: NDArray[np.float64], spec: RadiomicsSpec) -> NDArray[np.bool_]:
    low, high = spec.resegment_range or (None, None)
    inside = np.ones(values.shape, np.bool_)
    if low is not None:
        inside &= values >= low
    if high is not None:
        inside &= values <= high
    return inside


def _too_few(left: int, drawn: int, values: NDArray[np.float64], spec: RadiomicsSpec) -> None:
    """Say why there is nothing, or too little, to measure."""
    where = f"intensities run from {values.min():g} to {values.max():g}"
    if spec.resegment_range is not None:
        raise EmptyTissue(
            f"{left} of {drawn} voxels lie within resegment_range {spec.resegment_range} (least "
            f"{spec.least_voxels}); {where}",
            hint="check the unit of the image, or widen resegment_range",
        )
    raise InputError(
        f"the mask has {left} voxels (least {spec.least_voxels}); {where}",
        hint="measure a larger region, resample to finer voxels, or lower least_voxels",
    )


def _box(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    """Smallest box around a mask."""
    out = []
    for axis in range(mask.ndim):
        others = tuple(k for k in range(mask.ndim) if k != axis)
        found = np.flatnonzero(mask.any(axis=others))
        out.append(slice(int(found[0]), int(found[-1]) + 1))
    return tuple(out)
