"""``herscope respond lesions``: volumes, radiomics and pictures of the lesions of a CT."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from herscope.cli.output import COMMON, Common, Flag, Outcome
from herscope.respond.radiology.lesions import LesionSpec
from herscope.respond.radiology.mask_spec import MaskSpec
from herscope.respond.radiomics.spec import RadiomicsSpec

MASK, LESION, RADIOMICS = MaskSpec(), LesionSpec(), RadiomicsSpec()
SOME_FAILED = 3


def lesions(
    image: Path,
    mask: Path,
    /,
    *,
    out: Path,
    kind: Literal["lymph node", "stomach", "liver", "peritoneum", "other"] = "other",
    which: Annotated[MaskSpec, Parameter(name="mask", negative="")] = MASK,
    parts: Annotated[LesionSpec, Parameter(name="*", negative="")] = LESION,
    radiomics: Annotated[RadiomicsSpec, Parameter(name="radiomics", negative="")] = RADIOMICS,
    force: Flag = False,
    common: Common = COMMON,
) -> Outcome:
    """Measure the lesions that a mask outlines on a CT; radiomics after IBSI's definitions.

    Parameters
    ----------
    image
        NIfTI file, or a folder of DICOM slices.
    mask
        NIfTI labels, DICOM SEG or RTSTRUCT on the grid of the CT.
    out
        Folder for lesions.csv and a picture a lesion.
    kind
        What the lesions are.
    force
        Replace a table that is there.
    """
    from herscope.recipes.respond_lesions import measure_lesions

    del common
    document = measure_lesions(
        image,
        mask,
        out,
        kind=kind,
        mask_spec=which,
        lesion_spec=parts,
        radiomics=radiomics,
        force=force,
    )
    lines = [
        f"lesion {one['lesion']}: {one['volume_ml']:.2f} ml, "
        f"key slice {one['key_slice']} from the feet"
        + (f"; no radiomics: {one['fault']}" if one["fault"] else "")
        for one in document["lesions"]
    ]
    lines += [f"note: {note}" for note in document["notes"]]
    lines.append(f"{document['features']} features a lesion in {out / 'lesions.csv'}")
    failed = any(one["fault"] for one in document["lesions"])
    return Outcome(document, ["\n".join(lines)], SOME_FAILED if failed else 0)
