"""How predictions are judged: level, resamples, seed, where cut-offs came from."""

from __future__ import annotations

from typing import Final

from pydantic import Field

from herscope.core.spec import Spec
from herscope.stats.case_bootstrap import N_RESAMPLES, SEED

MEMBERS_CUT: Final = (
    "Youden index on the validation patients of the members that had not seen the patient, mean "
    "over these members"
)


class JudgingSpec(Spec):
    """Options of :func:`~herscope.respond.evaluation.judging.judge`.

    Examples
    --------
    >>> JudgingSpec().bootstraps
    2000
    """

    bootstraps: int = Field(
        default=N_RESAMPLES, ge=100, le=100_000, description="Bootstrap resamples of patients"
    )
    seed: int = Field(default=SEED, ge=0, description="Seed of the PCG64 generator")
    level: float = Field(default=0.95, gt=0, lt=1, description="Two-sided confidence level")
    bins: int = Field(
        default=5, ge=1, le=100, description="Calibration bins of equal mass, at most"
    )
    cut_source: str = Field(
        default=MEMBERS_CUT, min_length=1, description="Where the patients' cut-offs came from"
    )
    reader_cut: float = Field(
        default=0.5, description="A reader's rating at or above it counts as response expected"
    )
    most_levels: int = Field(
        default=12, ge=2, le=100, description="Levels of a variable, at most, to be compared"
    )
    fewest_in_level: int = Field(
        default=3, ge=1, description="Patients a level needs to be compared with others"
    )
