"""Fit a laboratory's cut-offs to its readers, and say honestly what that is worth.

Three figures of one objective are told together: with the *present* settings, with the fitted ones
on the slides they were fitted to (*apparent*), and on slides that the fit had not seen
(*cross-validated*). Apparent minus cross-validated is the optimism: what was learnt by heart. Only
the cross-validated figure may be compared with the present one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import UndefinedStatistic
from herscope.score.calibration.cells import Settings
from herscope.score.calibration.readers import SCORES
from herscope.score.calibration.search import (
    Objective,
    Predictor,
    Rows,
    Search,
    Values,
    figure,
    figures,
    patient_folds,
)
from herscope.stats.case_bootstrap import bootstrap_interval
from herscope.stats.estimate import spoken

FEWEST_SLIDES: Final = 3
FEW_SLIDES: Final = 10
"""Below this a calibration is made with a warning: four numbers are fitted."""

SPOKEN: Final = {
    "kappa": "quadratic-weighted kappa",
    "spearman": "Spearman's rho",
    "mae": "mean absolute error",
}
OVERFIT_SHARE: Final = 0.5
"""Overfitting is called by name when more than half of the apparent gain is optimism."""


class FoldFit(NamedTuple):
    """What one fold found: slides trained on, slides left out, settings."""

    train: Rows
    test: Rows
    found: Settings


@dataclass(frozen=True)
class Calibration:
    """Fitted settings and what they are worth; values are (n,), in the order of ``slides``."""

    objective: Objective
    slides: tuple[str, ...]
    patients: tuple[str, ...]
    readings: Values
    present: Settings
    fitted: Settings
    plateau: dict[str, tuple[float, float]]
    at_present: Values
    at_fitted: Values
    held_out: Values
    folds: tuple[FoldFit, ...]
    method: str
    gain: tuple[float, float] | None
    gain_method: str
    warnings: tuple[str, ...]

    @property
    def figures(self) -> dict[str, float]:
        """The objective: ``present``, ``apparent``, ``cross_validated`` and ``optimism``."""
        present, apparent, held_out = (
            figure(values, self.readings, self.objective)
            for values in (self.at_present, self.at_fitted, self.held_out)
        )
        worse = held_out - apparent if self.objective == "mae" else apparent - held_out
        return {
            "present": present,
            "apparent": apparent,
            "cross_validated": held_out,
            "optimism": worse,
        }

    @property
    def verdict(self) -> str:
        """What a laboratory should make of it, in plain words."""
        told, name = self.figures, SPOKEN[self.objective]
        held, now = (spoken(told[k], None, None) for k in ("cross_validated", "present"))
        if np.isnan([told["cross_validated"], told["present"]]).any():
            return f"{name} is not defined on these slides: add slides of other scores"
        if self.fitted == self.present:
            return f"nothing agrees better than the present settings: {name} {now}"
        sign = -1 if self.objective == "mae" else 1
        if sign * (told["cross_validated"] - told["present"]) <= 0:
            return (
                "overfitting: on slides that were not seen the fit does no better than the "
                f"present settings ({name} {held} against {now}); keep the present ones"
            )
        better = f"{name} {held} on slides that were not seen, {now} with the present settings"
        if told["optimism"] > OVERFIT_SHARE * sign * (told["apparent"] - told["present"]):
            return f"overfitting: more than half of the gain is lost on slides not seen; {better}"
        unsure = self.gain is None or not (self.gain[0] > 0 or self.gain[1] < 0)
        return f"{better}; so few slides do not show more than chance" if unsure else better

    def document(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {
            "objective": self.objective,
            "n_slides": len(self.slides),
            "n_patients": len(set(self.patients)),
            "present": _settings(self.present),
            "calibrated": _settings(self.fitted)
            | {"plateau": {name: list(ends) for name, ends in self.plateau.items()}},
            "figures": {k: _number(v) for k, v in self.figures.items()},
            "gain": {
                "value": _number(self.figures["cross_validated"] - self.figures["present"]),
                "ci95": None if self.gain is None else [round(v, 6) for v in self.gain],
                "method": self.gain_method,
            },
            "folds": {
                "method": self.method,
                "found": [_settings(fold.found) for fold in self.folds],
            },
            "slides": [
                {
                    "slide": slide,
                    "patient": patient,
                    "readers": float(self.readings[i]),
                    "present": round(float(self.at_present[i]), 4),
                    "calibrated": round(float(self.at_fitted[i]), 4),
                    "held_out": round(float(self.held_out[i]), 4),
                }
                for i, (slide, patient) in enumerate(zip(self.slides, self.patients, strict=True))
            ],
            "warnings": list(self.warnings),
            "verdict": self.verdict,
        }


def calibrate(
    predictor: Predictor,
    slides: Sequence[str],
    readings: NDArray[np.float64],
    *,
    objective: Objective,
    patients: Sequence[str] | None = None,
    folds: int | None = None,
    seed: int = 20_260,
) -> Calibration:
    """Fit the settings, then fit them again without each fold and score what was left out.

    Parameters
    ----------
    predictor
        Gives the slides' values at any settings, on the scale of the readings.
    slides
        Their names.
    readings
        (n,) the readers' consensus.
    objective
        ``kappa`` (whole grades only), ``spearman`` or ``mae``.
    patients
        Patient of each slide, who is never trained on and tested on; each slide's own when None.
    folds
        Number of folds; 5, or one a patient below 20 patients, when None.
    seed
        Seed of the PCG64 generator that deals patients to folds.

    Raises
    ------
    UndefinedStatistic
        Fewer than three slides, or all readings alike.
    InputError
        More folds than patients.
    """
    n = len(slides)
    people = tuple(patients or slides)
    _refuse(n, readings, objective)
    search = Search(predictor, readings, objective)
    everyone = np.arange(n)
    dealt = patient_folds(people, readings, k=folds, seed=seed)
    fitted = search.best(everyone)
    held_out = np.full(n, np.nan)
    found = []
    for fold in dealt:
        train, test = fold.rows(people, "train"), fold.rows(people, "test")
        best = search.best(train)
        held_out[test] = search.values(best)[test]
        found.append(FoldFit(train, test, best))
    at_present = search.values(predictor.present)
    gain, gain_method = _gain(held_out, at_present, readings, objective, people, seed)
    return Calibration(
        objective=objective,
        slides=tuple(slides),
        patients=people,
        readings=readings,
        present=predictor.present,
        fitted=fitted,
        plateau=search.plateau(fitted, everyone),
        at_present=at_present,
        at_fitted=search.values(fitted),
        held_out=held_out,
        folds=tuple(found),
        method=dealt.method,
        gain=gain,
        gain_method=gain_method,
        warnings=tuple(_warnings(n, readings, objective, predictor)),
    )


def _refuse(n: int, readings: Values, objective: Objective) -> None:
    if n < FEWEST_SLIDES:
        raise UndefinedStatistic(
            f"{n} slide(s) with a reader's score; a calibration needs {FEWEST_SLIDES} at the least",
            hint=f"have more slides read; from {FEW_SLIDES} on the result begins to mean something",
        )
    if len(set(readings.tolist())) == 1:
        value = float(readings[0])
        told = f"HER2 {SCORES[int(value)]}" if objective == "kappa" else f"{value:g}"
        raise UndefinedStatistic(
            f"the readers gave all {n} slides the same score ({told}), so any cut-off that gives "
            "it agrees perfectly",
            hint="add slides of other scores, of every score if you can",
        )


def _warnings(n: int, readings: Values, objective: Objective, predictor: Predictor) -> list[str]:
    told = []
    if n < FEW_SLIDES:
        told.append(
            f"{n} slides: fewer than {FEW_SLIDES}; {len(predictor.free)} numbers are fitted to "
            "them, so take the result as a rehearsal"
        )
    if "share" in predictor.free:
        missing = [name for rank, name in enumerate(SCORES) if rank not in set(readings.tolist())]
        if missing:
            told.append(
                f"no slide was read as {' or '.join(missing)}: the line to such slides is not "
                "determined"
            )
    if objective == "spearman":
        told.append("Spearman's rho looks at the order of slides alone: it does not fix the scale")
    return told


def _gain(
    held_out: Values,
    at_present: Values,
    readings: Values,
    objective: Objective,
    people: Sequence[str],
    seed: int,
) -> tuple[tuple[float, float] | None, str]:
    n = len(readings)
    if len(set(people)) < n:
        return None, "no interval: slides share patients"

    def difference(rows: NDArray[np.int64]) -> Values:
        read = readings[rows]
        after, before = (figures(v[rows], read, objective) for v in (held_out, at_present))
        return np.asarray(after - before)

    try:
        found = bootstrap_interval(n, difference, seed=seed)
    except UndefinedStatistic as error:
        return None, f"no interval: {error.message}"
    how = "cross-validated minus present; bootstrap of slides, 95 %, the fits held fixed"
    return (found.low, found.high), how


def _settings(at: Settings) -> dict[str, Any]:
    return {"cuts": list(at.cuts), "complete_share": at.complete_share}


def _number(value: float) -> float | None:
    return round(value, 6) if np.isfinite(value) else None
