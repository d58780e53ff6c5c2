"""The page of ``herscope classify --out``: one self-contained HTML file.

Like the slide reports: pictures inlined, no script, a content security policy that forbids the
browser to fetch anything, all text escaped by the template engine.
"""

from __future__ import annotations

from pathlib import Path

from herscope.core.store import make_folder, write_text
from herscope.report.classification_charts import confusion_chart, reliability_chart, roc_chart
from herscope.report.html import environment, uri
from herscope.stats.classification.classification_summary import ClassificationSummary
from herscope.stats.estimate import Estimate, spoken


def write_classification_page(summary: ClassificationSummary, path: Path, *, title: str) -> Path:
    """Write the page.

    Parameters
    ----------
    summary
        From :func:`~herscope.stats.classification.classification_summary.summarise`.
    path
        The HTML file; its folder is made when it does not exist.
    title
        Heading, such as the table's file name.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    OutputError
        When it cannot be written.
    """
    path = Path(path)
    with_curve = [one for one in summary.classes if one.curve is not None]
    context = {
        "title": title,
        "summary": summary,
        "level": f"{100 * summary.spec.level:g} %",
        "said": said,
        "overall": _overall(summary),
        "confusion": uri(confusion_chart(summary.table)),
        "roc": uri(roc_chart(with_curve, summary.spec.level)) if with_curve else "",
        "reliability": uri(reliability_chart(summary.calibration)),
        "rates": [
            ("Sensitivity", "sensitivity"),
            ("Specificity", "specificity"),
            ("PPV", "ppv"),
            ("NPV", "npv"),
        ],
        "methods": _methods(summary),
    }
    page = environment().get_template("classification.html.j2").render(context)
    make_folder(path.parent)
    write_text(path, page)
    return path


def said(estimate: Estimate | None) -> str:
    """Return a value with its interval, or ``undefined``.

    Examples
    --------
    >>> said(None)
    'undefined'
    """
    if estimate is None:
        return "undefined"
    return spoken(estimate.value, estimate.low, estimate.high)


def _overall(summary: ClassificationSummary) -> list[tuple[str, Estimate]]:
    return [
        ("Accuracy", summary.accuracy),
        (f"Majority-class rate (always {summary.majority_class})", summary.majority),
        ("F1, micro (equal to the accuracy)", summary.f1.micro),
        ("F1, macro", summary.f1.macro),
        ("F1, weighted", summary.f1.weighted),
        *((f"AUC, {name}", estimate) for name, estimate in summary.auc.items()),
        ("Brier score", summary.brier),
        ("ECE, bins of equal width", summary.calibration.equal_width),
        ("ECE, bins of equal mass", summary.calibration.equal_mass),
    ]


def _methods(summary: ClassificationSummary) -> list[tuple[str, str]]:
    found = [(name, estimate.method) for name, estimate in _overall(summary)]
    for one in summary.classes:
        area = one.auc_delong or one.auc_bootstrap
        if area is not None:
            found.append((f"AUC of {one.name}", area.method))
        if one.youden is not None:
            found.append((f"Youden cut of {one.name}", one.youden.method))
    return found
