"""Alerts: what a reader must know before using the numbers.

Every check is a value against a limit with a source. A limit that is our own engineering choice
says so. ``error`` means the numbers should not be used, ``warning`` that they may mislead, ``note``
that a choice was made for the reader.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from pydantic import Field

from herscope.core.spec import Spec
from herscope.measure.markers import Marker
from herscope.score.preview import Preview
from herscope.score.result import Alert, Severity
from herscope.segment.compartments import Compartments
from herscope.segment.nests import NEST_ALERT
from herscope.segment.nucleus_windows import NucleusWindows
from herscope.segment.predicted import NESTS
from herscope.stain.white import WhitePoint

OURS: Final = "herscope default"
AUTOIHC: Final = "AutoIHC: H-scores are overestimated where tumour is under 10 % of the tissue"
AUTOIHC_15: Final = "AutoIHC: H-scores are usually assessed where tumour exceeds 15 %"
PDL1_100: Final = "PD-L1 22C3 manual: at least 100 viable tumour cells; used here for every marker"

ONE_SIDED: Final = 0.15
"""Of 16 real fields seven have less nest, or less stroma; by eye two of them are wrong."""


class AlertSpec(Spec):
    """Limits of the alerts."""

    tumor_warning: float = Field(
        default=0.10, ge=0, le=1, description="Tumour share of the tissue's area, warning below."
    )
    tumor_note: float = Field(
        default=0.15, ge=0, le=1, description="Tumour share of the tissue's area, note below."
    )
    min_cells: int = Field(default=100, ge=0, description="Evaluable cells, warning below.")
    out_of_focus: float = Field(
        default=0.25, ge=0, le=1, description="Share of judged windows out of focus."
    )
    saturated: float = Field(
        default=0.01, ge=0, le=1, description="Share of stained pixels too dark to measure."
    )
    background_od: float = Field(
        default=0.10,
        ge=0,
        description="DAB optical density between the cells: its median for a nuclear marker, its "
        "lower quartile for others.",
    )
    stain_angle_deg: float = Field(
        default=15.0, ge=0, description="Angle of the slide's own stain to the vector in use."
    )
    unusual: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Share of stained pixels neither blue nor brown, where blue is missing.",
    )
    counterstain: float = Field(
        default=0.01, ge=0, le=1, description="Least share of blue among stained pixels."
    )
    h_score_apart: float = Field(
        default=30.0, ge=0, description="H-score by a model less that of the pixels, either way."
    )


@dataclass(frozen=True, slots=True)
class Facts:
    """What the checks look at.

    ``cells`` and ``tissue_px`` by compartment name; ``background_od`` the DAB between cells;
    ``nuclei`` the network that found them, None for the classical method.
    """

    marker: Marker
    mpp: float
    mpp_source: str
    working_mpp: float
    asked_mpp: float
    icc: str
    white: WhitePoint
    preview: Preview
    stain_angle_deg: float | None
    compartments: Compartments
    cells: dict[str, int]
    tissue_px: dict[str, int]
    background_od: float | None
    nuclei: NucleusWindows | None = None


def find_alerts(facts: Facts, spec: AlertSpec, more: Iterable[Alert] = ()) -> list[Alert]:
    """Run every check; errors first, then warnings, then notes.

    Parameters
    ----------
    facts
        The slide's facts.
    spec
        The limits.
    more
        Alerts of others, put in their place.
    """
    found = [*_stain(facts, spec), *_tissue(facts, spec), *_scale(facts), *_choices(facts), *more]
    rank = {"error": 0, "warning": 1, "note": 2}
    return sorted(found, key=lambda one: rank[one.severity])


def alert(
    code: str,
    severity: Severity,
    message: str,
    value: float | str | None = None,
    limit: float | str | None = None,
    source: str = OURS,
) -> Alert:
    """Make an alert; numbers are rounded for reading."""
    shown = round(value, 4) if isinstance(value, float) else value
    return Alert(
        code=code, severity=severity, message=message, value=shown, limit=limit, source=source
    )


def _stain(facts: Facts, spec: AlertSpec) -> Iterator[Alert]:
    look = facts.preview
    pink = round(look.evidence.get("pink", 0.0), 3)
    if look.kind == "he":
        yield alert(
            "looks-like-he",
            "error",
            "This looks like H&E, not IHC: the second stain is pink. DAB numbers mean nothing.",
            pink,
            "IHC stays below 0.125",
        )
    elif look.kind == "fluorescence":
        yield alert(
            "looks-like-fluorescence",
            "error",
            "The background is dark: fluorescence, a mask or a drawing, not a bright-field slide.",
            round(look.evidence.get("median_od", 0.0), 3),
            0.55,
        )
    elif look.kind == "unstained":
        yield alert(
            "unstained",
            "error",
            "Hardly a pixel is stained; neither counterstain nor DAB can be measured.",
            round(look.evidence.get("stained", 0.0), 3),
            0.01,
        )
    elif look.evidence.get("blue", 1.0) < spec.counterstain and _unusual(look) > spec.unusual:
        yield alert(
            "stain-vectors",
            "warning",
            "Most stained pixels are neither blue nor brown: the stains' colours do not fit the "
            "vectors in use, and every grade may be off.",
            _unusual(look),
            spec.unusual,
        )
    elif look.evidence.get("blue", 1.0) < spec.counterstain:
        yield alert(
            "no-counterstain",
            "warning",
            "No haematoxylin counterstain is seen: unstained nuclei are missed and the share of "
            "positive cells is too high.",
            look.evidence["blue"],
            spec.counterstain,
        )
    if facts.stain_angle_deg is not None and facts.stain_angle_deg > spec.stain_angle_deg:
        yield alert(
            "stain-vectors",
            "warning",
            "The slide's own stain colours are far from the vectors in use; consider vectors "
            "estimated for the study (--stains).",
            facts.stain_angle_deg,
            spec.stain_angle_deg,
        )
    if look.saturated is not None and look.saturated > spec.saturated:
        yield alert(
            "dab-saturation",
            "warning",
            "Some stain is too dark for the camera: optical density is cut off and strong grades "
            "cannot be told apart.",
            look.saturated,
            spec.saturated,
        )
    if facts.background_od is not None and facts.background_od > spec.background_od:
        yield alert(
            "background-dab",
            "warning",
            "There is brown between the cells: unspecific staining raises every grade.",
            facts.background_od,
            spec.background_od,
        )
    if look.out_of_focus is not None and look.out_of_focus > spec.out_of_focus:
        yield alert(
            "out-of-focus",
            "warning",
            f"Out of focus in {look.out_of_focus:.0%} of {look.focus_windows} windows looked at; "
            "nuclei run together and membranes fade.",
            look.out_of_focus,
            spec.out_of_focus,
        )


def _unusual(look: Preview) -> float:
    """Share of stained pixels that are neither blue nor brown."""
    return 1.0 - sum(look.evidence.get(colour, 0.0) for colour in ("blue", "brown", "eosin"))


def _tissue(facts: Facts, spec: AlertSpec) -> Iterator[Alert]:
    for name, cells in facts.cells.items():
        if cells == 0:
            yield alert(
                f"empty-{name}",
                "warning",
                f"No cell in compartment {name}: its scores are not computed.",
                0,
                1,
            )
    read = "tumor" if facts.compartments.given else "all"
    if 0 < facts.cells[read] < spec.min_cells:
        yield alert(
            "few-cells",
            "warning",
            f"Only {facts.cells[read]} evaluable cells in compartment {read}.",
            facts.cells[read],
            spec.min_cells,
            PDL1_100,
        )
    if facts.compartments.given and facts.tissue_px["all"]:
        share = facts.tissue_px["tumor"] / facts.tissue_px["all"]
        if share < spec.tumor_warning:
            yield alert(
                "little-tumor",
                "warning",
                f"Tumour is {share:.1%} of the tissue; H-scores tend to be too high.",
                share,
                spec.tumor_warning,
                AUTOIHC,
            )
        elif share < spec.tumor_note:
            yield alert(
                "little-tumor",
                "note",
                f"Tumour is {share:.1%} of the tissue.",
                share,
                spec.tumor_note,
                AUTOIHC_15,
            )


def _scale(facts: Facts) -> Iterator[Alert]:
    if facts.mpp_source.startswith("objective"):
        yield alert(
            "mpp-guessed",
            "warning",
            f"The file states no resolution; {facts.mpp:.4g} µm/px was guessed from its objective.",
            facts.mpp,
        )
    elif facts.mpp_source.startswith(("stated", "override")):
        yield alert(
            "mpp-stated",
            "note",
            f"The resolution, {facts.mpp:.4g} µm/px, was stated by the user, not by the file.",
            facts.mpp,
        )
    if facts.working_mpp > facts.asked_mpp * 1.1:
        yield alert(
            "coarse",
            "warning",
            f"Scored at {facts.working_mpp:.3g} µm/px, coarser than the {facts.asked_mpp:.3g} "
            "asked, because the slide has no finer pixels.",
            facts.working_mpp,
            facts.asked_mpp,
        )


def only_drawn(training_data: str) -> bool:
    """Whether a card says that a model was trained on drawn pictures alone.

    A card is prose, so this goes by two words: it names phantoms, and nothing ``real``.

    Examples
    --------
    >>> only_drawn("9 patches of phantoms"), only_drawn("phantoms and 12 real slides")
    (True, False)
    """
    words = set(re.findall(r"[a-z]+", training_data.casefold()))
    return bool(words & {"phantom", "phantoms"}) and "real" not in words


def _choices(facts: Facts) -> Iterator[Alert]:
    if not facts.white.measured:
        yield alert(
            "white-point-assumed",
            "note",
            "No clean glass in the picture; the brightest light stands for the white point.",
            min(facts.white.values),
        )
    if facts.icc.startswith(("unusable", "present")):
        yield alert("icc", "note", f"Colour profile {facts.icc}.", facts.icc)
    if facts.nuclei is not None:
        trained = facts.nuclei.training_data
        drawn = only_drawn(trained)
        yield alert(
            "predicted-nuclei",
            "warning" if drawn else "note",
            f"Nuclei were found by the model {facts.nuclei.use.name}, trained on: {trained}"
            + (". It has seen no real tissue; look at its outlines." if drawn else "."),
            facts.nuclei.use.name,
        )
    if not facts.compartments.given:
        yield alert(
            "no-compartments",
            "note",
            "No compartments were given: tumour, stroma and normal cells are scored together.",
        )
    elif facts.compartments.source == NESTS:
        yield alert(NESTS, "warning", f"The {NEST_ALERT}.")
        nest, stroma = facts.tissue_px["tumor"], facts.tissue_px["stroma"]
        share = nest / max(nest + stroma, 1)
        if not ONE_SIDED <= share <= 1 - ONE_SIDED:
            yield alert(
                "nests-one-sided",
                "warning",
                f"{share:.0%} of the tissue was taken for epithelial nests. Fields of one kind "
                "look so, and so do mistakes: look at the regions, or give annotations.",
                share,
                ONE_SIDED,
            )
    elif facts.compartments.source not in {"", "annotations"}:
        yield alert(
            "predicted-compartments",
            "warning",
            f"The compartments were predicted by the model {facts.compartments.source}; look at "
            "the regions before using the numbers.",
            facts.compartments.source,
        )
    for problem in facts.compartments.problems:
        severity: Severity = "warning" if problem.severity == "warning" else "note"
        yield alert(f"regions-{problem.code}", severity, problem.message)
