"""What is asked of a table of patients: the options of ``herscope survive`` as one value."""

from __future__ import annotations

from pydantic import Field, model_validator

from herscope.core.errors import InputError
from herscope.core.spec import Spec


class SurvivalSpec(Spec):
    """Columns, times and level of a survival analysis.

    Examples
    --------
    >>> SurvivalSpec(time="os_days", event="os_flag", group="line").level
    0.95
    """

    time: str = Field(description="Column: how long the patient was followed.")
    event: str = Field(description="Column: whether the event happened (1, 0, true, false).")
    event_value: str | None = Field(
        None, description="The value of the event column that means the event happened."
    )
    group: str | None = Field(None, description="Column of groups to compare.")
    groups: tuple[str, ...] = Field(
        (), description="Groups to compare, in this order; other patients are left out."
    )
    risk: str | None = Field(None, description="Column of a risk score: HIGHER IS WORSE.")
    covariates: tuple[str, ...] = Field((), description="Columns of a Cox regression.")
    at: tuple[float, ...] = Field(
        (), description="Times at which survival and the time-dependent AUC are told."
    )
    tau: float | None = Field(None, gt=0, description="Uno's C counts events before this time.")
    time_unit: str = Field("", description="Unit of the times, for axes and tables.")
    level: float = Field(0.95, gt=0, lt=1, description="Two-sided confidence level.")
    drop_missing: bool = Field(False, description="Leave patients with a missing value out.")
    id: str | None = Field(None, description="Column of patient ids, each in one row only.")

    @model_validator(mode="after")
    def _fits(self) -> SurvivalSpec:
        if self.groups and self.group is None:
            raise InputError("groups were named without their column", hint="add --group COLUMN")
        if self.tau is not None and self.risk is None:
            raise InputError("tau without a risk", hint="add --risk COLUMN")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns in which every patient needs a value."""
        named = (self.id, self.time, self.event, self.group, self.risk, *self.covariates)
        return tuple(dict.fromkeys(name for name in named if name is not None))
