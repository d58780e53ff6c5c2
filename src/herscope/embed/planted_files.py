"""Planted bags as files: features in herscope's own format, labels, and which tiles carry what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from herscope.core.store import make_folder, write_text
from herscope.embed.feature_file import write_features
from herscope.embed.planted_bags import (
    MPP,
    TILE_PX,
    PlantedSpec,
    planted_bag,
    planted_card,
    split_of,
)
from herscope.embed.tile_list import EmbedTileSpec


def write_planted(
    spec: PlantedSpec,
    folder: str | Path,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, int]:
    """Write a set of bags.

    Parameters
    ----------
    spec
        The set.
    folder
        For ``features/<slide>.h5ad``, ``labels.csv`` (slide, patient, site, label, split) and
        ``truth.csv`` (slide, x_px, y_px of every tile that carries the signal).
    progress
        Called with bags done and their number.

    Returns
    -------
    dict
        Label to bags.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    root = Path(folder)
    features = make_folder(root / "features")
    card, tiles = planted_card(spec), EmbedTileSpec.model_validate({"mpp": MPP, "size_px": TILE_PX})
    provenance: dict[str, Any] = {"planted": spec.model_dump(mode="json")}
    labels, truths = ["slide,patient,site,label,split"], ["slide,x_px,y_px"]
    counts: Counter[str] = Counter()
    for number in range(spec.bags):
        bag, label, site, truth = planted_bag(spec, number)
        write_features(
            features / f"{bag.slide}.h5ad", bag, card=card, tiles=tiles, provenance=provenance
        )
        side = split_of(spec, number)
        labels.append(f"{bag.slide},patient-{number:05d},{site},{label},{side}")
        truths += [f"{bag.slide},{x},{y}" for x, y in bag.xy_px[truth].tolist()]
        counts[label] += 1
        if progress is not None:
            progress(number + 1, spec.bags)
    write_text(root / "truth.csv", "\n".join(truths) + "\n")
    write_text(root / "labels.csv", "\n".join(labels) + "\n")
    return dict(sorted(counts.items()))
