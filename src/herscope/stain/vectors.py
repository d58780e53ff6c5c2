"""Named stain vectors: the optical density of one unit of dye in red, green and blue.

The default is Ruifrok and Johnston's haematoxylin and DAB (Anal Quant Cytol Histol 2001;23:291).
The third direction is the residual, the unit vector perpendicular to both, so that what is neither
haematoxylin nor DAB does not leak into them (H-DAB-residual, not the three-stain H-E-DAB matrix).
"""

from __future__ import annotations

import json
import math
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from herscope.core.errors import HerscopeError, InputError, SchemaError, UnknownModel
from herscope.core.spec import Spec

Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class StainVectors:
    """Haematoxylin and DAB directions in optical density, unit length, with their origin.

    Parameters
    ----------
    name
        How the vectors are called in a study file.
    hematoxylin, dab
        Optical density per unit of dye in red, green, blue; normalised on construction.
    source, year
        Who published or measured them, and when.

    Examples
    --------
    >>> round(float(np.linalg.norm(RUIFROK_JOHNSTON.hematoxylin)), 6)
    1.0
    """

    name: str
    hematoxylin: Triple
    dab: Triple
    source: str
    year: int

    def __post_init__(self) -> None:
        for field in ("hematoxylin", "dab"):
            vector = np.asarray(getattr(self, field), dtype=float)
            length = float(np.linalg.norm(vector))
            if vector.shape != (3,) or not math.isfinite(length) or length == 0:
                raise InputError(
                    f"stain vector {field} of {self.name!r} is {getattr(self, field)!r}",
                    hint="give three finite numbers: optical density in red, green, blue",
                )
            object.__setattr__(self, field, tuple(float(v) for v in vector / length))
        if self.angle_deg < MIN_ANGLE_DEG:
            raise InputError(
                f"haematoxylin and DAB of {self.name!r} are {self.angle_deg:.1f}° apart "
                f"(at least {MIN_ANGLE_DEG:g}°): they cannot be told apart",
                hint="use the named vectors, or estimate on slides that carry both stains",
            )

    @property
    def angle_deg(self) -> float:
        """Angle between the two stains in degrees."""
        return angle_deg(self.hematoxylin, self.dab)

    def matrix(self) -> NDArray[np.float64]:
        """(3, 3): rows haematoxylin, DAB, residual; unit length."""
        h, d = np.asarray(self.hematoxylin), np.asarray(self.dab)
        residual = np.cross(h, d)
        return np.stack([h, d, residual / np.linalg.norm(residual)])


MIN_ANGLE_DEG: Final = 5.0


def angle_deg(a: Triple, b: Triple) -> float:
    """Angle between two vectors in degrees."""
    u, v = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    cosine = float(u @ v / (np.linalg.norm(u) * np.linalg.norm(v)))
    return math.degrees(math.acos(min(1.0, max(-1.0, cosine))))


RUIFROK_JOHNSTON: Final = StainVectors(
    name="ruifrok-johnston",
    hematoxylin=(0.650, 0.704, 0.286),
    dab=(0.268, 0.570, 0.776),
    source="Ruifrok AC, Johnston DA. Anal Quant Cytol Histol 23:291-299",
    year=2001,
)

NAMED: Final = {RUIFROK_JOHNSTON.name: RUIFROK_JOHNSTON}


def named_vectors(name: str) -> StainVectors:
    """Return the vectors of that name; :class:`UnknownModel` lists the names there are."""
    try:
        return NAMED[name]
    except KeyError:
        raise UnknownModel(
            f"no stain vectors are called {name!r}",
            hint=f"known: {', '.join(sorted(NAMED))}; or give a vectors file with --stains",
        ) from None


class StainSpec(Spec):
    """Which stain vectors are used: a name, or vectors of your own study."""

    name: str = Field(
        default=RUIFROK_JOHNSTON.name, description="Named vectors, or the name of your own."
    )
    hematoxylin: Triple | None = Field(
        default=None, description="Optical density of haematoxylin in red, green, blue."
    )
    dab: Triple | None = Field(
        default=None, description="Optical density of DAB in red, green, blue."
    )
    source: str = Field(default="", description="Who measured your own vectors, and how.")
    year: int = Field(default=0, ge=0, le=9999, description="When.")

    @model_validator(mode="after")
    def _usable(self) -> StainSpec:
        if (self.hematoxylin is None) != (self.dab is None):
            raise ValueError("give both hematoxylin and dab, or neither")
        try:
            self.vectors()
        except HerscopeError as error:
            raise ValueError(f"{error.message}; {error.hint}") from error
        return self

    def vectors(self) -> StainVectors:
        """Return the vectors these parameters stand for."""
        if self.hematoxylin is None or self.dab is None:
            return named_vectors(self.name)
        return StainVectors(
            self.name, self.hematoxylin, self.dab, self.source or "stated", self.year
        )


def read_vectors(path: Path) -> StainSpec:
    """Read the vectors of a study from TOML or JSON.

    Parameters
    ----------
    path
        A file with ``name``, ``hematoxylin``, ``dab`` (three numbers each), and optionally
        ``source`` and ``year``.

    Raises
    ------
    SchemaError
        When the file is neither, or a field is missing, unknown or not three numbers.
    """
    shape = 'expected: name = "...", hematoxylin = [r, g, b], dab = [r, g, b], source, year'
    try:
        text = path.read_text(encoding="utf-8")
        fields: Any = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise InputError(
            f"stain file {path} cannot be read: {error.strerror}", hint="check the path"
        ) from error
    except ValueError as error:
        raise SchemaError(f"stain file {path.name}: {error}", hint=shape) from error
    if not isinstance(fields, dict) or not {"hematoxylin", "dab"} <= fields.keys():
        raise SchemaError(f"stain file {path.name} lacks hematoxylin or dab", hint=shape)
    fields.setdefault("name", path.stem)
    fields.setdefault("source", path.name)
    try:
        return StainSpec(**fields)
    except ValueError as error:
        first = str(error).splitlines()
        raise SchemaError(f"stain file {path.name}: {' '.join(first[1:3])}", hint=shape) from error
