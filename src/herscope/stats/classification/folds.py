"""Folds of patients that cannot leak: no patient is ever trained on and tested on.

A :class:`Fold` holds patient ids, not slides, and refuses to exist when an id stands on both sides;
:class:`Folds` refuses unless every patient is tested exactly once. Slides are looked up by patient
afterwards, so two slides of one patient can never be parted.

Stratified folds deal the patients of each class out in turn after a shuffle, going on where the
last class stopped: each class's patients, and all patients, differ by at most one between folds. A
patient with slides of several classes belongs to the stratum of that combination.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import InputError, LeakyFolds
from herscope.stats.agreement.categories import clean_labels
from herscope.stats.arguments import same_length
from herscope.stats.case_bootstrap import SEED


@dataclass(frozen=True)
class Fold:
    """Patients to train on, to stop on (may be empty) and to test on; disjoint or not at all.

    Examples
    --------
    >>> fold = Fold(train=("p1", "p2"), test=("p3",))
    >>> fold.side("p3")
    'test'
    """

    train: tuple[str, ...]
    test: tuple[str, ...]
    validation: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        seen: dict[str, str] = {}
        for side in ("train", "validation", "test"):
            for patient in getattr(self, side):
                if patient in seen:
                    both = f"in {seen[patient]} and in {side}"
                    twice = f"twice in {side}"
                    raise LeakyFolds(
                        f"patient {patient!r} is {twice if seen[patient] == side else both}",
                        hint="split patients, not slides: stratified_folds or site_folds do so",
                    )
                seen[patient] = side

    def side(self, patient: str) -> str:
        """Return ``train``, ``validation`` or ``test``; an unknown patient is refused."""
        for side in ("train", "validation", "test"):
            if patient in getattr(self, side):
                return side
        raise InputError(f"patient {patient!r} is not in this fold", hint="make the folds again")

    def rows(self, patients: Iterable[Any], side: str) -> NDArray[np.int64]:
        """Return the places of a side's patients in a column: their slides.

        Examples
        --------
        >>> Fold(train=("p1",), test=("p2",)).rows(["p2", "p1", "p2"], "test")
        array([0, 2])
        """
        if side not in {"train", "validation", "test"}:
            raise InputError(f"a fold has no side {side!r}", hint="train, validation or test")
        members = frozenset(getattr(self, side))
        column = clean_labels(list(patients), "patient")
        return np.array([i for i, p in enumerate(column) if p in members], np.int64)


@dataclass(frozen=True)
class Folds:
    """Folds in which every patient is tested exactly once and no patient leaks."""

    folds: tuple[Fold, ...]
    method: str

    def __post_init__(self) -> None:
        if len(self.folds) < 2:
            raise InputError(f"{len(self.folds)} fold(s)", hint="cross-validation needs two")
        everyone = set(self.folds[0].train + self.folds[0].validation + self.folds[0].test)
        tested: set[str] = set()
        for number, fold in enumerate(self.folds, 1):
            twice = tested.intersection(fold.test)
            if twice:
                raise LeakyFolds(
                    f"patient {min(twice)!r} is tested in fold {number} and in an earlier one",
                    hint="each patient must be tested exactly once",
                )
            if set(fold.train + fold.validation + fold.test) != everyone:
                raise LeakyFolds(
                    f"fold {number} holds other patients than fold 1",
                    hint="make all folds from the same patients",
                )
            tested.update(fold.test)
        if tested != everyone:
            raise LeakyFolds(
                f"patient {min(everyone - tested)!r} is never tested",
                hint="each patient must be tested exactly once",
            )

    def __iter__(self) -> Iterator[Fold]:
        return iter(self.folds)

    def __len__(self) -> int:
        return len(self.folds)

    def test_fold(self) -> dict[str, int]:
        """Return the fold, from 1, that tests each patient."""
        return {p: number for number, fold in enumerate(self.folds, 1) for p in fold.test}


def folds_from_assignment(test_fold: Mapping[str, int], k: int, method: str) -> Folds:
    """Build folds from the number, from 0 to k - 1, of the fold that tests each patient."""
    order = sorted(test_fold)
    return Folds(
        tuple(
            Fold(
                train=tuple(p for p in order if test_fold[p] != number),
                test=tuple(p for p in order if test_fold[p] == number),
            )
            for number in range(k)
        ),
        method,
    )


def stratified_folds(
    patients: Iterable[Any], labels: Iterable[Any], *, k: int = 5, seed: int = SEED
) -> Folds:
    """Split patients into k folds with the classes spread evenly.

    Parameters
    ----------
    patients, labels
        (slides,) patient and class of each slide; a patient may have several.
    k
        Folds, 2 or more, at most the patients of the rarest class.
    seed
        Seed of the shuffle.

    Returns
    -------
    Folds
        The same for any order of the rows.

    Raises
    ------
    InputError
        For a missing id or label (the row is named), different lengths, or a class with fewer
        patients than folds, which some fold would have to go without.

    Examples
    --------
    >>> folds = stratified_folds(["p1", "p1", "p2", "p3", "p4"], [0, 0, 0, 1, 1], k=2)
    >>> sorted(p for fold in folds for p in fold.test)
    ['p1', 'p2', 'p3', 'p4']
    """
    held = classes_of_patients(patients, labels)
    _enough_patients(held, k)
    generator = np.random.Generator(np.random.PCG64(seed))
    assigned: dict[str, int] = {}
    turn = 0
    for stratum in sorted(set(held.values())):
        members = sorted(p for p, kinds in held.items() if kinds == stratum)
        for place in generator.permutation(len(members)).tolist():
            assigned[members[place]] = turn % k
            turn += 1
    return folds_from_assignment(
        assigned, k, f"{k} folds of {len(held)} patients, stratified by class, seed {seed}"
    )


def held_out(
    patients: Iterable[Any],
    labels: Iterable[Any],
    *,
    test_share: float = 0.3,
    seed: int = SEED,
) -> Fold:
    """Split patients once into train and test with the classes spread evenly.

    Parameters
    ----------
    patients, labels
        As :func:`stratified_folds`.
    test_share
        Share of each class's patients to test on, above 0 and below 1; rounded to whole patients,
        at least one on each side where a class has two.
    seed
        Seed of the shuffle.

    Raises
    ------
    InputError
        As :func:`stratified_folds`, and for a class with a single patient.

    Examples
    --------
    >>> fold = held_out([f"p{i}" for i in range(10)], [0] * 6 + [1] * 4, test_share=0.5)
    >>> len(fold.train), len(fold.test)
    (5, 5)
    """
    if not 0 < test_share < 1:
        raise InputError(f"a test share of {test_share:g}", hint="give a number between 0 and 1")
    held = classes_of_patients(patients, labels)
    _enough_patients(held, 2)
    generator = np.random.Generator(np.random.PCG64(seed))
    train: list[str] = []
    test: list[str] = []
    for stratum in sorted(set(held.values())):
        members = sorted(p for p, kinds in held.items() if kinds == stratum)
        shuffled = [members[i] for i in generator.permutation(len(members)).tolist()]
        n_test = int(np.floor(test_share * len(members) + 0.5))
        if len(members) > 1:
            n_test = min(max(n_test, 1), len(members) - 1)
        test += shuffled[:n_test]
        train += shuffled[n_test:]
    return Fold(train=tuple(sorted(train)), test=tuple(sorted(test)))


def classes_of_patients(
    patients: Iterable[Any], labels: Iterable[Any]
) -> dict[str, tuple[str, ...]]:
    """Return the classes each patient has, sorted: usually one.

    Examples
    --------
    >>> classes_of_patients(["p1", "p2", "p1"], ["2+", "0", "3+"])
    {'p1': ('2+', '3+'), 'p2': ('0',)}
    """
    ids, kinds = clean_labels(list(patients), "patient"), clean_labels(list(labels), "label")
    same_length(patient=ids, label=kinds)
    held: dict[str, set[str]] = {}
    for patient, kind in zip(ids, kinds, strict=True):
        held.setdefault(patient, set()).add(kind)
    return {patient: tuple(sorted(held[patient])) for patient in sorted(held)}


def check_patients_apart(patients: Sequence[str], folds: Sequence[str]) -> None:
    """Refuse a table in which a patient is tested in two folds.

    Raises
    ------
    LeakyFolds
        Naming the patient and both folds.

    Examples
    --------
    >>> check_patients_apart(["p1", "p1", "p2"], ["1", "1", "2"])
    """
    where: dict[str, str] = {}
    for patient, fold in zip(patients, folds, strict=True):
        if where.setdefault(patient, fold) != fold:
            raise LeakyFolds(
                f"patient {patient!r} is in the test sets of folds {where[patient]} and {fold}",
                hint="make the folds by patient, and fit the models again",
            )


def _enough_patients(held: Mapping[str, tuple[str, ...]], k: int) -> None:
    if k < 2:
        raise InputError(f"{k} fold(s)", hint="cross-validation needs two or more")
    count: dict[str, int] = {}
    for kinds in held.values():
        for kind in kinds:
            count[kind] = count.get(kind, 0) + 1
    few = min(count, key=lambda kind: (count[kind], kind), default="")
    if count.get(few, 0) < k:
        raise InputError(
            f"class {few!r} has {count.get(few, 0)} patient(s), {k} folds need at least {k}",
            hint="make fewer folds, or join the class with its neighbour",
        )
