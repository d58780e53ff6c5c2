"""Where on a slide a model looked: raw scores, pictures, files for QuPath, a page a slide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from herscope import __version__
from herscope.core.errors import HerscopeError, InputError, OutputError
from herscope.core.store import make_folder, write_json
from herscope.mil.preparing import Reading
from herscope.recipes.mil_figures import counted_notes
from herscope.recipes.mil_predict import (
    Predictor,
    failure,
    feature_files,
    slide_alerts,
    slide_document,
)
from herscope.recipes.mil_report import NOT_IHC
from herscope.recipes.training import need_packages

if TYPE_CHECKING:
    from herscope.embed.bag import FeatureBag
    from herscope.mil.ensemble import Ensemble, EnsembleCard
    from herscope.mil.heatmap import Heatmap, Scaling
    from herscope.mil.predictions import SlidePrediction
    from herscope.slide.opened import Slide

SCHEMA = "herscope.mil-heatmap/1"
WHAT = {
    "kat": "attention rollout over kernels",
    "slidegraph": "node score",
    "abmil": "attention",
    "mean": "output of the tile alone",
    "max": "output of the tile alone",
}


def heatmap_mil(
    model: str | Path,
    features: str | Path,
    out: str | Path,
    *,
    slides: Sequence[str | Path] = (),
    only: Sequence[str] = (),
    target: str | None = None,
    scaling: Scaling = "rank",
    top: int = 12,
    reading: Reading | None = None,
    device: str = "auto",
    threads: int | None = None,
    force: bool = False,
) -> dict[str, Any]:
    """Make heatmaps.

    Parameters
    ----------
    model
        A folder that ``herscope mil fit`` wrote.
    features
        Folder of feature files, or one file.
    out
        Folder for ``slides/<name>.html`` and ``slides/<name>/``: heatmap.parquet (raw scores with
        places), heatmap.png, heatmap.geojson, overlay.tif.
    slides
        Slide files or folders, to draw over; without them maps are on white.
    only
        Names of slides; all when empty.
    target
        Class whose evidence is shown, for models that score classes; the predicted one when None.
        Attention belongs to no class.
    scaling
        ``rank``, ``minmax`` or ``percentile``; of pictures only.
    top
        Tiles shown on the page.
    reading
        What is stated of feature files that do not say it.
    device, threads
        Where to compute.
    force
        Replace results that are there.

    Returns
    -------
    dict
        The document that ``herscope mil heatmap --json`` prints.

    Raises
    ------
    WeightsUnavailable, ModelError, SchemaError, WrongInput, InputError
        The model, a name or a class cannot be used, or no slide could be done.
    """
    need_packages("torch", "safetensors", purpose="slide-level models need")
    from herscope.mil.ensemble import read_ensemble
    from herscope.mil.predictions import write_predictions
    from herscope.nn.compute import limit_threads
    from herscope.report.mil_cohort_page import write_mil_page

    ensemble = read_ensemble(model)
    card = ensemble.card
    home = Path(out)
    _check(card, target, top, home, force=force)
    files = _chosen(feature_files(features), only)
    pictures = _slide_files(slides)
    reading = reading or Reading()
    predictions: list[SlidePrediction] = []
    rows: list[dict[str, Any]] = []
    failures: dict[str, dict[str, str]] = {}
    notes: list[tuple[str, ...]] = []
    trained_on: list[str] = []
    first: HerscopeError | None = None
    base = _base(ensemble, home)
    make_folder(home)
    with limit_threads(threads):
        predictor = Predictor(ensemble, device)
        for name, path in files.items():
            try:
                bag = reading.bag(path)
                seen = ensemble.has_seen(bag)
                said, row = _one(
                    predictor, bag, home, pictures, base,
                    seen=seen, target=target, scaling=scaling, top=top,
                )  # fmt: skip
            except HerscopeError as error:
                first = first or error
                failures[name] = failure(error)
                continue
            predictions.append(said)
            notes.append(bag.notes)
            if seen:
                trained_on.append(name)
            rows.append(row)
    if not predictions and first is not None:
        raise first
    bare = [one.slide for one in predictions if pictures and one.slide not in pictures]
    if bare:
        base["notes"].append(
            f"{len(bare)} slide(s) have no slide file among those given, first {bare[0]}: their "
            "maps are on white"
        )
    base["notes"] += counted_notes(notes)
    base["alerts"] = slide_alerts(predictions, trained_on)
    document = {**base, "slides": rows, "failures": failures}
    write_json(home / "failures.json", failures)
    write_predictions(home, predictions, card.classes)
    write_mil_page(home, document, None, predictions=predictions)
    write_json(home / "result.json", document)
    return document


def _one(
    predictor: Predictor,
    bag: FeatureBag,
    home: Path,
    pictures: Mapping[str, Path],
    base: Mapping[str, Any],
    *,
    seen: bool,
    target: str | None,
    scaling: Scaling,
    top: int,
) -> tuple[SlidePrediction, dict[str, Any]]:
    """Predict a slide, score its tiles, write all of it."""
    sample = predictor.sample(bag)
    said = predictor.predict(bag, sample)
    heat = score_tiles(predictor, bag, sample, target or said.predicted)
    own = {**base, "alerts": slide_alerts([said], [bag.slide] if seen else [])}
    picture = pictures.get(bag.slide)
    written = _write(home, said, heat, picture, own, scaling=scaling, top=top)
    return said, {**slide_document(said), "heatmap": heat.what, "files": written}


def _check(card: EnsembleCard, target: str | None, top: int, home: Path, *, force: bool) -> None:
    """Refuse what could not be done before anything is done."""
    from herscope.mil.kinds import KINDS

    if target is not None and target not in card.classes:
        raise InputError(
            f"the model knows no class {target!r}", hint=f"one of {', '.join(card.classes)}"
        )
    if target is not None and KINDS.make(card.model).attends:
        raise InputError(
            f"--target {target}: the map of {card.model} is attention, which speaks for no class",
            hint="leave --target out, or use slidegraph, mean or max",
        )
    if top < 1:
        raise InputError(f"--top {top}", hint="at least 1")
    if (home / "result.json").exists() and not force:
        raise OutputError(
            f"{home} holds results already", hint="--force replaces them, or name another --out"
        )


def score_tiles(predictor: Predictor, bag: FeatureBag, sample: Any, target: str) -> Heatmap:
    """Score a slide's tiles by every member and join the members.

    Scores of classes are known up to a number common to all classes, so what is shown is the
    target's score less the mean over the classes. A single output (ranking) speaks for the second
    class, and its negative for the first.
    """
    from herscope.mil.heatmap import ensemble_scores, make_heatmap
    from herscope.mil.kinds import KINDS

    card = predictor.ensemble.card
    place = card.classes.index(target)
    attends = KINDS.make(card.model).attends
    members = []
    for module in predictor.modules:
        scores = predictor.model.tile_scores(module, sample)
        if attends:
            members.append(scores[:, 0])
        elif scores.shape[1] == 1:
            members.append(scores[:, 0] if place == 1 else -scores[:, 0])
        else:
            members.append(scores[:, place] - scores.mean(axis=1))
    kept = getattr(sample, "kept", np.arange(len(bag)))
    thinned = "" if len(kept) == len(bag) else f", {len(kept):,} of {len(bag):,} tiles"
    return make_heatmap(
        bag.slide,
        bag.xy_px[kept],
        ensemble_scores(members),
        tile_px=bag.tile_px,
        mpp=bag.mpp,
        width_px=bag.width_px,
        height_px=bag.height_px,
        what=f"{WHAT[card.model]}, mean of {len(members)} members{thinned}",
        target=None if attends else target,
        model=card.name,
    )


def _base(ensemble: Ensemble, home: Path) -> dict[str, Any]:
    card = ensemble.card
    return {
        "schema": SCHEMA,
        "herscope": __version__,
        "title": home.name,
        "model": card.model,
        "model_name": card.name,
        "model_folder": str(ensemble.folder),
        "task": card.task,
        "classes": list(card.classes),
        "encoder": card.encoder.model_dump(mode="json"),
        "caveat": NOT_IHC,
        "notes": [],
        "alerts": [],
    }


def _chosen(files: Mapping[str, Path], only: Sequence[str]) -> dict[str, Path]:
    missing = [name for name in only if name not in files]
    if missing:
        raise InputError(
            f"there are no features of slide {missing[0]!r}",
            hint=f"there are {len(files)}: {', '.join(list(files)[:3])} ...",
        )
    return {name: path for name, path in files.items() if not only or name in only}


def _slide_files(slides: Sequence[str | Path]) -> dict[str, Path]:
    if not slides:
        return {}
    from herscope.slide.find import find_slides, slide_names

    return {name: path for path, name in slide_names(find_slides(slides)).items()}


def _open(path: Path | None, heat: Heatmap) -> Slide | None:
    """Open the slide of a heatmap; a file without a scale takes the one it was embedded with."""
    if path is None:
        return None
    from herscope.core.units import Mpp
    from herscope.slide.opened import open_slide
    from herscope.slide.resolution import SlideSpec

    return open_slide(path, SlideSpec(mpp=None if heat.mpp is None else Mpp(heat.mpp)))


def _write(
    home: Path,
    said: SlidePrediction,
    heat: Heatmap,
    picture: Path | None,
    document: Mapping[str, Any],
    *,
    scaling: Scaling,
    top: int,
) -> dict[str, str]:
    """Write everything of one slide; returns what lies where, below ``home``."""
    import contextlib

    from herscope.mil.heatmap import write_heatmap
    from herscope.report.heatmap_export import write_heatmap_geojson, write_overlay
    from herscope.report.heatmap_picture import heatmap_sheet, write_heatmap_picture
    from herscope.report.mil_slide_page import slide_page, write_mil_slide_page

    page = slide_page(home, said.slide)
    folder = make_folder(page.with_suffix(""))
    paths = {
        "raw scores": folder / "heatmap.parquet",
        "picture": folder / "heatmap.png",
        "QuPath": folder / "heatmap.geojson",
        "overlay": folder / "overlay.tif",
    }
    slide = _open(picture, heat)
    with slide or contextlib.nullcontext():
        write_heatmap(paths["raw scores"], heat)
        write_heatmap_picture(paths["picture"], heatmap_sheet(heat, slide, scaling=scaling))
        write_heatmap_geojson(paths["QuPath"], heat)
        write_overlay(paths["overlay"], heat, slide, scaling=scaling)
        write_mil_slide_page(
            page,
            said,
            document,
            heatmaps=[heat],
            slide=slide,
            scaling=scaling,
            top=top,
            files={name: f"{folder.name}/{path.name}" for name, path in paths.items()},
            back="../index.html",
        )
    return {name: path.relative_to(home).as_posix() for name, path in paths.items()} | {
        "page": page.relative_to(home).as_posix()
    }
