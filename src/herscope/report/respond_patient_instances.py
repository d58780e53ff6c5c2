"""Bags and lesions of one patient's page: words, maps, and the only pictures that are let in.

A picture of a document must be a PNG or JPEG data URI; anything else is refused, so that no page
fetches anything or carries a script.
"""

from __future__ import annotations

import base64
import binascii
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from herscope.core.errors import SchemaError
from herscope.report.mil_words import counted
from herscope.report.respond_patient_charts import bag_map, ranged
from herscope.report.sheet import Rgb
from herscope.report.statistics_page import Picture

DATA_URI: Final = re.compile(r"data:image/(?:png|jpeg);base64,[A-Za-z0-9+/=]+")


def bag_words(bags: Sequence[Mapping[str, Any]]) -> str:
    """Say how many bags there are and what their figures mean."""
    return (
        f"{counted(len(bags), 'bag')}. Weight: attention of the bag, all together 1; a map's "
        "brightest bag is the heaviest of this patient. Moved: logit of response with the bag "
        "minus without it; bags that say the same replace one another, so each alone may move "
        "little."
    )


def bag_row(bag: Mapping[str, Any], bags: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return a row of the table of bags."""
    name = f"{bag['number'] + 1}"
    if "slide" in bag:
        name += f": {bag['slide']}, x {bag['x_px']:,}, y {bag['y_px']:,}"
    return {
        "name": name,
        "weight": f"{bag['weight']:.3f}",
        "share": f"{bag['weight'] * len(bags):.1f}×",
        "moved": ranged(bag, "left_out", 3),
    }


def bag_caption(bag: Mapping[str, Any], bags: Sequence[Mapping[str, Any]]) -> str:
    """Return what stands below a bag's picture."""
    return f"Bag {bag['number'] + 1}: {bag['weight'] * len(bags):.1f}× an even share"


def bag_maps(document: Mapping[str, Any], bags: Sequence[Mapping[str, Any]]) -> list[Picture]:
    """Draw the bags of each slide that has any over its thumbnail."""
    placed = [bag for bag in bags if "slide" in bag]
    if not placed:
        return []
    told = {slide["name"]: slide for slide in document.get("slides", ())}
    peak, even = max(bag["weight"] for bag in placed), 1 / len(bags)
    found = []
    for name in dict.fromkeys(bag["slide"] for bag in placed):
        mine = [bag for bag in placed if bag["slide"] == name]
        slide = told.get(name, {})
        thumbnail = _decoded(slide["thumbnail"]) if slide.get("thumbnail") else None
        known = slide.get("width_px") and slide.get("height_px")
        size = (int(slide["width_px"]), int(slide["height_px"])) if known else None
        sheet = bag_map(mine, peak, even, thumbnail=thumbnail if size else None, size_px=size)
        words = f"{name}: {counted(len(mine), 'bag')} coloured by weight"
        found.append(Picture(sheet.svg(), words, f"{words}."))
    return found


def lesion_context(lesion: Mapping[str, Any]) -> dict[str, Any]:
    """Return a lesion's words and pictures for the template."""
    facts = [str(lesion[key]) for key in ("kind", "source") if lesion.get(key)]
    if lesion.get("key_slice") is not None:
        facts.append(f"slice {lesion['key_slice'] + 1}")
    named = (("Key slice", "picture"), ("Grad-CAM", "cam_picture"))
    return {
        "name": lesion.get("name") or f"Lesion {lesion['number'] + 1}",
        "facts": ", ".join(facts),
        "weight": f"{lesion['weight']:.2f}",
        "moved": ranged(lesion, "left_out", 2),
        "peak": f"{lesion['cam_peak']:.2g}" if lesion.get("cam_peak") is not None else "",
        "pictures": [
            (words, picture_uri(lesion[key], "a lesion's picture"))
            for words, key in named
            if lesion.get(key)
        ],
    }


def lesion_words(document: Mapping[str, Any]) -> str:
    """Say what the figures and colours of lesions mean."""
    said = (
        "Weight: attention of the lesion, all together 1. Moved: logit of response with the lesion "
        "minus without it."
    )
    if any(lesion.get("cam_picture") for lesion in document.get("lesions", ())):
        said += (
            " Colours: Grad-CAM, where the picture would speak for no response, from none to "
            "yellow. One scale for all lesions of this patient: yellow is the strongest place that "
            "speaks for either class, 1 logit at least. Pale maps are weak, as where the network "
            "is sure of its answer, and their places may be of chance. Below, the map's strongest "
            "in logit. No segmentation."
        )
    return said


def picture_uri(text: Any, what: str) -> str:
    """Nothing but a PNG or JPEG may become the address of a picture."""
    if not isinstance(text, str) or not DATA_URI.fullmatch(text):
        raise SchemaError(
            f"{what} is no PNG or JPEG data URI",
            hint="give data:image/png;base64,... or data:image/jpeg;base64,...",
        )
    return text


def _decoded(text: Any) -> Rgb:
    from PIL import Image, UnidentifiedImageError

    packed = picture_uri(text, "a slide's thumbnail").partition(",")[2]
    try:
        with Image.open(io.BytesIO(base64.b64decode(packed, validate=True))) as picture:
            return np.asarray(picture.convert("RGB"))
    except (binascii.Error, UnidentifiedImageError, OSError) as error:
        raise SchemaError(
            "a slide's thumbnail cannot be decoded", hint="give a PNG or JPEG as a data URI"
        ) from error
