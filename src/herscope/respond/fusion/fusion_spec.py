"""Sizes and choices of the fusion network; no torch here, so that a layout can be built without."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field, model_validator

from herscope.core.errors import InputError
from herscope.core.registry import nearest
from herscope.core.spec import Spec

Fusion = Literal["mumo", "sum", "product", "concat"]
PictureKind = Literal["small", "mnasnet"]
PICTURE_FEATURES: Final[dict[str, int]] = {"small": 96, "mnasnet": 1280}
"""Numbers that each network makes of a picture."""


class FusionSpec(Spec):
    """Sizes and choices, for cohorts of hundreds.

    MuMo's author gave width 512, common 1024, hidden 256, 1 head, no dropout: ten million
    parameters.
    """

    fusion: Fusion = Field(default="mumo", description="How modalities are joined.")
    interaction: bool = Field(
        default=True,
        description="With mumo: a product of both modalities adds to the logits; off: the paper.",
    )
    width: int = Field(default=64, ge=4, le=8192, description="Numbers inside a modality.")
    common: int = Field(default=96, ge=4, le=8192, description="Numbers between modalities.")
    hidden: int = Field(default=64, ge=1, le=8192, description="Hidden numbers of transforms.")
    heads: int = Field(default=1, ge=1, le=64, description="Heads of attention.")
    dropout: float = Field(default=0.1, ge=0, lt=1, description="Of a modality's vector.")
    predictor: Literal["mlp", "linear"] = Field(
        default="mlp", description="As the paper says, or as its code does."
    )
    picture_network: PictureKind = Field(
        default="small", description="What reads pictures: ours from scratch, or MnasNet 1.0."
    )
    picture_weights: str | None = Field(
        default=None, description="Local file of ImageNet weights; mnasnet needs one."
    )

    @model_validator(mode="after")
    def _weights_fit(self) -> FusionSpec:
        if self.picture_network == "small" and self.picture_weights is not None:
            raise ValueError("the small picture network starts from scratch and takes no weights")
        return self


def picture_features(name: str) -> int:
    """Return how many numbers a picture network makes of a picture, for ``BranchLayout.features``.

    Raises
    ------
    InputError
        There is no such network.

    Examples
    --------
    >>> picture_features("small"), picture_features("mnasnet")
    (96, 1280)
    """
    if name not in PICTURE_FEATURES:
        raise InputError(
            f"there is no picture network {name!r}", hint=nearest(name, list(PICTURE_FEATURES))
        )
    return PICTURE_FEATURES[name]
