"""Parts, tokens and their values in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from herscope.core.errors import SchemaError

PART_WORDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "pathology-images": "slides",
        "pathology-radiomics": "radiomics of slides",
        "pathology-report": "pathology report",
        "radiology-images": "CT lesions",
        "radiology-radiomics": "radiomics of CT",
        "radiology-report": "radiology report",
        "patient": "patient data",
    }
)


SPELT: Final = {"her2": "HER2", "tils": "TILs", "lauren": "Lauren", "pdl1": "PD-L1", "ebv": "EBV"}
"""Words of declared names that are not written small."""


@dataclass(frozen=True, slots=True)
class TokenWords:
    """What a token is called and what its numbers stand for.

    Attributes
    ----------
    name
        As declared, such as ``node_status``.
    levels
        Name of each number.
    about
        One line, or nothing.
    """

    name: str
    levels: tuple[str, ...]
    about: str = ""

    @property
    def title(self) -> str:
        """The name as a reader writes it."""
        return " ".join(SPELT.get(word, word) for word in self.name.split("_"))


def numbered(sizes: Sequence[int]) -> tuple[TokenWords, ...]:
    """Name tokens of which nothing is told by their numbers.

    Examples
    --------
    >>> numbered((2,))
    (TokenWords(name='token 1', levels=('level 1', 'level 2'), about=''),)
    """
    return tuple(
        TokenWords(f"token {at + 1}", tuple(f"level {k + 1}" for k in range(size)))
        for at, size in enumerate(sizes)
    )


def checked_words(
    words: Sequence[TokenWords] | None, sizes: Sequence[int], token_set: str
) -> tuple[TokenWords, ...]:
    """Return the words of a set of tokens, or numbers where none are told.

    Raises
    ------
    SchemaError
        Words of other tokens.
    """
    if words is None:
        return numbered(sizes)
    told = tuple(len(one.levels) for one in words)
    if told != tuple(sizes):
        raise SchemaError(
            f"{token_set}: words for tokens of {told}, the patient has {tuple(sizes)}",
            hint="give the declaration the tokens were encoded with",
        )
    return tuple(words)


def value_words(values: ArrayLike, levels: Sequence[str]) -> str:
    """Write the value of a token that is there.

    Examples
    --------
    >>> value_words([0, 1, 1], ["liver", "bone", "lung"]), value_words([0.25, 0.75], ["2+", "3+"])
    ('bone, lung', '2+ 25 %, 3+ 75 %')
    >>> value_words([0, 0], ["liver", "bone"])
    'none'
    """
    numbers = np.asarray(values, np.float64).tolist()
    there = [(name, x) for name, x in zip(levels, numbers, strict=True) if x != 0]
    if not there:
        return "none"
    whole = all(x == 1 for _, x in there)
    return ", ".join(name if whole else f"{name} {100 * x:.0f} %" for name, x in there)


def chance(probability: float) -> str:
    """Write a probability; none is said to be certain.

    Examples
    --------
    >>> chance(0.714), chance(0.9997), chance(0.001)
    ('0.71', 'over 0.99', 'under 0.01')
    """
    if probability > 0.99:
        return "over 0.99"
    return "under 0.01" if probability < 0.01 else f"{probability:.2f}"


def listed(words: Sequence[str]) -> str:
    """Join words as in a sentence.

    Examples
    --------
    >>> listed(["slides"]), listed(["slides", "CT lesions", "patient data"])
    ('slides', 'slides, CT lesions and patient data')
    """
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


def known_words(parts: Sequence[str], without: Sequence[str]) -> str:
    """Say which parts are known, by what is missing where that is shorter.

    Examples
    --------
    >>> known_words(["patient"], ["pathology-images", "radiology-images"])
    'patient data alone'
    >>> known_words(["patient", "pathology-images"], ["radiology-images"])
    'all but CT lesions'
    """
    if not without or not parts:
        return "nothing" if not parts else "everything"
    named = [PART_WORDS.get(part, part) for part in min((without, parts), key=len)]
    return f"all but {listed(named)}" if len(without) <= len(parts) else f"{listed(named)} alone"
