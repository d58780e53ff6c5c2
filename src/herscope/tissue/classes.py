"""Class names of annotations: what people call them, what we call them, how QuPath paints them.

Names are matched without regard to case, spaces, hyphens and underscores; what follows a colon (a
derived class of QuPath, such as ``Tumor: Positive``) is ignored.
"""

from __future__ import annotations

import re
from typing import Final

from herscope.tissue.regions import (
    IGNORE,
    NECROSIS,
    OTHER,
    REGION,
    STROMA,
    TISSUE,
    TUMOR,
)

ALIASES: Final[dict[str, str]] = {
    "tumor": TUMOR,
    "tumour": TUMOR,
    "tumorcells": TUMOR,
    "tumourcells": TUMOR,
    "tumorepithelium": TUMOR,
    "tumorarea": TUMOR,
    "tumorregion": TUMOR,
    "carcinoma": TUMOR,
    "cancer": TUMOR,
    "invasive": TUMOR,
    "invasivetumor": TUMOR,
    "invasivetumour": TUMOR,
    "invasivecarcinoma": TUMOR,
    "invasivecancer": TUMOR,
    "invasivefront": TUMOR,
    "idc": TUMOR,
    "ilc": TUMOR,
    "stroma": STROMA,
    "stromal": STROMA,
    "tumorstroma": STROMA,
    "tumourstroma": STROMA,
    "connectivetissue": STROMA,
    "necrosis": NECROSIS,
    "necrotic": NECROSIS,
    "necrotictissue": NECROSIS,
    "tissue": TISSUE,
    "alltissue": TISSUE,
    "other": OTHER,
    "normal": OTHER,
    "normalepithelium": OTHER,
    "benign": OTHER,
    "insitu": OTHER,
    "dcis": OTHER,
    "lcis": OTHER,
    "immunecells": OTHER,
    "fat": OTHER,
    "adipose": OTHER,
    "adiposetissue": OTHER,
}
"""Class names, lower case without spaces, hyphens and underscores. Carcinoma in situ is not scored
as tumour: HER2, ER and PR are read in the invasive part (ASCO/CAP 2018, 2020, 2023)."""

COLORS: Final[dict[str, tuple[int, int, int]]] = {
    TUMOR: (200, 0, 0),
    STROMA: (150, 200, 150),
    NECROSIS: (50, 50, 50),
    TISSUE: (120, 120, 200),
    OTHER: (255, 200, 0),
    REGION: (0, 0, 180),
    IGNORE: (180, 180, 180),
}
"""QuPath's own colours for its own classes, ours for the rest."""

UNKNOWN_COLOR: Final = (255, 0, 255)
"""Of a class of the user's own."""


def region_name(label: str) -> str | None:
    """Map a class name to one of ours; None when it is not known.

    Examples
    --------
    >>> region_name("invasive carcinoma"), region_name("Ignore*"), region_name("blob")
    ('Tumor', 'Ignore', None)
    """
    key = re.sub(r"[\s_\-]+", "", label.split(":", maxsplit=1)[0]).lower()
    if key.startswith("ignore") or key in {"artefact", "artifact", "exclude", "background"}:
        return IGNORE
    if key.startswith("region"):
        return REGION
    return ALIASES.get(key)


def qupath_name(name: str) -> str:
    """Return the name as QuPath spells it."""
    # QuPath marks classes that are not of cells with a star
    return f"{name}*" if name in {REGION, IGNORE} else name
