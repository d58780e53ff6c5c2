"""The result document of one slide: ``result.json``, schema ``herscope.score/1``.

Counts come first and every number is derived from them, so a reader of the document can redo each
figure. What could not be computed is ``null`` with an alert that says why, never NaN.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator

SCHEMA: Final = "herscope.score/1"

Severity = Literal["note", "warning", "error"]
CompartmentName = Literal["tumor", "stroma", "all"]
Ci95 = tuple[float, float]
Counts = Annotated[list[int], Field(min_length=4, max_length=4)]
Histogram = Annotated[list[int], Field(min_length=256, max_length=256)]
Vector = Annotated[list[float], Field(min_length=3, max_length=3)]


class Document(BaseModel):
    """A frozen part of the result document."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class SlideFacts(Document):
    """What was read: size in level-0 pixels, µm/px and where it came from."""

    name: str
    width_px: int
    height_px: int
    mpp: float
    mpp_source: str
    vendor: str
    sha256: str
    working_mpp: float
    icc: str


class StainFacts(Document):
    """Unit stain vectors in optical density (red, green, blue) and the white point (0 to 255)."""

    hematoxylin: Vector
    dab: Vector
    white_point: Vector
    white_point_source: str
    source: str
    angle_to_reference_deg: float | None


class HScore(Document):
    """Cell H-score, 0 to 300, with its 95 % interval and how the interval was made.

    It prints with the number of cells behind it, which its compartment tells it.
    """

    value: float | None
    ci95: Ci95 | None
    method: str
    _cells: int = PrivateAttr(default=0)

    def __str__(self) -> str:
        if self.value is None:
            return f"no HScore, {self._cells:,} cells"
        interval = f" [{self.ci95[0]:.0f}, {self.ci95[1]:.0f}]" if self.ci95 else ""
        return f"HScore {self.value:.0f}{interval}, {self._cells:,} cells"


class PixelHScore(Document):
    """Pixel H-score, 0 to 300, from pixel counts per grade 0, 1+, 2+, 3+."""

    value: float | None
    counts: Counts


class ModelHScore(Document):
    """H-score, 0 to 300, by a network: the mean over tiles, weighted by the area they grade.

    ``patches`` tiles of ``patch_um`` on a side had something to grade, ``area_mm2`` in all. Another
    size of tiles gives another value.
    """

    value: float | None
    patches: int
    area_mm2: float
    patch_um: float
    model: str


class Percent(Document):
    """A percentage, 0 to 100, with its 95 % interval."""

    value: float | None
    ci95: Ci95 | None


class Allred(Document):
    """Proportion 0 to 5, intensity 0 to 3, total 0 or 2 to 8."""

    proportion: int | None
    intensity: int | None
    total: int | None


class Compartment(Document):
    """The numbers of one compartment; ``counts`` are cells of grade 0, 1+, 2+, 3+.

    ``h_score_model`` is there where an H-score model was asked for.
    """

    area_mm2: float
    cells: int
    counts: Counts
    h_score: HScore
    h_score_pixel: PixelHScore
    h_score_model: ModelHScore | None = None
    positive_percent: Percent
    allred: Allred
    od_histogram: Histogram

    @model_validator(mode="after")
    def _tell_cells(self) -> Self:
        self.h_score._cells = self.cells  # noqa: SLF001 - one document, two parts
        return self


class Cellularity(Document):
    """Share of tumour among the cells and in the tissue's area, 0 to 1."""

    tumor_cell_fraction: float | None
    tumor_area_fraction: float | None


class Reading(Document):
    """What a marker's guideline makes of the percentages (ER, PR, Ki-67)."""

    marker: str
    value: float | None
    category: str | None
    rule: str
    guideline: str
    comment: str


class Cutoffs(Document):
    """DAB optical densities at which the grades 1+, 2+ and 3+ begin, and the name of their set."""

    profile: str
    od: tuple[float, float, float]


class Membrane(Document):
    """Membrane staining of the evaluable cells of one compartment.

    ``counts`` are cells by class, the U-shaped (basolateral or lateral) being part of the
    incomplete ones; every percentage is derived from them and is None without an evaluable cell.
    ``pcms_percent`` is the percentage of cells with complete membrane staining, of any intensity;
    ``mean_completeness_percent`` the mean stained circumference at the three cut-offs;
    ``largest_intense_cluster`` and ``largest_clusters`` count contiguous cells: intense complete
    ones, and for each grade those at least that strongly stained in a pattern that counts.
    ``ci95`` has the sampling interval of each percentage, ``ci95_settings`` one that also admits
    other cut-offs and stain vectors. ``shares`` says how much of a membrane the classes ask for.
    """

    compartment: CompartmentName
    cells: int
    not_evaluable: int
    without_nucleus: int
    counts: dict[str, int]
    complete_intense_percent: float | None
    complete_moderate_percent: float | None
    complete_weak_percent: float | None
    incomplete_moderate_percent: float | None
    incomplete_faint_percent: float | None
    none_percent: float | None
    basolateral_intense_percent: float | None
    basolateral_moderate_percent: float | None
    basolateral_weak_percent: float | None
    pcms_percent: float | None
    mean_completeness_percent: tuple[float, float, float] | None
    largest_intense_cluster: int
    largest_clusters: dict[str, int]
    ci95: dict[str, Ci95]
    ci95_settings: dict[str, Ci95]
    ci95_method: str
    shares: dict[str, float]


class Her2Overlay(Document):
    """A treatment category beside the score, with its own source."""

    name: str
    text: str
    source: str


class Her2Alternative(Document):
    """The score by a mapping from H-score and PCMS, for comparison with the rule's."""

    score: str
    h_score: float
    pcms_percent: float
    mapping: str
    source: str


class Her2(Document):
    """The HER2 score, the rule that fired and how sure it is.

    ``probability`` is the share of resamples that give each score, with the cells' sampling, the
    cut-offs and the stain vectors varied; ``borderline`` says that it should be read twice.
    """

    marker: str
    score: str
    status: str
    rule: str
    rule_text: str
    guideline: str
    source: str
    overlay: Her2Overlay | None
    probability: dict[str, float] | None
    probability_method: str
    borderline: bool
    distance_to_cutoff: float | None
    distance_to_floor: float | None
    next_rule: str
    comment: str
    inputs: dict[str, Any]
    floors: dict[str, Any]
    alternative: Her2Alternative | None = None


class Alert(Document):
    """Something a reader must know before using the numbers."""

    code: str
    severity: Severity
    message: str
    value: int | float | str | None
    limit: int | float | str | None
    source: str


class TileFacts(Document):
    """A tile's edge as asked and as used (working pixels), as read (file pixels), and on glass."""

    asked_px: int
    working_px: int
    read_px: float
    covered_um: float


class NetworkFacts(Document):
    """A network that took part: which one, and what computed it."""

    name: str
    sha256: str
    engine: str
    engine_version: str | None
    precision: str


class Provenance(Document):
    """How the numbers were made. Only ``timings_s`` differs between two runs on the same input.

    ``models`` names what found the nuclei and the compartments, and an H-score model; ``networks``
    has those of them that are networks.
    """

    herscope: str
    spec_fingerprint: str
    tile: TileFacts | None = None
    models: dict[str, str]
    networks: dict[str, NetworkFacts] = Field(default_factory=dict)
    timings_s: dict[str, float]


class SlideResult(Document):
    """Everything herscope says about one slide.

    ``compartments`` has ``all`` always, ``tumor`` and ``stroma`` when compartments were given.
    """

    schema_: Literal["herscope.score/1"] = Field(default=SCHEMA, alias="schema")
    marker: str
    slide: SlideFacts
    stains: StainFacts
    cutoffs: Cutoffs | None = None
    compartments: dict[CompartmentName, Compartment]
    cellularity: Cellularity
    reading: Reading | None
    membrane: Membrane | None = None
    her2: Her2 | None = None
    alerts: list[Alert]
    provenance: Provenance

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True
    )

    @property
    def tumor(self) -> Compartment:
        """The tumour compartment."""
        return self.compartments["tumor"]

    @property
    def stroma(self) -> Compartment:
        """The stroma compartment."""
        return self.compartments["stroma"]

    def to_json(self) -> str:
        """Serialise to the published schema, one trailing newline."""
        return self.model_dump_json(by_alias=True, indent=1) + "\n"
