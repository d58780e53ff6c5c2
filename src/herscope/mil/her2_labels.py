"""What people write for a HER2 result, and what it is in each task.

The tasks, after ASCO/CAP 2018 (affirmed 2023) and the HER2-low definition of Modi et al. (N Engl J
Med 2022;387:9):

=================  ================================================================================
``her2-four``      0, 1+, 2+, 3+ as scored by IHC
``her2-positive``  positive: 3+, or 2+ with ISH positive; negative: 0, 1+, or 2+ with ISH negative
``her2-low-vs-0``  0 against low: 1+, or 2+ with ISH negative; HER2-positive tumours are left out
=================  ================================================================================

2+ without a decided ISH belongs to no class of the last two tasks and is left out. Scores of 0, 1+
and 3+ need no ISH; where there is one that disagrees (amplified at 0 or 1+, not amplified at 3+)
IHC stands, and the contradiction is counted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from herscope.mil.label_table import HER2_ORDER

Her2Task = Literal["her2-four", "her2-positive", "her2-low-vs-0"]
Task = Literal["classes", "her2-four", "her2-positive", "her2-low-vs-0"]
HER2_TASKS: Final[tuple[Her2Task, ...]] = ("her2-four", "her2-positive", "her2-low-vs-0")
TASKS: Final = ("classes", *HER2_TASKS)

Ihc = Literal["0", "1+", "2+", "3+", "negative", "positive", "equivocal", "low"]
"""A score, or a status where the table has no score."""
Ish = Literal["positive", "negative"]

_SCORES: Final[tuple[Ihc, ...]] = ("0", "1+", "2+", "3+")
_LEAD: Final = re.compile(r"^(?:(?:her-?2(?:/neu)?|erbb2|ihc|score|status|grade)[\s:=_-]*)+")
_SCORE: Final = re.compile(r"^\+?([0-3])(?:\.0)?(\+?)$")
_BOTH: Final = re.compile(r"^(.+?)[\s,;/(-]*\b(?:(?:fish|cish|sish|ish)\b)[\s:=_]*(.*?)\)?$")
_IHC_WORDS: Final[dict[str, Ihc]] = {
    "neg": "negative",
    "negative": "negative",
    "pos": "positive",
    "positive": "positive",
    "equivocal": "equivocal",
    "borderline": "equivocal",
    "++": "2+",
    "+++": "3+",
    "low": "low",
    "ultralow": "0",
    "ultra-low": "0",
    "null": "0",
}
_ISH_WORDS: Final[dict[str, Ish]] = {
    "amplified": "positive",
    "amp": "positive",
    "positive": "positive",
    "pos": "positive",
    "yes": "positive",
    "+": "positive",
    "1": "positive",
    "not amplified": "negative",
    "non-amplified": "negative",
    "nonamplified": "negative",
    "non amplified": "negative",
    "unamplified": "negative",
    "not amp": "negative",
    "negative": "negative",
    "neg": "negative",
    "no": "negative",
    "-": "negative",
    "0": "negative",
}
ISH_UNDECIDED: Final = frozenset(
    {"equivocal", "borderline", "indeterminate", "inconclusive", "not performed", "not done"}
    | {"not evaluated", "not available", "not tested", "unknown", "pending", "nd", "failed"}
    | {"none", "?"}
)
"""Words that say there is no decided ISH result."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a cell says: IHC, and ISH when the same cell tells it."""

    ihc: Ihc
    ish: Ish | None = None


def read_ihc(text: str) -> Reading | None:
    """Read a HER2 result as people write it; None when it cannot be read.

    Examples
    --------
    >>> [read_ihc(t).ihc for t in ("0", "IHC 3+", "Score 0", "2 +", "1", "Equivocal", "neg")]
    ['0', '3+', '0', '2+', '1+', 'equivocal', 'negative']
    >>> read_ihc("2+ / FISH not amplified")
    Reading(ihc='2+', ish='negative')
    >>> read_ihc("1+/2+") is None
    True
    """
    plain = " ".join(text.lower().replace("\u2212", "-").split())
    both = _BOTH.match(plain)
    if both is not None:
        first, (known, ish) = _ihc(both[1]), read_ish(both[2])
        return Reading(first, ish) if first is not None and known else None
    ihc = _ihc(plain)
    return None if ihc is None else Reading(ihc)


def read_ish(text: str) -> tuple[bool, Ish | None]:
    """Read an ISH result: whether it can be read, and what it says (None: undecided).

    Examples
    --------
    >>> read_ish("Amplified"), read_ish("not amplified"), read_ish("Equivocal"), read_ish("blue")
    ((True, 'positive'), (True, 'negative'), (True, None), (False, None))
    """
    word = " ".join(text.lower().replace("\u2212", "-").split())
    word = re.sub(r"^(?:fish|cish|sish|ish)\b[\s:=_]*", "", word)
    if word in _ISH_WORDS:
        return True, _ISH_WORDS[word]
    return word in ISH_UNDECIDED, None


def her2_class(task: Her2Task, ihc: Ihc, ish: Ish | None) -> tuple[str | None, str]:
    """Return the class of a result in a task, or None and why it has none.

    Parameters
    ----------
    task
        One of :data:`HER2_TASKS`.
    ihc, ish
        The results; ``ish`` None is undecided or absent.

    Examples
    --------
    >>> her2_class("her2-positive", "2+", "negative"), her2_class("her2-low-vs-0", "2+", None)
    (('negative', ''), (None, 'IHC 2+ without a decided ISH'))
    """
    if task == "her2-four":
        return (ihc, "") if ihc in HER2_ORDER else (None, f"IHC {ihc}: a status, not a score")
    if ihc in {"2+", "equivocal"}:
        if ish is None:
            return None, f"IHC {ihc} without a decided ISH"
        status: str = ish
    else:
        status = "positive" if ihc in {"3+", "positive"} else "negative"
    if task == "her2-positive":
        return status, ""
    if status == "positive":
        return None, "HER2-positive, neither low nor 0"
    if ihc in {"negative", "equivocal"}:
        return None, f"IHC {ihc}: neither 0 nor low without a score"
    return ("0", "") if ihc == "0" else ("low", "")


def disagree(ihc: Ihc, ish: Ish | None) -> bool:
    """Whether ISH contradicts a score that needs none.

    >>> disagree("3+", "negative"), disagree("2+", "positive")
    (True, False)
    """
    if ish is None or ihc in {"2+", "equivocal"}:
        return False
    return (ish == "positive") != (ihc in {"3+", "positive"})


def _ihc(plain: str) -> Ihc | None:
    word = _LEAD.sub("", plain).strip()
    # TCGA, spreadsheets and people: "2 +", "+2", "2.0".
    score = _SCORE.match(word.replace(" ", ""))
    if score is not None:
        return _SCORES[int(score[1])]
    return _IHC_WORDS.get(word)
