"""Everything that is asked about the agreement of two or more readers, in one report.

Categories: overall concordance against a line, kappas, Gwet's and Krippendorff's coefficients,
agreement per category, the table of pairs. Numbers: intraclass and Lin's correlation, limits of
agreement, the lines of Passing-Bablok and Deming, rank correlations, the signed-rank test and the
mean absolute error. A statistic the data do not determine stands in the report with the reason and
no number.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import InputError
from herscope.stats.agreement.agreement_report import (
    AgreementReport,
    AgreementSpec,
    Coefficient,
    attempt,
    row,
)
from herscope.stats.agreement.bland_altman import bland_altman
from herscope.stats.agreement.categories import Scale, Weights, count_pairs, find_scale
from herscope.stats.agreement.concordance import lin_concordance
from herscope.stats.agreement.correlation import kendall_tau_b, pearson, spearman
from herscope.stats.agreement.icc import FORMS, form_name, icc_of_squares, mean_squares
from herscope.stats.agreement.kappa import cohen_kappa, kappa_of_counts
from herscope.stats.agreement.krippendorff import krippendorff_alpha, krippendorff_alpha_of_labels
from herscope.stats.agreement.method_comparison import MAX_CASES, deming, passing_bablok
from herscope.stats.agreement.multi_rater import count_ratings, fleiss_kappa, gwet_ac
from herscope.stats.agreement.overall import category_agreement, concordance_of_counts
from herscope.stats.agreement.paired import mean_absolute_error, wilcoxon_signed_rank
from herscope.stats.arguments import same_length

Labels = Mapping[str, Sequence[str | None]]


def categorical_agreement(
    readers: Labels,
    spec: AgreementSpec | None = None,
    *,
    left_out: Mapping[str, int] | None = None,
    notes: Sequence[str] = (),
) -> AgreementReport:
    """Report the agreement of readers who gave categories.

    Parameters
    ----------
    readers
        Reader to one label per case, in the same order of cases; None where a reader of three or
        more gave none.
    spec
        Weights, order, line, level, resamples, seed.
    left_out
        Reason to the cases that were left out before, for the report.
    notes
        Sentences to begin the report's notes with.

    Raises
    ------
    InputError
        Fewer than two readers, different numbers of cases, labels that share no word.
    UndefinedStatistic
        No case with two labels.

    Examples
    --------
    >>> report = categorical_agreement({"AI": ["0", "1+", "3+"], "reader": ["0", "1+", "2+"]})
    >>> print(report.concordance)
    0.667 [0.208, 0.939], n 3; line 0.9 not met
    """
    spec = spec or AgreementSpec()
    names = _checked_readers(readers)
    _share_words(readers)
    given = [label for labels in readers.values() for label in labels if label is not None]
    scale = find_scale(given, spec.order)
    kinds = _weight_kinds(scale, spec.weights)
    order = scale.names if scale.ordered else None
    ratings = count_ratings(list(readers.values()), order=order)
    several = _several_readers(readers, scale, kinds, spec)
    said: dict[str, Any] = {
        "left_out": dict(left_out or {}),
        "notes": (
            *notes,
            f"categories {'in' if scale.ordered else 'without an'} order: {scale}",
        ),
    }
    if len(names) > 2:
        kind = kinds[-1]
        pairwise = [
            row(
                f"cohen_kappa_{kind}:{a}:{b}",
                f"Cohen's kappa, {_weighted(kind)}: {a}, {b}",
                cohen_kappa,
                *_complete(readers[a], readers[b]),
                weights=kind,
                order=order,
                level=spec.level,
            )
            for a, b in itertools.combinations(names, 2)
        ]
        rows = (*several, *pairwise)
        return AgreementReport("categorical", names, ratings.n, spec.level, rows, **said)
    pairs = count_pairs(*_complete(*readers.values()), order=order)
    kappas = [
        row(
            f"cohen_kappa_{kind}",
            f"Cohen's kappa, {_weighted(kind)}",
            kappa_of_counts,
            pairs,
            weights=kind,
            level=spec.level,
        )
        for kind in kinds
    ]
    return AgreementReport(
        "categorical",
        names,
        pairs.n,
        spec.level,
        (*kappas, *several),
        pairs=pairs,
        concordance=concordance_of_counts(pairs, line=spec.line, level=spec.level),
        categories=tuple(category_agreement(pairs, level=spec.level)),
        **said,
    )


def continuous_agreement(
    readers: Mapping[str, NDArray[np.float64]],
    spec: AgreementSpec | None = None,
    *,
    left_out: Mapping[str, int] | None = None,
    notes: Sequence[str] = (),
) -> AgreementReport:
    """Report the agreement of readers who gave numbers.

    Parameters
    ----------
    readers
        Reader to (cases,) finite numbers in the same order of cases and the same unit.
    spec
        Level, resamples, seed.
    left_out
        Reason to the cases that were left out before, for the report.
    notes
        Sentences to begin the report's notes with.

    Raises
    ------
    InputError
        Fewer than two readers, different numbers of cases, missing values.

    Examples
    --------
    >>> a, b = np.array([10.0, 60, 130, 210, 280]), np.array([14.0, 55, 140, 190, 285])
    >>> report = continuous_agreement({"AI": a, "reader": b})
    >>> [row.key for row in report.coefficients][:2]
    ['icc_1_1', 'icc_2_1']
    """
    spec = spec or AgreementSpec()
    names = _checked_readers(readers)
    table = np.array([np.asarray(values, np.float64) for values in readers.values()])
    level = spec.level
    squares = mean_squares(table)
    rows = [
        row(
            f"icc_{form.replace(',', '_')}",
            form_name(form),
            icc_of_squares,
            squares,
            form,
            level=level,
        )
        for form in FORMS
    ]
    for a, b in itertools.combinations(names, 2):
        rows += _number_pair(readers[a], readers[b], "" if len(names) == 2 else f"{a}:{b}", spec)
    rows.append(
        row(
            "krippendorff_alpha_interval",
            "Krippendorff's alpha, interval",
            krippendorff_alpha,
            table,
            measurement="interval",
            **_boot(spec),
        )
    )
    report: dict[str, Any] = {
        "left_out": dict(left_out or {}),
        "values": table,
        "notes": tuple(notes),
    }
    n = int(table.shape[1])
    if len(names) > 2:
        return AgreementReport("continuous", names, n, level, tuple(rows), **report)
    limits, no_limits = attempt(bland_altman, *table, level=level)
    robust, no_robust = None, f"{n} cases; it takes {MAX_CASES} at most, see Deming's line"
    if n <= MAX_CASES:
        robust, no_robust = attempt(passing_bablok, *table, level=level)
    line, no_line = attempt(deming, *table, level=level)
    ranks, no_ranks = attempt(wilcoxon_signed_rank, *table, level=level)
    reasons = {
        "bland_altman": no_limits,
        "passing_bablok": no_robust,
        "deming": no_line,
        "signed_rank": no_ranks,
    }
    return AgreementReport(
        "continuous",
        names,
        n,
        level,
        tuple(rows),
        bland_altman=limits,
        passing_bablok=robust,
        deming=line,
        signed_rank=ranks,
        undefined={name: why for name, why in reasons.items() if why},
        **report,
    )


def _several_readers(
    readers: Labels, scale: Scale, kinds: Sequence[Weights], spec: AgreementSpec
) -> list[Coefficient]:
    """Coefficients that take any number of readers."""
    order = scale.names if scale.ordered else None
    labels = list(readers.values())
    ratings = count_ratings(labels, order=order)
    rows = [row("fleiss_kappa", "Fleiss' kappa", fleiss_kappa, ratings, level=spec.level)]
    rows += [
        row(
            f"gwet_ac_{kind}",
            "Gwet's AC1" if kind == "none" else f"Gwet's AC2, {_weighted(kind)}",
            gwet_ac,
            ratings,
            weights=kind,
            level=spec.level,
        )
        for kind in kinds
    ]
    measurements: tuple[Literal["nominal", "ordinal"], ...] = ("nominal", "ordinal")
    rows += [
        row(
            f"krippendorff_alpha_{measurement}",
            f"Krippendorff's alpha, {measurement}",
            krippendorff_alpha_of_labels,
            labels,
            measurement=measurement,
            order=order,
            **_boot(spec),
        )
        for measurement in measurements
        if measurement == "nominal" or (scale.ordered and len(scale.names) > 2)
    ]
    return rows


def _number_pair(
    x: NDArray[np.float64], y: NDArray[np.float64], pair: str, spec: AgreementSpec
) -> list[Coefficient]:
    """Coefficients of two readers; the short list when they are a pair among several."""
    level = spec.level
    key, name = (f":{pair}", f": {pair.replace(':', ', ')}") if pair else ("", "")
    rows = [
        row(f"lin_ccc{key}", f"Lin's concordance{name}", lin_concordance, x, y, level=level),
        row(f"spearman{key}", f"Spearman's rho{name}", spearman, x, y, level=level),
    ]
    if not pair:
        rows += [
            row(
                "spearman_fisher",
                "Spearman's rho, Fisher's interval",
                spearman,
                x,
                y,
                level=level,
                standard_error="fisher",
            ),
            row("kendall_tau_b", "Kendall's tau-b", kendall_tau_b, x, y, level=level),
            row("pearson", "Pearson's r", pearson, x, y, level=level),
        ]
    rows.append(
        row(
            f"mean_absolute_error{key}",
            f"Mean absolute error{name}",
            mean_absolute_error,
            x,
            y,
            **_boot(spec),
        )
    )
    return rows


def _weight_kinds(scale: Scale, asked: Weights | None) -> tuple[Weights, ...]:
    """Weights to report: those asked for, else all that say something about this scale."""
    if asked is not None:
        return (asked,)
    # Between two categories weights change nothing.
    several = scale.ordered and len(scale.names) > 2
    return ("none", "linear", "quadratic") if several else ("none",)


def _boot(spec: AgreementSpec) -> dict[str, Any]:
    return {"level": spec.level, "n_resamples": spec.n_resamples, "seed": spec.seed}


def _checked_readers(readers: Mapping[str, Sequence[Any] | NDArray[Any]]) -> tuple[str, ...]:
    if len(readers) < 2:
        raise InputError(f"{len(readers)} reader", hint="agreement needs two readers or more")
    same_length(**readers)
    return tuple(readers)


def _share_words(readers: Labels) -> None:
    """Refuse readers who do not use one vocabulary: their disagreement would mean nothing."""
    used = {n: {str(x) for x in labels if x is not None} for n, labels in readers.items()}
    for a, b in itertools.combinations(used, 2):
        if used[a] and used[b] and not used[a] & used[b] and len(used[a] | used[b]) > 2:
            said = "; ".join(f"{n}: {', '.join(sorted(used[n])[:6])}" for n in (a, b))
            raise InputError(
                f"the readers share no category ({said})",
                hint="write the same words in both columns, or translate with --recode pos=+,neg=-",
            )


def _complete(a: Sequence[str | None], b: Sequence[str | None]) -> tuple[list[str], list[str]]:
    both = [(x, y) for x, y in zip(a, b, strict=True) if x is not None and y is not None]
    return [x for x, _ in both], [y for _, y in both]


def _weighted(kind: Weights) -> str:
    return "unweighted" if kind == "none" else f"{kind} weights"
