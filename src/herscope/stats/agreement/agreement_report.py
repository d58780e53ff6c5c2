"""The form of an agreement report: rows of coefficients, tables, lines, and its JSON document."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from herscope.core.errors import UndefinedStatistic
from herscope.core.spec import Spec
from herscope.stats.agreement.bland_altman import BlandAltman
from herscope.stats.agreement.categories import PairCounts, Weights
from herscope.stats.agreement.method_comparison import Line
from herscope.stats.agreement.overall import CAP_LINE, CategoryAgreement, Concordance
from herscope.stats.agreement.paired import SignedRank
from herscope.stats.case_bootstrap import N_RESAMPLES, SEED
from herscope.stats.estimate import Estimate

T = TypeVar("T")
P = ParamSpec("P")


class AgreementSpec(Spec):
    """How agreement is reported."""

    weights: Weights | None = Field(
        default=None,
        description="weights of kappa and of Gwet's coefficient: none, linear or quadratic; "
        "every kind that the categories allow when absent",
    )
    order: tuple[str, ...] | None = Field(
        default=None,
        description="all categories from lowest to highest; found from the labels when absent",
    )
    line: float = Field(
        default=CAP_LINE, ge=0, le=1, description="overall concordance that is asked for, 0 to 1"
    )
    level: float = Field(default=0.95, gt=0, lt=1, description="two-sided confidence level, 0 to 1")
    n_resamples: int = Field(
        default=N_RESAMPLES, ge=100, le=100_000, description="bootstrap resamples"
    )
    seed: int = Field(default=SEED, ge=0, description="seed of the PCG64 generator")


@dataclass(frozen=True)
class Coefficient:
    """One row of the report: a number, or why there is none."""

    key: str
    name: str
    estimate: Estimate | None
    why_not: str = ""

    def document(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        body = self.estimate.document() if self.estimate else {"value": None, "why": self.why_not}
        return {"name": self.name, **body}


@dataclass(frozen=True)
class AgreementReport:
    """Agreement of readers; what does not apply to the kind or number of readers is empty.

    ``values`` are (readers, cases) numbers for plots; ``undefined`` names what else than a
    coefficient the data do not determine, with the reason.
    """

    kind: Literal["categorical", "continuous"]
    readers: tuple[str, ...]
    n: int
    level: float
    coefficients: tuple[Coefficient, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    pairs: PairCounts | None = None
    concordance: Concordance | None = None
    categories: tuple[CategoryAgreement, ...] = ()
    values: NDArray[np.float64] | None = None
    bland_altman: BlandAltman | None = None
    passing_bablok: Line | None = None
    deming: Line | None = None
    signed_rank: SignedRank | None = None
    undefined: Mapping[str, str] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        parts = {
            "concordance": self.concordance,
            "bland_altman": self.bland_altman,
            "passing_bablok": self.passing_bablok,
            "deming": self.deming,
            "signed_rank": self.signed_rank,
        }
        out: dict[str, Any] = {
            "schema": "herscope.agreement/1",
            "kind": self.kind,
            "readers": list(self.readers),
            "n": self.n,
            "level": self.level,
            "left_out": dict(self.left_out),
            "notes": list(self.notes),
            "coefficients": {row.key: row.document() for row in self.coefficients},
            **{name: part.document() for name, part in parts.items() if part is not None},
        }
        if self.pairs is not None:
            out["categories"] = list(self.pairs.scale.names)
            out["categories_ordered"] = self.pairs.scale.ordered
            out["table"] = self.pairs.counts.tolist()
            out["per_category"] = [row.document() for row in self.categories]
        return out | ({"undefined": dict(self.undefined)} if self.undefined else {})


def row(
    key: str, name: str, function: Callable[P, Estimate], *args: P.args, **kwargs: P.kwargs
) -> Coefficient:
    """Compute one row; what the data do not determine stands there with the reason."""
    made, why = attempt(function, *args, **kwargs)
    return Coefficient(key, name, made, why)


def attempt(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> tuple[T | None, str]:
    """Run a statistic and return it, or None and the reason why it is undefined."""
    try:
        return function(*args, **kwargs), ""
    except UndefinedStatistic as error:
        return None, error.message
