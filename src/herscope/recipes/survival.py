"""Time to an event, from a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from herscope.stats.survival.survival_spec import SurvivalSpec
    from herscope.stats.survival.survival_summary import SurvivalSummary


def survive(
    table: str | Path,
    spec: SurvivalSpec,
    *,
    cut: Sequence[str] = (),
    out: str | Path | None = None,
) -> SurvivalSummary:
    """Compare how long patients live without an event, one row a patient.

    Parameters
    ----------
    table
        CSV or Parquet.
    spec
        Columns, groups, times, level.
    cut
        Where the risk is divided: a number, ``median-of`` and other tables, or ``median``.
    out
        HTML page to write; none when None.

    Raises
    ------
    InputError, SchemaError
        The table, a column or a value cannot be used; the message names the row.
    UndefinedStatistic
        No event happened.
    """
    from herscope.stats.survival.survival_summary import summarise
    from herscope.stats.table import read_table

    data = read_table(Path(table))
    used = None
    if cut and spec.risk is not None:
        from herscope.stats.survival.cut_source import read_cut

        used = read_cut(
            list(cut), risk=spec.risk, subject=Path(table), drop_missing=spec.drop_missing
        )
    summary = summarise(data, spec, cut=used, median=bool(cut) and used is None)
    if out is not None:
        from herscope.report.survival_page import write_survival_page

        write_survival_page(summary, Path(out))
    return summary
