"""How words become bags; light, so that a command can list it."""

from __future__ import annotations

from typing import Final

from pydantic import Field

from herscope.core.spec import Spec

USUAL_BAG_UM: Final = 224.0
"""448 px at 0.5 µm/px, the bags of the response paper's first author (issue 2 of its code); the
resolution is ours, for it was not stated."""


class BagSpec(Spec):
    """Which words make a bag, and which bags stand for a patient.

    Examples
    --------
    >>> BagSpec().bag_um
    224.0
    """

    bag_um: float | None = Field(
        default=USUAL_BAG_UM,
        gt=0,
        le=100_000,
        description="Edge of a bag, µm; absent: every tile is a bag of one word.",
    )
    min_share: float = Field(
        default=0.25, ge=0, le=1, description="Bags with fewer of their words are left out."
    )
    max_bags: int = Field(
        default=64,
        ge=0,
        le=1_000_000,
        description="Of more bags than this, so many are taken, evenly over the slides; 0: all.",
    )
    radiomics: bool = Field(
        default=True, description="Take the radiomics that lie beside the features."
    )
    mpp: float | None = Field(
        default=None, gt=0, le=100, description="µm/px of feature files that state none."
    )
