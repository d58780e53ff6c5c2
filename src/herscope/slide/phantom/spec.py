"""Parameters of a drawn slide.

Every number a phantom depends on is a field here, so a Spec and the code version determine the
slide to the bit. Amounts of dye are log10 optical density along the dye's unit vector. Nuclear
sizes and densities follow what is measured on breast carcinoma at 0.25 µm/px (tumour nuclei 8 to
13 µm, 2,500 to 6,000 per mm²; spindle cells about 3 x 12 µm; lymphocytes 6 to 7 µm).
"""

from __future__ import annotations

import math
from typing import Final, Self

from pydantic import model_validator

from herscope.core.errors import InputError
from herscope.slide.phantom.spec_basic import BasicFields, StainKind
from herscope.slide.phantom.spec_looks import LookFields
from herscope.slide.phantom.spec_tissue import SPARSEST_CROWD, TissueFields

__all__ = ["LARGEST_SIDE_PX", "SMALLEST_SIDE_PX", "PhantomSpec", "StainKind"]

LARGEST_SIDE_PX: Final = 300_000
SMALLEST_SIDE_PX: Final = 16


class PhantomSpec(LookFields, TissueFields, BasicFields):
    """What to draw. Frozen; unknown fields, impossible shares and absurd sizes are refused.

    Its fields are those of :class:`~herscope.slide.phantom.spec_basic.BasicFields`, of glands,
    vessels and crowded stroma (:class:`~herscope.slide.phantom.spec_tissue.TissueFields`) and of
    nuclei's looks and the scanner (:class:`~herscope.slide.phantom.spec_looks.LookFields`).

    Examples
    --------
    >>> spec = PhantomSpec(width_um=500, height_um=400, mpp=0.5)
    >>> spec.width_px, spec.height_px
    (1000, 800)
    """

    @property
    def width_px(self) -> int:
        """Width at level 0."""
        return math.floor(self.width_um / self.mpp + 0.5)

    @property
    def height_px(self) -> int:
        """Height at level 0."""
        return math.floor(self.height_um / self.mpp + 0.5)

    @property
    def has_structures(self) -> bool:
        """Whether any field is drawn that needs more than the five basic planes."""
        return any(
            (
                self.tumor_gland_fraction,
                self.lumen_fraction,
                self.normal_gland_fraction,
                self.vessel_fraction,
                self.capillaries_per_mm2,
                self.necrosis_fraction,
                self.brown_unevenness,
                self.blue_unevenness,
            )
        )

    @model_validator(mode="after")
    def _possible(self) -> Self:
        for name in ("tumor_grade_fractions", "stroma_grade_fractions"):
            _sums_to_one(name, getattr(self, name))
        _sums_to_one(
            "membrane_complete + membrane_incomplete + membrane_basolateral",
            (self.membrane_complete, self.membrane_incomplete, self.membrane_basolateral),
        )
        if not self.grade_cuts[0] < self.grade_cuts[1] < self.grade_cuts[2]:
            raise InputError(
                f"grade_cuts {self.grade_cuts} do not rise", hint="such as (0.2, 0.4, 0.6)"
            )
        self._possible_tissue()
        low, high = self.membrane_incomplete_coverage
        if low > high:
            raise InputError(f"membrane_incomplete_coverage ({low:g}, {high:g}) is upside down")
        if self.tumor_fraction + self.fat_fraction > 1 + 1e-9:
            raise InputError(
                f"tumor_fraction {self.tumor_fraction:g} and fat_fraction {self.fat_fraction:g} "
                "are more than the whole tissue",
                hint="their sum may be at most 1; the rest is stroma",
            )
        for name, side in (("width", self.width_px), ("height", self.height_px)):
            if not SMALLEST_SIDE_PX <= side <= LARGEST_SIDE_PX:
                raise InputError(
                    f"{name} is {side:,} px at {self.mpp:g} µm/px "
                    f"(allowed: {SMALLEST_SIDE_PX} to {LARGEST_SIDE_PX:,})",
                    hint="lengths are in micrometres: 8000 is 8 mm",
                )
        if not all(128 <= value <= 255 for value in self.white_point):
            raise InputError(f"white_point {self.white_point} is no empty slide (each 128 to 255)")
        if self.border_um * 2 >= min(self.width_um, self.height_um):
            raise InputError(f"border_um {self.border_um:g} leaves nothing of the slide")
        return self

    def _possible_tissue(self) -> None:
        if self.stroma_cells_per_mm2 > SPARSEST_CROWD and not self.crowded_stroma:
            raise InputError(
                f"{self.stroma_cells_per_mm2:g} stroma cells per mm² find no room at random "
                f"places (limit: {SPARSEST_CROWD:g})",
                hint="set crowded_stroma",
            )
        thin, long = self.stroma_elongation
        if not 1 <= thin <= long <= 6:
            raise InputError(
                f"stroma_elongation ({thin:g}, {long:g}) is not 1 to 6, the smaller first"
            )
        if sum(self.nucleus_looks) > 1 + 1e-6:
            raise InputError(
                f"nucleus_looks is {self.nucleus_looks}, sum {sum(self.nucleus_looks):g} "
                "(at most 1)",
                hint="the rest are ordinary nuclei",
            )


def _sums_to_one(name: str, shares: tuple[float, ...]) -> None:
    if abs(sum(shares) - 1) > 1e-6:
        raise InputError(
            f"{name} is {tuple(shares)}, sum {sum(shares):g} (must be 1)",
            hint="give shares of the cells, such as 0.5, 0.2, 0.2, 0.1",
        )
