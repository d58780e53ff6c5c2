"""``herscope bench``: where the time goes on this machine."""

from __future__ import annotations

from herscope.cli.output import COMMON, Common, Outcome


def bench(*, size_um: float = 1000.0, common: Common = COMMON) -> Outcome:
    """Show where the time goes on this machine, against the decode floor.

    Parameters
    ----------
    size_um
        Edge of the phantom that is drawn and scored.
    """
    from rich.table import Table

    from herscope.run.bench import bench as measure

    del common
    document = measure(size_um)
    table = Table("stage", "seconds", "x decode", box=None, pad_edge=False)
    for name, stage in document["stages"].items():
        table.add_row(name, f"{stage['seconds']:.2f}", f"{stage['ratio']:.2f}")
    return Outcome(document, [document["about"], table])
