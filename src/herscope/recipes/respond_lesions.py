"""From a CT and a mask to a table of lesions: place, volume, radiomics, a picture of each."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from herscope.core.errors import HerscopeError, OutputError

if TYPE_CHECKING:
    from herscope.respond.radiology.lesions import Lesion, LesionSpec
    from herscope.respond.radiology.mask_spec import MaskSpec
    from herscope.respond.radiology.volume import Mask, Volume
    from herscope.respond.radiomics.spec import RadiomicsSpec

SCHEMA = "herscope.lesions/1"
TABLE = "lesions.csv"


def measure_lesions(
    image: str | Path,
    mask: str | Path,
    out: str | Path,
    *,
    kind: str = "other",
    mask_spec: MaskSpec | None = None,
    lesion_spec: LesionSpec | None = None,
    radiomics: RadiomicsSpec | None = None,
    force: bool = False,
) -> dict[str, Any]:
    """Measure the lesions of a CT.

    Parameters
    ----------
    image
        NIfTI file, or a folder of DICOM slices.
    mask
        NIfTI labels, DICOM SEG or RTSTRUCT on the same grid.
    out
        Folder for ``lesions.csv`` (a row a lesion) and ``lesion-N.png``.
    kind
        lymph node, stomach, liver, peritoneum or other; of all lesions of the mask.
    mask_spec, lesion_spec, radiomics
        Which labels, how they become lesions, and what is measured.
    force
        Replace a table that is there.

    Returns
    -------
    dict
        The document that ``herscope respond lesions --json`` prints; a lesion that radiomics cannot
        measure has its reason instead of figures.

    Raises
    ------
    InputError, SchemaError, EmptyTissue, DependencyMissing
        The files cannot be used.
    OutputError
        A table is there already.
    """
    from herscope.core.store import make_folder, write_text
    from herscope.respond.radiology.lesions import kind_of, lesions_from_mask
    from herscope.respond.radiology.masks import read_mask, read_volume
    from herscope.respond.radiology.windows import count_lesion, fit_windows
    from herscope.respond.radiomics.spec import RadiomicsSpec

    home = Path(out)
    if (home / TABLE).exists() and not force:
        raise OutputError(f"{home / TABLE} exists already", hint="--force replaces it")
    volume = read_volume(image)
    labels = read_mask(mask, volume, spec=mask_spec)
    known = kind_of(kind)
    lesions, numbered = lesions_from_mask(volume, labels, known, spec=lesion_spec)
    make_folder(home)
    table = fit_windows(count_lesion(volume, one, numbered, centre="here") for one in lesions)
    window, _ = table.of(known, "here")
    spec = radiomics or RadiomicsSpec()
    rows = [_measure(volume, one, numbered, spec) for one in lesions]
    for one in lesions:
        _draw(volume, one, numbered, window, home / f"lesion-{one.label}.png")
    write_text(home / TABLE, _csv(rows))
    return {
        "schema": SCHEMA,
        "image": str(image),
        "spacing_mm": list(volume.spacing_mm),
        "window_hu": [window.low_hu, window.high_hu],
        "lesions": [
            {
                key: row[key]
                for key in ("lesion", "kind", "volume_ml", "voxels", "key_slice", "fault")
            }
            for row in rows
        ],
        "features": max((len(row["features"]) for row in rows), default=0),
        "spec": spec.model_dump(mode="json"),
        "notes": [*volume.notes, *numbered.notes],
        "folder": str(home),
    }


def _measure(volume: Volume, lesion: Lesion, mask: Mask, spec: RadiomicsSpec) -> dict[str, Any]:
    from herscope.respond.radiomics.extract import features

    row: dict[str, Any] = {
        "lesion": lesion.label,
        "kind": lesion.kind.name.lower(),
        "volume_ml": round(lesion.volume_ml, 4),
        "voxels": lesion.voxels,
        "key_slice": lesion.key_slice + 1,  # counted from 1, at the feet, as on the picture
        "fault": "",
        "features": {},
    }
    try:
        # The whole CT: filters look beyond the lesion, and what is far away is cut off there.
        inside = mask.array == lesion.label
        row["features"] = features(volume.array, inside, volume.spacing_mm, spec)
    except HerscopeError as error:
        row["fault"] = error.message
    return row


def _draw(volume: Volume, lesion: Lesion, mask: Mask, window: Any, path: Path) -> None:
    from herscope.report.ct_picture import draw_lesion, save_lesion_picture

    save_lesion_picture(path, draw_lesion(volume, lesion, mask, window=window))


def _csv(rows: list[dict[str, Any]]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row["features"]))
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    first = ("lesion", "kind", "volume_ml", "voxels", "key_slice", "fault")
    writer.writerow([*first, *names])
    for row in rows:
        values = (row["features"].get(name) for name in names)
        writer.writerow([*(row[key] for key in first), *("" if v is None else v for v in values)])
    return stream.getvalue()
