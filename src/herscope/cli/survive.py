"""``herscope survive``: Kaplan-Meier, log-rank, C-index, AUC over time and Cox from a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from herscope.cli.output import COMMON, Common, Flag, Outcome

if TYPE_CHECKING:
    from herscope.stats.survival.survival_summary import SurvivalSummary

HELP = "herscope survive --help says what is allowed"

Words = Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")]


def survive(
    table: Path,
    /,
    *,
    time: str,
    event: str,
    event_value: str | None = None,
    group: str | None = None,
    groups: Words = None,
    risk: str | None = None,
    cut: Words = None,
    covariates: Words = None,
    at: Words = None,
    tau: float | None = None,
    time_unit: str = "",
    level: float = 0.95,
    id: str | None = None,  # noqa: A002 - the option is --id, as in the other commands
    drop_missing: Flag = False,
    out: Path | None = None,
    common: Common = COMMON,
) -> Outcome:
    """Compare how long patients live without an event: one row per patient.

    Parameters
    ----------
    table
        CSV or Parquet.
    time
        Column: how long the patient was followed, 0 or more.
    event
        Column: 1 or true when the event happened at that time, 0 or false when censored.
    event_value
        The value of the event column that means the event happened; all others are censored.
    group
        Column of groups: curves, medians, log-rank test.
    groups
        Which groups to compare, in this order; other patients are left out and counted.
    risk
        Column of a risk score, HIGHER IS WORSE: Harrell's and Uno's C, AUC at the times of --at.
    cut
        Divide by the risk: a number, `median-of OTHER.csv ...`, or `median` of these same patients.
    covariates
        Columns of a Cox regression (needs the extra `survival`).
    at
        Times at which survival and the AUC are told, such as 180 365.
    tau
        Uno's C counts events before this time.
    time_unit
        Unit of the times, for axes and tables: days, months.
    level
        Two-sided confidence level.
    id
        Column of patient ids; a patient in two rows is refused.
    drop_missing
        Leave patients with a missing value out, and count them.
    out
        Write an HTML page.
    """
    from herscope import recipes
    from herscope.stats.table import read_table

    del common
    spec = _spec(
        known=tuple(read_table(table).columns),
        time=time, event=event, event_value=event_value, group=group, groups=groups, risk=risk,
        covariates=covariates, at=at, tau=tau, time_unit=time_unit, level=level, id=id,
        drop_missing=drop_missing,
    )  # fmt: skip
    if out is not None:
        _check_page(out)
    summary = recipes.survive(table, spec, cut=cut or (), out=out)
    text = survival_text(summary)
    document = summary.document()
    if out is not None:
        document["page"] = str(out)
        text.append(f"\nopen {out}")
    return Outcome(document, text)


def _spec(*, known: Sequence[str], **options: Any) -> Any:
    from pydantic import ValidationError

    from herscope.core.errors import InputError
    from herscope.core.study import plain
    from herscope.stats.survival.survival_spec import SurvivalSpec

    for name in ("groups", "covariates", "at"):
        options[name] = _split(options[name] or (), known)
    odd = [word for word in options["at"] if not _is_number(word)]
    if odd:
        raise InputError(f"--at: {odd[0]!r} is not a time", hint="give numbers, such as 180 365")
    try:
        return SurvivalSpec(**options)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        option = "".join(f"--{str(part).replace('_', '-')}: " for part in first["loc"][:1])
        said, hint = plain(first)
        raise InputError(f"{option}{said}", hint=HELP if option else hint) from error


def _split(words: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """Words separated by spaces or commas; a column whose name holds a comma stays whole."""
    parts = [[word] if word in known else word.split(",") for word in words]
    return tuple(part.strip() for some in parts for part in some if part.strip())


def _is_number(word: str) -> bool:
    from herscope.stats.table import number_of

    return number_of(word) is not None


def _check_page(out: Path) -> None:
    from herscope.core.errors import InputError

    if out.suffix.lower() not in {".html", ".htm"}:
        raise InputError(f"--out {out} is no HTML file", hint="name it survival.html")


def survival_text(summary: SurvivalSummary) -> list[Any]:
    """Return the answer for people: strings and rich tables."""
    overall = summary.overall
    unit = f" {summary.spec.time_unit}" if summary.spec.time_unit else ""
    said = f"{overall.n:,} patients, {overall.counts['events']:,} events"
    head = [f"{summary.table}: {said}, median follow-up {summary.follow_up}{unit}"]
    head += [f"left out: {count:,} {why}" for why, count in summary.left_out.items()]
    parts: list[Any] = ["\n".join(head) + "\n", _curves(summary)]
    if summary.log_rank is not None:
        parts.append(f"\nlog-rank (Mantel-Cox): {summary.log_rank}")
    if summary.cut is not None:
        parts.append(f"cut-off on {summary.spec.risk}: {summary.cut}; above it is high risk")
    found = summary.discrimination
    if found is not None:
        lines = [
            f"\nrisk {found.column} (higher is worse)",
            f"  Harrell's C  {found.harrell}",
            f"  Uno's C      {found.uno}, tau {found.uno.counts['tau']:g}",
        ]
        parts.append("\n".join(lines + [f"  {auc}" for auc in found.aucs]))
    if summary.cox is not None:
        parts += ["", _cox(summary)]
        parts.append(
            f"likelihood ratio {summary.cox.likelihood_ratio}; C on these same patients (too good) "
            f"{summary.cox.concordance}"
        )
    parts += [f"note: {note}" for note in summary.notes]
    return parts


def _curves(summary: SurvivalSummary) -> Any:
    from rich.table import Table

    level = f"{100 * summary.spec.level:g} %"
    expected = {g.name: g.expected for g in summary.log_rank.groups} if summary.log_rank else {}
    head = ["group", "n", "events", *(["expected"] if expected else []), f"median [{level}]"]
    table = Table(*head, *(f"at {t:g} [{level}], %" for t in summary.spec.at), box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    rows = {**summary.groups, "all patients": summary.overall}
    for name, curve in rows.items():
        cells = [name, f"{curve.n:,}", f"{curve.counts['events']:,}"]
        if expected:
            cells.append(f"{expected[name]:.1f}" if name in expected else "")
        table.add_row(*cells, str(curve.median), *map(_percent, curve.at(summary.spec.at)))
    return table


def _percent(at: Any) -> str:
    if at.value is None:
        return "beyond follow-up"
    low, high = ("?" if end is None else f"{100 * end:.1f}" for end in (at.low, at.high))
    return f"{100 * at.value:.1f} [{low}, {high}]"


def _cox(summary: SurvivalSummary) -> Any:
    from rich.table import Table

    from herscope.stats.estimate import spoken, spoken_p

    model = summary.cox
    assert model is not None
    title = (
        f"Cox regression: {model.n:,} patients, {model.counts['events']} events, "
        f"{model.events_per_variable:.1f} per coefficient"
    )
    level = f"{100 * summary.spec.level:g} %"
    table = Table(
        "covariate", f"hazard ratio [{level}]", "p", "proportional hazards",
        box=None, title=title, title_justify="left", title_style="",
    )  # fmt: skip
    for row in model.rows:
        ratio = row.hazard_ratio
        table.add_row(
            row.name,
            spoken(ratio.value, ratio.low, ratio.high),
            spoken_p(row.p_value),
            spoken_p(row.proportional.p_value),
        )
    return table
