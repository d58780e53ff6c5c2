"""What every judgement of models on patches shares: figures, intervals, differences, what was seen.

Each patch gives a row of counts. Counts add, figures do not: rows are summed over the patches and a
figure is made of the sums. The interval draws slides or patients (groups) with replacement, and a
difference between two models draws the same groups for both, so that what makes a patch hard for
both cancels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import UndefinedStatistic

Numbers = NDArray[np.float64]
Measure = Callable[[Numbers], Numbers]
"""(..., columns) sums of counts to (...) values, NaN where the counts do not define them."""

FEWEST_GROUPS: Final = 3
"""Fewer slides than this say nothing of the spread between slides."""


def figures(
    rows: Numbers, groups: Sequence[str], measures: Mapping[str, Measure], seed: int
) -> dict[str, dict[str, Any]]:
    """Make each measure of the summed counts, with an interval over groups.

    Parameters
    ----------
    rows
        (patches, columns) counts.
    groups
        Slide or patient of each patch.
    measures
        What to make of a row of counts.
    seed
        Of the bootstrap.

    Returns
    -------
    dict
        ``{name: {"value": float or None, "ci95": [low, high] or None}}``.

    Examples
    --------
    >>> rows = np.array([[8.0, 10.0], [1.0, 10.0]])
    >>> figures(rows, ["a", "b"], {"recall": lambda c: c[..., 0] / c[..., 1]}, 0)
    {'recall': {'value': 0.45, 'ci95': None}}
    """
    counts = by_group(rows, groups)
    return {
        name: {"value": _value(measure(rows.sum(axis=0))), "ci95": _interval(counts, measure, seed)}
        for name, measure in measures.items()
    }


def differences(
    rows: Numbers,
    against: Numbers,
    groups: Sequence[str],
    measures: Mapping[str, Measure],
    seed: int,
) -> dict[str, dict[str, Any]]:
    """Make each measure of one model less that of another on the same patches; see `figures`."""
    columns = rows.shape[1]
    both = np.concatenate([rows, against], axis=1)

    def less(measure: Measure) -> Measure:
        return lambda c: measure(c[..., :columns]) - measure(c[..., columns:])

    return figures(both, groups, {name: less(m) for name, m in measures.items()}, seed)


def by_group(rows: Numbers, groups: Sequence[str]) -> Numbers:
    """Add the rows of each group; (groups, columns) in the order of their names."""
    names = sorted(set(groups))
    counts = np.zeros((len(names), rows.shape[1]))
    for row, group in zip(rows, groups, strict=True):
        counts[names.index(group)] += row
    return counts


def ratio(part: Numbers, whole: Numbers) -> Numbers:
    """Divide; NaN where there is nothing to divide by."""
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1), np.nan)


def seen_patches(model: str | Path, digests: Sequence[str]) -> set[int]:
    """Which patches a model met in training or validation, by the SHA-256 of their pixels.

    Parameters
    ----------
    model
        Its folder; without a ``history.json`` nothing is known, and none counts as seen.
    digests
        Of each patch.
    """
    from herscope.core.store import read_json
    from herscope.nn.model_file import HISTORY_FILE

    file = Path(model) / HISTORY_FILE
    if not file.is_file():
        return set()
    document = read_json(file)
    told = document.get("seen", {}) if isinstance(document, dict) else {}
    known = {digest for side in told.values() for digest in side}
    return {i for i, digest in enumerate(digests) if digest in known}


def seen_note(name: str, seen: int, patches: int) -> str:
    """Say that a model's figures are too good."""
    return (
        f"{name} saw {seen} of these {patches} patches in training or validation: its figures are "
        "too good; --unseen leaves them out"
    )


def _interval(counts: Numbers, measure: Measure, seed: int) -> list[float] | None:
    from herscope.stats.case_bootstrap import bootstrap_interval

    if len(counts) < FEWEST_GROUPS:
        return None
    try:
        bounds = bootstrap_interval(
            len(counts), lambda drawn: measure(counts[drawn].sum(axis=1)), seed=seed
        )
    except UndefinedStatistic:
        return None
    return [bounds.low, bounds.high]


def _value(found: Numbers) -> float | None:
    value = float(found)
    return value if np.isfinite(value) else None
