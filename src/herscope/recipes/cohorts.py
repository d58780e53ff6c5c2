"""Draw cohorts with known truth: H&E slides with HER2 labels, bags of features, patients.

Slides are drawn by worker processes, one slide each; what is drawn does not depend on how many
there are. Labels are written last, so a folder with labels is complete.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import as_completed
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from herscope.core.errors import InputError, OutputError
from herscope.core.provenance import cpu_count
from herscope.core.store import make_folder, write_json, write_text

if TYPE_CHECKING:
    from herscope.embed.planted_bags import PlantedSpec
    from herscope.respond.drawn_cohort.spec import DrawnCohortSpec
    from herscope.slide.phantom.he_cohort import HeCohortSpec, HeSlide

Progress = Callable[[int, int], None]
SCHEMA: Final = "herscope.cohort/1"


def he_cohort(
    spec: HeCohortSpec,
    out: str | Path,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Draw a cohort of H&E slides whose morphology follows a HER2 class.

    Parameters
    ----------
    spec
        The cohort.
    out
        Folder for ``slides/*.tif``, ``labels.csv`` (slide, patient, site, ihc, fish) and
        ``truth.json`` (per slide the grade that was drawn and the region that shows the class).
    workers
        Processes; the cores of this machine when absent.
    progress
        Called with slides done and their number.

    Raises
    ------
    InputError
        ``out`` holds slides of something else.
    OutputError
        It cannot be written.
    """
    from herscope.run.pool import BrokenProcessPool, Inline, Pool, Workers
    from herscope.slide.phantom.he_cohort import he_slide

    root = Path(out)
    slides = [he_slide(spec, number) for number in range(spec.slides)]
    folder = _folder(root, "slides", {f"{slide.name}.tif" for slide in slides})
    many = min(workers or cpu_count(), spec.slides)
    pool: Pool = Workers(many) if many > 1 else Inline()
    finished = False
    try:
        waiting = [
            pool.submit(_draw, spec, number, str(folder / f"{slide.name}.tif"))
            for number, slide in enumerate(slides)
        ]
        for done, future in enumerate(as_completed(waiting), 1):
            future.result()
            if progress is not None:
                progress(done, spec.slides)
        finished = True
    except BrokenProcessPool as error:
        raise OutputError(
            f"a worker process ended before its slide was drawn into {folder}",
            hint="usually memory ran out: use fewer workers; a Python script that calls this "
            "needs an `if __name__ == '__main__'` around it",
        ) from error
    finally:
        pool.close(kill=not finished)
    _write_he_truth(root, spec, slides)
    return {
        "folder": str(folder),
        "labels": str(root / "labels.csv"),
        "truth": str(root / "truth.json"),
        "slides": spec.slides,
        "patients": len({slide.patient for slide in slides}),
        "sites": len({slide.site for slide in slides}),
        "classes": dict(sorted(Counter(slide.ihc for slide in slides).items())),
        "regions": sum(slide.region is not None for slide in slides),
        "spec": spec.model_dump(mode="json"),
    }


def planted_bags(
    spec: PlantedSpec, out: str | Path, *, progress: Progress | None = None
) -> dict[str, Any]:
    """Draw bags of features with a planted signal.

    Parameters
    ----------
    spec
        The set.
    out
        Folder for ``features/*.h5ad``, ``labels.csv`` (slide, patient, site, label, split) and
        ``truth.csv`` (slide, x_px, y_px: the tiles that carry the signal).
    progress
        Called with bags done and their number.

    Raises
    ------
    InputError
        ``out`` holds feature files of something else.
    OutputError
        It cannot be written.
    """
    from herscope.embed.planted_bags import bag_name
    from herscope.embed.planted_files import write_planted

    root = Path(out)
    names = {f"{bag_name(spec, number)}.h5ad" for number in range(spec.bags)}
    _folder(root, "features", names)
    counts = write_planted(spec, root, progress=progress)
    return {
        "folder": str(root / "features"),
        "labels": str(root / "labels.csv"),
        "truth": str(root / "truth.csv"),
        "bags": spec.bags,
        "classes": counts,
        "spec": spec.model_dump(mode="json"),
    }


def response_cohort(
    spec: DrawnCohortSpec, out: str | Path, *, progress: Progress | None = None
) -> dict[str, Any]:
    """Draw patients with slides, CT, reports and an outcome, for ``herscope respond``.

    Parameters
    ----------
    spec
        The cohort.
    out
        Folder for ``cohort.toml``, ``patients.csv``, ``features/*.h5ad``, ``ct/*.nii.gz`` with
        masks, ``lesions/*.csv`` and ``truth.csv`` (what was drawn, and what carries the signal).
    progress
        Called with patients done and their number.

    Raises
    ------
    InputError
        ``out`` holds files of something else.
    OutputError
        It cannot be written.
    """
    from herscope.respond.drawn_cohort.files import COHORT, file_names, write_cohort

    root = Path(out)
    for name, own in file_names(spec).items():
        _folder(root, name, own, last=COHORT)
    counts = write_cohort(spec, root, progress=progress)
    return {
        "folder": str(root),
        "cohort": str(root / COHORT),
        "truth": str(root / "truth.csv"),
        "patients": spec.patients,
        "labels": {name: counts[name] for name in ("response", "no response", "none")},
        "modalities": {name: counts[name] for name in ("pathology", "radiology")},
        "spec": spec.model_dump(mode="json"),
    }


def _draw(spec: HeCohortSpec, number: int, path: str) -> None:
    """Draw one slide; runs in a worker."""
    from herscope.slide.phantom.he_cohort import draw_he_slide, he_slide

    draw_he_slide(he_slide(spec, number), Path(path))


def _folder(root: Path, name: str, own: set[str], *, last: str = "labels.csv") -> Path:
    """Make a folder; one that holds other files would be mixed with what is drawn now.

    The file that is written last is taken away: while it is absent, the folder is not complete.
    """
    folder = root / name
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file", hint="choose another --out")
    others = sorted(
        path.name
        for path in (folder.iterdir() if folder.is_dir() else ())
        if path.name not in own and not path.name.startswith(".")
    )
    if others:
        raise InputError(
            f"{folder} holds {len(others)} file(s) that are not of this cohort, such as "
            f"{others[0]}",
            hint="choose another --out, or empty that folder",
        )
    make_folder(folder)
    (root / last).unlink(missing_ok=True)
    return folder


def _write_he_truth(root: Path, spec: HeCohortSpec, slides: Sequence[HeSlide]) -> None:
    told = {
        slide.name: {
            "ihc": slide.ihc,
            "grade": slide.grade,
            "region": None
            if slide.region is None
            else dict(zip(("x_px", "y_px", "width_px", "height_px"), slide.region, strict=True)),
            "dyes": {
                "hematoxylin_od": slide.spec.hematoxylin_od,
                "eosin_od": slide.spec.eosin_od,
            },
        }
        for slide in slides
    }
    about = {"schema": SCHEMA, "spec": spec.model_dump(mode="json"), "slides": told}
    write_json(root / "truth.json", about)
    rows = [("slide", "patient", "site", "ihc", "fish")]
    rows += [(s.name, s.patient, s.site, s.ihc, s.fish) for s in slides]
    write_text(root / "labels.csv", "".join(",".join(row) + "\n" for row in rows))
