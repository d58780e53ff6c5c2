"""Where an instance of a patient is: a bag on a slide, or a lesion of a CT."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BagPlace:
    """A bag: slide, upper left corner and edge in level-0 pixels."""

    slide: str
    x_px: int
    y_px: int
    bag_px: float


@dataclass(frozen=True, slots=True)
class LesionPlace:
    """A lesion: its name, kind, CT, and key slice (numbered from 0)."""

    name: str
    kind: str | None = None
    source: str | None = None
    key_slice: int | None = None


Place = BagPlace | LesionPlace
