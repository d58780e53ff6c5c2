"""Find the cut-offs that agree best with the readers, and score them on slides not looked at.

*Objective.* Quadratic-weighted kappa (Cohen 1968), Spearman's rho, or the mean absolute error.
As a loss: ``1 - kappa``, ``1 - rho``, ``error / range``.

*Pull.* These objectives are staircases: many cut-offs agree equally well. To the loss we add the
mean move from the present cut-offs (OD, and the share of circumference) times :data:`PULL` and
divided by the number of slides. Moving all cut-offs by 0.1 OD so costs about a quarter of what one
slide read one grade off costs in kappa, or 30 points of H-score shared among all slides: among
equals the settings nearest to the present ones win, a cut-off that the readers do not determine
stays where it is, and what many slides say outweighs it. Cut-offs keep :data:`GAP` from each other:
grades less apart are none a reader could tell.

*Search.* A coarse grid of all rising triples, then from its best three the best of a fixed list of
moves down to 0.01 OD until none helps. No chance is involved, and the values of a slide at given
settings are computed once, so folds cost little. It is no proof of a global optimum.

*Cross-validation.* The search sees the slides of the training patients only; the left-out slides
are then scored with what it found. Folds are of patients, spread over the range of the readings.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import InputError
from herscope.score.calibration.cells import TOP_BIN, Settings
from herscope.stats.classification.folds import Folds, folds_from_assignment

Objective = Literal["kappa", "spearman", "mae"]
Values = NDArray[np.float64]
Rows = NDArray[np.int64]

PULL: Final = 1.0
GAP: Final = 5
"""0.05 OD, in bins."""
UNDEFINED_LOSS: Final = 2.0
"""As bad as perfect disagreement: where nothing can be compared the pull alone decides."""

COARSE: Final = (5, 10, 15, 20, 25, 30, 35, 40, 50, 60, 70, 80, 95, 110, 130)
"""First grid, in 0.01 OD: dense where weak stain lies."""
STARTS: Final = 3
SHARE_STEP: Final = 50
SHARES: Final = (700, 1000)
FEW_SLIDES: Final = 20
"""Below this many patients each is left out in turn."""
FOLDS: Final = 5


class Predictor(Protocol):
    """Gives the slides' values for any settings."""

    @property
    def present(self) -> Settings:
        """Where the search starts and what it is pulled to."""

    @property
    def top(self) -> float:
        """The largest value there can be."""

    @property
    def free(self) -> tuple[str, ...]:
        """Of low, middle, high and share, in this order, what may move."""

    @property
    def lowest_share(self) -> int:
        """The smallest complete_share that is allowed, in thousandths."""

    def values(self, at: Settings) -> Values:
        """(n,) values at these settings, on the readers' scale."""


def loss(values: Values, readings: Values, objective: Objective, top: float) -> float:
    """Return how badly values and readings agree: 0 is perfect.

    Examples
    --------
    >>> loss(np.array([0.0, 1.0, 2.0]), np.array([0.0, 1.0, 2.0]), "kappa", 3)
    0.0
    """
    found = figure(values, readings, objective)
    if np.isnan(found):
        return UNDEFINED_LOSS
    return found / top if objective == "mae" else 1.0 - found


def figure(values: Values, readings: Values, objective: Objective) -> float:
    """Return kappa, rho or the mean absolute error; NaN where it is not defined.

    Examples
    --------
    >>> figure(np.array([0.0, 1.0, 2.0, 3.0]), np.array([0.0, 1.0, 2.0, 2.0]), "kappa")
    0.875
    """
    return float(figures(values, readings, objective))


def figures(values: Values, readings: Values, objective: Objective) -> Values:
    """As :func:`figure`, along the last axis of (..., n) values and readings."""
    n = values.shape[-1]
    if objective == "mae":
        return np.asarray(np.abs(values - readings).sum(axis=-1) / n)
    with np.errstate(invalid="ignore", divide="ignore"):
        if objective == "kappa":
            # Grades are whole numbers, so these sums are exact in any order.
            a, b = values.astype(np.int64), readings.astype(np.int64)
            apart = n * ((a - b) ** 2).sum(axis=-1)
            squares = n * (a**2 + b**2).sum(axis=-1)
            return np.asarray(1 - apart / (squares - 2 * a.sum(axis=-1) * b.sum(axis=-1)))
        from scipy.stats import rankdata

        x, y = (rankdata(r, axis=-1) - (n + 1) / 2 for r in (values, readings))
        scale = np.sqrt((x * x).sum(axis=-1) * (y * y).sum(axis=-1))
        return np.asarray((x * y).sum(axis=-1) / scale)


class Search:
    """The best settings for any choice of slides.

    Parameters
    ----------
    predictor
        The slides.
    readings
        (n,) the readers' consensus.
    objective
        What to make as good as possible.
    """

    def __init__(self, predictor: Predictor, readings: Values, objective: Objective) -> None:
        self.predictor, self.readings, self.objective = predictor, readings, objective
        self._values: dict[Settings, Values] = {}

    def values(self, at: Settings) -> Values:
        """(n,) values at these settings; computed once."""
        if at not in self._values:
            self._values[at] = self.predictor.values(at)
        return self._values[at]

    def loss(self, at: Settings, rows: Rows) -> float:
        """Loss over these slides, without the pull."""
        top = self.predictor.top
        return loss(self.values(at)[rows], self.readings[rows], self.objective, top)

    def best(self, rows: Rows) -> Settings:
        """Find the settings for these slides; no other slide is looked at."""
        coarse = sorted(self._coarse(), key=lambda at: self._rank(at, rows))[:STARTS]
        ends = [self._descend(at, rows) for at in dict.fromkeys([*coarse, self.predictor.present])]
        return min(ends, key=lambda at: self._rank(at, rows))

    def plateau(self, at: Settings, rows: Rows) -> dict[str, tuple[float, float]]:
        """How far each cut-off can move alone, in OD, without the loss changing."""
        here, out = self.loss(at, rows), {}
        for name in self.predictor.free[:3]:
            ends = []
            for step in (-1, 1):
                now = at
                while True:
                    further = now._replace(**{name: getattr(now, name) + step})
                    if not self._allowed(further) or self.loss(further, rows) != here:
                        break
                    now = further
                ends.append(getattr(now, name) / 100)
            out[name] = (ends[0], ends[1])
        return out

    def _rank(self, at: Settings, rows: Rows) -> tuple[float, float, Settings]:
        far = self._distance(at)
        return self.loss(at, rows) + PULL * far / len(rows), far, at

    def _distance(self, at: Settings) -> float:
        present = self.predictor.present
        cuts = sum(abs(a - b) for a, b in zip(at[:3], present[:3], strict=True)) / 300
        return cuts + abs(at.share - present.share) / 1000

    def _coarse(self) -> list[Settings]:
        free, present = self.predictor.free, self.predictor.present
        if free == ("low",):
            return [self._lift(present, low) for low in range(1, COARSE[-1] + 1)]
        triples = itertools.combinations(COARSE, 3)
        found = [present._replace(low=a, middle=b, high=c) for a, b, c in triples]
        return [*found, present]

    def _lift(self, present: Settings, low: int) -> Settings:
        middle = max(present.middle, low + GAP)
        return present._replace(low=low, middle=middle, high=max(present.high, middle + GAP))

    def _descend(self, at: Settings, rows: Rows) -> Settings:
        here = self._rank(at, rows)
        while True:
            near = [self._rank(there, rows) for there in self._moves(at)]
            if not near or min(near)[:2] >= here[:2]:
                return at
            here = min(near)
            at = here[2]

    def _moves(self, at: Settings) -> list[Settings]:
        free = self.predictor.free
        if free == ("low",):
            return []  # all of its values were looked at
        cuts = [name for name in ("low", "middle", "high") if name in free]
        steps: list[dict[str, int]] = [
            {name: by} for name in cuts for by in (-10, -5, -2, -1, 1, 2, 5, 10)
        ]
        steps += [
            {a: x, b: y}
            for a, b in itertools.combinations(cuts, 2)
            for x, y in itertools.product((-2, -1, 1, 2), repeat=2)
        ]
        if "share" in free:
            steps += [{"share": by} for by in (-SHARE_STEP, SHARE_STEP)]
        found = (
            at._replace(**{name: getattr(at, name) + by for name, by in step.items()})
            for step in steps
        )
        return [there for there in found if self._allowed(there)]

    def _allowed(self, at: Settings) -> bool:
        lowest = max(SHARES[0], self.predictor.lowest_share)
        share_ok = at.share == self.predictor.present.share or lowest <= at.share <= SHARES[1]
        apart = at.low + GAP <= at.middle and at.middle + GAP <= at.high
        return at.low > 0 and apart and at.high <= TOP_BIN and share_ok


def patient_folds(patients: Sequence[str], readings: Values, *, k: int | None, seed: int) -> Folds:
    """Make folds of patients, spread over the readings.

    Patients are put in order of their mean reading; each run of ``k`` neighbours is dealt out, one
    to a fold, in random order.

    Parameters
    ----------
    patients
        (n,) patient of each slide.
    readings
        (n,) consensus of each slide.
    k
        Folds; when None 5, and one a patient below 20 patients.
    seed
        Seed of the PCG64 generator.

    Raises
    ------
    InputError
        ``k`` is below 2 or above the number of patients.
    """
    mean = {
        name: float(np.mean([r for p, r in zip(patients, readings, strict=True) if p == name]))
        for name in sorted(set(patients))
    }
    n = len(mean)
    alone = k is None and n < FEW_SLIDES
    folds = n if alone else (k or FOLDS)
    if not 2 <= folds <= n:
        raise InputError(
            f"{folds} fold(s) of {n} patient(s)",
            hint="cross-validation needs two patients or more, and no more folds than patients",
        )
    order = sorted(mean, key=lambda name: (mean[name], name))
    generator = np.random.Generator(np.random.PCG64(seed))
    assigned: dict[str, int] = {}
    for start in range(0, n, folds):
        run = order[start : start + folds]
        assigned |= dict(zip(run, generator.permutation(folds).tolist(), strict=False))
    # The last run may be short: number the folds that are in use.
    used = {fold: i for i, fold in enumerate(sorted(set(assigned.values())))}
    told = f"leave one patient out, {n} patients" if folds == n else f"{folds} folds of patients"
    seeded = "" if folds == n else f", spread over the readings, seed {seed}"
    return folds_from_assignment(
        {name: used[fold] for name, fold in assigned.items()}, len(used), told + seeded
    )
