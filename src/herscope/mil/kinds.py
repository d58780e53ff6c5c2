"""Slide-level models by name. Listing them needs no torch; training one does.

kat         kernel attention with anchors (Zheng et al. 2022; 2023)
slidegraph  a graph of clusters (Lu et al. 2022)
abmil       gated attention (Ilse et al. 2018)
mean, max   pooling without attention: what the others must beat
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from herscope.core.errors import InputError
from herscope.core.registry import Registry
from herscope.core.spec import Spec
from herscope.mil.training_spec import Recipe


@dataclass(frozen=True)
class ModelKind:
    """A family of models.

    Attributes
    ----------
    source
        Author and year.
    spec
        Its parameters' Spec.
    make
        Returns the :class:`herscope.mil.model.BagModel` for a Spec.
    sample
        The dataclass its samples are.
    recipe
        How it is trained unless asked otherwise.
    ranks
        Whether one output and the ranking loss are its way with two classes.
    attends
        Whether its tile scores are attention, which speaks for no class.
    fixed
        Fields of the Spec that the name stands for.
    """

    source: str
    spec: type[Spec]
    make: Callable[[Any], Any]
    sample: type[Any]
    recipe: Recipe
    ranks: bool = False
    attends: bool = False
    fixed: Mapping[str, Any] | None = None


KINDS: Registry[ModelKind] = Registry("slide-level model")

POOLING_RECIPE: Final = Recipe(
    epochs=100, patience=20, batch=16, learning_rate=2e-4, weight_decay=1e-5, drop=0.5
)
"""Learning rate and decay as CLAM's (Lu et al. 2021), with batches instead of single slides."""


@KINDS.register("kat")
def kat() -> ModelKind:
    """Kernel attention transformer."""
    from herscope.mil.kat import KatModel
    from herscope.mil.kat_sample import KatSample, KatSpec

    recipe = Recipe(
        epochs=200, patience=40, batch=32, learning_rate=1e-4, weight_decay=0.0, drop=0.5
    )
    source = "Zheng et al., MICCAI 2022; IEEE TMI 2023"
    return ModelKind(source, KatSpec, KatModel, KatSample, recipe, attends=True)


@KINDS.register("slidegraph")
def slidegraph() -> ModelKind:
    """SlideGraph+."""
    from herscope.mil.slidegraph import SlideGraphModel, SlideGraphSample, SlideGraphSpec

    recipe = Recipe(
        epochs=300, patience=30, batch=8, learning_rate=1e-3, weight_decay=1e-4, drop=0.0
    )
    source = "Lu et al., Med Image Anal 2022;80:102486"
    return ModelKind(source, SlideGraphSpec, SlideGraphModel, SlideGraphSample, recipe, ranks=True)


def _pooling(pooling: str, source: str) -> ModelKind:
    from herscope.mil.pooling import PoolingModel, PoolingSample, PoolingSpec

    # Attention may be plain as well; mean and max are what their names say.
    fixed = None if pooling == "gated" else {"pooling": pooling}
    return ModelKind(
        source,
        PoolingSpec,
        PoolingModel,
        PoolingSample,
        POOLING_RECIPE,
        attends=pooling == "gated",
        fixed=fixed,
    )


@KINDS.register("abmil")
def abmil() -> ModelKind:
    """Gated attention."""
    return _pooling("gated", "Ilse et al., ICML 2018")


@KINDS.register("mean")
def mean() -> ModelKind:
    """Mean of the embedded tiles."""
    return _pooling("mean", "mean pooling")


@KINDS.register("max")
def maximum() -> ModelKind:
    """Largest output over the tiles."""
    return _pooling("max", "max pooling")


def make_model(name: str, spec: Spec | None = None) -> Any:
    """Return the model of this name with these parameters, its defaults when absent.

    Raises
    ------
    UnknownModel
        No model has this name.
    InputError
        The parameters are of another model.
    """
    kind = KINDS.make(name)
    values = {} if spec is None else spec.model_dump()
    asked = kind.spec.model_validate({**values, **(kind.fixed or {})})
    if name == "abmil" and getattr(asked, "pooling", "gated") not in {"gated", "plain"}:
        raise InputError(
            f"abmil is attention, and --pooling.pooling {values['pooling']} is none",
            hint=f"take --model {values['pooling']}",
        )
    return kind.make(asked)
