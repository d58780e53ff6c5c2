"""``herscope phantom``: draw a slide with known truth; its options are PhantomSpec's fields."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from herscope.cli.output import COMMON, Common, Outcome
from herscope.slide.phantom.spec import PhantomSpec

DEFAULT = PhantomSpec.model_validate({})


def phantom(
    *,
    out: Path,
    name: str = "phantom",
    patches: int | None = None,
    patch_px: int = 256,
    patch_mpp: float = 1.0,
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
        Instead of a slide, draw so many training patches with masks for `herscope fit`, each four
        of a slide with dyes, cells, islands and artefacts of its own; of the slide's options only
        --seed counts.
    patch_px
        Edge of those patches.
    patch_mpp
        µm/px of those patches.
    """
    from herscope import recipes

    del common
    if patches is not None:
        return _patches(out, patches, spec.seed, patch_mpp, patch_px)
    document = recipes.phantom(spec, out, name)
    said = f"drew {document['slide']}\ntruth beside it: {', '.join(document['truth'])}"
    return Outcome(document, [said])


def _patches(out: Path, n: int, seed: int, mpp: float, size_px: int) -> Outcome:
    from herscope.recipes.fit import phantom_patches

    document = phantom_patches(out, n, seed=seed, mpp=mpp, size_px=size_px)
    total = sum(document["pixels"].values())
    shares = ", ".join(f"{k} {100 * v / total:.0f} %" for k, v in document["pixels"].items())
    return Outcome(document, [f"drew {n} patches with masks in {document['folder']}", shares])
