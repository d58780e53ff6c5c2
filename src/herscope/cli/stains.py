"""``herscope stains``: the stain vectors of a study."""

from __future__ import annotations

from pathlib import Path

from herscope.cli.output import COMMON, Common, Outcome


def stains(
    slides: list[str],
    /,
    *,
    out: Path,
    mpp: str | None = None,
    override_mpp: float | None = None,
    common: Common = COMMON,
) -> Outcome:
    """Estimate one pair of stain vectors for a study, for score --stains.

    Parameters
    ----------
    slides
        Slide files, folders or quoted patterns.
    out
        TOML file to write.
    mpp
        µm/px for files that state none, or a CSV with the columns slide,mpp.
    override_mpp
        µm/px for files that state it wrong.
    """
    from rich.table import Table

    from herscope import recipes

    del common
    spec = recipes.slide_spec(mpp=mpp, override_mpp=override_mpp)
    document = recipes.stains(slides, out, spec)
    table = Table("slide", "degrees off", box=None, pad_edge=False)
    for name, angle in document["spread_deg"].items():
        table.add_row(name, f"{angle:.1f}")
    said = [
        f"haematoxylin {document['hematoxylin']}  DAB {document['dab']}",
        table,
        *(f"left out {name}: {why}" for name, why in document["left_out"].items()),
        f"written to {document['file']}",
    ]
    return Outcome(document, said)
