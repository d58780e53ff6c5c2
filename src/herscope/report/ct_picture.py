"""The key slice of a CT lesion: where it lies in the body, and what the network is shown of it.

Left the whole slice with the lesion's outline and box, right the cut-out in the lesion's own
window. Drawn as radiologists look at it: from the feet, the patient's right on the left, the front
on top; the letters R, L, A, P on the rim say so. Pixels that are not square in the file are drawn
in millimetres, so that bodies keep their shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from herscope.core.store import write_bytes
from herscope.report.sheet import INK, MUTED, Rgb, Sheet
from herscope.respond.radiology.lesions import Box, Lesion, lesion_voxels
from herscope.respond.radiology.slices import LesionSlices, SliceSpec, three_slices
from herscope.respond.radiology.volume import Mask, Volume
from herscope.respond.radiology.windows import FALLBACK, Window

PANEL_PX: Final = 480
MARGIN: Final = 16
LINE_PX: Final = 19
NICE_MM: Final = (1, 2, 5, 10, 20, 50, 100, 200)
OUTLINE_RGB: Final = (255, 196, 0)
BOX_RGB: Final = (90, 200, 255)
LETTER: Final = "#e8edf3"
TILT_SHOWN_DEGREES: Final = 10.0


@dataclass(frozen=True, eq=False)
class _Panel:
    """A picture in the sheet, and how many of its pixels a voxel is wide and high."""

    rgb: Rgb
    box: Box
    x_scale: float
    y_scale: float
    mm_per_px: float


def draw_lesion(
    volume: Volume,
    lesion: Lesion,
    mask: Mask | None = None,
    *,
    window: Window = FALLBACK,
    body: Window = FALLBACK,
    spec: SliceSpec | None = None,
    title: str = "",
) -> Sheet:
    """Draw a lesion.

    Parameters
    ----------
    volume
        The CT.
    lesion, mask
        A lesion and the numbered mask it came with; no mask for a box.
    window
        Of the cut-out, as the network gets it.
    body
        Of the whole slice.
    spec
        Size and margin of the cut-out.
    title
        First line; name no person there.

    Returns
    -------
    Sheet
        ``png()`` or ``svg()`` of it.

    Raises
    ------
    InputError
        The lesion lies outside of the CT, or the mask is another one.

    Examples
    --------
    >>> from herscope.respond.radiology.lesions import LesionKind
    >>> ct = Volume(np.full((1, 40, 60), 40, np.float32), (5, 1, 1), (0, 0, 0), np.eye(3), "a")
    >>> one = Lesion(1, LesionKind.LIVER, Box(0, 15, 15, 1, 25, 25), 100, 0.5, 0, "", False)
    >>> draw_lesion(ct, one).png()[1:4]
    b'PNG'
    """
    cut = three_slices(volume, lesion, window=window, spec=spec)
    inside = lesion_voxels(lesion, mask)
    _, height, width = volume.grid.shape
    whole = _panel(volume, Box(lesion.key_slice, 0, 0, lesion.key_slice + 1, height, width), body)
    close = _panel(volume, cut.box, window)
    if inside is not None:
        for panel in (whole, close):
            _outline(panel, lesion, inside)
    lines = _caption(volume, lesion, cut, window, body, mask)
    tall = max(len(panel.rgb) for panel in (whole, close))
    wide = whole.rgb.shape[1] + close.rgb.shape[1]
    head = MARGIN + (LINE_PX + 8 if title else 0)
    sheet = Sheet(wide + 3 * MARGIN, head + tall + MARGIN // 2 + LINE_PX * len(lines) + MARGIN)
    if title:
        sheet.words(MARGIN, MARGIN + 14, title, size=16)
    left = MARGIN
    for panel in (whole, close):
        _lay(sheet, panel, left, head, volume)
        left += panel.rgb.shape[1] + MARGIN
    _frame(sheet, whole, lesion.box, MARGIN, head)
    for number, line in enumerate(lines):
        at = head + tall + MARGIN // 2 + LINE_PX * (number + 1)
        sheet.words(MARGIN, at, line, size=13, color=INK if number < 2 else MUTED)
    return sheet


def save_lesion_picture(path: str | Path, sheet: Sheet) -> None:
    """Write the picture as PNG, or as SVG where the name ends so.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    file = Path(path)
    write_bytes(file, sheet.svg() if file.suffix.lower() == ".svg" else sheet.png())


def _panel(volume: Volume, box: Box, window: Window) -> _Panel:
    """Cut a box out of a slice and enlarge it so that it fills the panel; black outside."""
    import cv2

    _, height, width = volume.grid.shape
    grey = np.zeros(box.size[1:], np.float32)
    y0, y1 = max(box.y0, 0), min(box.y1, height)
    x0, x1 = max(box.x0, 0), min(box.x1, width)
    grey[y0 - box.y0 : y1 - box.y0, x0 - box.x0 : x1 - box.x0] = window.apply(
        volume.array[box.z0, y0:y1, x0:x1]
    )
    tall_mm = grey.shape[0] * volume.spacing_mm[1]
    wide_mm = grey.shape[1] * volume.spacing_mm[2]
    mm_per_px = max(tall_mm, wide_mm) / PANEL_PX
    size = max(round(wide_mm / mm_per_px), 1), max(round(tall_mm / mm_per_px), 1)
    shrinks = mm_per_px > min(volume.spacing_mm[1:])
    flag = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    shown = np.clip(np.rint(cv2.resize(grey, size, interpolation=flag)), 0, 255).astype(np.uint8)
    return _Panel(
        np.repeat(shown[:, :, None], 3, axis=2),
        box,
        size[0] / grey.shape[1],
        size[1] / grey.shape[0],
        mm_per_px,
    )


def _outline(panel: _Panel, lesion: Lesion, inside: NDArray[np.bool_]) -> None:
    """Paint the rim of the lesion's voxels in the key slice, along the edges of voxels."""
    import cv2

    flat = np.zeros(panel.box.size[1:], np.uint8)
    drawn = inside[lesion.key_slice - lesion.box.z0]
    rows, columns = np.nonzero(drawn)
    y = rows + lesion.box.y0 - panel.box.y0
    x = columns + lesion.box.x0 - panel.box.x0
    flat[y, x] = 1
    tall, wide = panel.rgb.shape[:2]
    large = cv2.resize(flat, (wide, tall), interpolation=cv2.INTER_NEAREST)
    rims, _ = cv2.findContours(large, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(panel.rgb, rims, -1, OUTLINE_RGB, 1)


def _frame(sheet: Sheet, panel: _Panel, box: Box, left: float, top: float) -> None:
    """Draw the lesion's box around its voxels."""
    sheet.box(
        left + box.x0 * panel.x_scale - 2,
        top + box.y0 * panel.y_scale - 2,
        (box.x1 - box.x0) * panel.x_scale + 4,
        (box.y1 - box.y0) * panel.y_scale + 4,
        line="#{:02x}{:02x}{:02x}".format(*BOX_RGB),
        line_px=1.0,
    )


def _lay(sheet: Sheet, panel: _Panel, left: float, top: float, volume: Volume) -> None:
    """Lay a picture with its letters and its scale bar."""
    tall, wide = panel.rgb.shape[:2]
    sheet.image(left, top, panel.rgb)
    for text, x, y in (
        ("R", left + 12, top + tall / 2 + 5),
        ("L", left + wide - 12, top + tall / 2 + 5),
        ("A", left + wide / 2, top + 20),
        ("P", left + wide / 2, top + tall - 10),
    ):
        sheet.box(x - 9, y - 14, 18, 18, fill="#000000", opacity=0.45)
        sheet.words(x, y, text, size=15, color=LETTER, anchor="middle")
    length = max((mm for mm in NICE_MM if mm <= wide * panel.mm_per_px / 4), default=NICE_MM[0])
    bar = length / panel.mm_per_px
    x, y = left + wide - bar - 14, top + tall - 14
    sheet.box(x - 6, y - 20, bar + 12, 28, fill="#000000", opacity=0.45)
    sheet.box(x, y, bar, 3, fill=LETTER)
    sheet.words(x + bar / 2, y - 5, f"{length} mm", size=13, color=LETTER, anchor="middle")
    if volume.grid.tilt_degrees() > TILT_SHOWN_DEGREES:
        sheet.words(left + 8, top + tall - 10, "tilted", size=13, color=LETTER)


def _caption(
    volume: Volume,
    lesion: Lesion,
    cut: LesionSlices,
    window: Window,
    body: Window,
    mask: Mask | None,
) -> list[str]:
    depth = volume.grid.shape[0]
    height_mm = float(volume.grid.to_mm([(lesion.key_slice, 0, 0)])[0, 2])
    word = lesion.kind.name.lower().replace("_", " ")
    what = f"{_millilitres(lesion.volume_ml)} ml" if lesion.outlined else "a box, no outline"
    named = f", {lesion.name}" if lesion.name else ""
    where = (
        f"Lesion {lesion.label}{named} ({word}): {what}; key slice {lesion.key_slice + 1} of "
        f"{depth} from the feet, z {height_mm:.1f} mm"
    )
    windows = (
        f"Window left {_said(body)}, right {_said(window)} HU (centre/width); "
        f"voxel {volume.spacing_mm[2]:.3g} x {volume.spacing_mm[1]:.3g} x "
        f"{volume.spacing_mm[0]:.3g} mm"
    )
    notes = [*volume.notes, *(mask.notes if mask else ()), *cut.notes]
    return [where, windows, *(f"Note: {note}" for note in dict.fromkeys(notes))]


def _said(window: Window) -> str:
    return f"{window.centre_hu:g}/{window.width_hu:g}"


def _millilitres(volume_ml: float) -> str:
    digits = 0 if volume_ml >= 100 else 1 if volume_ml >= 10 else 2
    return f"{volume_ml:,.{digits}f}"
