"""Names and colours that every figure, table and export shares.

Grades run from a cool blue-grey (no DAB) through ochre to dark brown: the order of lightness is the
order of intensity, so the scale survives colour blindness and a black-and-white printer, and it
looks like the stain it stands for. Compartment outlines avoid brown and blue, the colours of the
tissue beneath them, and differ in dash as well as in hue.
The QuPath colours are those its own positive-cell detection uses (``PathClass``, QuPath 0.2-0.6).
"""

from __future__ import annotations

from herscope.measure.markers import MARKERS
from herscope.score.result import SlideResult

GRADES = ("0", "1+", "2+", "3+")
GRADE_WORDS = ("negative", "weak", "moderate", "strong")
GRADE_COLORS = ("#9db4cf", "#f2cf7e", "#cd7f2a", "#6b2d0c")

COMPARTMENTS = {"tumor": "Tumour", "stroma": "Stroma", "all": "All tissue"}
COMPARTMENT_COLORS = {"tumor": "#b5126b", "stroma": "#007a6c", "all": "#3c4654"}

REGION_STYLES: dict[str, tuple[str, str, str]] = {
    # QuPath class, lower case: (words in the legend, stroke, dash)
    "tissue": ("Tissue", "#3c4654", "2 3"),
    "tumor": ("Tumour", "#b5126b", ""),
    "stroma": ("Stroma", "#007a6c", "7 3"),
}
OTHER_REGION = ("#6b6b6b", "1 2")
ARTEFACT_WORDS = ("artefact", "artifact", "ignore", "pen", "fold", "exclude", "blur", "necrosis")

QUPATH_GRADES = ("Negative", "1+", "2+", "3+")
QUPATH_COLORS = ((90, 90, 180), (255, 215, 0), (225, 150, 50), (200, 50, 50))
QUPATH_COMPARTMENTS = {"tumor": "Tumor", "stroma": "Stroma", "other": "Other"}


def primary_compartment(result: SlideResult) -> str:
    """Return the compartment a reader looks at first: tumour where there is one, else all."""
    return "tumor" if "tumor" in result.compartments else "all"


def marker_words(marker: str) -> str:
    """Return a marker's name as a reader writes it; an unknown marker stays as it is."""
    return MARKERS[marker].title if marker in MARKERS else marker


def percent_first(marker: str) -> bool:
    """Return whether a guideline reads the marker as % positive rather than as an H-score.

    Examples
    --------
    >>> percent_first("ki67"), percent_first("her2-breast")
    (True, False)
    """
    return marker in MARKERS and MARKERS[marker].reading is not None
