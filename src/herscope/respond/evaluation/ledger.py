"""What could not be computed, and why: figures that are null never stand without a reason.

A statistic that the data do not determine raises an error with a sentence for people. Here it
becomes None, and the sentence is kept under the figure's place in the document, such as
``auc.delong``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from herscope.core.errors import HerscopeError

T = TypeVar("T")


class Documented(Protocol):
    """Anything that can be written as JSON."""

    def document(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""


class Ledger:
    """Collects the reasons of figures that are undefined.

    Attributes
    ----------
    reasons
        Place of a figure to the reason.

    Examples
    --------
    >>> from herscope.stats.classification.delong import auc
    >>> ledger = Ledger()
    >>> ledger.told("auc", lambda: auc([1, 1], [0.2, 0.4])) is None
    True
    >>> ledger.reasons["auc"]
    'no negative case among 2: an AUC needs both'
    """

    def __init__(self) -> None:
        self.reasons: dict[str, str] = {}

    def made(self, place: str, compute: Callable[[], T]) -> T | None:
        """Compute, or note why it cannot be and return None."""
        try:
            return compute()
        except HerscopeError as error:
            self.reasons[place] = error.message
            return None

    def told(self, place: str, compute: Callable[[], Documented]) -> dict[str, Any] | None:
        """Compute and return the document, or note why it cannot be and return None."""
        found = self.made(place, compute)
        return None if found is None else found.document()

    def without(self, place: str, why: str) -> None:
        """Note why a figure is not there."""
        self.reasons[place] = why
