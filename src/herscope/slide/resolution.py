"""How many micrometres a pixel is, where that figure came from, and when we refuse to guess.

Order of belief: an override by the user; the maker's metadata; resolution tags that make sense; a
figure the user states for files that state none (a table row before ``--mpp``); the objective
power, marked as a guess. A slide for which all of these fail is an error, because every length in
the result (cell size, membrane width, area) hangs on it.

A resolution tag is believed between 0.05 and 5 µm/px. A field camera or a scanner lies well inside;
a printer's or a screen's figure does not: 72, 96, 120 and 300 dpi are 353, 265, 212 and 85 µm/px,
and even 4800 dpi is 5.3.
"""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from herscope.core.errors import InputError, SchemaError, UnknownResolution
from herscope.core.spec import Spec
from herscope.core.units import Mpp
from herscope.slide.protocol import StatedResolution

FINEST_TAG_MPP = 0.05
COARSEST_TAG_MPP = 5.0
LARGEST_AXIS_RATIO = 1.5
"""Pixels of a microscope are square to some per cent; 1.5 apart is a damaged figure."""
UM_PER_10X_PIXEL = 10.0
"""A 40x scan has about 0.25 µm/px and a 20x scan 0.5: µm/px is about 10 / power."""
WEAKEST_OBJECTIVE, STRONGEST_OBJECTIVE = 1.0, 150.0

OVERRIDE = "override (--override-mpp)"
METADATA = "metadata"
TAGS = "resolution tags"
STATED_TABLE = "stated (mpp table)"
STATED = "stated (--mpp)"
GUESSED = "objective power (guessed)"

HINT = (
    "state it with --mpp 0.25 (or whatever is true), with a CSV of slide,mpp, "
    "or as mpp under [slide] in study.toml"
)


class SlideSpec(Spec):
    """How slides are opened: the µm/px policy, colour management, and when a level is close enough.

    Examples
    --------
    >>> SlideSpec(mpp=0.25).mpp
    0.25
    """

    mpp: Mpp | None = Field(
        default=None, description="µm/px of the files that state none themselves"
    )
    override_mpp: Mpp | None = Field(
        default=None,
        description="µm/px of every file, whatever it states (for files that are wrong)",
    )
    mpp_table: dict[str, Mpp] = Field(
        default_factory=dict,
        description="slide file name -> µm/px, for files that state none; goes before mpp",
    )
    apply_icc: bool = Field(
        default=True, description="convert to sRGB by the slide's own ICC profile before measuring"
    )
    native_tolerance: float = Field(
        default=0.10,
        ge=0.0,
        le=0.5,
        description="a level this close to the asked µm/px (a fraction) is used as it is",
    )

    @model_validator(mode="before")
    @classmethod
    def _table_is_sorted(cls, fields: Any) -> Any:
        # The fingerprint is made from the fields: the order of a CSV's rows must not change it.
        if isinstance(fields, dict) and isinstance(fields.get("mpp_table"), dict):
            return fields | {"mpp_table": dict(sorted(fields["mpp_table"].items()))}
        return fields

    def for_slide(self, path: Path) -> Self:
        """Return this Spec with only the table row of one slide, so that its key is its own."""
        row = self.table_mpp(path)
        return self.model_copy(update={"mpp_table": {} if row is None else {path.name: row}})

    def table_mpp(self, path: Path) -> Mpp | None:
        """Return the table's µm/px of a slide, by file name first, then by stem."""
        return self.mpp_table.get(path.name, self.mpp_table.get(path.stem))


def resolve_mpp(
    stated: StatedResolution, spec: SlideSpec, path: str | Path
) -> tuple[Mpp, Mpp, str]:
    """Decide the µm/px of a slide.

    Parameters
    ----------
    stated
        What the file says.
    spec
        What the user says.
    path
        The slide; its file name is looked up in ``spec.mpp_table``.

    Returns
    -------
    mpp_x, mpp_y, source
        µm/px at level 0 and which rule gave it.

    Raises
    ------
    UnknownResolution
        No rule gives a believable figure; the message repeats the unbelievable ones.

    Examples
    --------
    >>> resolve_mpp(StatedResolution(objective_power=20), SlideSpec(), "a.tif")
    (0.5, 0.5, 'objective power (guessed)')
    >>> resolve_mpp(StatedResolution(objective_power=20), SlideSpec(mpp=0.46), "a.tif")
    (0.46, 0.46, 'stated (--mpp)')
    """
    path = Path(path)
    doubts: list[str] = []
    if spec.override_mpp is not None:
        return spec.override_mpp, spec.override_mpp, OVERRIDE
    if pair := _metadata(stated, doubts):
        return *pair, METADATA
    if pair := _tags(stated, doubts):
        return *pair, TAGS
    if (row := spec.table_mpp(path)) is not None:
        return row, row, STATED_TABLE
    if spec.mpp is not None:
        return spec.mpp, spec.mpp, STATED
    if (guess := _from_objective(stated, doubts)) is not None:
        return guess, guess, GUESSED
    why = f": {'; '.join(doubts)}" if doubts else ""
    raise UnknownResolution(f"slide {path.name} has no usable resolution{why}", hint=HINT)


def _metadata(stated: StatedResolution, doubts: list[str]) -> tuple[Mpp, Mpp] | None:
    x, y = _both(stated.mpp_x, stated.mpp_y)
    if x is None or y is None:
        return None
    try:
        pair = Mpp(x), Mpp(y)
    except InputError:
        doubts.append(f"its metadata states {_text(x, y)} µm/px, which no microscope makes")
        return None
    if max(pair) > LARGEST_AXIS_RATIO * min(pair):
        doubts.append(f"its metadata states {_text(x, y)} µm/px, which are no square pixels")
        return None
    return pair


def _tags(stated: StatedResolution, doubts: list[str]) -> tuple[Mpp, Mpp] | None:
    x, y = _both(stated.tag_mpp_x, stated.tag_mpp_y)
    if x is None or y is None:
        return None
    if not all(math.isfinite(v) and FINEST_TAG_MPP <= v <= COARSEST_TAG_MPP for v in (x, y)):
        dpi = (
            f" ({25400 / x:.0f} dpi, a printer's or screen's figure)"
            if x > COARSEST_TAG_MPP
            else ""
        )
        doubts.append(
            f"its resolution tags state {_text(x, y)} µm/px{dpi}, "
            f"outside {FINEST_TAG_MPP:g} to {COARSEST_TAG_MPP:g}"
        )
        return None
    if max(x, y) > LARGEST_AXIS_RATIO * min(x, y):
        doubts.append(f"its resolution tags state {_text(x, y)} µm/px, which are no square pixels")
        return None
    return Mpp(x), Mpp(y)


def _from_objective(stated: StatedResolution, doubts: list[str]) -> Mpp | None:
    power = stated.objective_power
    if power is None:
        return None
    if not (math.isfinite(power) and WEAKEST_OBJECTIVE <= power <= STRONGEST_OBJECTIVE):
        doubts.append(f"its objective power is {power:g}, which no microscope has")
        return None
    return Mpp(UM_PER_10X_PIXEL / power)


def _both(x: float | None, y: float | None) -> tuple[float | None, float | None]:
    return (y if x is None else x), (x if y is None else y)


def _text(x: float, y: float) -> str:
    return f"{x:.4g}" if f"{x:.4g}" == f"{y:.4g}" else f"{x:.4g} by {y:.4g}"


def read_mpp_table(path: str | Path) -> dict[str, Mpp]:
    """Read a CSV that states µm/px of slides.

    Parameters
    ----------
    path
        CSV (comma or semicolon) with the columns ``slide`` (file name, with or without suffix) and
        ``mpp`` (µm/px, 0.02 to 100); further columns are ignored.

    Returns
    -------
    dict
        Slide file name to µm/px.

    Raises
    ------
    InputError
        The file cannot be read.
    SchemaError
        A column is missing, a figure is no resolution, or a slide has two different ones; the
        message names the row.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"mpp table {path} cannot be read: {_plain(error)}",
            hint="give a CSV file with the columns slide and mpp",
        ) from error
    first = text.partition("\n")[0]
    rows = csv.DictReader(
        text.splitlines(), delimiter=";" if ";" in first and "," not in first else ","
    )
    columns = {name.strip().lower(): name for name in rows.fieldnames or () if name}
    missing = [name for name in ("slide", "mpp") if name not in columns]
    if missing:
        raise SchemaError(
            f"mpp table {path.name} has no column {' and no column '.join(missing)} "
            f"(it has: {', '.join(columns) or 'nothing'})",
            hint="the first line must be: slide,mpp",
        )
    table: dict[str, Mpp] = {}
    for number, row in enumerate(rows, start=2):
        slide, figure = (row[columns[name]] or "" for name in ("slide", "mpp"))
        slide, figure = Path(slide.strip()).name, figure.strip()
        if not slide and not figure:
            continue
        mpp = _figure(figure, path.name, number)
        if not slide:
            raise SchemaError(
                f"mpp table {path.name}, row {number}: no slide is named",
                hint="write the slide's file name in the column slide",
            )
        if table.get(slide, mpp) != mpp:
            raise SchemaError(
                f"mpp table {path.name}, row {number}: {slide} has {table[slide]:g} µm/px above "
                f"and {mpp:g} here",
                hint="keep the row that is true",
            )
        table[slide] = mpp
    return table


def _figure(figure: str, table: str, number: int) -> Mpp:
    try:
        # A German or French spreadsheet writes 0,25.
        return Mpp(float(figure.replace(",", ".")))
    except InputError as error:
        raise SchemaError(
            f"mpp table {table}, row {number}: {error.message}", hint=error.hint
        ) from error
    except ValueError as error:
        raise SchemaError(
            f"mpp table {table}, row {number}: mpp is '{figure}', not a number",
            hint="write micrometres per pixel, such as 0.25",
        ) from error


def _plain(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8 text"
    return (getattr(error, "strerror", None) or str(error)).lower()
