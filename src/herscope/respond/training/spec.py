"""How a model of response is trained and tested."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from herscope.core.spec import Spec


class RespondSpec(Spec):
    """Folds, repeats and training."""

    folds: int = Field(default=5, ge=2, le=20, description="Folds of each repeat.")
    repeats: int = Field(default=5, ge=1, le=200, description="Divisions into folds.")
    folds_by: Literal["patient", "site"] = Field(
        default="patient", description="What is kept whole; site where hospitals differ."
    )
    test_share: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Part of the patients held out for one test instead of cross-validation.",
    )
    validation_share: float = Field(
        default=0.2,
        gt=0,
        lt=1,
        description="Part of the training patients that stops it, calibrates, and sets the cut.",
    )
    seeds: int = Field(default=1, ge=1, le=100, description="Members trained in each fold.")
    epochs: int = Field(default=100, ge=1, le=10_000, description="Passes over the patients.")
    patience: int = Field(default=25, ge=1, description="Epochs without gain before stopping.")
    average: int = Field(
        default=7, ge=1, le=100, description="Best epochs whose weights are averaged."
    )
    monitor: Literal["loss", "auc"] = Field(
        default="loss",
        description="What says which epoch is best: on few patients an AUC moves in steps.",
    )
    batch: int = Field(default=16, ge=2, le=1024, description="Patients a step.")
    learning_rate: float = Field(default=3e-3, gt=0, le=1, description="Highest learning rate.")
    weight_decay: float = Field(default=1e-2, ge=0, le=1, description="AdamW's weight decay.")
    schedule: Literal["constant", "cosine"] = Field(
        default="cosine", description="What the learning rate does after the warm-up."
    )
    warmup_epochs: float = Field(default=1.0, ge=0, description="Epochs of linear warm-up.")
    clip_norm: float = Field(default=5.0, gt=0, description="Largest norm of the gradient.")
    drop_modality: float = Field(
        default=0.1,
        ge=0,
        lt=1,
        description="Chance that a modality of a patient is hidden in a training step.",
    )
    drop_part: float = Field(
        default=0.05,
        ge=0,
        lt=1,
        description="Chance that pictures, radiomics, a report or patient data are hidden.",
    )
    bags: int = Field(
        default=16, ge=0, le=4096, description="Bags drawn a patient in training; 0: all of them."
    )
    vary_pictures: bool = Field(
        default=True, description="Mirror, turn and crop pictures of lesions in training."
    )
    seed: int = Field(default=20_260, ge=0, lt=2**31, description="Of folds, weights, draws.")
    device: str = Field(default="auto", description="auto, cpu or cuda.")
    precision: Literal["auto", "float32", "bf16"] = Field(
        default="auto",
        description="auto: bf16 on a GPU, else float32; bf16 helps on processors that have it.",
    )
