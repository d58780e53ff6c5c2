"""What a TIFF states of its scale: Aperio, OME, ImageJ and the plain resolution tags.

Sources: Aperio's ImageDescription (``|MPP = 0.4990|AppMag = 20``), the OME-XML schema 2016-06
(``PhysicalSizeX`` with its unit, ``NominalMagnification``), ImageJ's ``unit=micron`` with a
unitless XResolution, TIFF 6.0 tags 282, 283 and 296. Whether a figure is believable is decided in
:mod:`herscope.slide.resolution`, not here.
"""

from __future__ import annotations

import re
from typing import Any

from herscope.slide.protocol import StatedResolution

UM_PER_UNIT = {
    "µm": 1.0,
    "μm": 1.0,
    "um": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "nm": 1e-3,
    "mm": 1e3,
}
UM_PER_UNIT |= {"cm": 1e4, "m": 1e6, "in": 25400.0, "inch": 25400.0, "pm": 1e-6, "Å": 1e-4}
UM_PER_TAG_UNIT = {2: 25400.0, 3: 10000.0}


def vendor_of(description: str) -> str:
    """Name the maker by the first words of the ImageDescription.

    Examples
    --------
    >>> vendor_of("Aperio Image Library v11.2.1"), vendor_of("")
    ('aperio', 'generic-tiff')
    """
    if description.startswith("Aperio"):
        return "aperio"
    if "<OME" in description[:4000]:
        return "ome-tiff"
    return "imagej" if description.startswith("ImageJ=") else "generic-tiff"


def stated_resolution(page: Any, description: str) -> StatedResolution:
    """Collect what a tifffile page and the file's first description state, at this page's scale."""
    size = int(page.imagewidth), int(page.imagelength)
    per_x, per_y = _ratio(page, "XResolution"), _ratio(page, "YResolution")
    unit_tag = page.tags.get("ResolutionUnit")
    unit = 2 if unit_tag is None else int(unit_tag.value)
    vendor = vendor_of(description)
    power: float | None = None
    mpp: tuple[float | None, float | None] = (None, None)
    if vendor == "aperio":
        mpp = (_aperio(description, "MPP"),) * 2
        power = _aperio(description, "AppMag")
    elif vendor == "ome-tiff":
        mpp, power = _ome(description, size), _attribute(description, "NominalMagnification")
    elif vendor == "imagej":
        um = _imagej_unit(description)
        if um is not None and unit == 1 and per_x and per_y:
            mpp = um / per_x, um / per_y
    um_per_tag = UM_PER_TAG_UNIT.get(unit)
    return StatedResolution(
        mpp_x=mpp[0],
        mpp_y=mpp[1],
        tag_mpp_x=um_per_tag / per_x if um_per_tag and per_x else None,
        tag_mpp_y=um_per_tag / per_y if um_per_tag and per_y else None,
        objective_power=power,
    )


def _ratio(page: Any, name: str) -> float | None:
    tag = page.tags.get(name)
    try:
        above, below = tag.value
        return float(above) / float(below) if above and below else None
    except (AttributeError, TypeError, ValueError):
        return None


def _aperio(description: str, key: str) -> float | None:
    return _number(re.search(rf"\|\s*{key}\s*=\s*([^|;\s]+)", description))


def _ome(description: str, size: tuple[int, int]) -> tuple[float | None, float | None]:
    """Physical size of the image whose size in pixels is this page's, else of the first image."""
    found = re.findall(r"<(?:\w+:)?Pixels\b[^>]*>", description)
    same = [
        p
        for p in found
        if (_attribute(p, "SizeX"), _attribute(p, "SizeY")) == tuple(map(float, size))
    ]
    for pixels in (same or found)[:1]:
        return _physical_size(pixels, "X"), _physical_size(pixels, "Y")
    return None, None


def _physical_size(pixels: str, axis: str) -> float | None:
    size = _attribute(pixels, f"PhysicalSize{axis}")
    unit = re.search(rf'\bPhysicalSize{axis}Unit="([^"]*)"', pixels)
    text = unit.group(1) if unit else "µm"  # the schema's default
    text = re.sub(r"&#(?:x0*[bB]5|0*181);", "µ", text)
    scale = UM_PER_UNIT.get(text)  # "pixel" and "reference frame" are no lengths
    return size * scale if size and scale else None


def _attribute(xml: str, name: str) -> float | None:
    return _number(re.search(rf'\b{name}="([^"]*)"', xml))


def _imagej_unit(description: str) -> float | None:
    unit = re.search(r"^unit=(.*)$", description, re.MULTILINE)
    if not unit:
        return None
    return UM_PER_UNIT.get(unit.group(1).strip().replace("\\u00B5", "µ"))


def _number(match: re.Match[str] | None) -> float | None:
    if not match:
        return None
    try:
        return float(match.group(1).replace(",", "."))
    except ValueError:
        return None
