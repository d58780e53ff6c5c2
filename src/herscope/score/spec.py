"""All parameters of scoring a slide, one Spec per stage; ``study.toml`` has a table for each."""

from __future__ import annotations

from pydantic import Field, field_validator

from herscope.core.errors import UnknownModel
from herscope.core.spec import Spec
from herscope.measure.intensity import GradeSpec
from herscope.measure.markers import Marker, get_marker
from herscope.score.alerts import AlertSpec
from herscope.segment.cells import CellSpec
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
    slide: SlideSpec = Field(default=SlideSpec(), description="Reading and resolution.")
    tissue: TissueSpec = Field(default=TissueSpec(), description="Tissue detection.")
    focus: FocusSpec = Field(default=FocusSpec(), description="Focus.")
    tiles: TileSpec = Field(default=TileSpec(), description="Tiles and working resolution.")
    stain: StainSpec = Field(default=StainSpec(), description="Stain vectors.")
    nuclei: NucleiSpec = Field(default=NucleiSpec(), description="Nuclei.")
    cells: CellSpec = Field(default=CellSpec(), description="Cells.")
    grades: GradeSpec = Field(default=GradeSpec(), description="Cut-offs between the grades.")
    uncertainty: ResamplingSpec = Field(default=ResamplingSpec(), description="Intervals.")
    alerts: AlertSpec = Field(default=AlertSpec(), description="Limits of the alerts.")

    @field_validator("marker")
    @classmethod
    def _known_marker(cls, value: str) -> str:
        try:
            return get_marker(value).name
        except UnknownModel as error:
            raise ValueError(f"{error.message}; {error.hint}") from error

    def target(self) -> Marker:
        """Return the marker these parameters are for."""
        return get_marker(self.marker)

    @property
    def halo_um(self) -> float:
        """How far around a block the pixels must be seen for its cells to be exact.

        A cell reaches its nucleus' radius and the expansion from its summit; a neighbour that
        limits it there may have its own summit as far beyond, and needs its support around that.
        """
        reach = self.nuclei.max_radius_um + self.cells.expansion_um
        return 2 * reach + self.nuclei.support_um
