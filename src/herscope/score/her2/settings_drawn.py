"""What might have been set otherwise when a membrane was read, drawn at random from a seed.

Three things are set: the cut-offs of optical density, the stain vectors, and how much of a membrane
is "complete". The first two come to one number. Three cut-offs that are wrong in the same direction
are a common factor on them. Other stain vectors multiply the DAB that is measured: one unit of pure
DAB of direction d has, on the vectors h', d' and their residual, the DAB coordinate ::

    k = (d'_p . d) / (d'_p . d'),     d'_p = d' - (h' . d') h'

as d'_p is perpendicular to h' and to the residual. Sectors hold the membrane without the cytoplasm,
a difference in which equal haematoxylin cancels, so k is a factor on them, and 1/k on the cut-offs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from herscope.core.spec import Spec
from herscope.stain.vectors import StainVectors

FACTOR_STEPS: Final = 20
"""Steps to either side of the factor 1; at a relative SD of 0.1 a step is about 2 %."""

SHARE_STEPS: Final = 2
"""Steps of one SD to either side of the share: a normal rounded to them keeps its SD to 1 %."""

MAX_VECTOR_FACTOR: Final = 2.0
"""Drawn vectors that would halve or double the DAB are held there: they would be noticed."""


class Her2UncertaintySpec(Spec):
    """What might have been set otherwise, by how much, and when a case should be read twice."""

    cut_sd: float = Field(
        default=0.15,
        ge=0,
        le=0.5,
        description="Relative SD of a common factor on the three cut-offs. Our assumption, for "
        "want of a published one: 0.10 for where a reader draws the line, 0.11 for what the "
        "scanner's blur and the width of the membrane do to its density. On drawn slides with "
        "strong membranes blur does more, up to a quarter: control tissue stained and scanned "
        "anew gives a laboratory its own.",
    )
    vectors_sd_deg: float = Field(
        default=2.0,
        ge=0,
        le=10,
        description="SD in degrees of the angle by which each stain vector may be off, in any "
        "direction. Our assumption: between the errors of an estimate for haematoxylin (0.5) and "
        "for DAB (4) on drawn membrane slides.",
    )
    complete_share_sd: float = Field(
        default=0.05,
        ge=0,
        le=0.2,
        description="SD of the stained share that makes a membrane complete. Our assumption: no "
        "guideline gives the share; 0.05 is one and a half of 32 sectors.",
    )
    borderline_probability: float = Field(
        default=0.8,
        ge=0,
        le=1,
        description="A score of lower probability is borderline: in one of five readings as good "
        "as this one it would be another.",
    )
    borderline_points: float = Field(
        default=2.5,
        ge=0,
        le=50,
        description="Nearer to a cut-off of the guideline, in percentage points, is borderline, "
        "however narrow the intervals: readers state percentages in steps of 5.",
    )
    seed: int = Field(
        default=20_261, ge=0, description="Seed of the PCG64 generator of the settings."
    )


class Drawn(NamedTuple):
    """Settings of each resample as steps on the grid, 0 being the settings in use.

    ``factor`` and ``share`` are (resamples,); ``factor_step`` is the step of the logarithm of the
    factor on the cut-offs, ``share_step`` that of the share.
    """

    factor: NDArray[np.int64]
    share: NDArray[np.int64]
    factor_step: float
    share_step: float


def vector_factors(
    vectors: StainVectors, sd_deg: float, n: int, generator: np.random.Generator
) -> NDArray[np.float64]:
    """Draw factors by which other stain vectors would multiply the DAB of a membrane.

    Parameters
    ----------
    vectors
        Those in use.
    sd_deg
        Both stains are turned by a normal angle of this SD in degrees, each in a direction of its
        own drawn from all directions alike.
    n
        How many.
    generator
        Seeded.

    Examples
    --------
    >>> from herscope.stain.vectors import RUIFROK_JOHNSTON
    >>> generator = np.random.Generator(np.random.PCG64(1))
    >>> factors = vector_factors(RUIFROK_JOHNSTON, 2.0, 20_000, generator)
    >>> round(float(np.log(factors).std()), 3)
    0.033
    """
    h = _turned(vectors.hematoxylin, sd_deg, n, generator)
    d = _turned(vectors.dab, sd_deg, n, generator)
    across = d - _dot(h, d)[:, None] * h
    seen = _dot(across, np.broadcast_to(np.asarray(vectors.dab), d.shape))
    own = np.maximum(_dot(across, d), 1e-12)
    return np.clip(seen / own, 1 / MAX_VECTOR_FACTOR, MAX_VECTOR_FACTOR)


def draw_settings(vectors: StainVectors, spec: Her2UncertaintySpec, n: int) -> Drawn:
    """Draw the settings of ``n`` resamples; with three SDs of 0 all are the settings in use.

    Examples
    --------
    >>> from herscope.stain.vectors import RUIFROK_JOHNSTON
    >>> drawn = draw_settings(RUIFROK_JOHNSTON, Her2UncertaintySpec(), 2000)
    >>> round(float((drawn.factor * drawn.factor_step).std()), 2)
    0.15
    """
    generator = np.random.Generator(np.random.PCG64(spec.seed))
    cut = spec.cut_sd * generator.standard_normal(n)
    share = np.rint(generator.standard_normal(n)).astype(np.int64)
    log_factor = cut - np.log(vector_factors(vectors, spec.vectors_sd_deg, n, generator))
    step = float(np.abs(log_factor).max()) / FACTOR_STEPS
    factor = np.rint(log_factor / step) if step else np.zeros(n)
    steps = SHARE_STEPS if spec.complete_share_sd else 0
    share = np.clip(share, -steps, steps)
    return Drawn(factor.astype(np.int64), share, step, spec.complete_share_sd)


def _turned(
    vector: Sequence[float], sd_deg: float, n: int, generator: np.random.Generator
) -> NDArray[np.float64]:
    """(n, 3) unit vectors, turned by a normal angle in any direction."""
    unit = np.asarray(vector, np.float64)
    angle = np.deg2rad(sd_deg * generator.standard_normal(n))
    towards = 2 * np.pi * generator.random(n)
    first = np.cross(unit, np.eye(3)[int(np.argmin(np.abs(unit)))])
    first /= np.sqrt((first * first).sum())
    second = np.cross(unit, first)
    aside = np.cos(towards)[:, None] * first + np.sin(towards)[:, None] * second
    return np.cos(angle)[:, None] * unit + np.sin(angle)[:, None] * aside


def _dot(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    # Written out: the order of a sum of three must not depend on the machine's BLAS.
    return a[:, 0] * b[:, 0] + a[:, 1] * b[:, 1] + a[:, 2] * b[:, 2]
