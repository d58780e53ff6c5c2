"""Logistic and Cox regression with an L2 penalty, on a table that is small and wide.

Both minimise the mean loss per patient plus ``penalty / 2`` times the squared coefficients of the
standardised columns, by L-BFGS from zero: deterministic, and well defined where one-hot columns
follow from each other, which an unpenalised fit is not. The intercept is not penalised (Hoerl and
Kennard 1970; le Cessie and van Houwelingen, Appl Stat 1992;41:191). Cox's loss is the negative log
partial likelihood with Breslow's rule for ties and the risk set of all patients not yet gone,
the patient included (Cox 1972; Breslow 1974); divided by the patients, not by the events.

The penalty is chosen on the training side only: the one with the least loss in cross-validation
there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import UndefinedStatistic
from herscope.stats.survival.outcome import Outcome

Floats = NDArray[np.float64]
Loss = Callable[[Floats], tuple[float, Floats]]


@dataclass(frozen=True, eq=False)
class RidgeModel:
    """A fitted linear score: ``(x - centre) / scale @ weights + intercept``."""

    centre: Floats
    scale: Floats
    weights: Floats
    intercept: float
    penalty: float

    def score(self, x: Floats) -> Floats:
        """Return (n,) log odds of the event, or the log hazard ratio against the mean patient."""
        return np.asarray(((x - self.centre) / self.scale) @ self.weights + self.intercept)


def ridge_logistic(x: Floats, y: NDArray[np.bool_], penalty: float) -> RidgeModel:
    """Fit log odds.

    Parameters
    ----------
    x
        (n, columns) finite numbers.
    y
        (n,) bool.
    penalty
        Above 0; per patient, on standardised columns.

    Raises
    ------
    UndefinedStatistic
        One class.

    Examples
    --------
    >>> x = np.array([[0.0], [1.0], [2.0], [3.0]])
    >>> model = ridge_logistic(x, np.array([False, False, True, True]), penalty=0.1)
    >>> bool(model.score(x)[3] > model.score(x)[0])
    True
    """
    if y.all() or not y.any():
        raise UndefinedStatistic(
            f"all {y.size} patients are of one class", hint="a classifier needs responders and "
            "non-responders in every fold: make fewer folds"
        )  # fmt: skip
    z, centre, scale = _standardised(x)
    signs = np.where(y, 1.0, -1.0)

    def loss(b: Floats) -> tuple[float, Floats]:
        margin = signs * (z @ b[1:] + b[0])
        value = np.logaddexp(0.0, -margin).mean() + penalty / 2 * (b[1:] @ b[1:])
        pull = -signs * _sigmoid(-margin) / y.size
        return float(value), np.concatenate(([pull.sum()], z.T @ pull + penalty * b[1:]))

    fitted = _minimum(loss, z.shape[1] + 1)
    return RidgeModel(centre, scale, fitted[1:], float(fitted[0]), penalty)


def ridge_cox(x: Floats, outcome: Outcome, penalty: float) -> RidgeModel:
    """Fit log hazard ratios; the intercept is 0.

    Parameters
    ----------
    x
        (n, columns) finite numbers.
    outcome
        (n,) times and events.
    penalty
        Above 0; per patient, on standardised columns.

    Raises
    ------
    UndefinedStatistic
        No event.
    """
    if not outcome.events:
        raise UndefinedStatistic("no patient had the event", hint="check the coding of the events")
    z, centre, scale = _standardised(x)
    partial = _partial_likelihood(outcome)

    def loss(b: Floats) -> tuple[float, Floats]:
        value, by_score = partial(z @ b)
        return value + penalty / 2 * float(b @ b), z.T @ by_score + penalty * b

    return RidgeModel(centre, scale, _minimum(loss, z.shape[1]), 0.0, penalty)


def logistic_loss(model: RidgeModel, x: Floats, y: NDArray[np.bool_]) -> float:
    """Return the summed negative log likelihood of patients."""
    return float(np.logaddexp(0.0, np.where(y, -1.0, 1.0) * model.score(x)).sum())


def cox_loss(model: RidgeModel, x: Floats, outcome: Outcome) -> float:
    """Return the summed negative log partial likelihood of patients."""
    return _partial_likelihood(outcome)(model.score(x))[0] * len(outcome)


def least(penalties: Sequence[float], losses: Sequence[float]) -> float:
    """Return the penalty of the least loss; of equal ones the largest.

    >>> least([0.1, 1.0, 10.0], [3.0, 2.0, 2.0])
    10.0
    """
    best = min(losses)
    return max(p for p, loss in zip(penalties, losses, strict=True) if loss <= best)


def _partial_likelihood(outcome: Outcome) -> Loss:
    """Mean negative log partial likelihood of scores (Breslow) and its gradient."""
    order = np.argsort(-outcome.time, kind="stable")
    time, event = outcome.time[order], outcome.event[order].astype(np.float64)
    # Last place, from the longest followed down, of those at risk at each patient's time.
    last = np.searchsorted(-time, -time, side="right") - 1
    first = np.searchsorted(-time, -time, side="left")
    n = time.size

    def partial(score: Floats) -> tuple[float, Floats]:
        s = score[order]
        top = float(s.max())
        hazard = np.exp(s - top)
        at_risk = np.cumsum(hazard)[last]
        value = float((event * (np.log(at_risk) + top - s)).sum()) / n
        # A patient is at risk at every event at or before the own time: sums from its tie onwards.
        share = np.cumsum((event / at_risk)[::-1])[::-1][first]
        gradient = np.empty(n)
        gradient[order] = (hazard * share - event) / n
        return value, gradient

    return partial


def _standardised(x: Floats) -> tuple[Floats, Floats, Floats]:
    centre = x.mean(axis=0)
    spread = x.std(axis=0)
    # A column that never changes on the training side tells nothing: it gets no weight below.
    constant = spread <= 1e-12
    scale = np.where(constant, 1.0, spread)
    z = (x - centre) / scale
    z[:, constant] = 0.0
    return z, centre, scale


def _sigmoid(x: Floats) -> Floats:
    return np.asarray(np.exp(-np.logaddexp(0.0, -x)))


def _minimum(loss: Loss, parameters: int) -> Floats:
    from scipy.optimize import minimize

    found = minimize(
        loss,
        np.zeros(parameters),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 2000, "ftol": 1e-12, "gtol": 1e-8},
    )
    return np.asarray(found.x, np.float64)
