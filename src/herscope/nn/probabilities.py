"""From a network's outputs to probabilities, by what was held back for validation.

* Several outputs (cross-entropy): softmax of outputs / T, with the temperature T that makes the
  validation slides most likely (Guo et al., ICML 2017). Of n slides and c classes the true class
  counts as (n + 1) / (n + c), each other one as 1 / (n + c): a few slides told apart without error
  are no reason for certainty.
* One output (ranking): Platt's logistic of a score, 1 / (1 + exp(-(a z + b))), with his targets
  (n1 + 1) / (n1 + 2) and 1 / (n0 + 2) (Platt, Advances in Large Margin Classifiers 1999).
  SlideGraph+ fits it to training scores; those are too sure of themselves, so here it is
  validation's.

No test slide has a part in either, and neither turns the order of slides round: where the
validation slides would ask for that, a is 0, and the member says the same of every slide.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, log_softmax, softmax

from herscope.core.spec import Spec

Floats = NDArray[np.float64]
COLDEST: Final = 0.01
HOTTEST: Final = 100.0
STEEPEST: Final = 100.0
LEAST: Final = 1e-9
"""No class of a slide is less probable than this: outputs far beyond validation's prove nothing."""


class Calibration(Spec):
    """How outputs become probabilities: a temperature, or Platt's slope and offset."""

    temperature: float = Field(default=1.0, gt=0, description="Outputs are divided by it.")
    slope: float = Field(default=1.0, ge=0, description="Of a single output; Platt's a.")
    offset: float = Field(default=0.0, description="Of a single output; Platt's b.")

    def __call__(self, outputs: Floats) -> Floats:
        """(slides, outputs) -> (slides, classes) probabilities that sum to 1."""
        if outputs.shape[1] == 1:
            logit = self.slope * outputs[:, 0] + self.offset
            table = np.stack([expit(-logit), expit(logit)], axis=1)
        else:
            table = np.asarray(softmax(outputs / self.temperature, axis=1))
        table = np.maximum(table, LEAST)
        return table / table.sum(axis=1, keepdims=True)


def calibrate(outputs: Floats, classes: NDArray[np.int64]) -> Calibration:
    """Fit a calibration to validation slides.

    Parameters
    ----------
    outputs
        (slides, outputs) of one member.
    classes
        (slides,) true classes, from 0.

    Examples
    --------
    >>> sure = np.array([[9.0, -9.0], [9.0, -9.0], [9.0, -9.0], [-9.0, 9.0]])
    >>> found = calibrate(sure, np.array([0, 0, 1, 1]))
    >>> found.temperature > 5
    True
    """
    if outputs.shape[1] == 1:
        return _platt(outputs[:, 0], classes)
    n, c = outputs.shape
    target = np.full((n, c), 1.0 / (n + c))
    target[np.arange(n), classes] = (n + 1.0) / (n + c)

    def loss(log_t: float) -> float:
        return float(-(target * log_softmax(outputs / np.exp(log_t), axis=1)).sum())

    found = minimize_scalar(
        loss, bounds=(np.log(COLDEST), np.log(HOTTEST)), method="bounded", options={"xatol": 1e-6}
    )
    return Calibration(temperature=float(np.exp(found.x)))


def _platt(scores: Floats, classes: NDArray[np.int64]) -> Calibration:
    ones, zeros = int((classes == 1).sum()), int((classes == 0).sum())
    target = np.where(classes == 1, (ones + 1) / (ones + 2), 1 / (zeros + 2))
    middle, spread = float(scores.mean()), float(scores.std()) or 1.0
    z = (scores - middle) / spread

    def loss(ab: Floats) -> tuple[float, Floats]:
        logit = ab[0] * z + ab[1]
        value = np.logaddexp(0.0, logit) - target * logit
        gradient = expit(logit) - target
        return float(value.sum()), np.array([(gradient * z).sum(), gradient.sum()])

    bounds = [(0.0, STEEPEST), (-STEEPEST, STEEPEST)]
    found = minimize(loss, np.zeros(2), jac=True, method="L-BFGS-B", bounds=bounds)
    a, b = float(found.x[0]), float(found.x[1])
    return Calibration(slope=a / spread, offset=b - a * middle / spread)
