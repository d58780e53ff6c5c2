"""Haematoxylin and DAB directions of a slide, estimated from its own pixels.

The plane of the two stains comes from the singular vectors of optical density (OD), and each stain
from a robust extreme angle in that plane, as Macenko et al. (ISBI 2009;1107) do for H&E. Where we
depart, because IHC is not H&E: DAB may cover one pixel in a hundred or nearly all of them, so the
pixels are first split into blue and brown by blue minus red OD, both groups get the same weight in
the plane, and the angle is a percentile within the group, not of all pixels. Pink pixels, in which
green stands out (eosin), are not brown, so H&E yields no DAB. A slide that holds one stain only
cannot say where the other lies: the result is then invalid and says why; no vector is made up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from herscope.core.errors import InputError
from herscope.core.spec import Spec
from herscope.stain.appearance import Appearance, Od, checked_od, looks_like
from herscope.stain.vectors import RUIFROK_JOHNSTON, StainVectors, Triple, angle_deg

__all__ = ["Appearance", "EstimateSpec", "VectorEstimate", "estimate_vectors", "looks_like"]


class EstimateSpec(Spec):
    """Parameters of the estimation.

    Examples
    --------
    >>> EstimateSpec().min_group_pixels
    400
    """

    min_od: float = Field(
        default=0.2, gt=0, description="length of the OD vector below which a pixel is unstained"
    )
    max_od: float = Field(
        default=1.3, gt=0, description="OD of a channel above which it is saturated or clipped"
    )
    tilt: float = Field(
        default=0.10,
        gt=0,
        lt=1,
        description="(blue - red) / sum of OD beyond which a pixel is brown; below minus, blue",
    )
    max_pink: float = Field(
        default=0.125,
        gt=0,
        lt=1,
        description="(green - mean of red and blue) / sum of OD beyond which a pixel is eosin's",
    )
    angle_percentile: float = Field(
        default=10.0, gt=0, lt=50, description="percentile of the angle within its group, %"
    )
    min_group_pixels: int = Field(
        default=400, ge=10, description="fewest blue, and fewest brown, pixels"
    )
    min_group_share: float = Field(
        default=0.003, ge=0, lt=1, description="smallest share of stained pixels of either group"
    )
    max_angle_to_reference_deg: float = Field(
        default=25.0, gt=0, lt=90, description="how far a stain may lie from the reference, degrees"
    )
    min_angle_between_deg: float = Field(
        default=18.0, gt=0, lt=90, description="how close the two stains may lie, degrees"
    )
    max_pixels: int = Field(
        default=400_000, ge=1000, description="pixels beyond which every k-th is used"
    )


@dataclass(frozen=True, slots=True)
class VectorEstimate:
    """What the pixels say of the two stains.

    Parameters
    ----------
    hematoxylin, dab
        Unit OD vectors; None when the group is too small to say.
    angle_hematoxylin_deg, angle_dab_deg
        Angles to the reference vectors, degrees; None with the vector.
    angle_between_deg, condition
        Angle between the stains and condition number of (haematoxylin, DAB, residual): noise in OD
        is multiplied by at most this. None unless both were found.
    pixels, blue_pixels, brown_pixels
        Stained, unsaturated pixels used, and how many of each group.
    valid
        Whether the vectors may be used.
    reasons
        Why not; empty when valid.
    reference
        Name of the reference vectors.
    """

    hematoxylin: Triple | None
    dab: Triple | None
    angle_hematoxylin_deg: float | None
    angle_dab_deg: float | None
    angle_between_deg: float | None
    condition: float | None
    pixels: int
    blue_pixels: int
    brown_pixels: int
    valid: bool
    reasons: tuple[str, ...]
    reference: str

    def vectors(self, name: str, *, source: str, year: int) -> StainVectors:
        """Return them as named vectors.

        Raises
        ------
        InputError
            The estimate is not valid; the message has the reasons.
        """
        if not self.valid or self.hematoxylin is None or self.dab is None:
            raise InputError(
                f"the stain vectors of {name!r} could not be estimated: {'; '.join(self.reasons)}",
                hint="use the named vectors, or pool pixels of several slides that carry both",
            )
        return StainVectors(name, self.hematoxylin, self.dab, source, year)


def estimate_vectors(
    od_pixels: Od, spec: EstimateSpec | None = None, *, reference: StainVectors = RUIFROK_JOHNSTON
) -> VectorEstimate:
    """Estimate haematoxylin and DAB.

    Parameters
    ----------
    od_pixels
        (n, 3) float, log10 OD of tissue pixels against the slide's white point.
    spec
        Parameters.
    reference
        Vectors the result is compared with.

    Returns
    -------
    VectorEstimate
        ``valid`` is False, with reasons, when a stain is missing or the result is odd.

    Raises
    ------
    InputError
        The array is not (n, 3), or holds values that are not finite.

    Examples
    --------
    >>> rng = np.random.default_rng(7)
    >>> amounts = rng.uniform(0.2, 1.0, (4000, 2)) * (rng.random((4000, 1)) < [[0.7, 0.5]])
    >>> od = amounts @ RUIFROK_JOHNSTON.matrix()[:2]
    >>> estimate = estimate_vectors(od)
    >>> estimate.valid, estimate.angle_hematoxylin_deg < 2
    (True, True)
    """
    spec = spec or EstimateSpec()
    od = checked_od(od_pixels, spec.max_pixels)
    length = np.sqrt((od * od).sum(axis=1))
    used = od[(length >= spec.min_od) & (od.max(axis=1) <= spec.max_od)]
    red, green, blue_od = used.T
    total = np.maximum(used.sum(axis=1), 1e-9)
    tilt, pink = (blue_od - red) / total, (green - (red + blue_od) / 2) / total
    brown, blue = used[(tilt > spec.tilt) & (pink <= spec.max_pink)], used[tilt < -spec.tilt]

    reasons: list[str] = []
    needed = max(spec.min_group_pixels, math.ceil(spec.min_group_share * len(used)))
    if len(used) < spec.min_group_pixels:
        reasons.append(f"only {len(used)} stained pixels (at least {spec.min_group_pixels})")
    else:
        for group, label in ((blue, "haematoxylin"), (brown, "DAB")):
            if len(group) < needed:
                reasons.append(f"no {label}-rich pixels ({len(group)}, at least {needed})")
    if reasons:
        return VectorEstimate(
            hematoxylin=None,
            dab=None,
            angle_hematoxylin_deg=None,
            angle_dab_deg=None,
            angle_between_deg=None,
            condition=None,
            pixels=len(used),
            blue_pixels=len(blue),
            brown_pixels=len(brown),
            valid=False,
            reasons=tuple(reasons),
            reference=reference.name,
        )

    plane = _plane(blue, brown, reference)
    hematoxylin = _extreme(blue, plane, 100.0 - spec.angle_percentile)
    dab = _extreme(brown, plane, spec.angle_percentile)
    between = angle_deg(hematoxylin, dab)
    to_h, to_d = angle_deg(hematoxylin, reference.hematoxylin), angle_deg(dab, reference.dab)
    for label, angle in (("haematoxylin", to_h), ("DAB", to_d)):
        if angle > spec.max_angle_to_reference_deg:
            reasons.append(
                f"{label} lies {angle:.0f}° from {reference.name} "
                f"(at most {spec.max_angle_to_reference_deg:g}°)"
            )
    if between < spec.min_angle_between_deg:
        reasons.append(
            f"the stains lie {between:.0f}° apart (at least {spec.min_angle_between_deg:g}°)"
        )
    return VectorEstimate(
        hematoxylin=hematoxylin,
        dab=dab,
        angle_hematoxylin_deg=to_h,
        angle_dab_deg=to_d,
        angle_between_deg=between,
        condition=_condition(between),
        pixels=len(used),
        blue_pixels=len(blue),
        brown_pixels=len(brown),
        valid=not reasons,
        reasons=tuple(reasons),
        reference=reference.name,
    )


def _plane(
    blue: NDArray[np.float64], brown: NDArray[np.float64], reference: StainVectors
) -> NDArray[np.float64]:
    """(2, 3) orthonormal basis of the plane; angle 0 is towards DAB-and-haematoxylin's middle.

    The first axis points along the reference's middle, so that both stains lie within a quarter
    turn of it, haematoxylin on the positive side.
    """
    # unit vectors, so that dark pixels do not outvote the rest; equal weight for both groups
    moment = np.zeros((3, 3))
    for group in (blue, brown):
        unit = group / np.sqrt((group * group).sum(axis=1))[:, None]
        moment += np.einsum("ni,nj->ij", unit, unit) / len(unit)
    _, vectors = np.linalg.eigh(moment)
    basis = vectors[:, 1:].T
    h, d = np.asarray(reference.hematoxylin), np.asarray(reference.dab)
    middle = basis.T @ (basis @ (h + d))
    first = middle / np.linalg.norm(middle)
    side = basis.T @ (basis @ (h - d))
    side -= first * (side @ first)
    return np.stack([first, side / np.linalg.norm(side)])


def _extreme(group: NDArray[np.float64], plane: NDArray[np.float64], percent: float) -> Triple:
    """Direction at a percentile of the angle within a group, without negative absorption."""
    along, across = group @ plane[0], group @ plane[1]
    angle = float(np.percentile(np.arctan2(across, along), percent))
    vector = np.maximum(math.cos(angle) * plane[0] + math.sin(angle) * plane[1], 0.0)
    vector = vector / np.linalg.norm(vector)
    return float(vector[0]), float(vector[1]), float(vector[2])


def _condition(between_deg: float) -> float:
    """Condition number of two unit vectors at an angle, and the unit vector across both."""
    cosine = math.cos(math.radians(between_deg))
    return math.sqrt((1 + cosine) / max(1e-12, 1 - cosine))
