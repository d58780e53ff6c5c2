"""``herscope phantom``: draw a slide with known truth; its options are PhantomSpec's fields."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from herscope.cli.output import COMMON, Common, Outcome
from herscope.slide.phantom.spec import PhantomSpec

DEFAULT = PhantomSpec.model_validate({})
PATCH_MPP = {"compartments": 1.0, "nuclei": 0.5, "hscore": 0.5}
"""µm/px at which each kind of patch is looked at."""


def phantom(
    *,
    out: Path,
    name: str = "phantom",
    patches: int | None = None,
    patches_of: Literal["compartments", "nuclei", "hscore"] = "compartments",
    patch_px: int = 256,
    patch_mpp: float | None = None,
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
    """
    from herscope import recipes

    del common
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


_PATCHES: dict[str, Any] = {"compartments": _compartments, "nuclei": _nuclei, "hscore": _hscores}
