"""Figures of slide-level predictions: by patient, with intervals, over folds or over members."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from herscope.mil.predictions import SlidePrediction
    from herscope.stats.classification.class_figures import ClassifySpec
    from herscope.stats.classification.classification_summary import ClassificationSummary
    from herscope.stats.classification.fold_scores import OverFolds

SITE_TELLS: Final = 0.3
"""Cramer's V of site and label above which a model could do well by knowing the hospital."""


def judge(
    patients: Sequence[SlidePrediction],
    classes: Sequence[str],
    *,
    by_fold: bool,
    spec: ClassifySpec | None = None,
) -> ClassificationSummary:
    """Judge predictions of patients whose label is known.

    Parameters
    ----------
    patients
        One prediction a patient; or one a slide, and then patients are drawn whole.
    classes
        In order.
    by_fold
        Whether each was tested in a fold of its own.
    spec
        Level, resamples, seed.
    """
    from herscope.stats.classification.classification_summary import summarise

    return summarise(
        [one.truth for one in patients],
        [[one.probabilities[name] for name in classes] for one in patients],
        list(classes),
        folds=[str(one.fold) for one in patients] if by_fold else None,
        patients=[one.patient for one in patients],
        spec=spec,
    )


def over_members(
    patients: Sequence[SlidePrediction], classes: Sequence[str], names: Sequence[str]
) -> tuple[dict[str, OverFolds], dict[str, str]]:
    """Score each member on the same test patients; mean and SD over members, as the paper's."""
    from herscope.stats.classification.fold_scores import fold_scores
    from herscope.stats.classification.multiclass_auc import Case

    if len(names) < 2:
        return {}, {"over members": "there is one member"}
    places = {name: place for place, name in enumerate(classes)}
    truth = np.array([places[str(one.truth)] for one in patients], np.int64)
    tables = np.concatenate([[one.members[m] for one in patients] for m in range(len(names))])
    case = Case(np.tile(truth, len(names)), tables, tuple(classes))
    return fold_scores(case, tables.argmax(axis=1), [n for n in names for _ in patients])


def figures_of(
    patients: Sequence[SlidePrediction], classes: Sequence[str]
) -> dict[str, float | None]:
    """Return accuracy, micro and macro F1 and macro AUC of some patients, without intervals.

    Examples
    --------
    >>> from herscope.mil.predictions import slide_prediction
    >>> one = slide_prediction("a", [[0.2, 0.8]], ["0", "1"], truth="1", tiles=3)
    >>> figures_of([one], ["0", "1"])["accuracy"]
    1.0
    """
    from herscope.stats.classification.confusion import confusion_table
    from herscope.stats.classification.f_scores import f1_scores
    from herscope.stats.classification.multiclass_auc import Case, average_auc

    truth = [str(one.truth) for one in patients]
    table = confusion_table(truth, [one.predicted for one in patients], classes=list(classes))
    f1 = f1_scores(table, n_resamples=1)
    right = sum(one.right is True for one in patients) / len(patients)
    found: dict[str, float | None] = {
        "accuracy": right,
        "f1_micro": f1.micro.value,
        "f1_macro": f1.macro.value,
        "auc": None,
    }
    if set(truth) == set(classes):
        codes = np.array([classes.index(name) for name in truth], np.int64)
        rows = np.array([[one.probabilities[name] for name in classes] for one in patients])
        found["auc"] = average_auc(Case(codes, rows, tuple(classes)), "macro one-vs-rest")
    return found


def site_alert(
    labels: Sequence[str], sites: Sequence[str | None], whole_sites: bool
) -> dict[str, Any]:
    """Say so where the site tells the label and folds part sites; an empty dict otherwise.

    One label and one site a patient.

    Cramer's V with the bias correction of Bergsma (J Korean Stat Soc 2013;42:323).
    """
    if whole_sites or any(site is None for site in sites):
        return {}
    v = cramers_v(labels, [str(site) for site in sites])
    if v is None or v <= SITE_TELLS:
        return {}
    return {
        "code": "site-tells-label",
        "severity": "warning",
        "message": f"the site goes with the label (Cramer's V {v:.2f} in {len(labels)} patients, "
        f"limit {SITE_TELLS:g}), and "
        "folds of patients mix sites: a model that recognises the hospital looks good here. Repeat "
        "with --folds-by site and believe the lower figures",
    }


def counted_notes(notes: Iterable[Sequence[str]]) -> list[str]:
    """Return each note once, with the number of slides it stands for.

    >>> counted_notes([["a"], ["a", "b"], []])
    ['a (2 slides)', 'b (1 slide)']
    """
    counts = Counter(note for each in notes for note in dict.fromkeys(each))
    return [f"{note} ({n} slide{'' if n == 1 else 's'})" for note, n in counts.items()]


def cramers_v(labels: Sequence[str], sites: Sequence[str]) -> float | None:
    """Return the bias-corrected association of two names, 0 to 1.

    None where one is constant, or where there are too few cases for so many names.

    Examples
    --------
    >>> round(cramers_v(["a", "b"] * 20, ["x", "y"] * 20), 6)
    1.0
    """
    _, rows = np.unique(np.asarray(labels), return_inverse=True)
    _, columns = np.unique(np.asarray(sites), return_inverse=True)
    r, c, n = int(rows.max()) + 1, int(columns.max()) + 1, len(labels)
    if min(r, c) < 2:
        return None
    counts = np.zeros((r, c))
    np.add.at(counts, (rows, columns), 1.0)
    expected = counts.sum(axis=1, keepdims=True) * counts.sum(axis=0, keepdims=True) / n
    phi = float(((counts - expected) ** 2 / expected).sum()) / n
    corrected = max(0.0, phi - (r - 1) * (c - 1) / (n - 1))
    r_, c_ = r - (r - 1) ** 2 / (n - 1), c - (c - 1) ** 2 / (n - 1)
    if min(r_, c_) <= 1 + 1e-9:  # nearly a site for every patient: nothing can be told
        return None
    return float(np.sqrt(corrected / (min(r_, c_) - 1)))
