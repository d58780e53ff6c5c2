"""Weights of the parts of the loss; no torch here, so that a command can list them.

MuMo adds survival and alignment with weight 1. In drawn cohorts of 150 patients that drowned what
two modalities tell only together (docs/science/fusion.md): the partial likelihood of a batch is
several times the loss of its labels, and drawing the agnostic parts together takes away wherein
they differ. The usual weights here are smaller.
"""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field

from herscope.core.spec import Spec

KINDS_WEIGHT: Final = 0.1
"""As released."""


class LossSpec(Spec):
    """Weights of the parts."""

    gamma: float = Field(default=2.0, ge=0, le=10, description="Focal loss; 0: cross-entropy.")
    survival: float = Field(default=0.1, ge=0, le=100, description="Weight of the survival loss.")
    alignment: float = Field(default=0.02, ge=0, le=100, description="Weight of the alignment.")
    temperature: float = Field(default=0.1, gt=0, le=10, description="Of the alignment.")
    kinds: float = Field(
        default=KINDS_WEIGHT, ge=0, le=100, description="Weight of the kinds at the start."
    )
    interaction: float = Field(
        default=1.0, ge=0, le=100, description="Weight of the loss of the interaction's own logits."
    )
    risk_set: Literal["cox", "released"] = Field(
        default="cox", description="Who is at risk: T_j >= T_i, or T_j > T_i as released."
    )
