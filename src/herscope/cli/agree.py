"""``herscope agree``: how far two or more readers agree."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from herscope.cli.output import COMMON, Common, Flag, Outcome
from herscope.core.errors import InputError

if TYPE_CHECKING:
    from herscope.stats.agreement.agreement_report import AgreementReport
    from herscope.stats.estimate import Estimate


def agree(
    table: Path,
    /,
    *,
    a: str | None = None,
    b: str | None = None,
    readers: str | None = None,
    case_id: Annotated[str | None, Parameter(name="--id")] = None,
    kind: Literal["auto", "categorical", "continuous"] = "auto",
    weights: Literal["none", "linear", "quadratic"] | None = None,
    order: str | None = None,
    recode: str | None = None,
    line: float = 0.90,
    level: float = 0.95,
    seed: int = 20_260,
    drop_missing: Flag = False,
    keep_missing: Flag = False,
    out: Path | None = None,
    common: Common = COMMON,
) -> Outcome:
    """Compare readers: kappas, intraclass correlation, limits of agreement, with intervals.

    Parameters
    ----------
    table
        CSV or Parquet, one row a case.
    a
        Column of the first reader.
    b
        Column of the second reader, the reference of the agreement per category.
    readers
        Columns of more than two readers, with commas between them.
    case_id
        Column that names the case; each may stand in one row only.
    kind
        Categories or measurements; what the values look like when auto.
    weights
        Weights of kappa and Gwet's coefficient; all that fit the categories when absent.
    order
        Categories from lowest to highest, with commas; 0,1+,2+,3+ and the like are known.
    recode
        Labels that mean the same, such as pos=+,neg=-.
    line
        Overall concordance that is asked for, 0 to 1.
    level
        Confidence level of the intervals, 0 to 1.
    seed
        Seed of the bootstrap.
    drop_missing
        Leave cases out that a reader did not read, and count them.
    keep_missing
        Keep such cases for the coefficients that can use them (three or more readers).
    out
        HTML page to write, with plots.
    """
    from herscope import recipes
    from herscope.core.study import with_values
    from herscope.stats.agreement.agreement_report import AgreementSpec

    del common
    if drop_missing and keep_missing:
        raise InputError("--drop-missing and --keep-missing exclude each other", hint="give one")
    values: dict[str, Any] = {"weights": weights, "line": line, "level": level, "seed": seed}
    values["order"] = tuple(_words(order)) if order is not None else None
    report = recipes.agree(
        table,
        _columns(a, b, readers),
        case_id=case_id,
        kind=kind,
        spec=with_values(AgreementSpec(), values, where="herscope agree"),
        missing="drop" if drop_missing else "keep" if keep_missing else "refuse",
        recode=_pairs(recode),
        out=out,
    )
    said = _said(report)
    if out is not None:
        said.append(f"written to {out}")
    page = {"page": str(out)} if out is not None else {}
    return Outcome({"table": str(table), **report.document(), **page}, said)


def _columns(a: str | None, b: str | None, readers: str | None) -> list[str]:
    if readers is not None:
        if a is not None or b is not None:
            raise InputError("--readers stands for --a and --b", hint="give one or the other")
        return _words(readers)
    return [name for name in (a, b) if name is not None]


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _pairs(text: str | None) -> dict[str, str]:
    out = {}
    for word in _words(text or ""):
        label, equals, meaning = word.partition("=")
        if not (equals and label.strip() and meaning.strip()):
            raise InputError(
                f"--recode {word!r} is not of the form label=meaning", hint="such as pos=+,neg=-"
            )
        out[label.strip()] = meaning.strip()
    return out


def _said(report: AgreementReport) -> list[Any]:
    from rich.table import Table

    head = f"{', '.join(report.readers)}: {report.n:,} cases, {report.level * 100:g} %"
    lines = [f"{head} intervals"]
    lines += [f"left out: {count:,} {why}" for why, count in report.left_out.items()]
    lines += report.notes
    parts: list[Any] = ["\n".join(lines)]
    if report.pairs is not None:
        names = report.pairs.scale.names
        counts = Table(f"{report.readers[0]} \\ {report.readers[1]}", box=None, pad_edge=False)
        for name in names:
            counts.add_column(name, justify="right")
        for name, row in zip(names, report.pairs.counts.tolist(), strict=True):
            counts.add_row(name, *(f"{count:,}" for count in row))
        parts += ["", counts, "", f"overall concordance {report.concordance}"]
    grid = Table("", box=None, pad_edge=False)
    for head in ("value", "low", "high", "n"):
        grid.add_column(head, justify="right")
    for name, estimate in _estimates(report):
        grid.add_row(name, *_cells(estimate))
    parts += ["", grid]
    parts += [f"{r.name}: not computed: {r.why_not}" for r in report.coefficients if r.why_not]
    for name, why in report.undefined.items():
        parts.append(f"{name.replace('_', ' ')}: not computed: {why}")
    if report.signed_rank is not None:
        parts.append(f"Wilcoxon signed-rank test: {report.signed_rank.test}")
    return parts


def _estimates(report: AgreementReport) -> list[tuple[str, Estimate]]:
    rows = [(row.name, row.estimate) for row in report.coefficients if row.estimate is not None]
    rows += [
        (f"Positive agreement, {category.category}", category.positive)
        for category in report.categories
        if category.positive is not None
    ]
    if report.bland_altman is not None:
        limits = report.bland_altman
        rows += [
            ("Bias (Bland-Altman)", limits.bias),
            ("Lower limit of agreement", limits.lower),
            ("Upper limit of agreement", limits.upper),
        ]
        rows += [("Proportional bias, slope", limits.slope)] if limits.slope else []
    for name, line in (("Passing-Bablok", report.passing_bablok), ("Deming", report.deming)):
        if line is not None:
            rows += [(f"{name} slope", line.slope), (f"{name} intercept", line.intercept)]
    return rows


def _cells(estimate: Estimate) -> list[str]:
    from herscope.stats.estimate import spoken

    ends = ["" if x is None else spoken(x, None, None) for x in (estimate.low, estimate.high)]
    return [spoken(estimate.value, None, None), *ends, f"{estimate.n:,}"]
