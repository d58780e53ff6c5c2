"""The three stages of scoring, as the engine calls them in any process."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from herscope.run.jobs import SlideJob
from herscope.run.stages import Stages

if TYPE_CHECKING:
    from herscope.score.spec import ScoreSpec


def spec_for(spec: ScoreSpec, path: Path) -> ScoreSpec:
    """Cut the Spec down to what concerns one slide."""
    return spec.model_copy(update={"slide": spec.slide.for_slide(path)})


def plan(job: SlideJob) -> Any:
    """Open the slide, find tissue and cut tiles."""
    from herscope.score.slide import plan_slide

    return plan_slide(job.path, job.name, cast("ScoreSpec", job.spec), job.annotations)


def tiles(plan: Any, tiles: Sequence[Any]) -> list[Any]:
    """Score tiles of a planned slide."""
    from herscope.score.slide import score_tiles

    return score_tiles(plan, tiles)


def finish(plan: Any, results: list[Any], timings_s: dict[str, float], folder: Path) -> None:
    """Put the slide's numbers together and write its files, its pictures and its report."""
    from herscope.report.html import write_slide_report
    from herscope.report.pictures import take_pictures
    from herscope.report.qupath import write_cells_geojson
    from herscope.score.slide import finish_slide
    from herscope.slide.opened import open_slide

    with open_slide(plan.path, plan.spec.slide) as slide:
        scored = finish_slide(plan, results, timings_s, sha256=slide.sha256())
        scored.save(folder)
        take_pictures(slide, scored.cells, folder)
    write_cells_geojson(folder)
    write_slide_report(folder)


def warm() -> None:
    """Import the scoring layers, about a second of work for a new process."""
    importlib.import_module("herscope.score.slide")


def share(plan: Any, folder: Path) -> Any:
    """Let the workers of a slide share what a network predicts."""
    from herscope.score.slide import share as sharing

    return sharing(plan, folder)


SCORING = Stages(plan=plan, tiles=tiles, finish=finish, warm=warm, share=share)


def models_of(spec: ScoreSpec) -> dict[str, Any]:
    """Return the cards of the models a Spec uses, for ``run.json``."""
    from herscope.core.registry import CARDS
    from herscope.nn.inference import describe, find_card

    used = {"nuclei": spec.nuclei_model, "hscore": spec.hscore_model}
    told: dict[str, Any] = {}
    for task, use in used.items():
        if use is not None:
            told[task] = find_card(use).model_dump(mode="json")
            told[f"{task}_inference"] = describe(use.name, use.sha256, spec.inference)
    return {"nuclei": CARDS.make("classical").model_dump(mode="json")} | told


def stain_changes(file: Path) -> dict[str, Any]:
    """Return the Spec fields that a study-wide stain vectors file sets."""
    from herscope.stain.vectors import read_vectors

    return {"stain": read_vectors(file).model_dump()}
