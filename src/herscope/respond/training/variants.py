"""What is trained beside the whole model to see what its parts are worth, on the same folds.

``without``
    Everything but one part (pictures of a modality, radiomics, reports, patient data).
``alone``
    One part only.
``fusion``
    Modalities joined in another way: sum, product, concatenation, without the interaction, with
    one linear layer at the end.
``loss``
    Without alignment, without survival.

Only what a cohort can tell apart is trained: nothing is left out that nobody has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from herscope.respond.fusion.fusion_spec import FusionSpec
from herscope.respond.fusion.loss_spec import LossSpec
from herscope.respond.fusion.patients import BRANCHES, PARTS, parts_of

Kind = Literal["full", "without", "alone", "fusion", "loss"]
Asked = Literal["none", "parts", "all"]
GROUPS: Final[dict[str, tuple[str, ...]]] = {
    "pathology": parts_of(["pathology"]),
    "radiology": parts_of(["radiology"]),
    "reports": ("pathology-report", "radiology-report"),
    "radiomics": ("pathology-radiomics", "radiology-radiomics"),
    "patient data": ("patient",),
}


@dataclass(frozen=True)
class Variant:
    """One way of training.

    Attributes
    ----------
    name, kind, about
        For tables.
    hidden
        Parts that nobody has, in training and in the test.
    network, loss
        Fields of the network's and the loss's Spec that differ from the whole model's.
    """

    name: str
    kind: Kind
    about: str
    hidden: tuple[str, ...] = ()
    network: tuple[tuple[str, object], ...] = ()
    loss: tuple[tuple[str, object], ...] = ()

    @property
    def file(self) -> str:
        """Stem for files."""
        return self.name.replace(" ", "-").replace(",", "")

    def network_spec(self, spec: FusionSpec) -> FusionSpec:
        """Return the network's Spec with what differs."""
        return FusionSpec.model_validate({**spec.model_dump(), **dict(self.network)})

    def loss_spec(self, spec: LossSpec) -> LossSpec:
        """Return the loss's Spec with what differs."""
        return LossSpec.model_validate({**spec.model_dump(), **dict(self.loss)})


FULL: Final = Variant("the whole model", "full", "all that is known of a patient")


def variants(there: Sequence[str], asked: Asked, spec: FusionSpec) -> tuple[Variant, ...]:
    """Return the whole model and what it is compared with.

    Parameters
    ----------
    there
        Parts that some patient has.
    asked
        ``none``, ``parts`` (without and alone), ``all``.
    spec
        The whole model's network.

    Examples
    --------
    >>> found = variants(["pathology-report", "patient"], "parts", FusionSpec())
    >>> [one.name for one in found][1:]
    ['without pathology', 'without patient data', 'pathology alone', 'patient data alone']
    """
    if asked == "none":
        return (FULL,)
    found = [FULL, *_without(there), *_alone(there)]
    if asked == "all":
        found += [*_fusions(there, spec), *_losses(there)]
    return tuple(found)


def _shown(there: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the groups that are there, each set of parts once."""
    found: dict[str, tuple[str, ...]] = {}
    for name, parts in GROUPS.items():
        own = tuple(part for part in parts if part in there)
        if own and set(own) != set(there) and own not in found.values():
            found[name] = own
    return found


def _without(there: Sequence[str]) -> list[Variant]:
    return [
        Variant(f"without {name}", "without", f"trained and tested without {', '.join(own)}", own)
        for name, own in _shown(there).items()
    ]


def _alone(there: Sequence[str]) -> list[Variant]:
    return [
        Variant(
            f"{name} alone",
            "alone",
            f"trained and tested with {', '.join(own)} and nothing else",
            tuple(part for part in PARTS if part in there and part not in own),
        )
        for name, own in _shown(there).items()
    ]


def _both(there: Sequence[str]) -> bool:
    return all(any(part.startswith(name) for part in there) for name in BRANCHES)


def _fusions(there: Sequence[str], spec: FusionSpec) -> list[Variant]:
    ways = [
        Variant(f"joined by {name}", "fusion", f"joined by {name}", (), (("fusion", name),))
        for name in ("sum", "product", "concat")
        if _both(there) and spec.fusion != name
    ]
    if _both(there) and spec.fusion == "mumo" and spec.interaction:
        about = "specific and agnostic parts only, as published"
        ways.append(Variant("no interaction", "fusion", about, (), (("interaction", False),)))
    if spec.predictor == "mlp":
        about = "one linear layer at the end, as in the released code"
        ways.append(Variant("linear predictor", "fusion", about, (), (("predictor", "linear"),)))
    return ways


def _losses(there: Sequence[str]) -> list[Variant]:
    ways = [Variant("no survival loss", "loss", "label only", (), (), (("survival", 0.0),))]
    if _both(there):
        about = "agnostic parts of one patient are not drawn together"
        ways.append(Variant("no alignment", "loss", about, (), (), (("alignment", 0.0),)))
    return ways


def absences(there: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Return the sets of parts that are hidden in the test to tell what a missing part costs.

    Every part by itself, every group by itself, and all but each group; the first is nothing.
    """
    parts = [part for part in PARTS if part in there]
    groups = _shown(there)
    hidden: list[tuple[str, ...]] = [(), *((part,) for part in parts), *groups.values()]
    hidden += [tuple(p for p in parts if p not in own) for own in groups.values()]
    hidden += [tuple(p for p in parts if p != part) for part in parts]
    found = dict.fromkeys(one for one in hidden if set(one) != set(parts))
    return tuple(found)
