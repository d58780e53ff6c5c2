"""What clinical data and reports alone predict: three plain models on the same folds.

Repeated stratified cross-validation by patient: in each repeat every labelled patient is predicted
once by a model that has not seen this patient. A model that uses slides or CT must beat these
figures on the same folds to have shown anything.

* ``logistic``: logistic regression with an L2 penalty, chosen by cross-validation on the training
  side (:mod:`herscope.respond.cohort.ridge`).
* ``trees``: gradient-boosted trees of scikit-learn (Friedman, Ann Stat 2001;29:1189) with fixed
  parameters; needs the package.
* ``cox``: penalised Cox regression of progression-free survival; its risk, turned round, ranks
  response. Our own fit, since one-hot tokens follow from each other and lifelines' does not
  converge on them unpenalised.

The AUC is that of the prediction averaged over the repeats, with DeLong's interval, which holds the
models as given; the standard deviation over repeats says how much the division into folds matters.
The mean AUC within test folds stands beside it: predictions of different folds come from different
models, and ranking them together costs a little (Airola et al., Comput Stat Data
Anal 2011;55:1828).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from herscope.core.errors import DependencyMissing, InputError, UndefinedStatistic
from herscope.core.spec import Spec
from herscope.respond.cohort.cohort import Cohort
from herscope.respond.cohort.outcomes import FollowUp
from herscope.respond.cohort.ridge import (
    cox_loss,
    least,
    logistic_loss,
    ridge_cox,
    ridge_logistic,
)
from herscope.respond.cohort.tokens import Tokens
from herscope.stats.classification.delong import auc
from herscope.stats.classification.folds import Folds, stratified_folds
from herscope.stats.estimate import Estimate, finite_or_none
from herscope.stats.survival.concordance_index import harrell_c

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Ints = NDArray[np.int64]
Model = Literal["logistic", "trees", "cox"]
NOT_CLINICAL: Final = frozenset({"sampling-times"})
"""Sets that say when something was sampled, not what was found."""


class BaselineSpec(Spec):
    """How the baselines are trained and tested."""

    models: tuple[Model, ...] = Field(
        default=("logistic", "trees", "cox"), min_length=1, description="Which"
    )
    folds: int = Field(default=5, ge=2, le=20, description="Folds of each repeat")
    repeats: int = Field(default=20, ge=1, le=200, description="Divisions into folds")
    inner_folds: int = Field(
        default=5, ge=2, le=20, description="Folds of the training side that choose the penalty"
    )
    penalties: tuple[float, ...] = Field(
        default=(0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0),
        min_length=1,
        description="Penalties to choose from, per patient on standardised columns",
    )
    trees: int = Field(default=100, ge=1, le=10_000, description="Trees")
    tree_depth: int = Field(default=2, ge=1, le=10, description="Depth of a tree")
    learning_rate: float = Field(default=0.05, gt=0, le=1, description="Shrinkage of a tree")
    tree_share: float = Field(default=0.7, gt=0, le=1, description="Patients drawn for each tree")
    seed: int = Field(default=20_260, ge=0, description="Seed of folds and trees")


@dataclass(frozen=True, eq=False)
class BaselineResult:
    """One model.

    Attributes
    ----------
    name
        As in the spec.
    scores
        (repeats, patients) predictions of patients the model had not seen; higher is response.
    prediction
        (patients,) their mean.
    auc
        Of the mean, DeLong's interval.
    auc_of_repeats
        (repeats,) AUC of each.
    auc_within_folds
        Mean AUC over the test folds of all repeats.
    c_pfs, c_os
        Harrell's C of the mean, turned round to a risk; None where no outcome is known.
    """

    name: str
    scores: Floats
    prediction: Floats
    auc: Estimate
    auc_of_repeats: tuple[float, ...]
    auc_within_folds: float
    c_pfs: Estimate | None
    c_os: Estimate | None

    @property
    def auc_sd(self) -> float | None:
        """Standard deviation over repeats; None for one repeat."""
        many = len(self.auc_of_repeats) > 1
        return float(np.std(self.auc_of_repeats, ddof=1)) if many else None

    def document(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {
            "model": self.name,
            "auc": self.auc.document(),
            "auc_of_repeats": [finite_or_none(value) for value in self.auc_of_repeats],
            "auc_sd_over_repeats": self.auc_sd,
            "auc_within_folds": self.auc_within_folds,
            "c_pfs": None if self.c_pfs is None else self.c_pfs.document(),
            "c_os": None if self.c_os is None else self.c_os.document(),
        }


@dataclass(frozen=True, eq=False)
class BaselineReport:
    """All models on the same folds of the same patients."""

    patients: tuple[str, ...]
    labels: Ints
    columns: tuple[str, ...]
    folds: tuple[Folds, ...]
    results: Mapping[str, BaselineResult]
    spec: BaselineSpec

    def document(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary, without patients."""
        return {
            "patients": len(self.patients),
            "responders": int(self.labels.sum()),
            "columns": len(self.columns),
            "folds": [one.method for one in self.folds],
            "spec": self.spec.model_dump(mode="json"),
            "models": {name: one.document() for name, one in self.results.items()},
        }


def evaluate_baselines(
    cohort: Cohort,
    spec: BaselineSpec | None = None,
    *,
    tokens: Tokens | None = None,
    folds: Sequence[Folds] | None = None,
) -> BaselineReport:
    """Cross-validate the baselines on the labelled patients of a cohort.

    Parameters
    ----------
    cohort
        With a response label for some patients; the others are left out.
    spec
        Models, folds, repeats, seed.
    tokens
        The predictors; all tokens of the cohort but sampling times when absent.
    folds
        Of each repeat, over the labelled patients, where other models have made them; those of
        :func:`repeated_folds` when absent.

    Raises
    ------
    InputError
        A patient stands twice, a class has fewer patients than folds, tokens of other patients.
    UndefinedStatistic
        No token has a value, one class, no events of PFS for Cox.
    DependencyMissing
        ``trees`` without scikit-learn.
    """
    spec = spec or BaselineSpec()
    used = clinical_tokens(cohort) if tokens is None else tokens
    if len(used.values) != len(cohort):
        raise InputError(
            f"tokens of {len(used.values)} patients for a cohort of {len(cohort)}",
            hint="encode the tokens of this cohort's table",
        )
    keep = cohort.labels >= 0
    patients = tuple(p for p, kept in zip(cohort.patients, keep, strict=True) if kept)
    if len(set(patients)) < len(patients):
        raise InputError("a patient stands twice", hint="herscope respond cohort names the rows")
    labels = cohort.labels[keep]
    vectors, names = used.flat()
    x = np.asarray(vectors[keep], np.float64)
    if not x.any():
        raise UndefinedStatistic(
            "no token has a value for a labelled patient", hint="name columns in [tokens.columns]"
        )
    folds = repeated_folds(patients, labels, spec) if folds is None else tuple(folds)
    pfs, os = _kept(cohort.outcomes.pfs, keep), _kept(cohort.outcomes.os, keep)
    results: dict[str, BaselineResult] = {}
    for name in dict.fromkeys(spec.models):
        fit = _FITS[name]
        scores = np.stack(
            [_out_of_fold(fit, x, labels == 1, pfs, patients, one, spec) for one in folds]
        )
        results[name] = _judge(
            name, scores, labels == 1, pfs, os, _within(scores, labels == 1, patients, folds)
        )
    return BaselineReport(patients, labels, names, folds, results, spec)


def clinical_tokens(cohort: Cohort) -> Tokens:
    """Return the tokens of reports and patient, without the times of sampling."""
    return cohort.tokens.select(
        [token.name for one in cohort.sets if one.name not in NOT_CLINICAL for token in one.token]
    )


def repeated_folds(
    patients: Sequence[str], labels: Ints, spec: BaselineSpec | None = None
) -> tuple[Folds, ...]:
    """Return the folds of every repeat; the same for all models, and for other models to use."""
    spec = spec or BaselineSpec()
    return tuple(
        stratified_folds(patients, labels.tolist(), k=spec.folds, seed=spec.seed + repeat)
        for repeat in range(spec.repeats)
    )


def _out_of_fold(
    fit: Callable[..., Floats],
    x: Floats,
    y: Flags,
    pfs: FollowUp,
    patients: Sequence[str],
    folds: Folds,
    spec: BaselineSpec,
) -> Floats:
    scores = np.full(len(patients), np.nan)
    for number, fold in enumerate(folds):
        train, test = fold.rows(patients, "train"), fold.rows(patients, "test")
        ids = [patients[i] for i in train.tolist()]
        scores[test] = fit(x[train], y[train], _kept(pfs, train), ids, x[test], spec, number)
    return scores


def _logistic(
    x: Floats, y: Flags, pfs: FollowUp, ids: Sequence[str], new: Floats, spec: BaselineSpec, _: int
) -> Floats:
    del pfs
    inner = _inner(ids, y, spec)
    losses = [
        sum(logistic_loss(ridge_logistic(x[a], y[a], p), x[b], y[b]) for a, b in inner)
        for p in spec.penalties
    ]
    model = ridge_logistic(x, y, least(spec.penalties, losses))
    return np.asarray(1.0 / (1.0 + np.exp(-model.score(new))))


def _cox(
    x: Floats, y: Flags, pfs: FollowUp, ids: Sequence[str], new: Floats, spec: BaselineSpec, _: int
) -> Floats:
    # Folds of patients whose PFS is known, with responders spread as in the outer folds.
    known = np.flatnonzero(pfs.known)
    x, y, outcome = x[known], y[known], pfs.outcome()
    inner = _inner([ids[i] for i in known.tolist()], y, spec)
    flags = [np.isin(np.arange(len(y)), b) for _, b in inner]
    losses = [
        sum(cox_loss(ridge_cox(x[~b], outcome.where(~b), p), x[b], outcome.where(b)) for b in flags)
        for p in spec.penalties
    ]
    model = ridge_cox(x, outcome, least(spec.penalties, losses))
    return -model.score(new)


def _trees(
    x: Floats,
    y: Flags,
    pfs: FollowUp,
    ids: Sequence[str],
    new: Floats,
    spec: BaselineSpec,
    number: int,
) -> Floats:
    del pfs, ids
    try:
        from sklearn.ensemble import GradientBoostingClassifier
    except ImportError as error:
        raise DependencyMissing(
            "gradient-boosted trees need the package scikit-learn",
            hint="pip install 'herscope[baselines]', or leave trees out of models",
        ) from error
    model = GradientBoostingClassifier(
        n_estimators=spec.trees,
        max_depth=spec.tree_depth,
        learning_rate=spec.learning_rate,
        subsample=spec.tree_share,
        random_state=spec.seed + number,
    )
    return np.asarray(model.fit(x, y).predict_proba(new)[:, 1], np.float64)


_FITS: Final[dict[str, Callable[..., Floats]]] = {
    "logistic": _logistic,
    "trees": _trees,
    "cox": _cox,
}


def _inner(ids: Sequence[str], y: Flags, spec: BaselineSpec) -> list[tuple[Ints, Ints]]:
    fewest = int(min(y.sum(), (~y).sum()))
    k = min(spec.inner_folds, fewest)
    folds = stratified_folds(ids, y.tolist(), k=k, seed=spec.seed)
    return [(fold.rows(ids, "train"), fold.rows(ids, "test")) for fold in folds]


def _kept(follow_up: FollowUp, rows: Flags | Ints) -> FollowUp:
    return FollowUp(follow_up.days[rows], follow_up.event[rows], follow_up.known[rows])


def _within(scores: Floats, y: Flags, patients: Sequence[str], repeats: Sequence[Folds]) -> float:
    """Mean AUC of the test folds that have both classes; all have where folds are stratified."""
    found = []
    for one, folds in zip(scores, repeats, strict=True):
        for fold in folds:
            rows = fold.rows(patients, "test")
            if 0 < int(y[rows].sum()) < len(rows):
                found.append(auc(y[rows], one[rows]).value)
    return float(np.mean(found)) if found else float("nan")


def _judge(
    name: str, scores: Floats, y: Flags, pfs: FollowUp, os: FollowUp, within: float
) -> BaselineResult:
    mean = scores.mean(axis=0)
    return BaselineResult(
        name,
        scores,
        mean,
        auc(y, mean),
        tuple(auc(y, one).value for one in scores),
        within,
        _concordance(pfs, -mean),
        _concordance(os, -mean),
    )


def _concordance(follow_up: FollowUp, risk: Floats) -> Estimate | None:
    if not follow_up.event[follow_up.known].any():
        return None
    return harrell_c(follow_up.outcome(), risk[follow_up.known])
