"""Markers: where in the cell each one stains, and what that means for finding and reading cells.

Data, not code: a marker says which part of the cell is graded, whether its brown helps to find
nuclei, and which guideline reads the percentages.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Final, Literal

from herscope.core.errors import UnknownModel

Target = Literal["nucleus", "membrane", "cytoplasm"]


@dataclass(frozen=True, slots=True)
class Marker:
    """One marker as ``--marker`` names it.

    Parameters
    ----------
    name
        As typed.
    target
        The part of the cell whose optical density is graded.
    reading
        The guideline that reads the percentage of positive cells: ``er``, ``pr``, ``ki67`` or None.
    her2
        Whether a HER2 score belongs to it.
    title
        As printed.
    """

    name: str
    target: Target
    reading: Literal["er", "pr", "ki67"] | None
    her2: bool
    title: str

    @property
    def nuclear_dab_share(self) -> float:
        """Share of DAB that speaks for a nucleus: all of it for nuclear markers, else none."""
        return 1.0 if self.target == "nucleus" else 0.0


MARKERS: Final = {
    marker.name: marker
    for marker in (
        Marker("her2-breast", "membrane", None, True, "HER2, breast"),
        Marker("her2-gastric-resection", "membrane", None, True, "HER2, gastric resection"),
        Marker("her2-gastric-biopsy", "membrane", None, True, "HER2, gastric biopsy"),
        Marker("her2-colorectal", "membrane", None, True, "HER2, colorectal"),
        Marker("er", "nucleus", "er", False, "Oestrogen receptor"),
        Marker("pr", "nucleus", "pr", False, "Progesterone receptor"),
        Marker("ki67", "nucleus", "ki67", False, "Ki-67"),
        Marker("pdl1", "membrane", None, False, "PD-L1"),
        Marker("membrane", "membrane", None, False, "Membrane marker"),
        Marker("nuclear", "nucleus", None, False, "Nuclear marker"),
        Marker("cytoplasmic", "cytoplasm", None, False, "Cytoplasmic marker"),
    )
}


def get_marker(name: str) -> Marker:
    """Return a marker by name; :class:`UnknownModel` names the nearest and all others.

    Examples
    --------
    >>> get_marker("ki67").target
    'nucleus'
    """
    if name in MARKERS:
        return MARKERS[name]
    near = difflib.get_close_matches(name, MARKERS, n=1)
    guess = f"did you mean {near[0]}? " if near else ""
    raise UnknownModel(f"no marker is called {name!r}", hint=f"{guess}known: {', '.join(MARKERS)}")
