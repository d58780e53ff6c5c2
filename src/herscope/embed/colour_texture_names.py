"""The colour-texture features in their order, with what is usual for each on H&E.

The constants were measured once, on 99 tiles of 256 px at 0.5 µm/px of three H&E pictures that may
be used for anything (the Aperio CMU-1 region, CC0; InstanSeg's tissue core, Apache-2.0;
TIAToolbox's stain target, BSD-3), every picture with the same weight: the median, and half the
distance from the 16th to the 84th percentile, to two digits. ``benchmarks/embedding.py
--constants`` prints them again. They are part of the encoder: a changed one is a new version of it.
"""

from __future__ import annotations

import hashlib
import json
from typing import Final

from herscope.embed.encoder import EncoderCard

USUAL: Final[dict[str, tuple[float, float]]] = {
    "red_od_mean": (0.16, 0.072),
    "red_od_sd": (0.16, 0.048),
    "green_od_mean": (0.35, 0.12),
    "green_od_sd": (0.23, 0.054),
    "blue_od_mean": (0.18, 0.073),
    "blue_od_sd": (0.11, 0.033),
    "hematoxylin_mean": (0.3, 0.1),
    "hematoxylin_sd": (0.25, 0.077),
    "hematoxylin_p10": (0.036, 0.052),
    "hematoxylin_p50": (0.22, 0.14),
    "hematoxylin_p90": (0.6, 0.2),
    "hematoxylin_p99": (1.1, 0.41),
    "eosin_mean": (0.16, 0.054),
    "eosin_sd": (0.093, 0.04),
    "eosin_p10": (0.012, 0.052),
    "eosin_p50": (0.16, 0.092),
    "eosin_p90": (0.26, 0.048),
    "eosin_p99": (0.4, 0.096),
    "hematoxylin_eosin_correlation": (0.45, 0.27),
    "empty_share": (0.16, 0.24),
    "dark_share": (0.022, 0.023),
    "nucleus_cut": (0.25, 0.084),
    "nucleus_share": (0.22, 0.13),
    "nuclei_per_mpx": (520.0, 450.0),
    "nucleus_diameter_mean": (16.0, 7.0),
    "nucleus_diameter_sd": (8.8, 6.5),
    "nucleus_small_share": (0.16, 0.27),
    "nucleus_large_share": (0.53, 0.38),
    "nucleus_elongation": (0.46, 0.071),
    "nucleus_alignment": (0.22, 0.27),
    "nucleus_od_mean": (0.42, 0.18),
    "nucleus_od_sd": (0.059, 0.041),
    "laplacian_1": (0.052, 0.034),
    "laplacian_2": (0.098, 0.056),
    "laplacian_4": (0.14, 0.07),
    "hematoxylin_laplacian_2": (0.16, 0.089),
    "local_sd_8": (0.067, 0.03),
    "local_sd_32": (0.11, 0.037),
    "hematoxylin_local_sd_8": (0.1, 0.05),
    "eosin_local_sd_8": (0.041, 0.029),
    "hematoxylin_block_sd_32": (0.13, 0.052),
    "eosin_block_sd_32": (0.055, 0.024),
    "empty_block_sd_32": (0.24, 0.15),
    "gradient_1": (0.062, 0.029),
    "gradient_4": (0.094, 0.029),
    "coherence_1": (0.12, 0.14),
    "coherence_4": (0.14, 0.11),
    "local_coherence_1": (0.27, 0.13),
    "local_coherence_4": (0.39, 0.1),
}
"""Name to centre and scale, in the units of docs/science/colour-texture.md."""

FEATURE_NAMES: Final[tuple[str, ...]] = tuple(USUAL)
"""What each number is, in order."""

NAME: Final = "colour-texture"
VERSION: Final = 1
"""Raised whenever a feature is measured otherwise; part of the card, so of every fingerprint."""


def colour_texture_card() -> EncoderCard:
    """Return the card; nothing of the encoder itself is loaded.

    The constants' checksum is part of it, so features made with others are refused beside them.
    """
    constants = hashlib.sha256(json.dumps(USUAL).encode()).hexdigest()[:8]
    return EncoderCard(
        name=NAME,
        summary="Named numbers of H&E colour, nuclei and texture; no weights.",
        features=len(FEATURE_NAMES),
        input_px=256,
        resize="none: tiles of any size are taken as they are",
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        precision="float32",
        licence="Apache-2.0",
        source=f"herscope.embed.colour_texture {VERSION}, constants {constants}; no weights",
        weights_sha256=None,
    )
