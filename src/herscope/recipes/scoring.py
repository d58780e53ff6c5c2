"""Score one slide, or many into a RUN folder."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from herscope.core.errors import InputError, NotComputed, SchemaError
from herscope.core.store import make_folder, writing
from herscope.core.study import load_study, with_values

if TYPE_CHECKING:
    from herscope.run.many import Run
    from herscope.run.progress import Progress
    from herscope.score.slide import ScoredSlide
    from herscope.score.spec import ScoreSpec
    from herscope.slide.opened import Slide
    from herscope.slide.resolution import SlideSpec

DEMO_MPP = 0.5
"""Assumed: neither scikit-image nor the donor (CMMI) states the scale; crypt nuclei about 5 by
9 µm fit half a micrometre a pixel."""


def score(
    slide: Slide | str | Path,
    *,
    marker: str | None = None,
    compartments: str | Path | None = None,
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
        A GeoJSON file with tumour and stroma, the folder of a compartment model, or ``nests``; all
        tissue is one compartment when absent.
    spec
        All parameters; the defaults when absent.
    **changes
        Single parameters with two underscores for a table, such as ``slide__mpp=0.5``.

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
    full = with_values(spec or ScoreSpec(), values, where="score()")
    if compartments == "nests":
        full = with_values(full, {"compartments": "nests"}, where="score()")
    drawn = None if compartments in {None, "none", "nests"} else Path(str(compartments))
    if drawn is not None and (drawn / "card.json").is_file():
        drawn /= "card.json"
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
        ``none``, one GeoJSON file (for one slide), a folder of ``<slide name>.geojson``, the folder
        of a compartment model, or ``nests``.
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
        spec = with_values(spec, {"compartments": "nests"}, where="--compartments")
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
) -> ScoreSpec:
    """Put the parameters of ``herscope score`` together: the study file, then the options."""
    from herscope.score.spec import ScoreSpec

    spec = ScoreSpec() if study is None else load_study(study, ScoreSpec)
    if marker is not None:
        spec = with_values(spec, {"marker": marker}, where="--marker")
    if stains is not None:
        from herscope.run.scoring import stain_changes

        spec = with_values(spec, stain_changes(Path(stains)), where="--stains")
    scale = slide_spec(mpp=mpp, override_mpp=override_mpp, base=spec.slide)
    return spec.model_copy(update={"slide": scale})


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
    if (given / "card.json").is_file():
        return dict.fromkeys(names.values(), given / "card.json")
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
            f"--compartments {compartments} is neither none, nests, a GeoJSON file nor a folder",
            hint="allowed: none, nests, annotations.geojson, a folder of <slide name>.geojson, or "
            "the folder of a compartment model",
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
