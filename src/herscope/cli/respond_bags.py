"""``herscope respond bags``: slides to words, bags and the radiomics of bags."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from herscope.cli.output import COMMON, Common, Flag, Outcome
from herscope.run.progress import for_terminal

SOME_FAILED = 3
_LISTED = 40
_LISTED_NOTES = 5


def bags(
    slides: Annotated[list[str], Parameter(negative="")],
    /,
    *,
    out: Path,
    encoder: str = "colour-texture",
    weights: Path | None = None,
    word_px: int = 64,
    bag_px: int = 448,
    tile_mpp: float = 0.5,
    min_tissue: float = 0.1,
    min_share: float = 0.25,
    max_bags: int = 64,
    regions: Path | None = None,
    region_class: Annotated[list[str] | None, Parameter(negative="")] = None,
    radiomics: bool = True,
    normalise: Literal["none", "reinhard", "macenko"] = "reinhard",
    normalise_to: Path | None = None,
    white_balance: bool | None = None,
    mpp: str | None = None,
    override_mpp: float | None = None,
    batch: int | None = None,
    threads: int | None = None,
    device: str = "auto",
    precision: Literal["float32", "bf16"] = "float32",
    shard: str = "1/1",
    force: Flag = False,
    common: Common = COMMON,
) -> Outcome:
    """Turn H&E slides into the words and bags of the response model.

    Finished slides are kept: the same command again goes on where it was stopped.

    Parameters
    ----------
    slides
        Slide files, folders or quoted patterns.
    out
        Folder of the features; made when it does not exist.
    encoder
        A name that herscope models lists, or the folder of an encoder. colour-texture needs no
        weights; the response paper used mnasnet.
    weights
        Folder or file of a named encoder's weights.
    word_px
        Edge of a word in working pixels.
    bag_px
        Edge of a bag in working pixels.
    tile_mpp
        µm of a working pixel.
    min_tissue
        Words with less tissue than this share are left out.
    min_share
        Bags with fewer of their words than this share are left out.
    max_bags
        Bags of a slide whose radiomics are measured, evenly spread; 0 for all. The model takes
        measured bags only.
    regions
        GeoJSON of one slide, or a folder with one called as each slide: only words inside count.
    region_class
        Classes of regions that count; Tumor and Region* when absent.
    radiomics
        Measure 736 radiomics features of each bag, about 3 bags a second.
    normalise
        Bring every slide's stains to one target: none, reinhard or macenko.
    normalise_to
        A stained picture whose colours are the target; usual H&E when absent.
    white_balance
        Scale each channel's 99th percentile to 255 first; on when absent, unless there is no
        normalisation.
    mpp
        µm/px of slides that state none, or a CSV with the columns slide,mpp.
    override_mpp
        µm/px of slides that state it wrong.
    batch
        Words given to the encoder at once; 64 when absent.
    threads
        Threads that read words; one a core, at most 4, when absent.
    device
        auto, cpu, cuda, cuda:N or mps.
    precision
        Of the encoder: float32 or bf16.
    shard
        i/n: take every n-th slide, beginning with the i-th.
    force
        Make again what is there, also with other parameters.
    """
    from herscope.core.study import with_values
    from herscope.recipes.respond_bags import embed_bags, word_spec
    from herscope.respond.pathology.bag_spec import BagSpec

    del common
    spec = word_spec(
        word_px=word_px,
        tile_mpp=tile_mpp,
        min_tissue=min_tissue,
        mpp=mpp,
        override_mpp=override_mpp,
        normalise=normalise,
        normalise_to=normalise_to,
        white_balance=white_balance,
    )
    asked = {"bag_um": bag_px * tile_mpp, "min_share": min_share, "max_bags": max_bags}
    document = embed_bags(
        slides,
        out,
        spec,
        bags=with_values(BagSpec(radiomics=radiomics), asked, where="bags"),
        regions=regions,
        region_classes=region_class or (),
        force=force,
        measuring=for_terminal("measuring"),
        encoder=encoder,
        weights=weights,
        device=device,
        precision=precision,
        batch=batch,
        threads=threads,
        shard=shard,
        progress=for_terminal("embedding"),
    )
    return outcome(document)


def outcome(document: dict[str, Any]) -> Outcome:
    """Turn the document of a call into its table and exit code."""
    slides, failures = document["slides"], document["failures"]
    text: list[Any] = [_table(slides)]
    for name, failure in list(failures.items())[:_LISTED_NOTES]:
        text.append(f"{name} failed: {failure['message']}")
        if failure["hint"]:
            text.append(f"  hint: {failure['hint']}")
    if len(failures) > _LISTED_NOTES:
        text.append(f"and {len(failures) - _LISTED_NOTES} more failed, see failures.json")
    notes = [f"{name}: {note}" for name, one in slides.items() for note in one.get("notes", [])]
    said = [*document["notes"], *notes]
    text += [f"note: {note}" for note in said[:_LISTED_NOTES]]
    if len(said) > _LISTED_NOTES:
        text.append(f"and {len(said) - _LISTED_NOTES} more notes, see bags.json")
    text.append(
        f"{document['features']} features a word of {document['encoder']} in {document['folder']}"
    )
    return Outcome(document, text, SOME_FAILED if failures else 0)


def _table(slides: dict[str, Any]) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("slide", no_wrap=True, min_width=12, overflow="ellipsis")
    for head in ("words", "bags", "bag µm", "measured", "bags/s"):
        table.add_column(head, justify="right", no_wrap=True)
    for name, one in list(slides.items())[:_LISTED]:
        if one["status"] != "done" or "bags" not in one:
            table.add_row(name, one["status"])
            continue
        table.add_row(
            name,
            f"{one['words']:,}",
            f"{one['bags']:,}",
            "-" if one["bag_um"] is None else f"{one['bag_um']:.4g}",
            "-" if one["measured"] is None else f"{one['measured']:,}",
            "-" if one["bags_per_s"] is None else f"{one['bags_per_s']:.1f}",
        )
    if len(slides) > _LISTED:
        table.add_row(f"and {len(slides) - _LISTED} more in bags.json")
    return table
