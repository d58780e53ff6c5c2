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
    """
    from herscope import recipes

    del common
    document = recipes.phantom(spec, out, name)
    said = f"drew {document['slide']}\ntruth beside it: {', '.join(document['truth'])}"
    return Outcome(document, [said])
