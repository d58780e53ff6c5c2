"""What a cohort file may say: which columns and files hold what.

Names of columns are as they stand in the heading (case counts); a column that is not named is not
used. Paths are relative to the cohort file. Everything is validated when the file is read, so that
a slip of the pen is an error with the line, never a modality that is silently missing.
"""

from __future__ import annotations

from typing import Final, Literal, Self

from pydantic import Field, model_validator

from herscope.core.spec import Spec

TimeUnit = Literal["days", "weeks", "months", "years"]
DAYS: Final[dict[TimeUnit, float]] = {
    "days": 1.0, "weeks": 7.0, "months": 30.4375, "years": 365.25
}  # fmt: skip
"""Days of each unit; a month is a twelfth of 365.25 days."""

CUT_DAYS: Final = 240.0
"""Response without RECIST: progression-free for 8 months (anti-HER2 therapy; MuMo 2024)."""

CUT_DAYS_IMMUNOTHERAPY: Final = 300.0
"""The same for anti-HER2 with immunotherapy: 10 months (MuMo 2024)."""

FORMAT: Final = "herscope.cohort/1"
_COLUMN: Final = "Column: "


class TableSpec(Spec):
    """One file of the cohort."""

    file: str = Field(default="patients.csv", min_length=1, description="CSV, Parquet or .xlsx")
    sheet: str | None = Field(
        default=None, description="Sheet of an Excel file; may be left out where there is one"
    )
    adds: Literal["columns", "rows"] = Field(
        default="columns",
        description="What a further table brings: columns of the same patients, or more patients",
    )


class PatientSpec(Spec):
    """Who, from where, and on which side of a split."""

    id: str = Field(default="patient", min_length=1, description=_COLUMN + "patient id")
    site: str | None = Field(default=None, description=_COLUMN + "hospital or centre")
    split: str | None = Field(default=None, description=_COLUMN + "train or test")


class OutcomeSpec(Spec):
    """Columns of the outcome. An event is 1, true or yes; censored is 0, false or no."""

    recist: str | None = Field(
        default=None, description=_COLUMN + "best response, RECIST 1.1: CR, PR, SD, PD, NE"
    )
    pfs_time: str | None = Field(default=None, description=_COLUMN + "progression-free time")
    pfs_event: str | None = Field(
        default=None, description=_COLUMN + "1 when progression or death was seen at that time"
    )
    os_time: str | None = Field(default=None, description=_COLUMN + "time to death or last contact")
    os_event: str | None = Field(default=None, description=_COLUMN + "1 when the patient died")
    time_unit: TimeUnit = Field(default="days", description="Unit of both times")
    progressed: str | None = Field(
        default=None, description=_COLUMN + "status to compare with pfs_event"
    )
    died: str | None = Field(default=None, description=_COLUMN + "status to compare with os_event")
    label: str | None = Field(
        default=None,
        description=_COLUMN + "a label of response that was made elsewhere (1, 0, -1), to compare "
        "with; it is never used as the truth",
    )
    readers: tuple[str, ...] = Field(
        default=(),
        description="Columns with what readers expected: 1, yes or a probability is a response; "
        "compared with the model, never learnt from",
    )

    @model_validator(mode="after")
    def _pairs(self) -> Self:
        for kind in ("pfs", "os"):
            time, event = getattr(self, f"{kind}_time"), getattr(self, f"{kind}_event")
            if (time is None) != (event is None):
                absent = f"{kind}_event" if event is None else f"{kind}_time"
                raise ValueError(f"{absent} is missing: a time means nothing without its event")
            if time is not None and time == event:
                raise ValueError(f"{kind}_time and {kind}_event name the same column {time!r}")
        return self


class ResponseSpec(Spec):
    """The rule that makes the response label."""

    cut_days: float = Field(
        default=CUT_DAYS,
        gt=0,
        le=36_525,
        description="Days without progression that count as a response where RECIST does not "
        "decide: 240 for anti-HER2 therapy, 300 with immunotherapy",
    )


class DateSpec(Spec):
    """Columns of dates (2021-03-25, or dates of Excel), compared with each other only."""

    birth: str | None = Field(default=None, description=_COLUMN + "birth")
    diagnosis: str | None = Field(default=None, description=_COLUMN + "diagnosis")
    start: str | None = Field(default=None, description=_COLUMN + "start of the treatment")
    progression: str | None = Field(default=None, description=_COLUMN + "progression")
    last_seen: str | None = Field(default=None, description=_COLUMN + "last contact or death")


class TokenSpec(Spec):
    """Report tokens: which sets, and which column fills which token."""

    sets: tuple[str, ...] = Field(
        default=("pathology-report", "radiology-report", "patient", "sampling-times"),
        description="Sets of the package, or TOML files of your own",
    )
    columns: dict[str, str | tuple[str, ...]] = Field(
        default_factory=dict,
        description="Token to column, or to several columns with one number each: "
        'tils = "TILs"; a token without a column is missing for everyone',
    )
    spellings: dict[str, dict[str, str]] = Field(
        default_factory=dict,
        description='Further spellings of a token: primary_lesion = { "1" = "absent" }',
    )
    on_unknown: Literal["error", "missing"] = Field(
        default="error",
        description="A value that cannot be read: refuse the table, or take it as missing and "
        "count it",
    )


class FileSpec(Spec):
    """Where the files of one modality are: by a pattern or by a column, not by both."""

    pattern: str | None = Field(
        default=None, description="Path with {patient} in it; * and ? stand for anything"
    )
    column: str | None = Field(
        default=None, description=_COLUMN + "path; several are separated by a semicolon"
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.pattern is not None and self.column is not None:
            raise ValueError("pattern and column are both given: files are found in one way")
        if self.pattern is not None and "{patient}" not in self.pattern:
            raise ValueError(f"pattern {self.pattern!r} has no {{patient}} in it")
        return self


class FilesSpec(Spec):
    """Files of each patient; a patient without files lacks the modality."""

    slides: FileSpec = Field(default=FileSpec(), description="Slides")
    bags: FileSpec = Field(default=FileSpec(), description="Feature files of slides")
    ct: FileSpec = Field(default=FileSpec(), description="CT: a NIfTI file or a DICOM folder")
    ct_mask: FileSpec = Field(default=FileSpec(), description="Masks of lesions on the CT")
    lesions: FileSpec = Field(default=FileSpec(), description="Tables of lesion boxes")


class CohortSpec(Spec):
    """A cohort: its tables, and what their columns and the files beside them are."""

    format: Literal["herscope.cohort/1"] = Field(default=FORMAT, description="Version of the file")
    name: str = Field(default="cohort", min_length=1, description="Name of the cohort, for pages")
    more_tables: tuple[TableSpec, ...] = Field(
        default=(),
        description='Further tables: [{ file = "reports.csv", adds = "columns" }]; adds = "rows" '
        "brings more patients",
    )
    table: TableSpec = Field(default=TableSpec(), description="The table of the patients")
    patient: PatientSpec = Field(default=PatientSpec(), description="Who they are")
    outcome: OutcomeSpec = Field(default=OutcomeSpec(), description="What became of them")
    response: ResponseSpec = Field(default=ResponseSpec(), description="The label of response")
    dates: DateSpec = Field(default=DateSpec(), description="Dates, to be checked for their order")
    tokens: TokenSpec = Field(default=TokenSpec(), description="Report tokens")
    files: FilesSpec = Field(default=FilesSpec(), description="Files of each patient")
