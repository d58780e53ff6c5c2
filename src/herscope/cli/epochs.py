"""What every ``herscope fit`` says while it trains and when it is done."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from typing import Any


class Epochs:
    """One line an epoch on stderr.

    Parameters
    ----------
    figures
        What to call each validation figure, and its name in the history without ``val_``.
    """

    def __init__(self, figures: Mapping[str, str]) -> None:
        self.epochs = 0
        self.figures = figures

    def epoch(self, row: dict[str, float | int | None], best: int) -> None:
        """Say loss, figures, seconds, and which epoch is the best so far."""
        self.epochs = int(row["epoch"] or 0)
        parts = [f"epoch {row['epoch']}: loss {row['loss']:.4f}"]
        for said, name in self.figures.items():
            value = row.get(f"val_{name}")
            parts.append(f"{said} {'-' if value is None else f'{value:.3f}'}")
        self.say(f"{', '.join(parts)}, {row['seconds']:.0f} s (best: epoch {best})")

    @staticmethod
    def say(line: str) -> None:
        """Write a line that nobody has to read."""
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()


@contextlib.contextmanager
def interruptible(told: Epochs) -> Iterator[None]:
    """Say, when Ctrl-C ends a training, what is kept."""
    try:
        yield
    except KeyboardInterrupt:
        if told.epochs:
            told.say(f"{told.epochs} epochs are kept; --resume goes on after them")
        raise


def summary_lines(document: dict[str, Any]) -> list[str]:
    """Patches, groups, best epoch and notes of a training."""
    split, patches = document["split"], document["patches"]
    return [
        f"trained on {len(split['train'])} patches, validated on {len(split['validation'])}",
        f"{patches['groups']} groups, {patches['mpp']:g} µm/px",
        f"weights of epoch {document['best_epoch']} of {len(document['history'])}"
        + (", stopped early" if document["stopped_early"] else ""),
        *(f"note: {note}" for note in document["notes"]),
    ]
