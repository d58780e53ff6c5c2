"""Where a network looked on a lesion: its key slice, and a Grad-CAM map laid over it.

Left the picture as the network got it, with the rim of the lesion; right the same under the map.
Both are seen from the feet, the patient's right on the left. A map is coarse, one number for many
voxels (4 x 4 of a picture of 112 px, say), and is blown up bilinearly: its edges are no edges of
anything. Its scale runs from 0 to its own maximum, which shows where and not how much, or to a
value that is given: the same for all lesions of a patient, so that they can be compared.
The colours are those of attention on slides, yellow where strong; weak is not coloured. The caption
says how much of the map lies on the lesion, and how much would if it were spread evenly.

Source: Selvaraju et al., Grad-CAM, ICCV 2017 (the map itself is made elsewhere).
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import InputError, SchemaError
from herscope.report.ct_picture import LETTER, LINE_PX, MARGIN, NICE_MM
from herscope.report.heat_paint import heat_colors
from herscope.report.jpeg import jpeg_bytes, jpeg_uri
from herscope.report.sheet import INK, MUTED, Rgb, Sheet
from herscope.respond.radiology.lesions import LesionKind
from herscope.respond.radiology.patient_lesions import PatientLesions
from herscope.respond.radiology.windows import Window

PANEL_PX: Final = 400
MOST_COVER: Final = 0.75
"""Opacity at the maximum of the map; less elsewhere, so that the lesion stays visible."""

DIMMED: Final = 0.65
"""The picture under the map is so much darker, or colours drown in bright tissue."""

RIM_RGB: Final = (255, 130, 200)
"""Seen on grey, and of no colour of the map."""

BAR_PX: Final = 16
BAR_SPACE: Final = 78


def draw_cam(
    lesions: PatientLesions,
    index: int,
    cam: NDArray[Any],
    *,
    window: Window,
    top: float | None = None,
    unit: str = "",
    meaning: str = "weight in the model's answer",
    title: str = "",
) -> Sheet:
    """Draw a lesion's key slice without and with a map over it.

    Parameters
    ----------
    lesions, index
        A patient's lesions, and which of them.
    cam
        ``(h, w)`` of at least 0, over the whole picture; any size.
    window
        In which the network got the lesion.
    top, unit
        Value at the upper end of the scale, and its unit; the map's own maximum unless given.
    meaning
        Words beside the colour bar: what the map is of.
    title
        First line; name no person there.

    Returns
    -------
    Sheet
        ``png()`` or ``svg()`` of it.

    Raises
    ------
    InputError
        There is no such lesion.
    SchemaError
        The map is no map: another number of axes, negative, no number; or ``top`` is not above 0.
    """
    values = checked_cam(cam)
    pictures = _pictures(lesions, index, values, window, top)
    lines = _caption(lesions, index, values, window)
    head = MARGIN + (LINE_PX + 8 if title else 0)
    wide = 2 * PANEL_PX + 3 * MARGIN + BAR_SPACE
    sheet = Sheet(wide, head + PANEL_PX + MARGIN // 2 + LINE_PX * len(lines) + MARGIN)
    if title:
        sheet.words(MARGIN, MARGIN + 14, title, size=16)
    for number, picture in enumerate(pictures):
        _lay(sheet, MARGIN + number * (PANEL_PX + MARGIN), head, picture, lesions, index)
    ends = "maximum" if top is None else f"{top:.2g} {unit}".strip()
    _colour_bar(sheet, 2 * (PANEL_PX + MARGIN) + MARGIN, head, meaning, ends)
    for number, line in enumerate(lines):
        at = head + PANEL_PX + MARGIN // 2 + LINE_PX * (number + 1)
        sheet.words(MARGIN, at, line, size=13, color=INK if number < 2 else MUTED)
    return sheet


def lesion_uris(
    lesions: PatientLesions,
    index: int,
    cam: NDArray[Any],
    *,
    window: Window,
    top: float | None = None,
) -> dict[str, str]:
    """Return the two pictures of :func:`draw_cam` for a page that has words and scale of its own.

    Parameters
    ----------
    lesions, index, cam, window, top
        As for :func:`draw_cam`.

    Returns
    -------
    dict
        ``picture`` and ``cam_picture``: JPEG data URIs of 400 px, with letters and scale bar.

    Raises
    ------
    InputError, SchemaError
        As :func:`draw_cam`.
    """
    import cv2

    made = {}
    pictures = _pictures(lesions, index, checked_cam(cam), window, top)
    for name, picture in zip(("picture", "cam_picture"), pictures, strict=True):
        sheet = Sheet(PANEL_PX, PANEL_PX)
        _lay(sheet, 0, 0, picture, lesions, index)
        bgr = cv2.imdecode(np.frombuffer(sheet.png(), np.uint8), cv2.IMREAD_COLOR)
        made[name] = jpeg_uri(jpeg_bytes(np.ascontiguousarray(np.asarray(bgr)[:, :, ::-1])))
    return made


def share_on_lesion(cam: NDArray[Any], inside: NDArray[np.bool_]) -> tuple[float | None, float]:
    """Return how much of a map lies on the lesion, and the lesion's share of the picture.

    Parameters
    ----------
    cam
        ``(h, w)`` of at least 0.
    inside
        bool ``(size, size)``: the lesion in its picture.

    Returns
    -------
    tuple
        Share of the map's sum, None where the map is 0 everywhere; share of the pixels. The first
        well above the second: the network looked at the lesion and not past it.

    Raises
    ------
    SchemaError
        The map is no map.

    Examples
    --------
    >>> inside = np.zeros((4, 4), bool)
    >>> inside[:, :2] = True
    >>> share_on_lesion(np.array([[1.0, 0.0]]).repeat(2, 0), inside)
    (0.875, 0.5)
    """
    values = checked_cam(cam)
    large = _enlarged(values, inside.shape[0])
    total = float(large.sum())
    share = float(large[inside].sum()) / total if total > 0 else None
    return share, float(inside.mean())


def checked_cam(cam: NDArray[Any]) -> NDArray[np.float64]:
    """Return a map as float64, or say what it is that it cannot be.

    Raises
    ------
    SchemaError
        Not two axes, empty, negative, or no number.
    """
    values = np.asarray(cam, np.float64)
    if values.ndim != 2 or not values.size:
        raise SchemaError(f"a map of shape {values.shape} is none over a picture: give (h, w)")
    if not np.isfinite(values).all() or (values < 0).any():
        bad = int((~np.isfinite(values)).sum()), int((values < 0).sum())
        raise SchemaError(
            f"the map has {bad[0]} values that are no numbers and {bad[1]} below 0",
            hint="Grad-CAM keeps what speaks for an answer: cut it off at 0",
        )
    return values


def _pictures(
    lesions: PatientLesions,
    index: int,
    values: NDArray[np.float64],
    window: Window,
    top: float | None,
) -> tuple[Rgb, Rgb]:
    """Return the key slice without and with the map, both with the rim of the lesion."""
    if not 0 <= index < len(lesions):
        raise InputError(
            f"there is no lesion {index} of {len(lesions)}", hint="they are counted from 0"
        )
    if top is not None and not (math.isfinite(top) and top > 0):
        raise SchemaError(f"a scale from 0 to {top} is none", hint="give a number above 0")
    plain = _grey(window.apply(lesions.pictures_hu[index, 1]))
    covered = _overlay(plain, values, float(values.max()) if top is None else top)
    for picture in (plain, covered):
        _rim(picture, lesions.inside[index])
    return plain, covered


def _lay(
    sheet: Sheet, left: float, top: float, picture: Rgb, lesions: PatientLesions, index: int
) -> None:
    sheet.image(left, top, picture)
    _letters(sheet, left, top)
    size = lesions.pictures_hu.shape[-1]
    _scale_bar(sheet, left, top, float(lesions.pixel_mm[index, 1]) * size / PANEL_PX)


def _enlarged(values: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    import cv2

    return np.asarray(cv2.resize(values, (size, size), interpolation=cv2.INTER_LINEAR))


def _grey(shown: NDArray[np.float32]) -> Rgb:
    large = _enlarged(shown.astype(np.float64), PANEL_PX)
    grey = np.clip(np.rint(large), 0, 255).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


def _overlay(picture: Rgb, values: NDArray[np.float64], top: float) -> Rgb:
    """Lay the map over a picture: the stronger, the yellower and the more opaque."""
    share = np.clip(_enlarged(values / top if top > 0 else values, PANEL_PX), 0, 1)
    cover = MOST_COVER * share[:, :, None]
    mixed = DIMMED * picture * (1 - cover) + heat_colors(share) * cover
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


def _rim(picture: Rgb, inside: NDArray[np.bool_]) -> None:
    import cv2

    flat = inside.astype(np.uint8)
    large = cv2.resize(flat, (PANEL_PX, PANEL_PX), interpolation=cv2.INTER_NEAREST)
    rims, _ = cv2.findContours(large, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, rims, -1, RIM_RGB, 1)


def _letters(sheet: Sheet, left: float, top: float) -> None:
    for text, x, y in (
        ("R", 12, PANEL_PX / 2 + 5),
        ("L", PANEL_PX - 12, PANEL_PX / 2 + 5),
        ("A", PANEL_PX / 2, 20),
        ("P", PANEL_PX / 2, PANEL_PX - 10),
    ):
        sheet.box(left + x - 9, top + y - 14, 18, 18, fill="#000000", opacity=0.45)
        sheet.words(left + x, top + y, text, size=15, color=LETTER, anchor="middle")


def _scale_bar(sheet: Sheet, left: float, top: float, mm_per_px: float) -> None:
    length = max((mm for mm in NICE_MM if mm <= PANEL_PX * mm_per_px / 4), default=NICE_MM[0])
    bar = length / mm_per_px
    x, y = left + PANEL_PX - bar - 14, top + PANEL_PX - 14
    sheet.box(x - 6, y - 20, bar + 12, 28, fill="#000000", opacity=0.45)
    sheet.box(x, y, bar, 3, fill=LETTER)
    sheet.words(x + bar / 2, y - 5, f"{length} mm", size=13, color=LETTER, anchor="middle")


def _colour_bar(sheet: Sheet, left: float, top: float, meaning: str, ends: str) -> None:
    """Draw the scale as it looks over a grey of the middle."""
    tall = PANEL_PX - 2 * LINE_PX
    share = np.linspace(1.0, 0.0, tall)[:, None].repeat(BAR_PX, 1)
    cover = MOST_COVER * share[:, :, None]
    mixed = np.full((tall, BAR_PX, 3), DIMMED * 127.5) * (1 - cover) + heat_colors(share) * cover
    sheet.image(left, top + LINE_PX, np.rint(mixed).astype(np.uint8))
    sheet.words(left, top + LINE_PX - 6, ends, size=12)
    sheet.words(left, top + PANEL_PX - 4, "0", size=12)
    words = meaning.split()
    for number, word in enumerate(words[:12]):
        at = top + LINE_PX + tall / 2 + 15 * (number - len(words) / 2 + 1)
        sheet.words(left + BAR_PX + 6, at, word, size=12, color=MUTED)


def _caption(
    lesions: PatientLesions, index: int, values: NDArray[np.float64], window: Window
) -> list[str]:
    kind = LesionKind(int(lesions.kinds[index])).name.lower().replace("_", " ")
    size = f"{lesions.volumes_ml[index]:.3g} ml" if lesions.outlined[index] else "a box, no outline"
    where = (
        f"{lesions.names[index]} ({kind}): {size}; key slice {lesions.key_slices[index] + 1} of "
        f"{lesions.depths[index]} from the feet; window {window.centre_hu:g}/{window.width_hu:g} HU"
    )
    share, even = share_on_lesion(values, lesions.inside[index])
    drawn = "lesion" if lesions.outlined[index] else "box"
    if share is None:
        said = "The map is 0 everywhere: nothing in this picture spoke for the answer."
    else:
        said = f"{share:.0%} of the map lies on the {drawn}, which is {even:.0%} of the picture."
    coarse = f"The map has {values.shape[0]} x {values.shape[1]} numbers; its edges are blurred."
    return [where, said, coarse]
