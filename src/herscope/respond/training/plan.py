"""Who trains, who stops the training, who is tested: the same folds as the clinical baselines'.

*Repeated cross-validation*: every patient is tested once a repeat. *Held-out test* (the paper's
design): a side of patients is set apart by the cohort's split column or by a share; the others are
divided into folds, each of which stops the training of one member.

Patients without a response label (censored early) train for survival, and are tested for survival:
groups compared by the labelled alone would be of those who were not lost early. They are spread
over the same folds, whole sites staying together where folds are by site.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from herscope.core.errors import InputError
from herscope.respond.training.spec import RespondSpec
from herscope.stats.classification.folds import Folds, held_out, stratified_folds
from herscope.stats.classification.site_folds import site_folds

Evaluation = Literal["repeated cross-validation", "held-out test"]
APART = 100_003
"""Keeps the seeds of the validation sides apart from those of the folds."""


@dataclass(frozen=True)
class Who:
    """A patient as the plan sees one; label 1, 0 or -1 without."""

    name: str
    label: int
    site: str | None = None
    split: str | None = None


@dataclass(frozen=True)
class Part:
    """One fold of one repeat, in places of the cohort."""

    repeat: int
    fold: int
    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """All folds of all repeats.

    Attributes
    ----------
    parts
        In order of repeat and fold.
    folds
        Of each repeat, over the labelled patients, for other models to use; empty for a held-out
        test.
    evaluation, method
        What it is, and how it was made, in words.
    """

    parts: tuple[Part, ...]
    folds: tuple[Folds, ...]
    evaluation: Evaluation
    method: str

    @property
    def tested(self) -> tuple[int, ...]:
        """Places of the patients that are tested."""
        return tuple(sorted({place for part in self.parts for place in part.test}))


def plan_folds(who: Sequence[Who], spec: RespondSpec) -> Plan:
    """Divide patients.

    Parameters
    ----------
    who
        All patients of a cohort.
    spec
        Folds, repeats, what is kept whole, shares, seed.

    Raises
    ------
    InputError
        Too few patients of a class; folds by site without sites; a split without training or test.

    Examples
    --------
    >>> plan = plan_folds([Who(f"p{i}", i % 2) for i in range(40)], RespondSpec(repeats=2))
    >>> len(plan.parts), len(plan.parts[0].test), len(plan.parts[0].validation)
    (10, 8, 6)
    """
    told = [i for i, one in enumerate(who) if one.label >= 0]
    if not told:
        raise InputError(
            f"none of the {len(who)} patients has a response label",
            hint="name recist, or pfs_time and pfs_event, under [outcome]; herscope respond cohort "
            "says why a patient has none",
        )
    if spec.test_share is not None and spec.folds_by == "site":
        raise InputError(
            "--test-share draws patients, and --folds-by site asks for whole sites",
            hint="write the sites to be tested into a column split (train, test), or take "
            "cross-validation by site",
        )
    _enough(who, told, spec, "the cohort has")
    apart = _test_side(who, told, spec)
    _both_sides(who, told, apart, spec)
    return _held_out(who, told, apart, spec) if apart else _crossed(who, told, spec)


def _enough(who: Sequence[Who], places: Sequence[int], spec: RespondSpec, where: str) -> None:
    """Refuse fewer patients of a class than folds, each of which needs one, and one beside them."""
    for label, word in ((1, "a response"), (0, "no response")):
        count = sum(who[i].label == label for i in places)
        if count <= spec.folds:
            fewer = "take fewer --folds, or " if spec.folds > 2 and count > 2 else ""
            raise InputError(
                f"{where} {count} patients with {word}: the {spec.folds} folds that stop or test "
                f"a training need at least {spec.folds + 1}",
                hint=f"{fewer}label more patients; herscope respond cohort says who has which "
                "label and why",
            )


def _test_side(who: Sequence[Who], told: Sequence[int], spec: RespondSpec) -> set[int]:
    named = {i for i in told if who[i].split == "test"}
    if not named and any(one.split == "test" for one in who):
        raise InputError(
            "no patient of the test side has a response label",
            hint="move labelled patients to it, or leave the split column out",
        )
    if named and spec.test_share is not None:
        raise InputError(
            f"the cohort's split column already sets {len(named)} patients apart",
            hint="leave --test-share out",
        )
    if spec.test_share is None or not told:
        return named
    one = held_out(
        [who[i].name for i in told], [who[i].label for i in told],
        test_share=spec.test_share, seed=spec.seed,
    )  # fmt: skip
    return {i for i in told if who[i].name in set(one.test)}


def _both_sides(
    who: Sequence[Who], told: Sequence[int], apart: set[int], spec: RespondSpec
) -> None:
    """Refuse a test side, or what it leaves, on which nothing could be measured."""
    for label, word in ((1, "a response"), (0, "no response")) if apart else ():
        tested = sum(who[i].label == label for i in apart)
        if not tested:
            raise InputError(
                f"none of the {len(apart)} patients of the test side has {word}: an AUC needs both",
                hint="move patients to the test side, or leave the split column out for "
                "cross-validation",
            )
    if apart:
        left = [i for i in told if i not in apart]
        _enough(who, left, spec, "beside the test side there are")


def _crossed(who: Sequence[Who], told: Sequence[int], spec: RespondSpec) -> Plan:
    repeats = tuple(_divide(who, told, spec, spec.seed + number) for number in range(spec.repeats))
    parts = []
    for repeat, folds in enumerate(repeats, 1):
        rest = _spread(who, folds, spec, spec.seed + repeat)
        for number, fold in enumerate(folds, 1):
            inside, tested = set(fold.train), set(fold.test)
            mine = [i for i in told if who[i].name in inside]
            held = _stopping(who, mine, spec, (repeat, number))
            train = [i for i in mine if i not in held]
            train += [i for i, own in rest.items() if own != number]
            test = [i for i in told if who[i].name in tested]
            test += [i for i, own in rest.items() if own == number]
            sides = (tuple(sorted(side)) for side in (train, held, test))
            parts.append(Part(repeat, number, *sides))
    said = repeats[0].method.partition(", seed")[0]
    method = (
        f"{spec.repeats} times {said}; {100 * spec.validation_share:g} % of each fold's training "
        "patients stop the training, calibrate it and set the cut-off"
    )
    if spec.folds_by == "site" and spec.repeats > 1:
        method += "; the repeats test the same sites together and differ in who stops a training"
    return Plan(tuple(parts), repeats, "repeated cross-validation", method)


def _held_out(who: Sequence[Who], told: Sequence[int], apart: set[int], spec: RespondSpec) -> Plan:
    mine = [i for i in told if i not in apart]
    rest = [i for i, one in enumerate(who) if one.label < 0 and one.split != "test"]
    tested = {*apart, *(i for i, one in enumerate(who) if one.label < 0 and one.split == "test")}
    folds = _divide(who, mine, spec, spec.seed)
    parts = []
    for number, fold in enumerate(folds, 1):
        held = {i for i in mine if who[i].name in set(fold.test)}
        train = tuple(sorted([*(i for i in mine if i not in held), *rest]))
        parts.append(Part(1, number, train, tuple(sorted(held)), tuple(sorted(tested))))
    method = f"{len(apart)} patients held out for the test; of the others, {folds.method} stop"
    return Plan(tuple(parts), (), "held-out test", f"{method} the training")


def _spread(who: Sequence[Who], folds: Folds, spec: RespondSpec, seed: int) -> dict[int, int]:
    """Return the fold, from 1, that tests each patient without a label."""
    rest = [i for i, one in enumerate(who) if one.label < 0]
    if spec.folds_by == "patient":
        order = np.random.Generator(np.random.PCG64(seed)).permutation(len(rest))
        return {rest[at]: turn % len(folds) + 1 for turn, at in enumerate(order.tolist())}
    testing = folds.test_fold()
    of_site = {one.site: testing[one.name] for one in who if one.label >= 0}
    others = sorted({str(who[i].site) for i in rest} - {str(site) for site in of_site})
    turns = {site: turn % len(folds) + 1 for turn, site in enumerate(others)}
    return {i: of_site.get(who[i].site) or turns[str(who[i].site)] for i in rest}


def _divide(who: Sequence[Who], places: Sequence[int], spec: RespondSpec, seed: int) -> Folds:
    names, labels = [who[i].name for i in places], [who[i].label for i in places]
    if spec.folds_by == "patient":
        return stratified_folds(names, labels, k=spec.folds, seed=seed)
    without = [who[i].name for i in places if who[i].site is None]
    if without:
        raise InputError(
            f"folds by site were asked for, and {len(without)} patients have no site "
            f"(first {without[0]})",
            hint="name the column in [patient] site, or take --folds-by patient",
        )
    return site_folds(names, labels, [who[i].site for i in places], k=spec.folds, seed=seed).folds


def _stopping(
    who: Sequence[Who], mine: Sequence[int], spec: RespondSpec, place: tuple[int, int]
) -> set[int]:
    """Hold back a share of a fold's training patients, of both classes."""
    repeat, number = place
    one = held_out(
        [who[i].name for i in mine], [who[i].label for i in mine],
        test_share=spec.validation_share, seed=spec.seed + APART * repeat + number,
    )  # fmt: skip
    names = set(one.test)
    return {i for i in mine if who[i].name in names}
