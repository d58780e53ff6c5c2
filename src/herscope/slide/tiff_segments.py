"""One TIFF image as its tiles or strips, and how one of them becomes RGB.

tifffile parses the directory (TIFF 6.0, Adobe 1992; BigTIFF); imagecodecs decodes. Colour follows
the PhotometricInterpretation tag, with two departures that real slides need: Aperio writes JPEG
tiles whose data are RGB without any marker to say so, and JPEG 2000 tiles whose data are YCbCr
under its own compression number 33003.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import SlideError
from herscope.slide.colour import over_white
from herscope.slide.protocol import Rgb

NONE, LZW, JPEG, ADOBE_DEFLATE, PACKBITS, DEFLATE = 1, 5, 7, 8, 32773, 32946
APERIO_J2K_YCBCR, APERIO_J2K_YCBCR_LOSSY, APERIO_J2K_RGB, J2K = 33003, 33004, 33005, 34712
ZSTD, WEBP = 50000, 50001
JPEG_2000 = (APERIO_J2K_YCBCR, APERIO_J2K_YCBCR_LOSSY, APERIO_J2K_RGB, J2K)
BYTE_CODECS: dict[int, str] = {
    LZW: "lzw_decode",
    ADOBE_DEFLATE: "zlib_decode",
    DEFLATE: "zlib_decode",
    PACKBITS: "packbits_decode",
    ZSTD: "zstd_decode",
}
DECODABLE = {NONE, JPEG, WEBP, *JPEG_2000, *BYTE_CODECS}

MIN_IS_WHITE, MIN_IS_BLACK, PHOTOMETRIC_RGB, YCBCR = 0, 1, 2, 6
HORIZONTAL = 2
END_OF_IMAGE = b"\xff\xd9"
"""JPEG's EOI and JPEG 2000's EOC."""
J2K_CODESTREAM = b"\xff\x4f"
ROWS_PER_VIRTUAL_STRIP = 256
LARGEST_SEGMENT_BYTES = 1 << 30


class UnsupportedLayout(SlideError):
    """The file is sound, but this reader does not know its coding; another one may."""


@dataclass(frozen=True, slots=True)
class Segments:
    """Where the tiles or strips of one image lie and how they are encoded.

    ``offsets`` and ``counts`` have one entry a segment, row by row, plane after plane when
    ``planes`` is 3. A count of 0 is a tile that was never written: white.
    """

    width_px: int
    height_px: int
    tile_width_px: int
    tile_height_px: int
    tiled: bool
    samples: int
    bits: int
    planes: int
    compression: int
    photometric: int
    predictor: int
    alpha: int
    big_endian: bool
    jfif: bool
    jpeg_tables: bytes | None = field(repr=False)
    offsets: NDArray[np.int64] = field(repr=False)
    counts: NDArray[np.int64] = field(repr=False)

    @property
    def columns(self) -> int:
        """Segments in a row."""
        return -(-self.width_px // self.tile_width_px)

    @property
    def rows(self) -> int:
        """Rows of segments."""
        return -(-self.height_px // self.tile_height_px)

    def height_of(self, row: int) -> int:
        """Rows of pixels a segment holds: tiles are padded, the last strip is short."""
        if self.tiled:
            return self.tile_height_px
        return min(self.tile_height_px, self.height_px - row * self.tile_height_px)


def segments_of(page: Any, byte_order: str) -> Segments:
    """Describe a tifffile page, or say in plain words why it cannot be read.

    Raises
    ------
    UnsupportedLayout
        A compression, bit depth or colour model outside the supported ones.
    """
    compression, photometric = int(page.compression), int(page.photometric)
    bits, samples = int(page.bitspersample), int(page.samplesperpixel)
    _check_supported(page, compression, photometric, bits, samples)
    tiled = bool(page.is_tiled)
    width, height = int(page.imagewidth), int(page.imagelength)
    tile_width = int(page.tilewidth) if tiled else width
    # Some writers put 2**32 - 1 for "all rows in one strip".
    tile_height = int(page.tilelength) if tiled else min(int(page.rowsperstrip or height), height)
    if min(width, height, tile_width, tile_height) < 1:
        raise SlideError(
            f"its directory states an image of {width} x {height} px in tiles of "
            f"{tile_width} x {tile_height}",
            hint="the file is damaged: copy it again from its source",
        )
    planes = samples if int(page.planarconfig) == 2 and samples > 1 else 1
    row_bytes = tile_width * samples // planes * bits // 8
    offsets = np.asarray(page.dataoffsets, np.int64)
    counts = np.asarray(page.databytecounts, np.int64)
    if not tiled and compression == NONE and planes == 1:
        offsets, counts, tile_height = _virtual_strips(offsets, height, tile_height, row_bytes)
    if tile_height * row_bytes > LARGEST_SEGMENT_BYTES:
        raise UnsupportedLayout(
            f"it is stored in pieces of {tile_height * row_bytes / 2**30:.1f} GB "
            f"(at most {LARGEST_SEGMENT_BYTES >> 30} GB can be decoded at once)",
            hint="convert it to a tiled TIFF, e.g. `vips tiffsave IN OUT --tile --pyramid`",
        )
    found = Segments(
        width_px=width,
        height_px=height,
        tile_width_px=tile_width,
        tile_height_px=tile_height,
        tiled=tiled,
        samples=samples,
        bits=bits,
        planes=planes,
        compression=compression,
        photometric=photometric,
        predictor=int(page.predictor),
        alpha=int(page.extrasamples[0]) if samples in (2, 4) and page.extrasamples else 0,
        big_endian=byte_order == ">",
        jfif=compression == JPEG and bool(page.is_jfif),
        jpeg_tables=page.jpegtables,
        offsets=offsets,
        counts=counts,
    )
    wanted = found.columns * found.rows * planes
    if len(offsets) != wanted or len(counts) != wanted:
        raise SlideError(
            f"its directory lists {min(len(offsets), len(counts))} tiles where {wanted} are needed",
            hint="the file is damaged or was cut off: copy it again from its source",
        )
    return found


def _check_supported(
    page: Any, compression: int, photometric: int, bits: int, samples: int
) -> None:
    convert = "export it as 8-bit RGB, e.g. from QuPath or with `vips tiffsave IN OUT --tile`"
    if compression not in DECODABLE:
        raise UnsupportedLayout(
            f"its pixels are compressed by method {_name(page.compression)}, not read here",
            hint=convert,
        )
    if int(page.sampleformat or 1) != 1 or bits not in (8, 16) or (bits == 16 and samples < 3):
        kind = {2: "signed integers", 3: "floating point"}.get(
            int(page.sampleformat or 1), "values"
        )
        raise SlideError(
            f"its pixels are {bits}-bit {kind} with {samples} channel(s); "
            "a stained slide is 8-bit RGB or grey, or 16-bit RGB",
            hint=convert,
        )
    if samples not in (1, 2, 3, 4) or photometric not in (
        MIN_IS_WHITE,
        MIN_IS_BLACK,
        PHOTOMETRIC_RGB,
        YCBCR,
    ):
        raise UnsupportedLayout(
            f"its pixels have {samples} channels as {_name(page.photometric)}; "
            "a stained slide is RGB or grey",
            hint=convert,
        )
    encoded = compression in (JPEG, WEBP, *JPEG_2000)
    if int(page.predictor) not in (1, HORIZONTAL) or (
        encoded and (bits != 8 or samples not in (1, 3) or int(page.planarconfig) == 2)
    ):
        raise UnsupportedLayout(
            f"it combines {_name(page.compression)} with {samples} channels of {bits} bits, "
            f"predictor {int(page.predictor)}, planes {int(page.planarconfig)}; "
            "this combination is not read here",
            hint=convert,
        )
    if not encoded and photometric == YCBCR:
        raise UnsupportedLayout("its pixels are YCbCr without JPEG coding", hint=convert)


def _name(tag: Any) -> str:
    return f"{int(tag)} ({tag.name})" if hasattr(tag, "name") else str(int(tag))


def _virtual_strips(
    offsets: NDArray[np.int64], height: int, rows_per_strip: int, row_bytes: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Cut long uncompressed strips into short ones, so that a band costs a band of memory."""
    rows = ROWS_PER_VIRTUAL_STRIP
    if rows_per_strip <= rows or (len(offsets) > 1 and rows_per_strip % rows):
        step = rows_per_strip
        starts = offsets
    else:
        step = rows
        starts = np.concatenate(
            [
                first
                + np.arange(0, min(rows_per_strip, height - i * rows_per_strip), rows) * row_bytes
                for i, first in enumerate(offsets)
            ]
        ).astype(np.int64)
    tops = np.arange(len(starts), dtype=np.int64) * step
    return starts, np.minimum(step, height - tops) * row_bytes, step


def decode_segment(
    segments: Segments, data: list[bytes], height_px: int, *, out: Rgb | None = None
) -> Rgb:
    """Decode one tile or strip.

    Parameters
    ----------
    segments
        The image it belongs to.
    data
        The encoded bytes, one item a plane.
    height_px
        Rows of pixels it holds.
    out
        Room for a whole JPEG tile, used when it fits.

    Returns
    -------
    ndarray
        (rows, columns, 3) uint8; may be larger or smaller than the tile where a writer crops.

    Raises
    ------
    ValueError, RuntimeError
        The bytes are damaged; imagecodecs' errors are RuntimeErrors.
    """
    compression = segments.compression
    if compression == JPEG:
        return _three_channels(_jpeg(segments, data[0], out), segments)
    if compression in JPEG_2000:
        if data[0].startswith(J2K_CODESTREAM):
            _check_end(data[0], "JPEG 2000")
        pixels = imagecodecs.jpeg2k_decode(data[0])
        if pixels.dtype != np.uint8:
            raise ValueError(f"JPEG 2000 data are {pixels.dtype}, not 8 bits")
        as_ycbcr = compression in (APERIO_J2K_YCBCR, APERIO_J2K_YCBCR_LOSSY) or (
            compression == J2K and segments.photometric == YCBCR
        )
        return _rgb_of_ycbcr(pixels) if as_ycbcr else _three_channels(pixels, segments)
    if compression == WEBP:
        return _three_channels(imagecodecs.webp_decode(data[0]), segments)
    planes = [_raw(segments, plane, height_px) for plane in data]
    pixels = planes[0] if len(planes) == 1 else np.concatenate(planes, axis=2)
    return _three_channels(pixels, segments)


def _check_end(data: bytes, what: str) -> None:
    # The decoders fill the rest of a cut-off image with grey and only warn: look for the end
    # marker, after which some writers pad.
    if not data.endswith(END_OF_IMAGE) and not data.rstrip(b"\x00\xff").endswith(END_OF_IMAGE):
        raise ValueError(f"the {what} data end before their end marker")


def _jpeg(segments: Segments, data: bytes, out: Rgb | None) -> Rgb:
    _check_end(data, "JPEG")
    grey = segments.samples == 1
    # Data of a photometric RGB page are RGB, unless a JFIF marker says YCbCr.
    from_rgb = segments.photometric == PHOTOMETRIC_RGB and not segments.jfif
    options: dict[str, Any] = {
        "tables": segments.jpeg_tables,
        "colorspace": PHOTOMETRIC_RGB if from_rgb else None,
        "outcolorspace": None if grey else PHOTOMETRIC_RGB,
    }
    if out is not None and not grey:
        try:
            return imagecodecs.jpeg8_decode(data, out=out, **options)
        except ValueError:
            pass  # the writer cropped this tile: its own size is taken below
    return imagecodecs.jpeg8_decode(data, **options)


def _raw(segments: Segments, data: bytes, height_px: int) -> NDArray[Any]:
    samples = segments.samples // segments.planes
    shape = (height_px, segments.tile_width_px, samples)
    kind = np.dtype("u1" if segments.bits == 8 else (">u2" if segments.big_endian else "<u2"))
    size = int(np.prod(shape)) * kind.itemsize
    if codec := BYTE_CODECS.get(segments.compression):
        # `out` is the expected size: LZW and PackBits streams do not state it.
        data = getattr(imagecodecs, codec)(data, out=size)
    if len(data) < size:
        raise ValueError(f"it holds {len(data)} of {size} bytes")
    pixels = np.frombuffer(data, kind, count=size // kind.itemsize).reshape(shape)
    pixels = pixels.astype(kind.newbyteorder("="), copy=False)
    if segments.predictor == HORIZONTAL:
        pixels = imagecodecs.delta_decode(pixels, axis=1)
    return pixels


def _three_channels(pixels: NDArray[Any], segments: Segments) -> Rgb:
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.dtype == np.uint16:
        # 65535 = 255 * 257: exact at both ends, halves up.
        pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if segments.photometric == MIN_IS_WHITE:
        pixels = 255 - pixels
    channels = pixels.shape[2]
    if channels in (2, 4):
        pixels, alpha = pixels[:, :, : channels - 1], pixels[:, :, channels - 1 :]
        pixels = over_white(pixels, alpha, segments.alpha)
    return np.broadcast_to(pixels, (*pixels.shape[:2], 3)) if pixels.shape[2] == 1 else pixels


def _rgb_of_ycbcr(pixels: Rgb) -> Rgb:
    """Convert full-range YCbCr (JFIF, ITU-R BT.601) in 16-bit fixed point, halves up."""
    luma, blue, red = (pixels[:, :, c].astype(np.int32) for c in range(3))
    blue -= 128
    red -= 128
    half = 1 << 15
    channels = (
        luma + ((91881 * red + half) >> 16),
        luma + ((-22554 * blue - 46802 * red + half) >> 16),
        luma + ((116130 * blue + half) >> 16),
    )
    return np.clip(np.stack(channels, axis=2), 0, 255).astype(np.uint8)
