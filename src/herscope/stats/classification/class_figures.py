"""The figures of one class against the rest, and how a cohort is redrawn for their intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from pydantic import Field

from herscope.core.errors import UndefinedStatistic
from herscope.core.spec import Spec
from herscope.stats.arguments import Floats
from herscope.stats.case_bootstrap import N_RESAMPLES, SEED
from herscope.stats.classification.auc_bootstrap import (
    Resampler,
    auc_bootstrap,
    resampler,
    roc_band,
)
from herscope.stats.classification.calibration import brier_score
from herscope.stats.classification.cases import Flags, Ints
from herscope.stats.classification.confusion import ConfusionTable, accuracy, proportion
from herscope.stats.classification.delong import auc
from herscope.stats.classification.drawn_proportions import drawn_proportion, drawn_tables
from herscope.stats.classification.f_scores import F1Scores, f1_from_tables, f1_scores
from herscope.stats.classification.multiclass_auc import Case, truth_labels
from herscope.stats.classification.roc import RocCurve, roc_curve
from herscope.stats.classification.thresholds import (
    TENTHS,
    ThresholdRates,
    YoudenCut,
    rates_over_thresholds,
    youden_cut,
)
from herscope.stats.estimate import Estimate

BAND_POINTS = 101


class ClassifySpec(Spec):
    """How a classifier is judged."""

    level: float = Field(default=0.95, gt=0, lt=1, description="two-sided confidence level, 0 to 1")
    bootstrap: int = Field(
        default=N_RESAMPLES, ge=100, le=100_000, description="bootstrap resamples"
    )
    seed: int = Field(default=SEED, ge=0, description="seed of the PCG64 generator")
    bins: int = Field(default=10, ge=1, le=1000, description="reliability bins, at most")
    thresholds: tuple[float, ...] = Field(
        default=TENTHS, description="probabilities at which error rates are counted"
    )


@dataclass(frozen=True)
class ClassFigures:
    """One class against the rest."""

    name: str
    cases: int
    rates: Mapping[str, Estimate]
    f1: float | None
    auc_delong: Estimate | None
    auc_bootstrap: Estimate | None
    brier: Estimate
    curve: RocCurve | None
    band: tuple[Floats, Floats, Floats] | None
    youden: YoudenCut | None
    thresholds: tuple[ThresholdRates, ...]


@dataclass(frozen=True)
class Judge:
    """Cases with their predictions and how they are redrawn; collects what is undefined."""

    case: Case
    predicted: Ints
    patients: list[str] | None
    spec: ClassifySpec
    undefined: dict[str, str]

    def plan(self, flags: Flags | None = None) -> Resampler:
        """Plan the resamples, within each class or within each side of ``flags``."""
        labels = truth_labels(self.case) if flags is None else flags.tolist()
        return resampler(
            labels,
            patients=self.patients,
            n_resamples=self.spec.bootstrap,
            seed=self.spec.seed,
        )

    def attempt(self, what: str, compute: Callable[[], Any]) -> Any:
        """Compute, or note why it is undefined and return None."""
        try:
            return compute()
        except UndefinedStatistic as undefined:
            self.undefined[what] = undefined.message
            return None

    def overall(self, table: ConfusionTable) -> tuple[Estimate, F1Scores]:
        """Return accuracy and F1 with intervals over cases or patients."""
        spec = self.spec
        if self.patients is None:
            right = accuracy(table, level=spec.level)
            return right, f1_scores(
                table, level=spec.level, n_resamples=spec.bootstrap, seed=spec.seed
            )
        plan = resampler(
            truth_labels(self.case),
            patients=self.patients,
            stratified=False,
            n_resamples=spec.bootstrap,
            seed=spec.seed,
        )
        every = np.ones(self.predicted.size, np.bool_)
        hit = self.predicted == self.case.truth
        right = drawn_proportion(
            hit, every, plan, "accuracy, correct / all cases", level=spec.level
        )
        drawn = drawn_tables(self.case.truth, self.predicted, len(table.classes), plan)
        units = len(set(self.patients))
        return right, f1_from_tables(table, drawn, micro=right, units=units, words=plan.words)

    def one_class(self, name: str, f1: F1Scores) -> ClassFigures:
        """Return every figure of one class against the rest."""
        spec, place = self.spec, self.case.classes.index(name)
        flags, scores = self.case.truth == place, self.case.table[:, place]
        level = spec.level
        band = self.attempt(f"ROC band of {name}", lambda: self.band(flags, scores))
        return ClassFigures(
            name=name,
            cases=int(flags.sum()),
            rates=self.rates(name, flags, self.predicted == place),
            f1=f1.per_class[name],
            auc_delong=None
            if self.patients is not None
            else self.attempt(f"AUC of {name}", lambda: auc(flags, scores, level=level)),
            auc_bootstrap=self.attempt(
                f"bootstrap AUC of {name}",
                lambda: auc_bootstrap(
                    flags,
                    scores,
                    patients=self.patients,
                    n_resamples=spec.bootstrap,
                    level=level,
                    seed=spec.seed,
                ),
            ),
            brier=brier_score(flags, scores, level=level),
            curve=self.attempt(f"ROC curve of {name}", lambda: roc_curve(flags, scores)),
            band=band,
            youden=self.attempt(
                f"Youden index of {name}", lambda: youden_cut(flags, scores, level=level)
            ),
            thresholds=self.attempt(
                f"error rates over thresholds of {name}",
                lambda: rates_over_thresholds(flags, scores, spec.thresholds, level=level),
            )
            or (),
        )

    def band(self, flags: Flags, scores: Floats) -> tuple[Floats, Floats, Floats]:
        """Return false positive rates and both bounds of the sensitivity there."""
        at = np.linspace(0, 1, BAND_POINTS)
        low, high = roc_band(flags, scores, self.plan(flags), fpr=at, level=self.spec.level)
        return at, low, high

    def rates(self, name: str, flags: Flags, called: Flags) -> dict[str, Estimate]:
        """Return sensitivity, specificity, PPV and NPV as far as they are defined."""
        parts = {
            "sensitivity": (flags & called, flags, "TP / (TP + FN)"),
            "specificity": (~flags & ~called, ~flags, "TN / (TN + FP)"),
            "ppv": (flags & called, called, "TP / (TP + FP)"),
            "npv": (~flags & ~called, ~called, "TN / (TN + FN)"),
        }
        found: dict[str, Estimate] = {}
        for what, (part, whole, formula) in parts.items():
            said = f"{what.upper() if what in {'ppv', 'npv'} else what}, {formula}"
            estimate = self.attempt(f"{what} of {name}", partial(self.share, part, whole, said))
            if estimate is not None:
                found[what] = estimate
        return found

    def share(self, part: Flags, whole: Flags, what: str) -> Estimate:
        """Return a proportion with Wilson's interval, or one over patients."""
        level = self.spec.level
        if self.patients is None:
            return proportion(int(part.sum()), int(whole.sum()), what, level=level)
        return drawn_proportion(part, whole, self.plan(), what, level=level)
