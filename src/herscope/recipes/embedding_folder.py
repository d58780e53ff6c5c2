"""The folder of feature files: what is there, whether it still holds, and what is said of it.

FEATURES/<slide>.h5ad, embed.json and failures.json; hidden beside them the state of each slide and
the parts of unfinished ones. The two JSON files are rebuilt from what lies in the folder, never
accumulated, so shards may finish in any order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from herscope.core import provenance
from herscope.core.errors import (
    HerscopeError,
    InputError,
    NotComputed,
    OutputError,
    SchemaError,
    StaleResult,
)
from herscope.core.spec import flat_fields
from herscope.core.store import make_folder, read_json, sweep, write_json
from herscope.run.lock import Lock

if TYPE_CHECKING:
    from herscope.embed.encoder import Encoder
    from herscope.embed.extraction import Embedded, EmbedSpec

SCHEMA: Final = "herscope.embed/1"
REBUILD_WAIT_S: Final = 120.0
UNLIKE_MPP: Final = 1.3
"""Tiles this many times finer or coarser than what the encoder was trained on earn a note."""
_SHOWN: Final = 6


@dataclass(frozen=True)
class Job:
    """One slide: where it lies, what its features are called, and what decides them."""

    name: str
    path: Path
    file: Path
    spec: EmbedSpec
    fingerprint: str


@dataclass
class FeatureFolder:
    """The folder of features and its hidden parts."""

    root: Path

    def state(self, name: str) -> Path:
        """Where the state of a slide is kept."""
        return self.root / ".state" / f"{name}.json"

    def parts(self, name: str) -> Path:
        """Where the parts of an unfinished slide are kept."""
        return self.root / ".parts" / name

    def lock(self, name: str) -> Lock:
        """Lock of a slide."""
        return Lock(self.root / f".{name}.lock")

    def create(self) -> None:
        """Make the folder and remove what killed processes left."""
        if self.root.exists() and not self.root.is_dir():
            raise OutputError(
                f"cannot write {self.root}: it is a file, not a folder", hint="choose another --out"
            )
        make_folder(self.root / ".state")
        sweep(self.root)
        for lock in sorted(self.root.glob(".*.lock")):
            Lock(lock).clear_stale()


def file_facts(path: Path) -> dict[str, Any]:
    """Name, size and time of a slide's file."""
    try:
        stat = path.stat()
    except OSError as error:
        raise InputError(
            f"slide {path.name} cannot be read: {error.strerror}", hint="check the path"
        ) from error
    return {"name": path.name, "size_bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def header_of(file: Path) -> dict[str, Any] | None:
    """Return what made a feature file; None when there is none of use, so that it is made again."""
    from herscope.embed.feature_file import read_header

    try:
        return read_header(file)
    except (NotComputed, SchemaError):
        return None


def is_done(job: Job) -> bool:
    """Whether the slide's features are there, made so, from this very file."""
    from herscope.run.state import file_sha256

    header = header_of(job.file)
    if header is None or header["provenance"].get("fingerprint") != job.fingerprint:
        return False
    stored, now = header["provenance"]["file"], file_facts(job.path)
    if stored["size_bytes"] != now["size_bytes"]:
        return False
    same_time = (stored["mtime_ns"], stored["name"]) == (now["mtime_ns"], now["name"])
    # A copied slide has another time but the same content.
    return bool(same_time or stored["sha256"] == file_sha256(job.path))


def refuse_stale(root: Path, jobs: Sequence[Job], encoder: Encoder, spec: EmbedSpec) -> None:
    """Refuse to mix features that were made differently in one folder."""
    from herscope.embed.extraction import encoder_id

    wanted = {job.file: job for job in jobs}
    identity = encoder_id(encoder.card, spec)
    stale, changed = [], set()
    for file in sorted(root.glob("*.h5ad")):
        header = header_of(file)
        if header is None or "fingerprint" not in header["provenance"]:
            continue
        job = wanted.get(file)
        if (job is None and header["slide"]["encoder_id"] == identity) or (
            job is not None and header["provenance"]["fingerprint"] == job.fingerprint
        ):
            continue
        stale.append(file.stem)
        changed |= _changes(header, encoder, spec if job is None else job.spec)
    if not stale:
        return
    listed = sorted(changed)
    more = len(listed) - _SHOWN
    raise StaleResult(
        f"{root} holds features of {len(stale)} slide(s) made otherwise"
        + (f": {', '.join(listed[:_SHOWN])}" if listed else f", first {stale[0]}")
        + (f" and {more} more" if more > 0 else ""),
        hint="use --force to embed them again, or choose another --out",
    )


def _changes(header: Mapping[str, Any], encoder: Encoder, spec: EmbedSpec) -> set[str]:
    """Fields that differ, as ``name old -> new``."""
    card = encoder.card.model_dump(mode="json")
    stored = flat_fields({"encoder": header["encoder"], **header["provenance"]["spec"]})
    now = flat_fields({"encoder": card, **spec.model_dump(mode="json")})
    return {
        f"{name} {stored.get(name)!r} -> {now.get(name)!r}"
        for name in stored.keys() | now.keys()
        if stored.get(name) != now.get(name) and not name.startswith("slide.mpp_table.")
    }


def speed_of(made: Embedded) -> dict[str, Any]:
    """Tiles, seconds and how busy the encoder was, for the slide's state."""

    def short(value: float | None) -> float | None:
        return None if value is None else round(value, 4)

    return {
        "tiles": len(made.bag),
        "resumed": made.resumed,
        "seconds": short(made.seconds),
        "tiles_per_s": short(made.tiles_per_s),
        "encoder_busy": short(made.encoder_busy),
    }


def keep_failure(folder: FeatureFolder, job: Job, error: Exception) -> None:
    """Keep why a slide has no features."""
    known = isinstance(error, HerscopeError)
    told = {
        "error": type(error).__name__,
        "message": str(error) if known else f"internal error: {type(error).__name__}: {error}",
        "hint": error.hint if isinstance(error, HerscopeError) else "report what --debug shows",
        "stage": "embed",
    }
    if isinstance(error, MemoryError):
        told |= {
            "message": "not enough memory",
            "hint": "use a smaller --batch, or fewer --threads",
        }
    write_json(folder.state(job.name), {"status": "failed", "failure": told})


def _state(folder: FeatureFolder, name: str) -> dict[str, Any]:
    try:
        state = read_json(folder.state(name)) if folder.state(name).is_file() else {}
    except SchemaError:
        state = {}
    return state if isinstance(state, dict) else {}


def failure_message(folder: FeatureFolder, name: str) -> str:
    """Return why a slide failed; empty when it did not."""
    return str(_state(folder, name).get("failure", {}).get("message", ""))


def rebuild(folder: FeatureFolder, encoder: Encoder, spec: EmbedSpec) -> None:
    """Write ``embed.json`` and ``failures.json`` from what lies in the folder."""
    from herscope.embed.extraction import encoder_id

    lock = Lock(folder.root / ".rebuild.lock")
    if not lock.wait(REBUILD_WAIT_S):
        raise OutputError(
            f"another process has been rebuilding {folder.root} for {REBUILD_WAIT_S:.0f} s",
            hint=f"if none is running, delete {lock.path} and run it again",
        )
    try:
        slides, failures = {}, {}
        for file in sorted(folder.root.glob("*.h5ad")):
            header = header_of(file)
            if header is not None:
                slides[file.stem] = _slide(folder, file.stem, header)
        for file in sorted((folder.root / ".state").glob("*.json")):
            state = _state(folder, file.stem)
            if state.get("status") == "failed":
                failures[file.stem] = state["failure"]
        document = {
            "schema": SCHEMA,
            "encoder": encoder.card.model_dump(mode="json"),
            "encoder_id": encoder_id(encoder.card, spec),
            "spec": spec.model_dump(mode="json"),
            "notes": _notes(encoder, spec),
            "slides": slides,
            **provenance.collect(),
        }
        write_json(folder.root / "embed.json", document)
        write_json(folder.root / "failures.json", failures)
    finally:
        lock.release()


def _slide(folder: FeatureFolder, name: str, header: Mapping[str, Any]) -> dict[str, Any]:
    state = _state(folder, name)
    speed = {key: state.get(key) for key in ("seconds", "tiles_per_s", "encoder_busy", "resumed")}
    return {
        "file": header["provenance"].get("file", {}).get("name"),
        "tiles": header["shape"][0],
        "mpp": header["slide"]["mpp"],
        "mpp_source": header["provenance"].get("mpp_source"),
        "encoder_id": header["slide"]["encoder_id"],
        "notes": header["slide"]["notes"],
        **speed,
    }


def _notes(encoder: Encoder, spec: EmbedSpec) -> list[str]:
    """Say when tiles are unlike those the encoder was trained on."""
    from herscope.embed.known_encoders import ENCODERS

    name, asked = encoder.card.name, float(spec.tiles.mpp)
    trained = ENCODERS.make(name).mpp if name in ENCODERS else asked
    if 1 / UNLIKE_MPP <= asked / trained <= UNLIKE_MPP:
        return []
    return [f"encoder {name} expects about {trained:g} µm/px; tiles are cut at {asked:g}"]


def document_of(
    folder: FeatureFolder,
    jobs: Sequence[Job],
    status: Mapping[str, str],
    encoder: Encoder,
    spec: EmbedSpec,
) -> dict[str, Any]:
    """Put the document of a call together."""
    known = read_json(folder.root / "embed.json")
    failures = read_json(folder.root / "failures.json")
    slides: dict[str, Any] = {}
    for job in jobs:
        done = status[job.name] == "done" and job.name in known["slides"]
        slides[job.name] = {
            "status": status[job.name],
            "features": str(job.file) if done else None,
            **(known["slides"][job.name] if done else {}),
        }
    return {
        "folder": str(folder.root),
        "encoder": encoder.card.name,
        "encoder_id": known["encoder_id"],
        "features": encoder.card.features,
        "notes": _notes(encoder, spec),
        "slides": slides,
        "failures": {job.name: failures[job.name] for job in jobs if status[job.name] == "failed"},
    }
