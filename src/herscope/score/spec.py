"""All parameters of scoring a slide, one Spec per stage; ``study.toml`` has a table for each."""

from __future__ import annotations

from typing import Literal, cast

from pydantic import Field, field_validator, model_validator

from herscope.core.errors import UnknownModel
from herscope.core.spec import Spec
from herscope.guidelines.her2_reading import Her2Floors
from herscope.measure.completeness import CompletenessSpec
from herscope.measure.intensity import GradeSpec
from herscope.measure.markers import Marker, get_marker
from herscope.measure.membrane import MembraneSpec
from herscope.nn.inference import InferenceSpec, ModelUse
from herscope.score.alerts import AlertSpec
from herscope.score.her2.clusters import ClusterSpec
from herscope.score.her2.mapping import Her2MappingSpec
from herscope.score.her2.settings_drawn import Her2UncertaintySpec
from herscope.segment.cells import CellSpec
from herscope.segment.interiors import InteriorSpec
from herscope.segment.learned_nuclei import LearnedNucleiSpec
from herscope.segment.nests import NestSpec
from herscope.segment.nuclei import NucleiSpec
from herscope.slide.resolution import SlideSpec
from herscope.stain.vectors import StainSpec
from herscope.stats.resampling import ResamplingSpec
from herscope.tiles import TileSpec
from herscope.tissue.detection import TissueSpec
from herscope.tissue.focus import FocusSpec


class ScoreSpec(Spec):
    """Parameters of a scoring run.

    Examples
    --------
    >>> ScoreSpec(marker="er").marker
    'er'
    """

    marker: str = Field(
        default="nuclear",
        description="What was stained: her2-breast, her2-gastric-resection, her2-gastric-biopsy, "
        "her2-colorectal, er, pr, ki67, pdl1, membrane, nuclear or cytoplasmic.",
    )
    compartments: Literal["given", "nests"] = Field(
        default="given",
        description="given: annotations or a model, or none; nests: epithelial nests by the shape "
        "of nuclei.",
    )
    slide: SlideSpec = Field(default=SlideSpec(), description="Reading and resolution.")
    tissue: TissueSpec = Field(default=TissueSpec(), description="Tissue detection.")
    focus: FocusSpec = Field(default=FocusSpec(), description="Focus.")
    tiles: TileSpec = Field(default=TileSpec(), description="Tiles and working resolution.")
    stain: StainSpec = Field(default=StainSpec(), description="Stain vectors.")
    nuclei_model: ModelUse | None = Field(
        default=None, description="Network that finds the nuclei; the classical method without one."
    )
    hscore_model: ModelUse | None = Field(
        default=None,
        description="Network that gives the H-score of each tile, beside the counted ones; none "
        "without one. Of all numbers its value alone depends on the size of the tiles.",
    )
    inference: InferenceSpec = Field(
        default=InferenceSpec(), description="How networks are computed, where any is used."
    )
    nuclei: NucleiSpec = Field(default=NucleiSpec(), description="Nuclei, classical.")
    learned_nuclei: LearnedNucleiSpec = Field(
        default=LearnedNucleiSpec(), description="Nuclei from the maps of a network."
    )
    nests: NestSpec = Field(default=NestSpec(), description="Epithelial nests, where asked for.")
    interiors: InteriorSpec = Field(
        default=InteriorSpec(), description="Cells that only a stained membrane shows."
    )
    cells: CellSpec = Field(default=CellSpec(), description="Cells.")
    membrane: MembraneSpec = Field(default=MembraneSpec(), description="Membranes.")
    grades: GradeSpec = Field(default=GradeSpec(), description="Cut-offs between the grades.")
    completeness: CompletenessSpec = Field(
        default=CompletenessSpec(), description="What counts as a complete membrane."
    )
    clusters: ClusterSpec = Field(default=ClusterSpec(), description="Cells that lie together.")
    her2: Her2Floors = Field(default=Her2Floors(), description="Floors of the HER2 rules.")
    uncertainty: ResamplingSpec = Field(default=ResamplingSpec(), description="Intervals.")
    her2_uncertainty: Her2UncertaintySpec = Field(
        default=Her2UncertaintySpec(), description="What may be off in a HER2 score."
    )
    mapping: Her2MappingSpec | None = Field(
        default=None,
        description="Table from H-score and PCMS to a HER2 score beside the rule's; none shipped.",
    )
    alerts: AlertSpec = Field(default=AlertSpec(), description="Limits of the alerts.")

    @field_validator("marker")
    @classmethod
    def _known_marker(cls, value: str) -> str:
        try:
            return get_marker(value).name
        except UnknownModel as error:
            raise ValueError(f"{error.message}; {error.hint}") from error

    @model_validator(mode="after")
    def _mapping_fits(self) -> ScoreSpec:
        why = self.mapping.why_not(self.grading, self.completeness) if self.mapping else ""
        if why:
            raise ValueError(f"the mapping does not belong to these settings: {why}")
        return self

    def target(self) -> Marker:
        """Return the marker these parameters are for."""
        return get_marker(self.marker)

    @property
    def grading(self) -> GradeSpec:
        """The cut-offs in use: those of ``grades``, or the marker's own."""
        return self.grades.of(self.target().target)

    @property
    def nuclei_in_use(self) -> NucleiSpec | LearnedNucleiSpec:
        """The parameters of the nuclei: how far one reaches, and how far anything matters to it."""
        return self.nuclei if self.nuclei_model is None else self.learned_nuclei

    @property
    def halo_um(self) -> float:
        """How far around a block the pixels must be seen for its cells to be exact.

        A cell, or the search for its membrane, reaches so far from its summit; a neighbour that
        limits it there may have its own summit as far beyond, and needs its support around that.
        """
        nuclei = self.nuclei_in_use
        reach = nuclei.max_radius_um + self.cells.expansion_um
        if self.target().target != "membrane":
            return 2 * reach + nuclei.support_um
        radius = max(nuclei.max_radius_um, self.interiors.max_radius_um)
        search = radius + self.membrane.reach_um + self.membrane.inside_um
        # and the cytoplasm close around the neighbour is looked at on its far side as well
        return max(2 * reach, search + 2 * radius + 2) + self.interiors.cell_support_um(
            cast("NucleiSpec", nuclei)  # of which it takes the two lengths that both have
        )
