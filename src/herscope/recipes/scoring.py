"""Score one slide, or many into a RUN folder."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from herscope.core.errors import InputError, NotComputed, SchemaError, UnknownModel
from herscope.core.store import make_folder, writing
from herscope.core.study import load_study, with_values

if TYPE_CHECKING:
    from herscope.run.many import Run
    from herscope.run.progress import Progress
    from herscope.score.slide import ScoredSlide
    from herscope.score.spec import ScoreSpec
    from herscope.slide.opened import Slide
    from herscope.slide.resolution import SlideSpec

CARD_FILE = "card.json"
CLASSICAL = "classical"
NO_MODEL = "none"
DEMO_MPP = 0.5
"""Assumed: neither scikit-image nor the donor (CMMI) states the scale; crypt nuclei about 5 by
9 µm fit half a micrometre a pixel."""


def score(
    slide: Slide | str | Path,
    *,
    marker: str | None = None,
    compartments: str | Path | None = None,
    nuclei: str | Path | None = None,
    hscore: str | Path | None = None,
    spec: ScoreSpec | None = None,
    **changes: Any,
) -> ScoredSlide:
    """Score one slide in this process.

    Parameters
    ----------
    slide
        An open slide or a file.
    marker
        Which marker is stained, such as ``her2-breast`` or ``ki67``; that of ``spec`` when absent.
    compartments
        A GeoJSON file with tumour and stroma, a compartment model (its folder, or its name), or
        ``nests``; all tissue is one compartment when absent.
    nuclei
        ``classical``, or a nuclei model (its folder, or its name); that of ``spec`` when absent.
    hscore
        ``none``, or an H-score model (its folder, or its name), whose H-scores stand beside the
        counted ones; that of ``spec`` when absent.
    spec
        All parameters; the defaults when absent.
    **changes
        Single parameters with two underscores for a table, such as ``slide__mpp=0.5`` or
        ``inference__engine="openvino"``.

    Returns
    -------
    ScoredSlide
        ``.result`` is the document; ``.save(folder)`` writes all files.
    """
    from herscope.score.slide import score_opened
    from herscope.score.spec import ScoreSpec
    from herscope.slide.opened import open_slide

    values = {name.replace("__", "."): value for name, value in changes.items()}
    if marker is not None:
        values["marker"] = marker
    if compartments == "nests":
        values["compartments"] = "nests"
    full = _with_values(spec or ScoreSpec(), values, where="score()")
    if nuclei is not None:
        full = with_nuclei(full, nuclei)
    if hscore is not None:
        full = with_hscore(full, hscore)
    drawn = None if compartments in {None, "none", "nests"} else _drawn(str(compartments))
    if not isinstance(slide, (str, Path)):
        return score_opened(slide, full, drawn)
    with open_slide(slide, full.slide) as opened:
        return score_opened(opened, full, drawn)


def score_slides(
    slides: Sequence[str | Path],
    out: str | Path,
    spec: ScoreSpec,
    *,
    compartments: str = "none",
    workers: int | None = None,
    shard: str = "1/1",
    force: bool = False,
    progress: Progress | None = None,
) -> Run:
    """Score files, folders or patterns into a RUN folder; finished slides are kept.

    Parameters
    ----------
    slides
        Files, folders or glob patterns.
    out
        The RUN folder.
    spec
        All parameters.
    compartments
        ``none``, one GeoJSON file (for one slide), a folder of ``<slide name>.geojson``, a
        compartment model (its folder, or its name), or ``nests``.
    workers
        Processes; one a core when ``None``.
    shard
        ``i/n``: this call scores every n-th slide, beginning with the i-th.
    force
        Score again what is there.
    progress
        Where to tell how far it is; silent when ``None``.
    """
    from herscope.report.cohort import write_cohort
    from herscope.run.jobs import Shard
    from herscope.run.many import score_many
    from herscope.run.scoring import SCORING, models_of, spec_for
    from herscope.slide.find import find_slides, slide_names

    part = Shard.parse(shard)
    if compartments == "nests":
        spec = _with_values(spec, {"compartments": "nests"}, where="--compartments")
    names = slide_names(find_slides(slides))
    return score_many(
        names,
        out,
        spec,
        SCORING,
        spec_for=spec_for,
        annotations=annotations_of(compartments, names),
        workers=workers,
        shard=part,
        force=force,
        progress=progress,
        models=models_of(spec),
        seed=getattr(spec.uncertainty, "seed", None),
        write_cohort=write_cohort,
    )


def make_spec(
    *,
    study: str | Path | None = None,
    marker: str | None = None,
    mpp: str | float | None = None,
    override_mpp: float | None = None,
    stains: str | Path | None = None,
    nuclei: str | Path | None = None,
    hscore: str | Path | None = None,
    engine: str | None = None,
    precision: str | None = None,
) -> ScoreSpec:
    """Put the parameters of ``herscope score`` together: the study file, then the options."""
    from herscope.score.spec import ScoreSpec

    spec = ScoreSpec() if study is None else load_study(study, ScoreSpec)
    if marker is not None:
        spec = with_values(spec, {"marker": marker}, where="--marker")
    if stains is not None:
        from herscope.run.scoring import stain_changes

        spec = with_values(spec, stain_changes(Path(stains)), where="--stains")
    for name, value in (("engine", engine), ("precision", precision)):
        if value is not None:
            spec = with_values(spec, {f"inference.{name}": value}, where=f"--{name}")
    scale = slide_spec(mpp=mpp, override_mpp=override_mpp, base=spec.slide)
    spec = spec.model_copy(update={"slide": scale})
    spec = spec if nuclei is None else with_nuclei(spec, nuclei)
    return spec if hscore is None else with_hscore(spec, hscore)


def with_nuclei(spec: ScoreSpec, nuclei: str | Path) -> ScoreSpec:
    """Say what finds the nuclei: ``classical``, or a model by its folder or name.

    Raises
    ------
    UnknownModel, WeightsUnavailable, SchemaError, WrongInput
        There is no such model, its card is no good, or it finds no nuclei.
    """
    if str(nuclei) == CLASSICAL:
        return spec.model_copy(update={"nuclei_model": None})
    from herscope.nn.inference import use_model

    return spec.model_copy(update={"nuclei_model": use_model(nuclei, "nuclei")})


def with_hscore(spec: ScoreSpec, hscore: str | Path) -> ScoreSpec:
    """Say which model gives H-scores beside the counted ones: its folder or name, or ``none``.

    Raises
    ------
    UnknownModel, WeightsUnavailable, SchemaError, WrongInput
        There is no such model, its card is no good, or it gives no H-scores.
    """
    if str(hscore) == NO_MODEL:
        return spec.model_copy(update={"hscore_model": None})
    from herscope.nn.inference import use_model

    return spec.model_copy(update={"hscore_model": use_model(hscore, "hscore")})


def _with_values(spec: ScoreSpec, values: Mapping[str, Any], *, where: str) -> ScoreSpec:
    """Change parameters; where the models lie is none, and would be lost on the way."""
    models = {"nuclei_model": spec.nuclei_model, "hscore_model": spec.hscore_model}
    return with_values(spec, values, where=where).model_copy(update=models)


def _drawn(compartments: str) -> Path:
    """Return the file that says where the compartments are: annotations, or a model's card."""
    given = Path(compartments)
    if (given / CARD_FILE).is_file():
        return given / CARD_FILE
    if given.exists():
        return given
    model = _model_called(compartments)
    return given if model is None else model


def _model_called(name: str) -> Path | None:
    """Return the card of the model of this bare name; None when there is none."""
    from herscope.nn.model_folders import find_model, is_bare

    if not is_bare(name) or Path(name).suffix.lower() in {".geojson", ".json"}:
        return None
    try:
        return find_model(name) / CARD_FILE
    except UnknownModel:
        return None


def slide_spec(
    *,
    mpp: str | float | None = None,
    override_mpp: float | None = None,
    base: SlideSpec | None = None,
) -> SlideSpec:
    """Say how slides are to be opened; ``mpp`` is a number or the path of a CSV."""
    from herscope.slide.resolution import SlideSpec

    spec = base or SlideSpec()
    if override_mpp is not None:
        spec = with_values(spec, {"override_mpp": override_mpp}, where="--override-mpp")
    if mpp is None:
        return spec
    try:
        return with_values(spec, {"mpp": float(mpp)}, where="--mpp")
    except SchemaError:
        raise
    except ValueError:
        return with_values(spec, {"mpp_table": _mpp_table(Path(str(mpp)))}, where="--mpp")


def _mpp_table(path: Path) -> dict[str, float]:
    from herscope.slide.resolution import read_mpp_table

    if not path.exists():
        raise InputError(
            f"--mpp must be a number in µm/px or a CSV file, got {path}",
            hint="for example --mpp 0.25, or a CSV with the columns slide,mpp",
        )
    return {name: float(mpp) for name, mpp in read_mpp_table(path).items()}


def annotations_of(compartments: str, names: Mapping[Path, str]) -> dict[str, Path | None]:
    """Find the annotation file of each slide.

    Raises
    ------
    InputError
        One file for several slides, a folder that lacks some, or no such thing.
    """
    if compartments in {"none", "nests"}:
        return {}
    given = Path(compartments)
    if (given / CARD_FILE).is_file():
        return dict.fromkeys(names.values(), given / CARD_FILE)
    model = None if given.exists() else _model_called(compartments)
    if model is not None:
        return dict.fromkeys(names.values(), model)
    if given.is_dir():
        found = {name: given / f"{name}.geojson" for name in names.values()}
        missing = [name for name, file in sorted(found.items()) if not file.is_file()]
        if missing:
            listed = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
            raise InputError(
                f"{len(missing)} of {len(found)} slides have no annotations in {given}: {listed}",
                hint="each needs <slide name>.geojson; score slides without them apart, "
                "with --compartments none",
            )
        return dict(found)
    if not given.is_file():
        raise InputError(
            f"--compartments {compartments} is neither none, nests, a GeoJSON file, a folder nor a "
            "model",
            hint="allowed: none, nests, annotations.geojson, a folder of <slide name>.geojson, or "
            "a compartment model, by its folder or its name",
        )
    if len(names) > 1:
        raise InputError(
            f"--compartments {given.name} is one file, but there are {len(names)} slides",
            hint="give a folder with one <slide name>.geojson a slide",
        )
    return dict.fromkeys(names.values(), given)


def demo(out: str | Path, *, progress: Progress | None = None) -> Run:
    """Score scikit-image's bundled IHC field (FHL2 in colonic glands, DAB) at an assumed scale.

    Parameters
    ----------
    out
        Folder for the field and its run.
    """
    package = util.find_spec("skimage")
    field = Path(str(package.origin)).parent / "data" / "ihc.png" if package else None
    if field is None or not field.is_file():
        raise NotComputed(
            "scikit-image's ihc.png is not installed",
            hint="pip install --force-reinstall scikit-image",
        )
    folder = make_folder(Path(out))
    copy = folder / "ihc-field.png"
    if not copy.exists():
        with writing(copy):
            shutil.copyfile(field, copy)
    spec = make_spec(marker="cytoplasmic", mpp=DEMO_MPP)
    return score_slides([copy], folder, spec, workers=1, progress=progress)
