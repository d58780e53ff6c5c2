"""The agreement of readers as one page: the numbers, the plots people expect, how each was made."""

from __future__ import annotations

from pathlib import Path

from herscope import __version__
from herscope.report.agreement_charts import bland_altman_chart, scatter_chart, table_chart
from herscope.report.statistics_page import Card, Grid, Picture, Section, StatisticsPage
from herscope.stats.agreement.agreement_report import AgreementReport
from herscope.stats.estimate import Estimate, HypothesisTest, spoken, spoken_p

NONE = "not computed"
MOST_DRAWN = 25
"""Categories up to which their table can be read as a picture."""
MAIN_CARDS = {
    "categorical": (
        "cohen_kappa_none",
        "cohen_kappa_linear",
        "cohen_kappa_quadratic",
        "fleiss_kappa",
        "krippendorff_alpha_ordinal",
    ),
    "continuous": ("icc_2_1", "lin_ccc", "spearman", "mean_absolute_error"),
}


def write_agreement_page(
    report: AgreementReport, path: str | Path, *, source: str, seed: int
) -> Path:
    """Write the page.

    Parameters
    ----------
    report
        What was computed.
    path
        The HTML file.
    source
        The table's file name.
    seed
        Seed of the bootstrap, for the record.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    facts = [source, f"{report.n:,} cases", f"{report.level * 100:g} % intervals"]
    facts += [f"left out: {count:,} {why}" for why, count in report.left_out.items()]
    page = StatisticsPage(
        title=f"Agreement: {', '.join(report.readers)}",
        facts=tuple(facts),
        cards=_cards(report),
        notes=report.notes,
        sections=tuple(_sections(report)),
        provenance=(("herscope", __version__), ("table", source), ("bootstrap seed", str(seed))),
    )
    return page.write(path)


def _cards(report: AgreementReport) -> tuple[Card, ...]:
    percent = f"{report.level * 100:g} % interval"
    cards = []
    if report.concordance is not None:
        held = report.concordance
        share, low, high = (
            100 * (part or 0.0)
            for part in (held.estimate.value, held.estimate.low, held.estimate.high)
        )
        verdict = "shown" if held.shown else "met, not shown" if held.met else "not met"
        said = f"{percent} {low:.1f} to {high:.1f} %; line of {100 * held.line:g} % {verdict}"
        cards.append(Card("Overall concordance", f"{share:.1f} %", said))
    by_key = {row.key: row for row in report.coefficients}
    for key in MAIN_CARDS[report.kind]:
        row = by_key.get(key)
        if row is not None and row.estimate is not None and len(cards) < 4:
            ends = _ends(row.estimate)
            cards.append(Card(row.name, _value(row.estimate), f"{percent} {ends}"))
    return tuple(cards)


def _sections(report: AgreementReport) -> list[Section]:
    sections = []
    two = (report.readers[0], report.readers[1])
    if report.pairs is not None:
        caption = (
            f"Rows: {two[0]}. Columns: {two[1]}. Framed cells are agreement, grey numbers totals."
        )
        alt = f"table of {report.pairs.agreed} agreeing among {report.n} cases"
        if len(report.pairs.scale.names) <= MOST_DRAWN:
            picture = Picture(table_chart(report.pairs, two), alt, caption)
            sections.append(Section("Table of categories", (picture,)))
        sections.append(Section("Each category", grids=(_category_grid(report),)))
    if report.values is not None and len(report.readers) == 2:
        pictures = [
            Picture(
                scatter_chart(report.values, two, report.passing_bablok),
                f"{two[1]} against {two[0]}, {report.n} cases",
                "One point a case. Dashed: identity. Blue: Passing-Bablok line; the band lies "
                "between the lines of its interval bounds.",
            )
        ]
        if report.bland_altman is not None:
            pictures.append(
                Picture(
                    bland_altman_chart(report.values, two, report.bland_altman),
                    f"differences {two[0]} minus {two[1]} against their means",
                    "Bias (blue) and limits of agreement (red, dashed) with their intervals as "
                    "bands; dotted: regression of the differences on the means.",
                )
            )
        sections.append(Section("Plots", tuple(pictures)))
        sections.append(Section("Bias, limits and lines", grids=(_number_grid(report),)))
    sections.append(Section("Coefficients", grids=(_coefficient_grid(report),)))
    return sections


def _coefficient_grid(report: AgreementReport) -> Grid:
    rows: list[tuple[str, ...]] = []
    for row in report.coefficients:
        if row.estimate is None:
            rows.append((row.name, NONE, "", "", row.why_not))
        else:
            rows.append(_estimate_row(row.name, row.estimate))
    return Grid("", ("Coefficient", "Value", "Interval", "n", "How"), tuple(rows))


def _category_grid(report: AgreementReport) -> Grid:
    def said(part: Estimate | None) -> str:
        return spoken(part.value, part.low, part.high) if part else "no cases"

    rows = tuple(
        (row.category, said(row.positive), said(row.negative), said(row.with_reference))
        for row in report.categories
    )
    return Grid(
        "Share, with its interval in brackets. Positive and negative agreement treat both readers "
        f"alike; the last column takes {report.readers[1]} as the reference.",
        ("Category", "Positive agreement", "Negative agreement", "Agreement with the reference"),
        rows,
    )


def _number_grid(report: AgreementReport) -> Grid:
    rows: list[tuple[str, ...]] = []
    if report.bland_altman is not None:
        limits = report.bland_altman
        rows += [
            _estimate_row(f"Bias, {report.readers[0]} − {report.readers[1]}", limits.bias),
            _estimate_row("Lower limit of agreement", limits.lower),
            _estimate_row("Upper limit of agreement", limits.upper),
        ]
        if limits.slope is not None and limits.slope_test is not None:
            rows.append(_estimate_row("Proportional bias, slope", limits.slope))
            rows.append(_test_row("Proportional bias, test", limits.slope_test))
    for name, line in (("Passing-Bablok", report.passing_bablok), ("Deming", report.deming)):
        if line is not None:
            rows.append(_estimate_row(f"{name} slope", line.slope))
            rows.append(_estimate_row(f"{name} intercept", line.intercept))
            if line.linearity is not None:
                rows.append(_test_row("Cusum test of linearity", line.linearity))
    if report.signed_rank is not None:
        rows.append(_test_row("Wilcoxon signed-rank test", report.signed_rank.test))
        if report.signed_rank.shift is not None:
            rows.append(_estimate_row("Shift (Hodges-Lehmann)", report.signed_rank.shift))
    rows += [(name.replace("_", " "), NONE, "", "", why) for name, why in report.undefined.items()]
    return Grid("", ("", "Value", "Interval", "n", "How"), tuple(rows))


def _estimate_row(name: str, estimate: Estimate) -> tuple[str, ...]:
    return (name, _value(estimate), _ends(estimate), f"{estimate.n:,}", estimate.method)


def _test_row(name: str, test: HypothesisTest) -> tuple[str, ...]:
    return (name, spoken_p(test.p_value), "", f"{test.n:,}", f"{test.method}: {test.hypothesis}")


def _value(estimate: Estimate) -> str:
    return spoken(estimate.value, None, None)


def _ends(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return "none"
    low, high = (spoken(end, None, None) for end in (estimate.low, estimate.high))
    return f"{low} to {high}"
