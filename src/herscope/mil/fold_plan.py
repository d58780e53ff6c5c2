"""Who trains, who stops the training, who is tested: patients, never slides.

*Cross-validation*: every patient is tested once. Of those that a fold does not test, a share is
held back for early stopping and calibration, so nothing is ever chosen on the patients tested.

*Held-out test* (the paper's design): the test patients are set apart first, by the label table or
by a share; the others are split into folds, each fold stops one member's training, and all members
predict the same test patients. The spread over members is then that of the training, not of the
patients.

With ``folds_by="site"`` whole sites are tested (or stop a training), as patients of one hospital
share scanner and stain, and a model may read the hospital instead of the tissue (Howard et al.,
Nat Commun 2021;12:4423).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from herscope.core.errors import InputError
from herscope.mil.training_spec import MilSpec
from herscope.stats.classification.folds import Fold, Folds, held_out, stratified_folds
from herscope.stats.classification.site_folds import site_folds

Evaluation = Literal["cross-validation", "held-out test"]


@dataclass(frozen=True)
class Patient:
    """A patient as folds see one: an id, a class (or several, by slide), a site, a side."""

    name: str
    label: str
    site: str | None = None
    split: str | None = None


@dataclass(frozen=True)
class FoldPlan:
    """Folds and how they were made."""

    folds: tuple[Fold, ...]
    evaluation: Evaluation
    method: str
    whole_sites: bool = False
    """Whether no site of tested patients was trained on."""


def plan_folds(patients: Sequence[Patient], spec: MilSpec) -> FoldPlan:
    """Split patients.

    Parameters
    ----------
    patients
        One entry a slide, or one a patient.
    spec
        Number of folds, by patient or by site, shares, seed.

    Raises
    ------
    InputError
        Folds by site without sites; a class with fewer patients than folds; a test side without
        patients of the training side's classes.

    Examples
    --------
    >>> cohort = [Patient(f"p{i}", "01"[i % 2]) for i in range(20)]
    >>> plan = plan_folds(cohort, MilSpec(folds=5))
    >>> plan.evaluation, [len(f.test) for f in plan.folds]
    ('cross-validation', [4, 4, 4, 4, 4])
    """
    apart = _test_patients(patients, spec)
    rest = [p for p in patients if p.name not in apart]
    if apart:
        made = _validations(rest, spec)
        tested = tuple(sorted(apart))
        folds = tuple(Fold(train=f.train, validation=f.test, test=tested) for f in made.folds)
        return FoldPlan(
            folds,
            "held-out test",
            f"{len(tested)} patients held out for the test; of the others, {made.method} stop "
            "the training",
            _apart(patients, apart),
        )
    outer = _split(rest, spec, spec.folds)
    folds = tuple(_hold_back(fold, rest, spec, number) for number, fold in enumerate(outer))
    share = f"{100 * spec.validation_share:g} % of each fold's training patients stop the training"
    return FoldPlan(folds, "cross-validation", f"{outer.method}; {share}", spec.folds_by == "site")


def _apart(patients: Sequence[Patient], tested: set[str]) -> bool:
    """Whether every site is known and none has patients on both sides."""
    sites = [{p.site for p in patients if (p.name in tested) == side} for side in (True, False)]
    return None not in sites[0] | sites[1] and not sites[0] & sites[1]


@dataclass(frozen=True)
class _Made:
    folds: tuple[Fold, ...]
    method: str


def _validations(rest: list[Patient], spec: MilSpec) -> _Made:
    if spec.folds == 1:
        names, labels = [p.name for p in rest], [p.label for p in rest]
        one = held_out(names, labels, test_share=spec.validation_share, seed=spec.seed)
        return _Made((one,), f"{len(one.test)} patients")
    made = _split(rest, spec, spec.folds)
    return _Made(made.folds, made.method)


def _test_patients(patients: Sequence[Patient], spec: MilSpec) -> set[str]:
    told = {p.name for p in patients if p.split == "test"}
    if told and spec.test_share is not None:
        raise InputError(
            f"the label table already sets {len(told)} test patients apart",
            hint="leave --test-share out",
        )
    if told and len(told) == len({p.name for p in patients}):
        raise InputError(
            "every patient is on the test side, none is left to train on",
            hint="predict them with herscope mil predict --labels",
        )
    if spec.test_share is None:
        return told
    if spec.folds_by == "site":
        raise InputError(
            "--test-share draws patients, and --folds-by site asks for whole sites",
            hint="write the sites to be tested into a column split (train, test), or take "
            "cross-validation by site",
        )
    names, labels = [p.name for p in patients], [p.label for p in patients]
    return set(held_out(names, labels, test_share=spec.test_share, seed=spec.seed).test)


def _split(patients: Sequence[Patient], spec: MilSpec, k: int) -> Folds:
    names, labels = [p.name for p in patients], [p.label for p in patients]
    if k < 2:
        raise InputError(
            "one fold cannot test every patient once",
            hint="take two or more --folds, or set test patients apart (--test-share 0.3)",
        )
    if spec.folds_by == "patient":
        return stratified_folds(names, labels, k=k, seed=spec.seed)
    without = [p.name for p in patients if p.site is None]
    if without:
        raise InputError(
            f"folds by site were asked for, and {len(without)} patients have no site "
            f"(first {without[0]})",
            hint="name the column with --site-column, or take --folds-by patient",
        )
    return site_folds(names, labels, [p.site for p in patients], k=k, seed=spec.seed).folds


def _labels(patients: Sequence[Patient]) -> list[str]:
    return sorted({p.label for p in patients})


def _hold_back(fold: Fold, patients: Sequence[Patient], spec: MilSpec, number: int) -> Fold:
    inside = set(fold.train)
    mine = [p for p in patients if p.name in inside]
    left = {label: len({p.name for p in mine if p.label == label}) for label in _labels(patients)}
    few = min(left, key=lambda label: left[label])
    if left[few] < 2:
        raise InputError(
            f"fold {number + 1} leaves {left[few]} patient(s) of class {few!r} to train on and to "
            "stop the training on, where two are needed",
            hint="make more folds, label more patients, or join the class with its neighbour",
        )
    inner = held_out(
        [p.name for p in mine],
        [p.label for p in mine],
        test_share=spec.validation_share,
        seed=spec.seed + 1 + number,
    )
    return Fold(train=inner.train, validation=inner.test, test=fold.test)
