"""Folds that keep each site (hospital, tissue source) whole and still balance the classes.

Slides of one site share scanner, stain and fixation, and a network recognises the site; when a site
is on both sides of a split, it is rewarded for that (Howard et al., Nat Commun 2021;12:4423). They
chose which sites go together with a commercial quadratic solver. The objective is the same here:
the sum over classes and folds of (k * patients - patients of the class)^2, which is 0 when every
fold has its share of every class; ours is in whole numbers, so ties are ties.

With few sites all assignments are searched (branch and bound over sites from the largest, folds
interchangeable) and the result is optimal. With many, starts are built greedily (largest site to
the fold where it does least harm) and improved by moving a site or exchanging two until nothing
helps; the best of several starts is kept, the first from the sorted sites, the others shuffled.
Either way the imbalance that was reached is in the result: one site with half of all patients
cannot be balanced by anybody.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from herscope.core.errors import InputError, LeakyFolds
from herscope.stats.agreement.categories import clean_labels
from herscope.stats.arguments import same_length
from herscope.stats.case_bootstrap import SEED
from herscope.stats.classification.cases import Ints
from herscope.stats.classification.folds import Folds, classes_of_patients, folds_from_assignment

EXACT_ASSIGNMENTS: Final = 300_000
"""Searched completely up to so many assignments of sites to folds (about a second)."""

STARTS: Final = 16
"""Starts of the local search beyond that; on small cases 16 always found the optimum."""


@dataclass(frozen=True)
class SiteFolds:
    """Folds with whole sites, and how unbalanced they had to be.

    ``counts`` has (fold, class) test patients in the order of ``classes``; ``imbalance`` is the
    root mean square, over folds and classes, of the distance to the even share, in patients.
    """

    folds: Folds
    sites: tuple[tuple[str, ...], ...]
    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    imbalance: float
    worst: str
    optimal: bool

    def __str__(self) -> str:
        lines = [
            f"fold {i}: {len(sites)} site(s), "
            + ", ".join(f"{n} of {c}" for n, c in zip(row, self.classes, strict=True))
            for i, (sites, row) in enumerate(zip(self.sites, self.counts, strict=True), 1)
        ]
        best = "the least possible" if self.optimal else "the least that was found"
        lines.append(f"imbalance {self.imbalance:.2f} patients ({best}); {self.worst}")
        return "\n".join(lines)


def site_folds(
    patients: Iterable[Any],
    labels: Iterable[Any],
    sites: Iterable[Any],
    *,
    k: int = 3,
    seed: int = SEED,
) -> SiteFolds:
    """Split patients into k folds that never part a site.

    Parameters
    ----------
    patients, labels, sites
        (slides,) patient, class and site of each slide. A patient with several classes counts in
        each of them.
    k
        Folds, 2 or more, at most the number of sites.
    seed
        Seed of the shuffled starts.

    Returns
    -------
    SiteFolds
        The same for any order of the rows.

    Raises
    ------
    InputError
        For a missing value (the row is named), different lengths, or fewer sites than folds.
    LeakyFolds
        When a patient has slides from two sites: no split keeps both whole.

    Examples
    --------
    >>> found = site_folds(list("abcdef"), [0, 1, 0, 1, 0, 1], list("XXYYZZ"), k=3)
    >>> found.imbalance, found.optimal
    (0.0, True)
    """
    kinds = classes_of_patients(patients := list(patients), labels)
    place = _site_of(patients, sites)
    names = sorted(set(place.values()))
    if k < 2:
        raise InputError(f"{k} fold(s)", hint="cross-validation needs two or more")
    if len(names) < k:
        raise InputError(
            f"{len(names)} site(s) cannot be kept whole in {k} folds",
            hint="make fewer folds, or use stratified_folds and say so",
        )
    classes = sorted({kind for held in kinds.values() for kind in held})
    table = np.zeros((len(names), len(classes)), np.int64)
    for patient, held in kinds.items():
        for kind in held:
            table[names.index(place[patient]), classes.index(kind)] += 1
    exact = _assignments(len(names), k) <= EXACT_ASSIGNMENTS
    chosen = _exact(table, k) if exact else _search(table, k, seed)
    fold = dict(zip(names, chosen.tolist(), strict=True))
    counts = _fold_counts(table, chosen, k)
    off = counts - table.sum(axis=0) / k
    worst = np.unravel_index(int(np.argmax(np.abs(off))), off.shape)
    how = "all assignments searched" if exact else f"local search from {STARTS} starts"
    return SiteFolds(
        folds=folds_from_assignment(
            {p: fold[site] for p, site in place.items()},
            k,
            f"{k} folds of {len(names)} whole sites balanced by class (Howard 2021), {how}, "
            f"seed {seed}",
        ),
        sites=tuple(tuple(s for s in names if fold[s] == i) for i in range(k)),
        classes=tuple(classes),
        counts=tuple(tuple(row) for row in counts.tolist()),
        imbalance=float(np.sqrt((off**2).mean())),
        worst=f"furthest from even: fold {worst[0] + 1} tests {counts[worst]} of class "
        f"{classes[worst[1]]}, even would be {table.sum(axis=0)[worst[1]] / k:.1f}",
        optimal=exact or not off.any(),
    )


def imbalance_of(table: Ints, chosen: Ints, k: int) -> int:
    """Return the objective: the sum over folds and classes of (k n - total)^2.

    Examples
    --------
    >>> imbalance_of(np.array([[2, 0], [1, 1]]), np.array([0, 1]), 2)
    4
    """
    off = k * _fold_counts(table, chosen, k) - table.sum(axis=0)
    return int((off * off).sum())


def _site_of(patients: Iterable[Any], sites: Iterable[Any]) -> Mapping[str, str]:
    ids, where = clean_labels(list(patients), "patient"), clean_labels(list(sites), "site")
    same_length(patient=ids, site=where)
    place: dict[str, str] = {}
    for row, (patient, site) in enumerate(zip(ids, where, strict=True), 1):
        if place.setdefault(patient, site) != site:
            raise LeakyFolds(
                f"row {row}: patient {patient!r} is of site {site} and of site {place[patient]}",
                hint="name one site per patient, or join the two sites",
            )
    return place


def _fold_counts(table: Ints, chosen: Ints, k: int) -> Ints:
    counts = np.zeros((k, table.shape[1]), np.int64)
    np.add.at(counts, chosen, table)
    return counts


def _assignments(n_sites: int, k: int) -> int:
    """Ways to put sites into k interchangeable folds, none empty (Stirling, second kind)."""
    row = [1] + [0] * k
    for _ in range(n_sites):
        row = [0] + [j * row[j] + row[j - 1] for j in range(1, k + 1)]
    return row[k]


def _largest_first(table: Ints) -> list[int]:
    return sorted(range(len(table)), key=lambda i: (-int(table[i].sum()), i))


def _exact(table: Ints, k: int) -> Ints:
    """Depth first over sites; a fold is opened only after the one before it."""
    order = _largest_first(table)
    total = [int(n) for n in table.sum(axis=0)]
    rows = [[int(n) for n in table[i]] for i in order]
    loads = [[0] * len(total) for _ in range(k)]
    best: tuple[int, list[int]] = (-1, [])
    chosen = [0] * len(rows)

    def cost() -> int:
        return sum((k * n - t) ** 2 for load in loads for n, t in zip(load, total, strict=True))

    def floor() -> int:
        # Loads only grow: what is already above its share stays above it.
        return sum(
            max(0, k * n - t) ** 2 for load in loads for n, t in zip(load, total, strict=True)
        )

    def descend(depth: int, opened: int) -> None:
        nonlocal best
        if depth == len(rows):
            reached = cost()
            if best[0] < 0 or reached < best[0]:
                best = (reached, chosen.copy())
            return
        # Enough sites must remain to open the folds that are still empty.
        must_open = len(rows) - depth == k - opened
        first = opened if must_open else 0
        for fold in range(first, min(opened + 1, k)):
            for j, n in enumerate(rows[depth]):
                loads[fold][j] += n
            if best[0] < 0 or floor() < best[0]:
                chosen[depth] = fold
                descend(depth + 1, max(opened, fold + 1))
            for j, n in enumerate(rows[depth]):
                loads[fold][j] -= n

    descend(0, 0)
    out = np.zeros(len(rows), np.int64)
    out[order] = best[1]
    return out


def _search(table: Ints, k: int, seed: int) -> Ints:
    generator = np.random.Generator(np.random.PCG64(seed))
    best: tuple[int, Ints] | None = None
    for start in range(STARTS):
        order = _largest_first(table)
        if start:
            order = generator.permutation(len(table)).tolist()
        found = _improve(table, _greedy(table, order, k), k)
        cost = imbalance_of(table, found, k)
        if best is None or cost < best[0]:
            best = (cost, found)
    assert best is not None
    return best[1]


def _greedy(table: Ints, order: list[int], k: int) -> Ints:
    loads = np.zeros((k, table.shape[1]), np.int64)
    total = table.sum(axis=0)
    chosen = np.zeros(len(table), np.int64)
    for rank, site in enumerate(order):
        # The first k sites open the folds; afterwards the least harm, the first fold of equals.
        harm = ((k * (loads + table[site]) - total) ** 2 - (k * loads - total) ** 2).sum(axis=1)
        fold = rank if rank < k else int(np.argmin(harm))
        loads[fold] += table[site]
        chosen[site] = fold
    return chosen


def _improve(table: Ints, chosen: Ints, k: int) -> Ints:
    """Take the best move of one site or exchange of two until none helps."""
    chosen = chosen.copy()
    total = table.sum(axis=0)
    sites = np.arange(len(table))
    while True:
        off = k * _fold_counts(table, chosen, k) - total  # (fold, class)
        step = k * table  # (site, class)
        here = off[chosen]
        # Cost of taking site s out of its fold, and of putting it into fold f.
        out = ((here - step) ** 2 - here**2).sum(axis=1)
        into = ((off[None] + step[:, None]) ** 2 - off[None] ** 2).sum(axis=2)
        move = out[:, None] + into
        move[sites, chosen] = 0
        move[np.bincount(chosen, minlength=k)[chosen] == 1] = 0  # no fold may become empty
        change = step[None, :] - step[:, None]  # [s, t]: what s's fold gains when t comes for s
        one = ((here[:, None] + change) ** 2 - here[:, None] ** 2).sum(axis=2)
        swap = one + one.T
        swap[chosen[:, None] == chosen[None, :]] = 0
        if min(int(move.min()), int(swap.min())) >= 0:
            return chosen
        if int(move.min()) <= int(swap.min()):
            site, fold = np.unravel_index(int(np.argmin(move)), move.shape)
            chosen[site] = fold
        else:
            s, t = np.unravel_index(int(np.argmin(swap)), swap.shape)
            chosen[s], chosen[t] = chosen[t], chosen[s]
