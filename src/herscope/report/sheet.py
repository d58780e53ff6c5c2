"""A drawing of pictures, boxes and words that is written as SVG or as PNG from the same list.

For figures that are looked at in a page (SVG: words stay sharp and can be searched) and pasted into
a slide show (PNG). Positions are in pixels of the sheet, from its upper left corner.
"""

from __future__ import annotations

import html
import io
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from herscope.report.figures import FONT, NICE_UM
from herscope.report.jpeg import jpeg_bytes, jpeg_uri

Rgb = NDArray[np.uint8]
Anchor = Literal["start", "middle", "end"]

INK: Final = "#10151c"
MUTED: Final = "#5a6675"
FONT_FILE: Final = "fonts/ttf/DejaVuSans.ttf"
PIL_ANCHORS: Final = {"start": "ls", "middle": "ms", "end": "rs"}


@dataclass(frozen=True, slots=True)
class _Image:
    x: float
    y: float
    rgb: Rgb
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class _Box:
    x: float
    y: float
    width: float
    height: float
    fill: str | None
    opacity: float
    line: str | None
    line_px: float


@dataclass(frozen=True, slots=True)
class _Words:
    x: float
    y: float
    text: str
    size: float
    color: str
    anchor: Anchor


@dataclass(slots=True)
class Sheet:
    """A white sheet to draw on."""

    width: int
    height: int
    _parts: list[_Image | _Box | _Words] = field(default_factory=list)

    def image(
        self, x: float, y: float, rgb: Rgb, *, width: int | None = None, height: int | None = None
    ) -> None:
        """Lay a picture, (height, width, 3), with its corner at x, y; a pixel is a pixel."""
        self._parts.append(_Image(x, y, rgb, width or rgb.shape[1], height or rgb.shape[0]))

    def box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        *,
        fill: str | None = None,
        opacity: float = 1.0,
        line: str | None = None,
        line_px: float = 1.0,
    ) -> None:
        """Draw a rectangle; colours are ``#rrggbb``."""
        self._parts.append(_Box(x, y, width, height, fill, opacity, line, line_px))

    def words(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float = 14,
        color: str = INK,
        anchor: Anchor = "start",
    ) -> None:
        """Write a line of text whose base line is at y."""
        self._parts.append(_Words(x, y, text, size, color, anchor))

    def scale_bar(
        self,
        x: float,
        y: float,
        width: int,
        height: int,
        um_per_px: float | None,
        *,
        unit: float = 1.0,
    ) -> None:
        """Draw a bar of a round length, about a fifth of a picture, in its lower right corner.

        ``unit`` enlarges bar and words; nothing is drawn where the µm/px is not known.
        """
        if um_per_px is None:
            return
        target = width * um_per_px / 5
        length = max((um for um in NICE_UM if um <= target), default=NICE_UM[0])
        bar = length / um_per_px
        text = f"{length} µm" if length < 1000 else f"{length // 1000} mm"
        pad, size = 8 * unit, 13 * unit
        plate_w, plate_h = max(bar, size * 3.6) + 2 * pad, size + 2.4 * pad
        left, top = x + width - plate_w - pad, y + height - plate_h - pad
        self.box(left, top, plate_w, plate_h, fill="#ffffff", opacity=0.88)
        middle = left + plate_w / 2
        self.box(middle - bar / 2, top + plate_h - 1.2 * pad, bar, 3 * unit, fill=INK)
        self.words(middle, top + size + 0.4 * pad, text, size=size, anchor="middle")

    def svg(self) -> bytes:
        """Return the sheet as SVG with the pictures as JPEG inside."""
        head = (
            f"<svg xmlns='http://www.w3.org/2000/svg' width='{self.width}' height='{self.height}' "
            f"viewBox='0 0 {self.width} {self.height}' {FONT}>"
            f"<rect width='{self.width}' height='{self.height}' fill='#ffffff'/>"
        )
        made = [head]
        for part in self._parts:
            if isinstance(part, _Image):
                picture = jpeg_uri(jpeg_bytes(part.rgb))
                made.append(
                    f"<image x='{part.x:.1f}' y='{part.y:.1f}' width='{part.width}' "
                    f"height='{part.height}' preserveAspectRatio='none' href='{picture}'/>"
                )
            elif isinstance(part, _Box):
                line = f" stroke='{part.line}' stroke-width='{part.line_px:g}'" if part.line else ""
                made.append(
                    f"<rect x='{part.x:.1f}' y='{part.y:.1f}' width='{part.width:.1f}' "
                    f"height='{part.height:.1f}' fill='{part.fill or 'none'}' "
                    f"fill-opacity='{part.opacity:g}'{line}/>"
                )
            else:
                made.append(
                    f"<text x='{part.x:.1f}' y='{part.y:.1f}' font-size='{part.size:g}' "
                    f"text-anchor='{part.anchor}' fill='{part.color}'>"
                    f"{html.escape(part.text)}</text>"
                )
        made.append("</svg>")
        return "".join(made).encode()

    def png(self) -> bytes:
        """Return the sheet as PNG; pictures keep their pixels."""
        from PIL import Image, ImageDraw

        canvas = Image.new("RGB", (self.width, self.height), "white")
        draw = ImageDraw.Draw(canvas, "RGBA")
        for part in self._parts:
            if isinstance(part, _Image):
                picture = Image.fromarray(part.rgb)
                if picture.size != (part.width, part.height):
                    picture = picture.resize((part.width, part.height), Image.Resampling.BICUBIC)
                canvas.paste(picture, (round(part.x), round(part.y)))
            elif isinstance(part, _Box):
                x0, y0 = round(part.x), round(part.y)
                x1 = max(x0, round(part.x + part.width) - 1)
                y1 = max(y0, round(part.y + part.height) - 1)
                fill = part.fill and f"{part.fill}{round(255 * part.opacity):02x}"
                draw.rectangle(
                    (x0, y0, x1, y1),
                    fill=fill,
                    outline=part.line,
                    width=max(1, round(part.line_px)),
                )
            else:
                draw.text(
                    (part.x, part.y),
                    part.text,
                    fill=part.color,
                    font=_font(part.size),
                    anchor=PIL_ANCHORS[part.anchor],
                )
        out = io.BytesIO()
        canvas.save(out, "PNG", optimize=True)
        return out.getvalue()


@cache
def _font(size: float) -> Any:
    """Matplotlib's own DejaVu Sans: Pillow's built-in font has no µ."""
    import matplotlib as mpl
    from PIL import ImageFont

    # A tenth smaller than the page's Helvetica, to be as wide.
    return ImageFont.truetype(Path(mpl.get_data_path()) / FONT_FILE, 0.9 * size)
