"""How often two readers give the same category: overall against a line, and category by category.

*Overall concordance* is the share of cases with the same label, with Wilson's interval (1927). A
laboratory's line, such as the 90 % concordance the College of American Pathologists asks of a HER2
validation, is *met* by the value and *shown* by the lower bound of the interval.

*Positive and negative agreement* of a category (D. V. Cicchetti and A. R. Feinstein, J Clin
Epidemiol 1990;43:551): ``2 a / (2 a + b + c)`` with a cases both readers put into the category, b
and c one of them. It equals ``2 J / (1 + J)`` with ``J = a / (a + b + c)``, a plain proportion, so
its interval is Wilson's of J carried over by the same formula (we depart from the delta method of
Graham and Bull 1998, which has no width when the readers never differ).

*Percent agreement with a reference* is the share of the reference's cases of a category that the
other reader calls the same (FDA guidance on diagnostic tests, 2007), with Wilson's interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from herscope.core.errors import InputError
from herscope.stats.agreement.categories import Label, PairCounts, count_pairs
from herscope.stats.bootstrap import checked_level, wilson_interval
from herscope.stats.estimate import Estimate

CAP_LINE: Final = 0.90
"""Overall concordance that the CAP asks of a validation of a predictive marker (Fitzgibbons et al,
Arch Pathol Lab Med 2014;138:1432: 90 %)."""


@dataclass(frozen=True, slots=True)
class Concordance:
    """Overall concordance and the line it is held against.

    ``met``: the value reaches the line. ``shown``: the lower bound reaches it, so chance does not
    explain it.
    """

    estimate: Estimate
    line: float

    @property
    def met(self) -> bool:
        """Whether the value reaches the line."""
        return self.estimate.value >= self.line

    @property
    def shown(self) -> bool:
        """Whether the lower bound of the interval reaches the line."""
        return self.estimate.low is not None and self.estimate.low >= self.line

    def __str__(self) -> str:
        verdict = "shown" if self.shown else "met, not shown" if self.met else "not met"
        return f"{self.estimate}; line {self.line:g} {verdict}"

    def document(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        held = {"line": self.line, "line_met": self.met, "line_shown": self.shown}
        return {**self.estimate.document(), **held}


@dataclass(frozen=True, slots=True)
class CategoryAgreement:
    """Agreement about one category; None where no case could show it.

    ``positive``: both readers call it; ``negative``: both do not; ``with_reference``: the share of
    the cases reader B (the reference) put there that reader A put there as well.
    """

    category: str
    positive: Estimate | None
    negative: Estimate | None
    with_reference: Estimate | None

    def document(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        parts = {
            "positive": self.positive,
            "negative": self.negative,
            "with_reference": self.with_reference,
        }
        told = {name: part.document() if part else None for name, part in parts.items()}
        return {"category": self.category, **told}


def overall_concordance(
    a: Sequence[Label], b: Sequence[Label], *, line: float = CAP_LINE, level: float = 0.95
) -> Concordance:
    """Find the share of cases with the same label and hold it against a line.

    Parameters
    ----------
    a, b
        (n,) labels of the same cases in the same order.
    line
        The share asked for, 0 to 1.
    level
        Two-sided confidence level.

    Raises
    ------
    InputError
        Different lengths, missing labels, or a line outside 0 to 1.
    UndefinedStatistic
        No pairs.

    Examples
    --------
    >>> print(overall_concordance(["0"] * 24 + ["1+"] * 4, ["0"] * 28))
    0.857 [0.685, 0.943], n 28; line 0.9 not met
    """
    return concordance_of_counts(count_pairs(a, b), line=line, level=level)


def concordance_of_counts(
    pairs: PairCounts, *, line: float = CAP_LINE, level: float = 0.95
) -> Concordance:
    """Turn counts of pairs into overall concordance; see :func:`overall_concordance`."""
    if not 0 <= line <= 1:
        raise InputError(f"the line is {line:g}", hint="give a share from 0 to 1, such as 0.90")
    method = "share of cases with the same category, Wilson score interval (1927)"
    return Concordance(_proportion(pairs.agreed, pairs.n, level, method), line)


def category_agreement(pairs: PairCounts, *, level: float = 0.95) -> list[CategoryAgreement]:
    """Find positive, negative and reference agreement of every category.

    Parameters
    ----------
    pairs
        From :func:`herscope.stats.agreement.categories.count_pairs`; reader B is the reference.
    level
        Two-sided confidence level.

    Examples
    --------
    >>> from herscope.stats.agreement.categories import counts_of
    >>> row = category_agreement(counts_of([[20, 5], [10, 15]]))[0]
    >>> print(row.positive)
    0.727 [0.580, 0.837], n 35
    """
    checked_level(level)
    rows = []
    for k, name in enumerate(pairs.scale.names):
        both = int(pairs.counts[k, k])
        only_a = int(pairs.counts[k].sum()) - both
        only_b = int(pairs.counts[:, k].sum()) - both
        neither = pairs.n - both - only_a - only_b
        rows.append(
            CategoryAgreement(
                name,
                _specific(both, only_a, only_b, level, "positive"),
                _specific(neither, only_a, only_b, level, "negative"),
                _proportion(
                    both,
                    both + only_b,
                    level,
                    "share of the reference's cases, Wilson score interval (1927)",
                )
                if both + only_b
                else None,
            )
        )
    return rows


def _specific(both: int, only_a: int, only_b: int, level: float, kind: str) -> Estimate | None:
    trials = both + only_a + only_b
    if not trials:
        return None
    low, high = (2 * j / (1 + j) for j in wilson_interval(both, trials, level=level))
    return Estimate(
        2 * both / (both + trials),
        low,
        high,
        level,
        f"{kind} agreement (Cicchetti and Feinstein 1990), Wilson interval carried over",
        trials,
        {"both": both, "only_a": only_a, "only_b": only_b},
    )


def _proportion(part: int, whole: int, level: float, method: str) -> Estimate:
    low, high = wilson_interval(part, whole, level=level)
    return Estimate(part / whole, low, high, level, method, whole, {"agreed": part})
