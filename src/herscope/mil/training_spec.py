"""How slide-level models are trained and tested; the same for every family of models."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from herscope.core.spec import Spec


class Recipe(Spec):
    """How one family of models is trained when nothing else is asked."""

    epochs: int = Field(..., ge=1, description="Passes over the slides.")
    patience: int = Field(..., ge=1, description="Epochs without gain before stopping.")
    batch: int = Field(..., ge=1, description="Slides a step.")
    learning_rate: float = Field(..., gt=0, description="Highest learning rate.")
    weight_decay: float = Field(..., ge=0, description="AdamW's weight decay.")
    drop: float = Field(..., ge=0, lt=1, description="Largest share of tiles dropped.")


class MilSpec(Spec):
    """Folds, sampling and training; what is absent is taken from the model's own recipe."""

    folds: int = Field(default=5, ge=1, le=100, description="Folds of cross-validation.")
    folds_by: Literal["patient", "site"] = Field(
        default="patient", description="What is kept whole; site where hospitals differ."
    )
    test_share: float | None = Field(
        default=None, gt=0, lt=1, description="Part of the patients held out for a test first."
    )
    validation_share: float = Field(
        default=0.2, gt=0, lt=1, description="Part of the training patients that stops it."
    )
    seeds: int = Field(default=1, ge=1, le=100, description="Members trained in each fold.")
    loss: Literal["auto", "cross-entropy", "ranking"] = Field(
        default="auto",
        description="auto: ranking for SlideGraph+ with two classes, else cross-entropy.",
    )
    epochs: int | None = Field(
        default=None,
        ge=1,
        le=10_000,
        description="Passes over the slides; the model's own if absent.",
    )
    patience: int | None = Field(
        default=None,
        ge=1,
        description="Epochs without gain before stopping; the model's own if absent.",
    )
    batch: int | None = Field(
        default=None, ge=1, le=1024, description="Slides a step; the model's own if absent."
    )
    learning_rate: float | None = Field(
        default=None, gt=0, le=1, description="Highest learning rate; the model's own if absent."
    )
    schedule: Literal["constant", "cosine"] = Field(
        default="constant", description="What the learning rate does after the warm-up."
    )
    warmup_epochs: float = Field(default=0.0, ge=0, description="Epochs of linear warm-up.")
    weight_decay: float | None = Field(
        default=None, ge=0, le=1, description="AdamW's weight decay; the model's own if absent."
    )
    clip_norm: float = Field(default=5.0, gt=0, description="Largest norm of the gradient.")
    drop: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="Largest share of tiles dropped in training; the model's own if absent.",
    )
    sampling: Literal["balanced", "each-once"] = Field(
        default="balanced",
        description="Draw every class equally often, or every slide once an epoch.",
    )
    seed: int = Field(default=0, ge=0, lt=2**31, description="Of folds, weights, draws, drops.")
    device: str = Field(default="auto", description="auto, cpu or cuda.")
    precision: Literal["auto", "float32", "bf16"] = Field(
        default="auto",
        description="auto: bf16 on a GPU, else float32; bf16 helps on processors that have it.",
    )

    def recipe(self, own: Recipe) -> Recipe:
        """Return the recipe to train by: what was asked, else the model's own.

        Examples
        --------
        >>> own = Recipe(epochs=9, patience=3, batch=2, learning_rate=1e-3, weight_decay=0, drop=0)
        >>> MilSpec(epochs=5).recipe(own).epochs, MilSpec().recipe(own).epochs
        (5, 9)
        """
        asked = {name: getattr(self, name) for name in Recipe.model_fields}
        told = {name: value for name, value in asked.items() if value is not None}
        return own.model_copy(update=told)
