"""Fields of view as PNG, JPEG, BMP, WebP or a plain TIFF: one level, read whole, through Pillow.

Grey becomes RGB, transparency is laid over white, 16-bit grey is scaled to 8 bits. The EXIF
orientation is not applied (annotations count in stored pixels, and so does QuPath), but said.
The density in a JPEG or PNG header is passed on as a resolution tag, which the policy believes
only when it is no printer's dpi.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from herscope.core.errors import SlideError
from herscope.slide.colour import over_white
from herscope.slide.protocol import Level, Rgb, StatedResolution
from herscope.slide.tiff_segments import UnsupportedLayout

LARGEST_IMAGE_PX = 100_000_000
"""10,000 x 10,000 px: about 0.7 GB while Pillow decodes it."""
FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "TIFF")
EXIF_ORIENTATION = 274
UPRIGHT = 1
UM_PER_INCH = 25400.0
DAMAGED = "the file is damaged or was cut off: copy it again from its source"


class ImageReader:
    """Read an ordinary image file, held in memory.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    UnsupportedLayout
        Not an image Pillow knows, or of a colour model that is no photograph of a slide.
    SlideError
        Damaged, cut off or too large.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with warnings.catch_warnings():
                # Pillow's own size warning; our limit below is stricter and says what to do.
                warnings.simplefilter("ignore")
                with Image.open(path, formats=FORMATS) as image:
                    self._describe(image)
                    self._pixels = _pixels(image)
        except UnidentifiedImageError as error:
            raise UnsupportedLayout("not a PNG, JPEG, BMP, WebP or TIFF image") from error
        except Image.DecompressionBombError as error:
            raise _too_large("over 178") from error
        except SlideError:
            raise
        except (OSError, SyntaxError, ValueError, EOFError, MemoryError) as error:
            raise SlideError(f"cannot be decoded: {error}", hint=DAMAGED) from error
        height, width = self._pixels.shape[:2]
        self.levels = (Level(width, height, 1.0, 1.0, width, height),)

    def _describe(self, image: Image.Image) -> None:
        pixels = image.width * image.height
        if pixels > LARGEST_IMAGE_PX:
            raise _too_large(f"{pixels / 1e6:.0f}")
        self.vendor = f"image-{(image.format or 'unknown').lower()}"
        self.icc_profile: bytes | None = image.info.get("icc_profile") or None
        self.resolution = _density(image)
        notes = []
        orientation = image.getexif().get(EXIF_ORIENTATION, UPRIGHT)
        if orientation not in (0, UPRIGHT):
            notes.append(f"EXIF orientation {orientation} was not applied")
        if image.mode.startswith("I;16"):
            notes.append("16-bit grey was scaled to 8 bits (65535 becomes 255)")
        self.notes: tuple[str, ...] = tuple(notes)

    def read(self, level: int, x: int, y: int, width: int, height: int) -> Rgb:
        """Pixels of a rectangle; outside the image they are white."""
        del level
        rows, columns = self._pixels.shape[:2]
        out = np.full((height, width, 3), 255, np.uint8)
        left, right = max(x, 0), min(x + width, columns)
        top, bottom = max(y, 0), min(y + height, rows)
        if left < right and top < bottom:
            out[top - y : bottom - y, left - x : right - x] = self._pixels[top:bottom, left:right]
        return out

    def close(self) -> None:
        """Release the pixels."""
        self._pixels = np.empty((0, 0, 3), np.uint8)


def _pixels(image: Image.Image) -> Rgb:
    if image.mode.startswith("I;16"):
        grey = (np.asarray(image).astype(np.uint32) + 128) // 257
        return np.repeat(grey.astype(np.uint8)[:, :, None], 3, axis=2)
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        rgba = np.asarray(image.convert("RGBA"))
        return over_white(rgba[:, :, :3], rgba[:, :, 3:])
    if image.mode not in ("1", "L", "P", "RGB"):
        raise UnsupportedLayout(
            f"its colour model is {image.mode}; a stained slide is RGB or grey",
            hint="export it as 8-bit RGB PNG or TIFF",
        )
    return np.asarray(image.convert("RGB"))


def _density(image: Image.Image) -> StatedResolution:
    dpi = image.info.get("dpi")
    # JFIF unit 0 is a mere aspect ratio, which Pillow leaves out of "dpi".
    try:
        x, y = (UM_PER_INCH / float(v) if float(v) > 0 else None for v in dpi or (0, 0))
    except (TypeError, ValueError, ZeroDivisionError):
        return StatedResolution()
    return StatedResolution(tag_mpp_x=x, tag_mpp_y=y)


def _too_large(megapixels: str) -> SlideError:
    return SlideError(
        f"it has {megapixels} million pixels in one piece "
        f"(limit {LARGEST_IMAGE_PX // 1_000_000} million)",
        hint="convert it to a tiled TIFF, e.g. `vips tiffsave IN OUT --tile --pyramid`",
    )
