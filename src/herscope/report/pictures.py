"""Pictures that need the slide, taken once, when it is scored; later reports do without it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from herscope.report.examples import cut_examples, pick_examples, write_examples
from herscope.report.figures import OVERVIEW_SIDE_PX, save_overview
from herscope.report.her2_examples import take_membrane_examples

if TYPE_CHECKING:
    from herscope.slide.opened import Slide


def take_pictures(slide: Slide, cells: Any, folder: Path) -> None:
    """Write ``overview.png``, ``examples.parquet`` and perhaps ``membrane_examples.parquet``.

    Parameters
    ----------
    slide
        The open slide.
    cells
        ``pyarrow.Table`` with the columns of ``cells.parquet``.
    folder
        The slide's folder.

    Raises
    ------
    OutputError
        A file cannot be written.
    """
    info = slide.info
    native = slide.grid(info.mpp)
    longer = max(info.width_px, info.height_px)
    # A whole number of pixels averaged into one: no picture is ever enlarged.
    shrink = -(-longer // OVERVIEW_SIDE_PX)
    save_overview(slide.read_all(slide.grid(info.mpp * shrink)), folder / "overview.png")
    chosen = pick_examples(cells)
    crops = cut_examples(
        lambda x, y, width, height: slide.read(native, x, y, width, height),
        cells,
        chosen,
        mpp=info.mpp,
    )
    write_examples(crops, folder / "examples.parquet")
    take_membrane_examples(
        lambda x, y, width, height: slide.read(native, x, y, width, height),
        cells,
        folder / "membrane_examples.parquet",
        mpp_x=info.mpp_x * native.scale_x,
        mpp_y=info.mpp_y * native.scale_y,
    )
