"""``herscope phantom``: draw a slide with known truth; its options are PhantomSpec's fields."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from cyclopts import Parameter

from herscope.cli.output import COMMON, Common, Flag, Outcome
from herscope.core.errors import InputError
from herscope.core.spec import Spec
from herscope.slide.phantom.spec import PhantomSpec

S = TypeVar("S", bound=Spec)
DEFAULT = PhantomSpec.model_validate({})
PATCH_MPP = {"compartments": 1.0, "nuclei": 0.5, "hscore": 0.5}
"""µm/px at which each kind of patch is looked at."""
MISSING, STRENGTH = 0.0, 2.0
CohortOf = Literal[
    "he-her2", "bags-tiles", "bags-arrangement", "bags-none", "bags-site",
    "respond-pathology", "respond-radiology", "respond-interaction", "respond-reports",
    "respond-none",
]  # fmt: skip


def phantom(
    *,
    out: Path,
    name: str = "phantom",
    patches: int | None = None,
    patches_of: Literal["compartments", "nuclei", "hscore"] = "compartments",
    patch_px: int = 256,
    patch_mpp: float | None = None,
    cohort: int | None = None,
    cohort_of: CohortOf = "he-her2",
    signal: float = 1.0,
    region: Flag = False,
    missing: float = MISSING,
    strength: float = STRENGTH,
    spec: Annotated[PhantomSpec, Parameter(name="*", negative="")] = DEFAULT,
    common: Common = COMMON,
) -> Outcome:
    """Draw a slide with known cells, membranes, compartments and optical densities.

    Parameters
    ----------
    out
        Folder for NAME.tif and its truth.
    name
        Stem of the files.
    patches
        Instead of a slide, draw so many training patches for `herscope fit`, each four of a slide
        with dyes, cells, islands and artefacts of its own; of the slide's options only --seed
        counts.
    patches_of
        What those patches tell: masks of compartments, numbered nuclei, or target regions with the
        true H-score.
    patch_px
        Edge of those patches.
    patch_mpp
        µm/px of those patches; when absent 1.0 for compartments, else 0.5.
    cohort
        Instead of a slide, draw so many labelled slides, or bags of features, for `herscope mil
        fit`, or patients for `herscope respond fit`; of the slide's options only --seed counts.
    cohort_of
        he-her2: H&E slides whose morphology follows a HER2 score. bags-...: features with a
        signal in single tiles, in their arrangement, in nothing, or in the site alone.
        respond-...: patients with features of slides, CT, reports and outcome; the response shows
        in one of them, in the agreement of slide and CT alone, or in nothing.
    signal
        How much of the class H&E slides show, 0 to 1.
    region
        In half of the H&E slides only one rectangle shows the class.
    missing
        Share of the patients (respond-...) from whom the slide and its report are taken, and, apart
        from that, CT and its report; 0 to 0.9.
    strength
        Shift of the bags or lesions that show the response, in SD between those that do not; of
        respond-... only.
    """
    from herscope import recipes

    if patches is not None and cohort is not None:
        raise InputError("--patches and --cohort were both given", hint="choose one of them")
    drawn = cohort is not None and cohort_of.startswith("respond-")
    if not drawn and (missing, strength) != (MISSING, STRENGTH):
        raise InputError(
            "--missing and --strength are of patients only",
            hint="give --cohort N --cohort-of respond-..., or leave them out",
        )
    if cohort is not None:
        if cohort_of == "he-her2":
            return _he_cohort(out, cohort, spec.seed, signal, region=region, quiet=common.json)
        if drawn:
            fields = {"seed": spec.seed, "missing": missing, "strength": strength}
            return _patients(out, cohort, cohort_of, fields, quiet=common.json)
        return _bags(out, cohort, cohort_of, spec.seed, quiet=common.json)
    if patches is not None:
        mpp = PATCH_MPP[patches_of] if patch_mpp is None else patch_mpp
        return _PATCHES[patches_of](out, patches, spec.seed, mpp, patch_px)
    document = recipes.phantom(spec, out, name)
    said = f"drew {document['slide']}\ntruth beside it: {', '.join(document['truth'])}"
    return Outcome(document, [said])


def _compartments(out: Path, n: int, seed: int, mpp: float, size_px: int) -> Outcome:
    from herscope.recipes.fit import phantom_patches

    document = phantom_patches(out, n, seed=seed, mpp=mpp, size_px=size_px)
    total = sum(document["pixels"].values())
    shares = ", ".join(f"{k} {100 * v / total:.0f} %" for k, v in document["pixels"].items())
    return Outcome(document, [f"drew {n} patches with masks in {document['folder']}", shares])


def _nuclei(out: Path, n: int, seed: int, mpp: float, size_px: int) -> Outcome:
    from herscope.recipes.fit_nuclei import phantom_nuclei

    document = phantom_nuclei(out, n, seed=seed, mpp=mpp, size_px=size_px)
    said = f"drew {n} patches with {document['nuclei']:,} nuclei in {document['folder']}"
    return Outcome(document, [said])


def _hscores(out: Path, n: int, seed: int, mpp: float, size_px: int) -> Outcome:
    from herscope.recipes.fit_hscore import phantom_hscores

    document = phantom_hscores(out, n, seed=seed, mpp=mpp, size_px=size_px)
    return Outcome(document, [f"drew {n} patches with H-scores in {document['folder']}"])


def _he_cohort(
    out: Path, n: int, seed: int, signal: float, *, region: bool, quiet: bool
) -> Outcome:
    from herscope.recipes.cohorts import he_cohort
    from herscope.slide.phantom.he_cohort import HeCohortSpec

    fields = {"slides": n, "seed": seed, "signal": signal, "region": region}
    told = None if quiet else _tell
    document = he_cohort(_checked(HeCohortSpec, fields, "slides"), out, progress=told)
    classes = ", ".join(f"{name} {count}" for name, count in document["classes"].items())
    said = [
        f"drew {n} H&E slides of {document['patients']} patients in {document['folder']}",
        f"labels: {document['labels']} ({classes})",
        f"what was drawn: {document['truth']}",
    ]
    return Outcome(document, said)


def _bags(out: Path, n: int, kind: str, seed: int, *, quiet: bool) -> Outcome:
    from herscope.embed.planted_bags import PlantedSpec
    from herscope.recipes.cohorts import planted_bags

    fields = {"bags": n, "seed": seed, "signal": kind.removeprefix("bags-")}
    told = None if quiet else _tell
    document = planted_bags(_checked(PlantedSpec, fields, "bags"), out, progress=told)
    classes = ", ".join(f"{name}: {count}" for name, count in document["classes"].items())
    said = [
        f"drew {n} bags of features in {document['folder']}",
        f"labels: {document['labels']} ({classes})",
    ]
    return Outcome(document, said)


def _patients(out: Path, n: int, kind: str, fields: dict[str, Any], *, quiet: bool) -> Outcome:
    from herscope.recipes.cohorts import response_cohort
    from herscope.respond.drawn_cohort.spec import DrawnCohortSpec

    fields = {"patients": n, "signal": kind.removeprefix("respond-"), **fields}
    told = None if quiet else _tell
    document = response_cohort(_checked(DrawnCohortSpec, fields, "patients"), out, progress=told)
    labels = ", ".join(f"{name} {count}" for name, count in document["labels"].items())
    there = ", ".join(f"{name} of {count}" for name, count in document["modalities"].items())
    said = [
        f"drew {n} patients in {document['folder']}: {there}",
        f"labels: {labels}; what was drawn: {document['truth']}",
        f"cohort file: {document['cohort']}",
    ]
    return Outcome(document, said)


def _checked(kind: type[S], fields: dict[str, Any], count: str) -> S:
    """Make a Spec of options; what it refuses names the option."""
    from pydantic import ValidationError

    from herscope.core.study import plain

    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = str(first["loc"][0]) if first["loc"] else ""
        option = "cohort" if field in {count, ""} else field.replace("_", "-")
        told = f"--{option}: {plain(first)[0]}"
        raise InputError(told, hint="herscope phantom --help lists the options") from error


def _tell(done: int, total: int) -> None:
    """Say how far it is, ten times at most."""
    if done == total or done * 10 // total > (done - 1) * 10 // total:
        sys.stderr.write(f"{done} of {total} drawn\n")


_PATCHES: dict[str, Any] = {"compartments": _compartments, "nuclei": _nuclei, "hscore": _hscores}
