"""``herscope embed``: slides to feature files; the tiles' options are LatticeSpec's fields."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from herscope.cli.output import COMMON, Common, Flag, Outcome
from herscope.embed.tile_spec import LatticeSpec
from herscope.run.progress import for_terminal

DEFAULT = LatticeSpec.model_validate({})
_LISTED = 40
_LISTED_FAILURES = 5


def embed(
    slides: Annotated[list[str], Parameter(negative="")],
    /,
    *,
    out: Path,
    encoder: str = "colour-texture",
    weights: Path | None = None,
    mpp: str | None = None,
    override_mpp: float | None = None,
    tile_mpp: float = 0.5,
    tiles: Annotated[LatticeSpec, Parameter(name="*", negative="")] = DEFAULT,
    normalise: Literal["none", "reinhard", "macenko"] = "none",
    normalise_to: Path | None = None,
    batch: int | None = None,
    threads: int | None = None,
    device: str = "auto",
    precision: Literal["float32", "bf16"] = "float32",
    shard: str = "1/1",
    also: Annotated[
        list[Literal["trident", "clam", "stamp"]] | None, Parameter(negative="")
    ] = None,
    force: Flag = False,
    common: Common = COMMON,
) -> Outcome:
    """Turn H&E slides into feature files: tissue, tiles, an encoder.

    Finished slides are kept: the same command again goes on where it was stopped.

    Parameters
    ----------
    slides
        Slide files, folders or quoted patterns.
    out
        Folder of the features; made when it does not exist.
    encoder
        A name that herscope models lists, or the folder of an encoder. colour-texture needs no
        weights; it is for trying things out and as a floor for comparison.
    weights
        Folder or file of a named encoder's weights.
    mpp
        µm/px of slides that state none, or a CSV with the columns slide,mpp.
    override_mpp
        µm/px of slides that state it wrong.
    tile_mpp
        µm/px at which tiles are cut.
    normalise
        Bring every slide's stains to one target: none, reinhard or macenko.
    normalise_to
        A stained picture whose colours are the target; usual H&E when absent.
    batch
        Tiles given to the encoder at once; 64 when absent.
    threads
        Threads that read tiles; one a core, at most 4, when absent.
    device
        auto, cpu, cuda, cuda:N or mps.
    precision
        Of the encoder: float32 or bf16.
    shard
        i/n: embed every n-th slide, beginning with the i-th.
    also
        Write the features for trident, clam or stamp as well, each into a folder of that name.
    force
        Embed again what is there, also with other parameters.
    """
    from herscope.recipes.embedding import embed_slides, embed_spec

    del common
    spec = embed_spec(
        mpp=mpp,
        override_mpp=override_mpp,
        normalise=normalise,
        normalise_to=normalise_to,
        tile_mpp=tile_mpp,
        **tiles.model_dump(),
    )
    document = embed_slides(
        slides,
        out,
        spec,
        encoder=encoder,
        weights=weights,
        device=device,
        precision=precision,
        batch=batch,
        threads=threads,
        shard=shard,
        force=force,
        also=also or (),
        progress=for_terminal("embedding"),
    )
    return outcome(document)


def outcome(document: dict[str, Any]) -> Outcome:
    """Turn the document of a call into its table and exit code."""
    slides, failures = document["slides"], document["failures"]
    text: list[Any] = [_table(slides)]
    for name in list(failures)[:_LISTED_FAILURES]:
        text.append(f"{name} failed: {failures[name]['message']}")
        if failures[name]["hint"]:
            text.append(f"  hint: {failures[name]['hint']}")
    if len(failures) > _LISTED_FAILURES:
        more = len(failures) - _LISTED_FAILURES
        text.append(f"and {more} more failed, see {Path(document['folder']) / 'failures.json'}")
    notes = sorted({note for slide in slides.values() for note in slide.get("notes", [])})
    said = [*document["notes"], *notes]
    text += [f"note: {note}" for note in said[:_LISTED_FAILURES]]
    if len(said) > _LISTED_FAILURES:
        text.append(f"and {len(said) - _LISTED_FAILURES} more notes, see embed.json")
    busy = sum(slide["status"] == "busy" for slide in slides.values())
    if busy:
        text.append(f"{busy} slide(s) are being embedded by another process")
    text.append(
        f"{document['features']} features a tile of {document['encoder']} in {document['folder']}"
    )
    return Outcome(document, text, code=3 if failures else 0)


def _table(slides: dict[str, Any]) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("slide", no_wrap=True, min_width=12, overflow="ellipsis")
    for head in ("tiles", "µm/px", "tiles/s", "encoder busy"):
        table.add_column(head, justify="right", no_wrap=True)
    for name, slide in list(slides.items())[:_LISTED]:
        if "tiles" not in slide:
            table.add_row(name, slide["status"])
            continue
        speed, busy = slide["tiles_per_s"], slide["encoder_busy"]
        table.add_row(
            name,
            f"{slide['tiles']:,}",
            f"{slide['mpp']:.4g}",
            "-" if speed is None else f"{speed:.0f}",
            "-" if busy is None else f"{busy:.0%}",
        )
    if len(slides) > _LISTED:
        table.add_row(f"and {len(slides) - _LISTED} more in embed.json")
    return table
