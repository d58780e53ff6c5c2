"""Embed a slide: tiles are read ahead by threads, an encoder turns them into features.

The encoder gets batches of one fixed shape (all tiles of a slide that has fewer); the last one is
filled up with white and cut off again. A tile always goes through the same computation, and the
features have the same bits for any number of reading threads and after any interruption (for
encoders whose own arithmetic repeats). Parts of 2048 tiles are kept on the way.

``encoder_busy`` is the share of the time of this loop that is spent inside the encoder: near 1 the
encoder decides the speed, far below 1 it waits for tiles (a slow disk or too few threads).
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from herscope.core.errors import InputError, ModelError
from herscope.core.provenance import cpu_count
from herscope.core.spec import Spec
from herscope.embed.bag import FeatureBag, make_bag
from herscope.embed.encoder import Encoder, EncoderCard
from herscope.embed.feature_file import write_features
from herscope.embed.feature_parts import PART_TILES, Parts
from herscope.embed.normalising import NormaliseSpec, normaliser
from herscope.embed.tile_list import EmbedTileSpec, TileList, embed_grid, find_tissue, tile_list
from herscope.embed.tile_reader import TileReader
from herscope.slide.opened import Slide, SlideInfo, open_slide
from herscope.slide.resolution import SlideSpec
from herscope.tissue.detection import TissueSpec

BATCH: Final = 64
MOST_BATCH: Final = PART_TILES
MOST_THREADS: Final = 64
MOST_HELD_BYTES: Final = 2 << 30
"""Pixels of one batch."""
VERSION: Final = 1
"""Raised whenever the same tiles would be read or prepared otherwise; part of every fingerprint."""
WHITE: Final = 255


class EmbedSpec(Spec):
    """Everything but the encoder that decides a slide's features."""

    slide: SlideSpec = Field(default_factory=SlideSpec, description="How slides are opened.")
    tissue: TissueSpec = Field(default_factory=TissueSpec, description="Where the tissue is.")
    tiles: EmbedTileSpec = Field(default_factory=EmbedTileSpec, description="How it is cut.")
    normalise: NormaliseSpec = Field(
        default_factory=NormaliseSpec, description="Stain normalisation in front of the encoder."
    )

    def for_slide(self, path: Path) -> EmbedSpec:
        """Return this Spec with only what concerns one slide."""
        return self.model_copy(update={"slide": self.slide.for_slide(path)})


@dataclass(frozen=True, slots=True)
class Embedded:
    """What embedding a slide made, and how fast.

    ``encoder_busy`` is 0 to 1; None where no tile had to be embedded any more. ``tiles_per_s``
    counts what this call embedded; ``resumed`` tiles were there from an earlier one.
    """

    bag: FeatureBag
    tissue: NDArray[np.float32]
    resumed: int
    seconds: float
    encoder_s: float

    @property
    def encoder_busy(self) -> float | None:
        """Share of the loop's time spent inside the encoder."""
        return self.encoder_s / self.seconds if self.seconds > 0 else None

    @property
    def tiles_per_s(self) -> float | None:
        """Tiles a second of the loop."""
        return (len(self.bag) - self.resumed) / self.seconds if self.seconds > 0 else None


def encoder_id(card: EncoderCard, spec: EmbedSpec) -> str:
    """Return what makes features comparable: encoder, weights, preparation and tile.

    How many tiles were taken, and how much tissue they needed, changes no feature and is left out.

    Examples
    --------
    >>> from herscope.embed.colour_texture import ColourTexture
    >>> card = ColourTexture().card
    >>> some, all_of_them = EmbedTileSpec(max_tiles=9), EmbedTileSpec()
    >>> encoder_id(card, EmbedSpec(tiles=some)) == encoder_id(card, EmbedSpec(tiles=all_of_them))
    True
    """
    fields = card.model_dump(mode="json")
    for words in ("summary", "licence", *(("source",) if card.weights_sha256 else ())):
        del fields[words]  # a corrected sentence makes no other features
    colours = spec.normalise.model_dump(mode="json") if spec.normalise.method != "none" else None
    tile = [float(spec.tiles.mpp), spec.tiles.size_px, VERSION]
    text = json.dumps([fields, tile, colours], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def features_fingerprint(card: EncoderCard, spec: EmbedSpec, path: Path) -> str:
    """Return what decides the features of one slide: encoder, and every parameter of the Spec."""
    return spec.for_slide(path).fingerprint(encoder_id(card, spec))


def embed_slide(
    path: str | Path,
    encoder: Encoder,
    spec: EmbedSpec | None = None,
    *,
    name: str | None = None,
    batch: int = BATCH,
    threads: int | None = None,
    parts: Path | None = None,
    fingerprint: str = "",
    told: Callable[[int, int], None] | None = None,
) -> Embedded:
    """Turn a slide into features.

    Parameters
    ----------
    path
        The slide.
    encoder
        What turns tiles into features.
    spec
        How the slide is opened, cut and normalised; the defaults when absent.
    name
        What the slide is called; the stem of its file when absent.
    batch
        Tiles given to the encoder at once, 1 to 2048.
    threads
        Reading threads; one a core when absent, at most 4.
    parts, fingerprint
        Folder of this slide's unfinished features, and what they are made from; nothing is kept
        when absent.
    told
        Called after every batch with the tiles done and all tiles; what it raises ends the work.

    Returns
    -------
    Embedded

    Raises
    ------
    InputError
        Too coarse, too small, or an impossible batch.
    EmptyTissue
        No tile holds enough tissue, or too little stain to normalise.
    SlideError
        The slide cannot be read.
    ModelError
        The encoder gives another number of features than its card says, or no numbers.

    Examples
    --------
    >>> embed_slide("absent.svs", encoder=None)  # doctest: +IGNORE_EXCEPTION_DETAIL
    Traceback (most recent call last):
    herscope.core.errors.UnreadableSlide: slide absent.svs does not exist
    """
    spec, path = spec or EmbedSpec(), Path(path)
    threads = min(4, cpu_count()) if threads is None else threads
    check_work(batch, threads, spec.tiles.size_px)
    with open_slide(path, spec.slide) as slide:
        info, tiles, change = _plan(slide, spec)
    kept = Parts(parts, fingerprint) if parts is not None and fingerprint else None
    width = encoder.card.features
    batch = min(batch, len(tiles))
    done = [] if kept is None else kept.load(len(tiles), width)
    resumed = sum(len(part) for part in done)
    seconds = encoder_s = 0.0
    with TileReader(
        path, spec.slide, tiles, step_px=spec.tiles.step, threads=threads, change=change
    ) as reader:
        order = reader.order()
        stream = reader.read(resumed) if resumed < len(tiles) else iter(())
        for number in range(len(done), -(-len(tiles) // PART_TILES)):
            rows = min(PART_TILES, len(tiles) - number * PART_TILES)
            start = time.perf_counter()
            before = number * PART_TILES

            def tell(so_far: int, before: int = before) -> None:
                if told is not None:
                    told(before + so_far, len(tiles))

            part, spent = _embed_part(stream, rows, encoder, batch, tiles.size_px, tell)
            if kept is not None and rows == PART_TILES:  # the rest is written at once
                kept.keep(number, part)
            seconds, encoder_s = seconds + time.perf_counter() - start, encoder_s + spent
            done.append(part)
    features = np.empty((len(tiles), width), np.float32)
    features[order] = np.concatenate(done)
    return Embedded(
        bag=_bag(name or path.stem, info, tiles, features, encoder.card, spec),
        tissue=tiles.tissue,
        resumed=resumed,
        seconds=seconds,
        encoder_s=encoder_s,
    )


def save_embedded(
    path: str | Path,
    made: Embedded,
    encoder: Encoder,
    spec: EmbedSpec,
    provenance: Mapping[str, Any],
) -> None:
    """Write the features of a slide as one of our files."""
    write_features(
        path,
        made.bag,
        card=encoder.card,
        tiles=spec.tiles,
        provenance=provenance,
        tissue=made.tissue,
        names=getattr(encoder, "feature_names", None),
    )


def check_work(batch: int, threads: int, size_px: int) -> None:
    """Refuse an impossible batch or number of threads."""
    held = batch * size_px**2 * 3
    if held > MOST_HELD_BYTES:
        raise InputError(
            f"--batch {batch} of {size_px} px tiles is {held / 2**30:.1f} GiB of pixels (limit "
            f"{MOST_HELD_BYTES / 2**30:.0f})",
            hint=f"at most --batch {MOST_HELD_BYTES // (size_px**2 * 3)}",
        )
    for option, value, most in (("batch", batch, MOST_BATCH), ("threads", threads, MOST_THREADS)):
        if not 1 <= value <= most:
            raise InputError(
                f"--{option} must be between 1 and {most}, got {value}",
                hint=f"leave --{option} out for the usual",
            )


def _plan(slide: Slide, spec: EmbedSpec) -> tuple[SlideInfo, TileList, Any]:
    grid, _ = embed_grid(slide, spec.tiles)
    tissue = find_tissue(slide, grid, spec.tiles, spec.tissue)
    tiles = tile_list(slide, tissue, spec.tiles)
    return slide.info, tiles, normaliser(slide, tiles, spec.normalise)


def _embed_part(
    stream: Iterator[NDArray[np.uint8]],
    rows: int,
    encoder: Encoder,
    batch: int,
    size_px: int,
    told: Callable[[int], None],
) -> tuple[NDArray[np.float32], float]:
    """Embed the next tiles of the stream; returns their features and the encoder's seconds."""
    card = encoder.card
    out = np.empty((rows, card.features), np.float32)
    held = np.empty((batch, size_px, size_px, 3), np.uint8)
    spent = 0.0
    for begin in range(0, rows, batch):
        used = min(batch, rows - begin)
        for i in range(used):
            held[i] = next(stream)
        held[used:] = WHITE
        start = time.perf_counter()
        features = np.asarray(encoder.embed(held))
        spent += time.perf_counter() - start
        if features.shape != (batch, card.features):
            raise ModelError(
                f"encoder {card.name} gave {features.shape} for {batch} tiles, its card says "
                f"{card.features} features",
                hint="correct the card, or choose another layer of the network",
            )
        if not np.isfinite(features[:used]).all():
            raise ModelError(
                f"encoder {card.name} gave values that are no numbers "
                f"({int((~np.isfinite(features[:used])).any(axis=1).sum())} of {used} tiles)",
                hint="embed in --precision float32; if it stays so, the weights are damaged",
            )
        out[begin : begin + used] = features[:used]
        told(begin + used)
    return out, spent


def _bag(
    name: str,
    info: SlideInfo,
    tiles: TileList,
    features: NDArray[np.float32],
    card: EncoderCard,
    spec: EmbedSpec,
) -> FeatureBag:
    return make_bag(
        name,
        features,
        tiles.xy_px,
        tile_px=tiles.tile_px,
        mpp=float(info.mpp),
        encoder=card.name,
        encoder_id=encoder_id(card, spec),
        width_px=info.width_px,
        height_px=info.height_px,
        slide_path=str(info.path),
        notes=(*info.notes, *tiles.notes),
    )
