"""``herscope demo``: one real field, from file to report, without network."""

from __future__ import annotations

from pathlib import Path

from herscope.cli.output import COMMON, Common, Outcome


def demo(*, out: Path = Path("herscope-demo"), common: Common = COMMON) -> Outcome:
    """Score the real IHC field that scikit-image carries; print the result and where the report is.

    Parameters
    ----------
    out
        Folder for the field, its result and its report.
    """
    from herscope import recipes
    from herscope.cli.score import outcome
    from herscope.recipes.scoring import DEMO_MPP
    from herscope.run import progress

    del common
    run = recipes.demo(out, progress=progress.for_terminal())
    scored = outcome(run)
    said = (
        "FHL2 in colonic glands, DAB and haematoxylin (scikit-image, immunohistochemistry).\n"
        f"Its scale is not stated anywhere; {DEMO_MPP:g} µm/px is assumed.\n"
    )
    page = run.folder.slide(run.names[0]) / "report.html"
    document = scored.document | {"assumed_mpp": DEMO_MPP}
    return Outcome(document, [said, *scored.text, f"open {page}"], scored.code)
