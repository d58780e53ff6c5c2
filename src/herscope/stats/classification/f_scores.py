"""F1 scores of a confusion table: per class, micro, macro, weighted.

F1 of a class is 2 TP / (2 TP + FP + FN), the harmonic mean of PPV and sensitivity (van Rijsbergen,
Information Retrieval, 1979). Averages over classes: *micro* adds the counts first, *macro* is the
plain mean, *weighted* the mean by true cases. When every case has one true and one predicted class,
each false positive of one class is a false negative of another, so micro F1 equals the accuracy; it
says nothing more (the F1 of published HER2 tables is often this one).

A class that occurs neither in the truth nor in the prediction has no F1 and is left out of the
macro mean, counted; the same rule as scikit-learn's. The intervals of macro and weighted F1
come from redrawing the table (multinomial bootstrap, expanded percentiles): no closed form holds
for few cases.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from herscope.core.errors import UndefinedStatistic
from herscope.stats.arguments import Floats
from herscope.stats.bootstrap import checked_level, expanded_tail
from herscope.stats.case_bootstrap import N_RESAMPLES, SEED
from herscope.stats.classification.cases import Ints
from herscope.stats.classification.confusion import ConfusionTable, proportion
from herscope.stats.estimate import Estimate


@dataclass(frozen=True)
class F1Scores:
    """F1 of each class (None where undefined) and the three averages.

    ``micro`` equals the accuracy; see the module's text.
    """

    per_class: dict[str, float | None]
    micro: Estimate
    macro: Estimate
    weighted: Estimate

    def __str__(self) -> str:
        return f"F1 micro {self.micro}; macro {self.macro}; weighted {self.weighted}"


def f1_scores(
    table: ConfusionTable,
    *,
    level: float = 0.95,
    n_resamples: int = N_RESAMPLES,
    seed: int = SEED,
) -> F1Scores:
    """Compute every F1 of a confusion table.

    Parameters
    ----------
    table
        Cases by true and predicted class.
    level, n_resamples, seed
        Two-sided confidence level; resamples of the table and their seed.

    Raises
    ------
    UndefinedStatistic
        Without cases.

    Examples
    --------
    >>> scores = f1_scores(ConfusionTable(("a", "b"), ((3, 1), (2, 4))))
    >>> scores.micro.value, round(scores.macro.value, 4)
    (0.7, 0.697)
    """
    checked_level(level)
    if table.n == 0:
        raise UndefinedStatistic("F1 of no cases is undefined", hint="pool more cases")
    words = (
        f"expanded percentile bootstrap of the table, {n_resamples} resamples, cases independent"
    )
    drawn = _redrawn(table.array(), n_resamples, seed)
    micro = proportion(
        table.correct, table.n, "micro F1, equal to the accuracy, correct / all", level=level
    )
    return f1_from_tables(table, drawn, micro=micro, units=table.n, words=words)


def f1_from_tables(
    table: ConfusionTable, drawn: Ints, *, micro: Estimate, units: int, words: str
) -> F1Scores:
    """Compute every F1 with intervals from redrawn tables.

    Parameters
    ----------
    table
        Cases by true and predicted class.
    drawn
        (resamples, truth, prediction) counts, of cases or of whole patients.
    micro
        The micro F1, which is the accuracy, with its own interval and level.
    units
        What was drawn: cases or patients.
    words
        How it was drawn, for ``method``.
    """
    level = micro.level
    counts = table.array()
    per_class, resampled = _per_class(counts[None])[0], _per_class(drawn)
    absent = int(np.isnan(per_class).sum())

    def average(what: str, value: float, values: Floats) -> Estimate:
        return _average(what, value, values, table, level, absent, units, words)

    return F1Scores(
        per_class={
            name: None if np.isnan(value) else float(value)
            for name, value in zip(table.classes, per_class, strict=True)
        },
        micro=micro,
        macro=average(
            "macro F1, mean of 2 TP / (2 TP + FP + FN) over classes (van Rijsbergen 1979)",
            float(np.nanmean(per_class)),
            np.nanmean(resampled, axis=1),
        ),
        weighted=average(
            "weighted F1, mean of 2 TP / (2 TP + FP + FN) by true cases (van Rijsbergen 1979)",
            float(np.nansum(per_class * counts.sum(axis=1)) / table.n),
            np.nansum(resampled * drawn.sum(axis=2), axis=1) / drawn.sum(axis=(1, 2)),
        ),
    )


def _per_class(tables: Ints) -> Floats:
    """(tables, truth, prediction) -> (tables, class); NaN where a class does not occur."""
    diagonal = np.diagonal(tables, axis1=1, axis2=2)
    either = tables.sum(axis=1) + tables.sum(axis=2)
    # F1 = 2 TP / (predicted + true cases): an integer over an integer.
    return np.divide(2 * diagonal, either, out=np.full(diagonal.shape, np.nan), where=either > 0)


def _redrawn(counts: Ints, n_resamples: int, seed: int) -> Ints:
    generator = np.random.Generator(np.random.PCG64(seed))
    n = int(counts.sum())
    drawn = generator.multinomial(n, (counts / n).ravel(), size=n_resamples)
    return drawn.reshape(n_resamples, *counts.shape)


def _average(
    what: str,
    value: float,
    resampled: Floats,
    table: ConfusionTable,
    level: float,
    absent: int,
    units: int,
    words: str,
) -> Estimate:
    bounds: tuple[float, float] | None = None
    if units > 1:
        tail = expanded_tail(level, units)
        low, high = np.quantile(resampled, [tail, 1 - tail]).tolist()
        # A table of hits only cannot show what was missed: no width is no certainty.
        bounds = (low, high) if low < high else None
    return Estimate(
        value=value,
        low=bounds[0] if bounds else None,
        high=bounds[1] if bounds else None,
        level=level,
        method=f"{what}; {words if bounds else 'no interval: all resamples are alike'}",
        n=table.n,
        counts={f"true {name}": count for name, count in table.true_counts.items()},
        left_out={"classes that do not occur": absent} if absent else {},
    )
