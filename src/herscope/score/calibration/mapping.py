"""Fit the table from H-score and PCMS beside calibrated cut-offs, and judge both on unseen slides.

The H-score and PCMS depend on the cut-offs, so a fold fits cut-offs *and* table to its training
slides and then scores the others: nothing of a left-out slide has touched either. Accuracy and
unweighted kappa are told, the two figures of the AutoIHC paper (86 % and 0.81 with PCMS supplied
by readers), and the same two for the guideline's rule on the same left-out slides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import UndefinedStatistic
from herscope.score.calibration.cells import Settings, SlideCells
from herscope.score.calibration.fit import Calibration
from herscope.score.her2.mapping import GRADES
from herscope.score.her2.mapping_fit import Her2Mapping, fit_mapping
from herscope.stats.agreement.kappa import cohen_kappa
from herscope.stats.classification.confusion import accuracy, confusion_table

Scores = list[str]


@dataclass(frozen=True)
class FittedMapping:
    """The table fitted to all slides, and the scores of three ways to read them, (n,) each."""

    mapping: Her2Mapping
    readers: Scores
    apparent: Scores
    held_out: Scores
    rule_held_out: Scores
    unfitted_folds: int

    def document(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {
            "boxes": [box.model_dump(mode="json") for box in self.mapping.boxes],
            "apparent": judged(self.readers, self.apparent),
            "cross_validated": judged(self.readers, self.held_out),
            "rule_cross_validated": judged(self.readers, self.rule_held_out),
            "folds_without_two_scores": self.unfitted_folds,
        }


def fit_with_folds(calibration: Calibration, slides: Sequence[SlideCells]) -> FittedMapping:
    """Fit the table at the calibrated settings, and again in every fold at that fold's settings.

    Parameters
    ----------
    calibration
        Of HER2 scores.
    slides
        In the order of the calibration, with membranes.

    Raises
    ------
    UndefinedStatistic
        The readers gave one score only.
    """
    readers = _words(calibration.readings)
    h, pcms = features(slides, calibration.fitted)
    mapping = fit_mapping(h, pcms, readers)
    held_out: Scores = [""] * len(readers)
    unfitted = 0
    for fold in calibration.folds:
        h_fold, pcms_fold = features(slides, fold.found)
        train, test = fold.train, fold.test
        seen = [readers[i] for i in train.tolist()]
        try:
            found = fit_mapping(h_fold[train], pcms_fold[train], seen)
            told: Sequence[str] = found.predict(h_fold[test], pcms_fold[test])
        except UndefinedStatistic:  # every slide left to learn from has one score: say that one
            unfitted += 1
            told = [seen[0]] * len(test)
        for i, score in zip(test.tolist(), told, strict=True):
            held_out[i] = score
    return FittedMapping(
        mapping=mapping,
        readers=readers,
        apparent=list(mapping.predict(h, pcms)),
        held_out=held_out,
        rule_held_out=_words(calibration.held_out),
        unfitted_folds=unfitted,
    )


def features(
    slides: Sequence[SlideCells], at: Settings
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(n,) H-scores and (n,) PCMS at these settings; rounded as ``result.json`` has them."""
    h = [round(slide.h_score(at), 4) for slide in slides]
    pcms = [
        round(slide.membranes.complete_percent(at), 4)
        for slide in slides
        if slide.membranes is not None
    ]
    return np.array(h), np.array(pcms)


def judged(readers: Sequence[str], told: Sequence[str]) -> dict[str, Any]:
    """Accuracy and unweighted kappa with intervals; a reason where kappa is undefined."""
    table = confusion_table(readers, told, classes=GRADES)
    out: dict[str, Any] = {"accuracy": accuracy(table).document()}
    try:
        out["kappa"] = cohen_kappa(readers, told, order=GRADES).document()
    except UndefinedStatistic as error:
        out["kappa"] = {"value": None, "why": error.message}
    return out


def _words(ranks: NDArray[np.float64]) -> Scores:
    return [GRADES[int(rank)] for rank in ranks]
