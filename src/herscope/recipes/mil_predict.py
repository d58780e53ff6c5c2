"""Predict slides with a trained ensemble, and judge it where their labels are known."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from herscope import __version__
from herscope.core.errors import HerscopeError, InputError, OutputError
from herscope.core.store import make_folder, write_json
from herscope.mil.preparing import Reading
from herscope.recipes.mil_cohort import LabelSpec
from herscope.recipes.mil_figures import counted_notes
from herscope.recipes.mil_report import NOT_IHC
from herscope.recipes.training import need_packages

if TYPE_CHECKING:
    import torch

    from herscope.embed.bag import FeatureBag
    from herscope.mil.ensemble import Ensemble
    from herscope.mil.predictions import SlidePrediction
    from herscope.mil.slide_matching import LabelledSlide, Matched

SCHEMA = "herscope.mil-predict/1"


class Predictor:
    """An ensemble that is loaded and ready.

    Parameters
    ----------
    ensemble
        The model.
    device
        auto, cpu or cuda.
    """

    def __init__(self, ensemble: Ensemble, device: str = "auto") -> None:
        from herscope.nn.compute import choose_device

        self.ensemble, self.model = ensemble, ensemble.model()
        self.device = choose_device(device)
        self.modules: list[torch.nn.Module] = [
            module.to(self.device) for module in ensemble.modules()
        ]

    def sample(self, bag: FeatureBag) -> Any:
        """Check a slide's features and make its sample."""
        self.ensemble.check(bag)
        return self.model.sample(bag)

    def predict(
        self, bag: FeatureBag, sample: Any, labelled: LabelledSlide | None = None
    ) -> SlidePrediction:
        """Return what the members say of a slide."""
        import torch

        from herscope.mil.predictions import slide_prediction

        rows = []
        with torch.inference_mode():
            for module, member in zip(self.modules, self.ensemble.card.members, strict=True):
                outputs = module(self.model.collate([sample]).to(self.device)).float().cpu()
                rows.append(member.calibration(outputs.numpy().astype(np.float64))[0])
        return slide_prediction(
            bag.slide,
            np.stack(rows),
            self.ensemble.card.classes,
            patient=labelled.patient if labelled else None,
            truth=labelled.label if labelled else None,
            tiles=sample.tiles,
            outlier=self.ensemble.reference.judge(bag),
        )


def predict_mil(
    model: str | Path,
    features: str | Path,
    out: str | Path,
    *,
    labels: str | Path | None = None,
    label_spec: LabelSpec | None = None,
    reading: Reading | None = None,
    device: str = "auto",
    threads: int | None = None,
    force: bool = False,
) -> dict[str, Any]:
    """Predict slides.

    Parameters
    ----------
    model
        A folder that ``herscope mil fit`` wrote.
    features
        Folder of feature files, or one file.
    out
        Folder for the predictions and their page.
    labels
        Label table of these slides, to judge the model on them: an external test. Slides without a
        label are predicted all the same.
    label_spec
        Its columns; the task is the model's.
    reading
        What is stated of feature files that do not say it.
    device, threads
        Where to compute.
    force
        Replace predictions that are there.

    Returns
    -------
    dict
        The document that ``herscope mil predict --json`` prints; ``failures`` tells what could not
        be predicted and why.

    Raises
    ------
    WeightsUnavailable, ModelError, SchemaError, WrongInput
        The model cannot be used, or fits none of the slides.
    InputError
        There are no features, or the labels have other classes.
    """
    need_packages("torch", "safetensors", purpose="slide-level models need")
    from herscope.mil.ensemble import read_ensemble
    from herscope.mil.predictions import by_patient, write_predictions
    from herscope.nn.compute import limit_threads

    ensemble = read_ensemble(model)
    card = ensemble.card
    target = Path(out)
    if (target / "result.json").exists() and not force:
        raise OutputError(
            f"{target} holds results already", hint="--force replaces them, or name another --out"
        )
    files = feature_files(features)
    matched = _matched(labels, label_spec or LabelSpec(), files, card.task, card.classes)
    known = {} if matched is None else {one.slide: one for one in matched.slides}
    with limit_threads(threads):
        predictions, failures, seen, notes = _predict_all(
            ensemble, files, known, reading or Reading(), device
        )
    make_folder(target)
    write_json(target / "failures.json", failures)
    write_predictions(target, predictions, card.classes)
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "herscope": __version__,
        "title": target.name,
        "model": card.model,
        "model_folder": str(model),
        "model_name": card.name,
        "task": card.task,
        "classes": list(card.classes),
        "evaluation": "external test" if matched is not None else None,
        "site_folds": False,
        "encoder": card.encoder.model_dump(mode="json"),
        "settings": {"model": card.model_spec, "training": card.spec},
        "folds": [],
        "over_folds": {},
        "slides": [slide_document(one) for one in predictions],
        "failures": failures,
        "caveat": NOT_IHC,
        "notes": [*([] if matched is None else matched.notes), *notes],
        "alerts": slide_alerts(predictions, seen),
    }
    summary = None
    if matched is not None:
        from herscope.recipes.mil_figures import judge, over_members
        from herscope.stats.classification.classification_document import classification_document

        labelled = [one for one in predictions if one.truth is not None]
        by_slide = (label_spec or LabelSpec()).patient_labels == "slide"
        whole = labelled if by_slide else by_patient(labelled)
        summary = judge(whole, card.classes, by_fold=False)
        names = [Path(member.file).stem for member in card.members]
        over, _ = over_members(whole, card.classes, names)
        document["over_folds"] = {
            name: {"mean": each.mean, "sd": each.sd, "values": dict(each.values)}
            for name, each in over.items()
        }
        document["majority_rate"] = summary.majority.value
        document["figures"] = classification_document(summary)
        document["notes"] += list(summary.notes)
    from herscope.report.mil_cohort_page import write_mil_page

    write_mil_page(target, document, summary, curves=[], predictions=predictions)
    write_json(target / "result.json", document)
    return document


def feature_files(features: str | Path) -> Mapping[str, Path]:
    """Return feature files by slide, of a folder or one file.

    Raises
    ------
    InputError
        There is none.
    """
    from herscope.embed.open_features import find_features
    from herscope.mil.labels import slide_name

    path = Path(features)
    found = {slide_name(path.name): path} if path.is_file() else find_features(path)
    if not found:
        raise InputError(f"{path} holds no feature file", hint="make them with herscope embed")
    return found


def slide_document(one: SlidePrediction) -> dict[str, Any]:
    """Return one slide's prediction as JSON."""
    from dataclasses import asdict

    return {
        "slide": one.slide,
        "patient": one.patient,
        "truth": one.truth,
        "predicted": one.predicted,
        "probabilities": one.probabilities,
        "spread": one.spread,
        "tiles": one.tiles,
        "outlier": None if one.outlier is None else asdict(one.outlier),
    }


def _matched(
    labels: str | Path | None,
    label_spec: LabelSpec,
    files: Mapping[str, Path],
    task: str,
    classes: tuple[str, ...],
) -> Matched | None:
    if labels is None:
        return None
    from herscope.mil.slide_matching import match

    if label_spec.task not in {"classes", task}:
        raise InputError(
            f"the model was trained for the task {task}, not {label_spec.task}",
            hint="leave --task out: the model's own is taken",
        )
    values = {**label_spec.model_dump(), "task": task}
    matched = match(
        LabelSpec.model_validate(values).read(labels, least_classes=1), files, least_classes=1
    )
    odd = sorted({one.label for one in matched.slides} - set(classes))
    if odd:
        raise InputError(
            f"{labels} has the class {odd[0]!r}, the model knows {', '.join(classes)}",
            hint="give labels of the task the model was trained for",
        )
    return matched


def _predict_all(
    ensemble: Ensemble,
    files: Mapping[str, Path],
    known: Mapping[str, LabelledSlide],
    reading: Reading,
    device: str,
) -> tuple[list[SlidePrediction], dict[str, dict[str, str]], list[str], list[str]]:
    """Return predictions, failures, the slides the model has seen, and notes of the files."""
    predictor = Predictor(ensemble, device)
    predictions: list[SlidePrediction] = []
    failures: dict[str, dict[str, str]] = {}
    seen: list[str] = []
    notes: list[tuple[str, ...]] = []
    first: HerscopeError | None = None
    for name, path in files.items():
        try:
            bag = reading.bag(path)
            sample = predictor.sample(bag)
            predictions.append(predictor.predict(bag, sample, known.get(name)))
            notes.append(bag.notes)
            if ensemble.has_seen(bag):
                seen.append(name)
        except HerscopeError as error:
            first = first or error
            failures[name] = failure(error)
    if not predictions and first is not None:
        raise first
    return predictions, failures, seen, counted_notes(notes)


def failure(error: HerscopeError) -> dict[str, str]:
    """Return an error as ``failures.json`` holds it."""
    return {"error": type(error).__name__, "message": error.message, "hint": error.hint}


def slide_alerts(predictions: list[SlidePrediction], seen: list[str]) -> list[dict[str, Any]]:
    """Say which slides the model was trained on, and which are unlike those."""
    alerts: list[dict[str, Any]] = []
    if seen:
        more = f" and {len(seen) - 3} more" if len(seen) > 3 else ""
        alerts.append(
            {
                "code": "slides-seen",
                "severity": "warning",
                "message": f"{len(seen)} slide(s) trained this model or stopped its training: "
                f"{', '.join(seen[:3])}{more}. What it says of them is no test of it",
            }
        )
    odd = [one.slide for one in predictions if one.outlier is not None and one.outlier.outside]
    if odd:
        more = f" and {len(odd) - 3} more" if len(odd) > 3 else ""
        alerts.append(
            {
                "code": "slides-unlike-training",
                "severity": "warning",
                "message": f"{len(odd)} of {len(predictions)} slide(s) are further from the "
                f"training slides than any of those from the others: {', '.join(odd[:3])}{more}",
            }
        )
    return alerts
