"""What a finished slide's ``cells.parquet`` says for any cut-offs, without reading the slide again.

A cell reaches a cut-off when its optical density does. A membrane is *complete* when the k-th
largest of its 32 sectors reaches the first cut-off, k being the sectors that ``complete_share`` of
the seen ones asks for; the grades follow in the same way from two other order statistics
(:mod:`herscope.measure.completeness`). So three numbers a cell, in steps of 0.01 OD, hold the class
of the cell for all cut-offs, and tables of counts hold the percentages of the slide.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from herscope.core.errors import NotComputed, SchemaError
from herscope.core.store import read_json
from herscope.measure.completeness import (
    SECTORS,
    UNSEEN,
    CompletenessSpec,
    MembraneClasses,
    u_shaped,
)
from herscope.score.her2.clusters import ClusterSpec, largest_clusters

TOP_BIN: Final = 250
"""The highest cut-off a study may have, 2.5 OD, in steps of 0.01."""

AGAIN: Final = "score the slide again with --force; other slides are not affected"
FLOAT32_SLACK_MILLI: Final = 2e-4
"""``od`` is stored in single precision: 0.7 comes back as 0.69999999, which must stay 700."""

Bins = NDArray[np.uint8]


class Settings(NamedTuple):
    """What a calibration may move: three cut-offs in 0.01 OD, complete_share in thousandths.

    Examples
    --------
    >>> Settings(20, 40, 60, 850).cuts
    (0.2, 0.4, 0.6)
    """

    low: int
    middle: int
    high: int
    share: int

    @property
    def cuts(self) -> tuple[float, float, float]:
        """The cut-offs in optical density."""
        return self.low / 100, self.middle / 100, self.high / 100

    @property
    def complete_share(self) -> float:
        """Least stained circumference of a complete membrane, 0 to 1."""
        return self.share / 1000


@dataclass
class Membranes:
    """The evaluable cells' membranes of one slide: sectors, positions, and what was derived.

    ``sectors`` is (n, 32) milli-OD, ``x_um`` and ``y_um`` are (n,).
    """

    sectors: NDArray[np.int16]
    x_um: NDArray[np.float64]
    y_um: NDArray[np.float64]
    spec: CompletenessSpec
    clusters: ClusterSpec
    _sorted: NDArray[np.int16] = field(init=False)
    _seen: NDArray[np.int64] = field(init=False)
    _found: dict[Any, Any] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        seen = (self.sectors != UNSEEN).sum(axis=1).astype(np.int64)
        evaluable = 1000 * seen >= round(self.spec.seen_share * 1000) * SECTORS
        self.sectors = self.sectors[evaluable]
        self.x_um, self.y_um = self.x_um[evaluable], self.y_um[evaluable]
        self._seen = seen[evaluable]
        # Largest first; unseen sectors have the smallest value there is, so they come last.
        self._sorted = np.sort(self.sectors, axis=1)[:, ::-1]

    def __len__(self) -> int:
        return len(self.sectors)

    def reached(self, share_milli: int) -> Bins:
        """(n,) the highest bin of 0.01 OD that this share of each circumference reaches."""
        key = ("reached", share_milli)
        if key not in self._found:
            needed = -(-share_milli * self._seen // 1000)
            value = self._sorted[np.arange(len(self)), np.maximum(needed, 1) - 1]
            self._found[key] = np.clip(value // 10, 0, TOP_BIN).astype(np.uint8)
        found: Bins = self._found[key]
        return found

    def counts(self, at: Settings, *, shapes: bool) -> dict[str, int]:
        """Cells of each class, as :func:`herscope.measure.completeness.class_counts` gives.

        Parameters
        ----------
        at
            Cut-offs and completeness.
        shapes
            Count the U-shaped ones as well.
        """
        c1, c2, c3 = at[:3]
        whole = self._table(at.share, self._mill("intensity"))
        complete = [int(whole[c1, c]) for c in (0, c2, c3)]
        # A patch is at least as large as what counts as stained, so its cells are stained as well.
        lined = self._table(self._mill("stained"), self._mill("patch"))
        both = self._table(at.share, self._mill("patch"))
        part = [int(lined[c1, c] - both[c1, c]) for c in (0, c2, c3)]
        counts = {
            "complete_intense": complete[2],
            "complete_moderate": complete[1] - complete[2],
            "complete_weak": complete[0] - complete[1],
            "incomplete_moderate": part[1],
            "incomplete_faint": part[0] - part[1],
            "none": len(self) - complete[0] - part[0],
        }
        if shapes:
            reach = self._u_reach(c1, at.share)
            u = [int(reach[c]) for c in (0, c2, c3)]
            counts |= {
                "basolateral_intense": u[2],
                "basolateral_moderate": u[1] - u[2],
                "basolateral_weak": u[0] - u[1],
            }
        return counts

    def complete_percent(self, at: Settings) -> float:
        """Percentage of cells with complete staining of any intensity (PCMS)."""
        return 100 * int(np.count_nonzero(self.reached(at.share) >= at.low)) / len(self)

    def largest(self, at: Settings) -> dict[str, int]:
        """Cells of the largest clusters, as the score's own reading counts them."""
        key = ("largest", at)
        if key not in self._found:
            self._found[key] = largest_clusters(
                self.x_um, self.y_um, self.classes(at), self.clusters
            )
        found: dict[str, int] = self._found[key]
        return found

    def classes(self, at: Settings) -> MembraneClasses:
        """Class of every evaluable cell."""
        whole = self.reached(at.share) >= at.low
        intensity, patch = self.reached(self._mill("intensity")), self.reached(self._mill("patch"))
        grade_whole = sum((intensity >= cut).astype(np.int8) for cut in at[:3])
        grade_part = (self.reached(self._mill("stained")) >= at.low).astype(np.int8)
        grade_part += (patch >= at.middle).astype(np.int8) + (patch >= at.high)
        grade = np.where(whole, np.maximum(grade_whole, 1), grade_part).astype(np.int8)
        part = np.select([grade >= 2, grade == 1], [3, 4], 5)
        code = np.where(whole, 3 - grade, part).astype(np.int8)
        u = self._u(at.low) & ((code == 3) | (code == 4))
        u_grade = np.where(u, np.maximum(grade_whole, 1), 0).astype(np.int8)
        return MembraneClasses(code, grade, u_grade)

    def _mill(self, which: str) -> int:
        return round(1000 * float(getattr(self.spec, f"{which}_share")))

    def _table(self, first: int, second: int) -> NDArray[np.int64]:
        """Count at [a, b] the cells that reach bin a with one share and bin b with the other."""
        key = ("table", first, second)
        if key not in self._found:
            wide = _reaching(self.reached(first), self.reached(second))
            # Half the memory: a search holds a dozen of these a slide.
            self._found[key] = wide.astype(np.uint16 if len(self) < 2**16 else np.int32)
        found: NDArray[np.int64] = self._found[key]
        return found

    def _u(self, cut: int) -> NDArray[np.bool_]:
        key = ("u", cut)
        if key not in self._found:
            self._found[key] = u_shaped(self.sectors, 10 * cut, self.spec)
        found: NDArray[np.bool_] = self._found[key]
        return found

    def _u_reach(self, cut: int, share: int) -> NDArray[np.int64]:
        """Count at [b] the U-shaped, incomplete, stained cells of which enough reaches bin b."""
        key = ("u reach", cut, share)
        if key not in self._found:
            stained = self.reached(self._mill("stained")) >= cut
            mine = self._u(cut) & stained & (self.reached(share) < cut)
            self._found[key] = _reach(self.reached(self._mill("intensity"))[mine])
        found: NDArray[np.int64] = self._found[key]
        return found


@dataclass(frozen=True)
class SlideCells:
    """One scored slide: ``reach[b]`` of its ``n`` cells have at least b hundredths of OD."""

    name: str
    compartment: str
    n: int
    reach: NDArray[np.int64]
    membranes: Membranes | None
    stored_h_score: float | None
    stored_her2: str | None

    def h_score(self, at: Settings) -> float:
        """H-score at these cut-offs, 0 to 300."""
        return 100 * int(self.reach[list(at[:3])].sum()) / self.n

    def positive_percent(self, at: Settings) -> float:
        """Percentage of cells that reach the first cut-off."""
        return 100 * int(self.reach[at.low]) / self.n


def read_slide_cells(
    folder: str | Path,
    *,
    completeness: CompletenessSpec | None = None,
    clusters: ClusterSpec | None = None,
) -> SlideCells:
    """Read one slide of a run; the tumour where compartments were given, else all cells.

    Parameters
    ----------
    folder
        Folder of the slide, with ``result.json`` and ``cells.parquet``.
    completeness, clusters
        Read the membranes as well, for these shares and this reach; the optical densities alone
        when ``completeness`` is None.

    Raises
    ------
    NotComputed
        A file is missing, or the cells carry no membrane sectors.
    SchemaError
        A file is not what it must be.
    """
    folder = Path(folder)
    result = _result(folder)
    compartments = result["compartments"]
    where = "tumor" if "tumor" in compartments else "all"
    columns = ["compartment", "od"]
    if completeness is not None:
        columns += ["sectors", "x_um", "y_um"]
    table = _cells(folder / "cells.parquet", columns)
    if where == "tumor":
        chosen = np.asarray(table.column("compartment").to_pylist(), dtype=object) == "tumor"
        table = table.filter(pa.array(chosen))
    od = np.asarray(table.column("od").to_numpy(), np.float64)
    if not np.isfinite(od).all():
        raise SchemaError(f"{folder.name}: a cell has no optical density", hint=AGAIN)
    bins = np.clip(np.floor(od * 1000 + FLOAT32_SLACK_MILLI) // 10, 0, TOP_BIN).astype(np.uint8)
    reach = _reach(bins)
    membranes = None
    if completeness is not None:
        membranes = Membranes(
            _sectors(table, folder.name),
            np.asarray(table.column("x_um").to_numpy(), np.float64),
            np.asarray(table.column("y_um").to_numpy(), np.float64),
            completeness,
            clusters or ClusterSpec(),
        )
    stored = (compartments[where].get("h_score") or {}).get("value")
    her2 = result.get("her2") or {}
    return SlideCells(folder.name, where, len(od), reach, membranes, stored, her2.get("score"))


def _reach(bins: Bins) -> NDArray[np.int64]:
    """Count at [b] the cells of bin b or above."""
    return np.cumsum(np.bincount(bins, minlength=TOP_BIN + 1)[::-1])[::-1]


def _reaching(first: Bins, second: Bins) -> NDArray[np.int64]:
    size = TOP_BIN + 1
    flat = np.bincount(first.astype(np.int64) * size + second, minlength=size * size)
    both = flat.reshape(size, size)[::-1, ::-1]
    return np.cumsum(np.cumsum(both, axis=0), axis=1)[::-1, ::-1]


def _result(folder: Path) -> dict[str, Any]:
    path = folder / "result.json"
    if not path.is_file():
        raise NotComputed(f"{path} is missing: this slide was not scored to the end", hint=AGAIN)
    document = read_json(path)
    if not isinstance(document, dict) or not isinstance(document.get("compartments"), dict):
        raise SchemaError(f"{path} is not a herscope.score/1 document", hint=AGAIN)
    found = document["compartments"]
    if not any(isinstance(found.get(name), dict) for name in ("tumor", "all")):
        raise SchemaError(f"{path} holds neither tumour nor all cells", hint=AGAIN)
    return document


def _cells(path: Path, columns: list[str]) -> Any:
    if not path.is_file():
        raise NotComputed(f"{path} is missing: this slide was not scored to the end", hint=AGAIN)
    try:
        missing = [name for name in columns if name not in pq.read_schema(path).names]
        if not missing:
            return pq.read_table(path, columns=columns)
    except (pa.ArrowException, OSError) as bad:
        said = " ".join(str(bad).split())[:200]
        raise SchemaError(f"{path} is not a readable Parquet file: {said}", hint=AGAIN) from bad
    if "sectors" in missing:
        raise NotComputed(
            f"the cells of {path.parent.name} carry no membrane sectors, which a HER2 score needs",
            hint="score the slides again with this version and a HER2 marker (--force), or "
            "calibrate the H-score with --what h-score",
        )
    raise SchemaError(f"{path} lacks the column {', '.join(missing)}", hint=AGAIN)


def _sectors(table: Any, name: str) -> NDArray[np.int16]:
    column = table.column("sectors").combine_chunks()
    flat = np.asarray(column.flatten().to_numpy(zero_copy_only=False))
    if flat.size != SECTORS * len(column) or not np.issubdtype(flat.dtype, np.integer):
        raise SchemaError(f"{name}: the sectors are not {SECTORS} whole numbers a cell", hint=AGAIN)
    return flat.reshape(-1, SECTORS).astype(np.int16)
