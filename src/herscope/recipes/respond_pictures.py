"""Pictures for a patient's page: bags cut from the slides, lesions with their maps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from herscope.core.errors import NotComputed

if TYPE_CHECKING:
    from herscope.recipes.respond_patients import Prepared
    from herscope.recipes.respond_predict import Asked
    from herscope.respond.explaining.explanation import Explanation
    from herscope.respond.training.raw import RawPatient

BAG_PX: Final = 256
FAINTEST: Final = 0.1
"""Of the full colour; a weaker map is told by its peak only."""
THUMBNAIL_PX: Final = 640


def lesion_pictures(
    asked: Asked, raw: RawPatient, explained: Explanation, rows: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """Return the lesions' rows with their pictures: in its window, and with the map over it."""
    from herscope.report.cam_picture import lesion_uris
    from herscope.respond.radiology.lesions import LesionKind

    cams = explained.cams.get("radiology")
    lesions = raw.radiology
    if cams is None or lesions is None:
        return {}
    # One member's window stands for all: they differ by which patients were trained on.
    table = asked.members[asked.judges(raw.name)[0]].scaling.windows
    shown = []
    for row in rows:
        place = int(row["number"])
        kind = LesionKind(int(lesions.kinds[place]))
        window, _ = table.of(kind, raw.centre)
        uris = lesion_uris(
            lesions, place, cams[place], window=window, top=explained.cam_scale["radiology"]
        )
        if float(cams[place].max()) < FAINTEST * explained.cam_scale["radiology"]:
            del uris["cam_picture"]  # it would show a darker CT and nothing else
        shown.append({**row, **uris})
    return {"lesions": shown}


def bag_pictures(
    prepared: Prepared, raw: RawPatient, rows: Sequence[dict[str, Any]], *, most: int
) -> dict[str, Any]:
    """Return the rows of the heaviest bags with their pictures, and thumbnails of the slides.

    Raises
    ------
    NotComputed
        The cohort names no slide, or none of the patient's.
    """
    from herscope.report.figures import thumbnail
    from herscope.report.jpeg import fitting, jpeg_bytes, jpeg_uri
    from herscope.slide.opened import open_slide

    if not rows or most < 1:
        return {}
    files = _slides(prepared, raw.name)
    shown = [dict(row) for row in rows]
    slides = []
    for name in dict.fromkeys(row["slide"] for row in rows if "slide" in row):
        if name not in files:
            continue
        with open_slide(files[name]) as slide:
            info = slide.info
            larger = max(info.width_px, info.height_px) / THUMBNAIL_PX
            overview = slide.read_all(slide.grid(info.mpp * max(1.0, larger)))
            slides.append(
                {
                    "name": name,
                    "width_px": info.width_px,
                    "height_px": info.height_px,
                    "thumbnail": jpeg_uri(thumbnail(overview, THUMBNAIL_PX)),
                }
            )
            for row in shown[:most]:
                if row.get("slide") != name:
                    continue
                picture = _cut(slide, row)
                row["picture"] = jpeg_uri(jpeg_bytes(fitting(picture, BAG_PX)))
    return {"bags": shown, "slides": slides}


def _cut(slide: Any, row: dict[str, Any]) -> Any:
    """Read a bag, no finer than it is shown."""
    edge = float(row["bag_px"])
    grid = slide.grid(slide.info.mpp * max(1.0, edge / BAG_PX))
    x, y = round(row["x_px"] / grid.scale_x), round(row["y_px"] / grid.scale_y)
    return slide.read(
        grid, x, y, max(1, round(edge / grid.scale_x)), max(1, round(edge / grid.scale_y))
    )


def _slides(prepared: Prepared, patient: str) -> dict[str, Path]:
    cohort = prepared.cohort
    named = cohort.files.get("slides")
    found = () if named is None else named[cohort.patients.index(patient)]
    if not found:
        raise NotComputed(
            "the cohort file names no slide of this patient", hint="name it under [files] slides"
        )
    return {path.stem: path for path in found}
