"""One pair of stain vectors for a whole study.

Vectors that differ from slide to slide would move the numbers with the slide; a study is measured
with one pair. Each slide's own estimate counts once, however large the slide: the pooled vectors
are the normalised means of the slides' unit vectors, and the spread says how far each lies off.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from herscope.core.errors import InputError
from herscope.stain.estimate import VectorEstimate
from herscope.stain.vectors import StainVectors, Triple, angle_deg


@dataclass(frozen=True, slots=True)
class PooledVectors:
    """The vectors of a study, and each slide's larger angle to them in degrees."""

    vectors: StainVectors
    spread_deg: Mapping[str, float]


def pool_estimates(estimates: Mapping[str, VectorEstimate], *, name: str) -> PooledVectors:
    """Pool the estimates of slides.

    Parameters
    ----------
    estimates
        Slide name to its valid estimate.
    name
        What the vectors will be called.

    Raises
    ------
    InputError
        There is no estimate, or one of them is not valid.
    """
    if not estimates:
        raise InputError(
            "no slide carries enough of both stains to estimate vectors",
            hint="include slides with clear brown and blue, or use the named vectors",
        )
    hematoxylin: list[Triple] = []
    dab: list[Triple] = []
    for slide, estimate in estimates.items():
        if not estimate.valid or estimate.hematoxylin is None or estimate.dab is None:
            raise InputError(
                f"the estimate of slide {slide} is not valid: {'; '.join(estimate.reasons)}",
                hint="leave the slide out",
            )
        hematoxylin.append(estimate.hematoxylin)
        dab.append(estimate.dab)
    pooled = StainVectors(
        name,
        _mean(hematoxylin),
        _mean(dab),
        f"estimated by herscope from {len(estimates)} slides",
        datetime.now(UTC).year,
    )
    spread = {
        slide: max(angle_deg(h, pooled.hematoxylin), angle_deg(d, pooled.dab))
        for slide, h, d in zip(estimates, hematoxylin, dab, strict=True)
    }
    return PooledVectors(pooled, spread)


def _mean(vectors: list[Triple]) -> Triple:
    red, green, blue = (float(v) for v in np.mean(np.asarray(vectors), axis=0))
    return red, green, blue


def vectors_toml(pooled: PooledVectors) -> str:
    """Write pooled vectors as a file that ``--stains`` and ``read_vectors`` take."""
    vectors = pooled.vectors
    lines = [
        f"name = {json.dumps(vectors.name)}",
        f"hematoxylin = [{', '.join(f'{v:.6f}' for v in vectors.hematoxylin)}]",
        f"dab = [{', '.join(f'{v:.6f}' for v in vectors.dab)}]",
        f"source = {json.dumps(vectors.source)}",
        f"year = {vectors.year}",
        "",
        "# Angle of each slide's own vectors to these, degrees:",
        *(f"#   {slide}: {angle:.1f}" for slide, angle in sorted(pooled.spread_deg.items())),
    ]
    return "\n".join(lines) + "\n"
