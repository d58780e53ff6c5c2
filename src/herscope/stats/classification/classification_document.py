"""The JSON document of ``herscope classify``: every figure with its counts, interval and method."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from herscope.stats.classification.class_figures import ClassFigures
from herscope.stats.classification.classification_summary import ClassificationSummary
from herscope.stats.classification.thresholds import YoudenCut
from herscope.stats.estimate import Estimate

SCHEMA: Final = "herscope.classify/1"


def classification_document(summary: ClassificationSummary) -> dict[str, Any]:
    """Return a JSON-ready dictionary; what is undefined is None, with its reason.

    Parameters
    ----------
    summary
        From :func:`~herscope.stats.classification.classification_summary.summarise`.
    """
    calibration = summary.calibration
    return {
        "schema": SCHEMA,
        "n": summary.table.n,
        "patients": summary.patients,
        "patients_drawn_whole": summary.grouped,
        "left_out": dict(summary.left_out),
        "positive": summary.positive,
        "spec": summary.spec.model_dump(mode="json"),
        "confusion": {
            "classes": list(summary.table.classes),
            "rows": "truth",
            "columns": "prediction",
            "counts": [list(row) for row in summary.table.counts],
        },
        "accuracy": summary.accuracy.document(),
        "majority_class_rate": {
            "class": summary.majority_class,
            **summary.majority.document(),
        },
        "f1": {
            "micro": summary.f1.micro.document(),
            "macro": summary.f1.macro.document(),
            "weighted": summary.f1.weighted.document(),
            "per_class": dict(summary.f1.per_class),
        },
        "auc": documents(summary.auc),
        "classes": {one.name: _class(one) for one in summary.classes},
        "brier": summary.brier.document(),
        "calibration": {
            "about": calibration.about,
            "ece_equal_width": calibration.equal_width.document(),
            "ece_equal_mass": calibration.equal_mass.document(),
            "bins": [
                {
                    "lower": one.lower,
                    "upper": one.upper,
                    "n": one.n,
                    "happened": one.happened,
                    "mean_probability": one.mean_probability,
                    "observed": one.observed,
                    "low": one.low,
                    "high": one.high,
                }
                for one in calibration.bins
            ],
        },
        "folds": {
            name: {
                "values": dict(figure.values),
                "mean": figure.mean,
                "sd": figure.sd,
                "ddof": figure.ddof,
            }
            for name, figure in summary.folds.items()
        },
        "undefined": dict(summary.undefined),
        "notes": list(summary.notes),
    }


def documents(estimates: Mapping[str, Estimate]) -> dict[str, Any]:
    """Return the documents of named estimates."""
    return {name: estimate.document() for name, estimate in estimates.items()}


def _class(one: ClassFigures) -> dict[str, Any]:
    return {
        "cases": one.cases,
        **documents(one.rates),
        "f1": one.f1,
        "auc_delong": one.auc_delong.document() if one.auc_delong else None,
        "auc_bootstrap": one.auc_bootstrap.document() if one.auc_bootstrap else None,
        "brier": one.brier.document(),
        "youden": _youden(one.youden) if one.youden else None,
        "thresholds": [
            {
                "threshold": row.threshold,
                **row.counts.as_dict(),
                "false_positive_rate": row.false_positive_rate.document(),
                "false_negative_rate": row.false_negative_rate.document(),
            }
            for row in one.thresholds
        ],
    }


def _youden(cut: YoudenCut) -> dict[str, Any]:
    return {
        "threshold": cut.threshold,
        "j": cut.j,
        **cut.counts.as_dict(),
        "sensitivity": cut.sensitivity.document(),
        "specificity": cut.specificity.document(),
        "tied_thresholds": cut.tied,
        "method": cut.method,
    }
