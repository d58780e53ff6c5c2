"""Cox's proportional hazards regression through lifelines, with the checks a reader would ask for.

h(t | x) = h0(t) exp(b x), partial likelihood with Efron's rule for ties (Cox, J R Stat Soc B
1972;34:187; Efron 1977); hazard ratios exp(b) with Wald intervals. The fit is lifelines' (Davidson-
Pilon 2019), unpenalised. Before it: covariates that never change, that follow from the others, or
that order the events perfectly (a likelihood without a maximum) are refused by name, since a number
would come out all the same. Beside it: events per variable (10 or more: Peduzzi et al., J Clin
Epidemiol 1995;48:1503) and the test of proportional hazards on scaled Schoenfeld residuals against
ranked time (Grambsch and Therneau, Biometrika 1994;81:515).

Columns of text become one indicator per category beside the reference: see ``cox_design``.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from herscope.core.errors import DependencyMissing, UndefinedStatistic
from herscope.stats.arguments import Floats
from herscope.stats.bootstrap import checked_level
from herscope.stats.estimate import Estimate, HypothesisTest, finite_or_none, spoken, spoken_p
from herscope.stats.survival.concordance_index import harrell_c
from herscope.stats.survival.cox_design import check_design, design_columns
from herscope.stats.survival.outcome import Outcome

FEWEST_EVENTS_PER_VARIABLE = 10.0
"""Peduzzi et al. 1995: below, hazard ratios are biased and intervals unreliable."""

LARGEST_COEFFICIENT = 15.0
"""|b| of a standardised covariate: exp(15) = 3 million per SD is a likelihood without a maximum."""


@dataclass(frozen=True, slots=True)
class CoxRow:
    """One covariate of the model.

    Parameters
    ----------
    name
        Column, and for a category ``column: category against reference``.
    hazard_ratio
        Per unit, or against the reference; above 1 is worse.
    coefficient, standard_error, z, p_value
        Of the log hazard ratio; Wald test.
    proportional
        Test of proportional hazards; a small p says that the hazard ratio changes with time.
    """

    name: str
    hazard_ratio: Estimate
    coefficient: float
    standard_error: float
    z: float
    p_value: float
    proportional: HypothesisTest

    def __str__(self) -> str:
        ratio = self.hazard_ratio
        said = spoken(ratio.value, ratio.low, ratio.high)
        return f"{self.name}: hazard ratio {said}, {spoken_p(self.p_value)}"

    def document(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {
            "name": self.name,
            "hazard_ratio": self.hazard_ratio.document(),
            "coefficient": self.coefficient,
            "standard_error": self.standard_error,
            "z": self.z,
            "p_value": self.p_value,
            "proportional_hazards": self.proportional.document(),
        }


@dataclass(frozen=True, slots=True)
class CoxModel:
    """A fitted model.

    Parameters
    ----------
    rows
        One per covariate or category.
    likelihood_ratio
        All coefficients are 0, against the model.
    concordance
        Harrell's C of the linear predictor on the same patients, so too good.
    events_per_variable
        Events divided by rows.
    n, counts, method, notes
        As elsewhere; notes say what a reader must know.
    """

    rows: tuple[CoxRow, ...]
    likelihood_ratio: HypothesisTest
    concordance: Estimate
    events_per_variable: float
    n: int
    counts: Mapping[str, int]
    method: str
    notes: tuple[str, ...] = field(default=())

    def __str__(self) -> str:
        return "\n".join(map(str, self.rows))

    def document(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {
            "rows": [row.document() for row in self.rows],
            "likelihood_ratio": self.likelihood_ratio.document(),
            "concordance": self.concordance.document(),
            "events_per_variable": finite_or_none(self.events_per_variable),
            "n": self.n,
            "counts": dict(self.counts),
            "method": self.method,
            "notes": list(self.notes),
        }


def cox(
    outcome: Outcome,
    covariates: Mapping[str, ArrayLike | Sequence[str]],
    *,
    level: float = 0.95,
) -> CoxModel:
    """Fit a Cox model.

    Parameters
    ----------
    outcome
        Time and event.
    covariates
        Name to (n,) numbers, or texts, which become categories.
    level
        Two-sided confidence level of the hazard ratios.

    Raises
    ------
    DependencyMissing
        lifelines is not installed.
    InputError
        Missing values, or another number of rows than of patients.
    UndefinedStatistic
        No events, no more events than coefficients, a constant or collinear covariate, separation.

    Notes
    -----
    Oracle: statsmodels PHReg (Efron).

    Examples
    --------
    >>> outcome = Outcome(time=[5, 8, 9, 12, 14, 20], event=[1, 1, 0, 1, 1, 0])
    >>> model = cox(outcome, {"age": [71, 64, 66, 59, 65, 52]})
    >>> model.rows[0].hazard_ratio.value > 1, model.counts["events"]
    (True, 4)
    """
    checked_level(level)
    design = design_columns(covariates, len(outcome))
    check_design(outcome, design)
    return _fit(outcome, design, level)


def _fit(outcome: Outcome, design: Mapping[str, Floats], level: float) -> CoxModel:
    try:
        import pandas as pd
        from lifelines import CoxPHFitter
        from lifelines.exceptions import ConvergenceError, ConvergenceWarning
        from lifelines.statistics import proportional_hazard_test
    except ImportError as error:
        raise DependencyMissing(
            "Cox regression needs the package lifelines",
            hint="pip install 'herscope[survival]'",
        ) from error
    # Columns by number: lifelines reads names as formulas in places.
    frame = pd.DataFrame({f"x{i}": column for i, column in enumerate(design.values())})
    keys = list(frame.columns)
    frame["time"], frame["event"] = outcome.time, outcome.event.astype(np.int64)
    fitter = CoxPHFitter(alpha=1 - level)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            fitter.fit(frame, duration_col="time", event_col="event")
            schoenfeld = proportional_hazard_test(fitter, frame, time_transform="rank")
        except (ConvergenceError, np.linalg.LinAlgError) as error:
            raise _no_maximum(list(design)) from error
    spread = frame[keys].std().to_numpy()
    steep = np.abs(fitter.params_.to_numpy() * spread) > LARGEST_COEFFICIENT
    stuck = [str(w.message) for w in told if issubclass(w.category, ConvergenceWarning)]
    # Its other warning of this kind, low variance among events, is a guess; we check that exactly.
    failed = [m for m in stuck if m.startswith(("Newton-Raphson", "The log-likelihood"))]
    if steep.any() or failed:
        names = [name for name, s in zip(design, steep, strict=True) if s] or list(design)
        raise _no_maximum(names)
    table = fitter.summary
    rows = tuple(
        _row(name, table.loc[key], schoenfeld.summary.loc[key], len(outcome), level)
        for name, key in zip(design, keys, strict=True)
    )
    ratio = fitter.log_likelihood_ratio_test()
    counts = {**outcome.counts, "coefficients": len(design)}
    likelihood = HypothesisTest(
        statistic=float(ratio.test_statistic),
        p_value=float(ratio.p_value),
        hypothesis="all coefficients are 0",
        method=f"likelihood ratio test, chi-square with {len(design)} df",
        n=len(outcome),
        counts=counts,
    )
    predictor = sum(
        (row.coefficient * column for row, column in zip(rows, design.values(), strict=True)),
        start=np.zeros(len(outcome)),
    )
    per_variable = outcome.events / len(design)
    return CoxModel(
        rows=rows,
        likelihood_ratio=likelihood,
        concordance=harrell_c(outcome, predictor, level=level),
        events_per_variable=per_variable,
        n=len(outcome),
        counts=counts,
        method="Cox 1972 proportional hazards, Efron's ties, unpenalised, Wald intervals; fitted "
        "by lifelines",
        notes=_notes(rows, per_variable),
    )


def _row(name: str, fit: Any, schoenfeld: Any, n: int, level: float) -> CoxRow:
    low, high = (
        float(np.exp(fit[key])) for key in fit.index if key.startswith("coef") and "%" in key
    )
    return CoxRow(
        name=name,
        hazard_ratio=Estimate(
            float(fit["exp(coef)"]),
            low,
            high,
            level,
            "exp of the Cox coefficient, Wald interval",
            n,
            {},
        ),
        coefficient=float(fit["coef"]),
        standard_error=float(fit["se(coef)"]),
        z=float(fit["z"]),
        p_value=float(fit["p"]),
        proportional=HypothesisTest(
            float(schoenfeld["test_statistic"]),
            float(schoenfeld["p"]),
            "the hazard ratio is the same at all times",
            "scaled Schoenfeld residuals against ranked time (Grambsch and Therneau 1994), 1 df",
            n,
            {},
        ),
    )


def _notes(rows: Sequence[CoxRow], per_variable: float) -> tuple[str, ...]:
    notes: list[str] = []
    if per_variable < FEWEST_EVENTS_PER_VARIABLE:
        notes.append(
            f"{per_variable:.1f} events per coefficient, 10 are wanted (Peduzzi 1995): hazard "
            "ratios are unreliable"
        )
    moving = [row.name for row in rows if row.proportional.p_value < 0.05]
    if moving:
        notes.append(
            f"hazards are not proportional (p < 0.05) for {', '.join(moving)}: the hazard ratio is "
            "an average over time"
        )
    return tuple(notes)


def _no_maximum(names: Sequence[str]) -> UndefinedStatistic:
    return UndefinedStatistic(
        f"the Cox likelihood has no maximum: look at {', '.join(map(repr, names))}",
        hint="a covariate (or several together) orders the events perfectly: merge categories or "
        "leave it out",
    )
