"""What is known of each slide of a run: ``state.json``, written atomically, read on resume.

A slide is done when its state says so *and* the state's spec fingerprint and inputs are those of
this run; a changed slide file or annotation file makes it due again, a changed Spec makes the run
refuse (see :mod:`herscope.run.jobs`).
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from herscope import __version__
from herscope.core.errors import SchemaError
from herscope.core.store import read_json, write_text, writing

Status = Literal["queued", "running", "done", "failed"]


class Document(BaseModel):
    """A frozen part of a run's bookkeeping."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Inputs(Document):
    """What a result was made from, as far as can be told without reading the slide."""

    file: str
    size_bytes: int
    mtime_ns: int
    annotations_sha256: str | None = None


class Failure(Document):
    """Why a slide has no result; ``stage`` is plan, tiles, finish or worker."""

    error: str
    message: str
    hint: str
    stage: str


class SlideState(Document):
    """One slide's state; ``timings_s`` are seconds per stage, wall-clock inside the stage."""

    schema_: Literal["herscope.state/1"] = Field(default="herscope.state/1", alias="schema")
    name: str
    status: Status
    spec_fingerprint: str
    herscope: str = __version__
    inputs: Inputs
    timings_s: dict[str, float] = {}
    failure: Failure | None = None

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    def write(self, folder: Path) -> None:
        """Write ``state.json`` into the slide's folder."""
        write_text(folder / "state.json", self.model_dump_json(by_alias=True, indent=1) + "\n")

    @classmethod
    def read(cls, folder: Path) -> SlideState | None:
        """Return the stored state; ``None`` when there is none or it is of no use."""
        file = folder / "state.json"
        if not file.is_file():
            return None
        try:
            return cls.model_validate(read_json(file))
        except (SchemaError, ValidationError):
            return None  # made by another version or by hand: the slide is simply due again


def inputs_of(path: Path, annotations: Path | None) -> Inputs:
    """Describe the inputs of a slide: size and time of its file, content of its annotations."""
    with writing(path):
        facts = path.stat()
    return Inputs(
        file=path.name,
        size_bytes=facts.st_size,
        mtime_ns=facts.st_mtime_ns,
        annotations_sha256=None if annotations is None else file_sha256(annotations),
    )


def same_inputs(path: Path, now: Inputs, stored: Inputs, result: Path) -> bool:
    """Whether a stored result was made from these inputs.

    A copied file has another time but the same content; then the checksum in the result decides.
    """
    if (now.size_bytes, now.annotations_sha256) != (stored.size_bytes, stored.annotations_sha256):
        return False
    if now.mtime_ns == stored.mtime_ns and now.file == stored.file:
        return True
    known: Any = read_json(result).get("slide", {}).get("sha256") if result.is_file() else None
    return path.is_file() and known == file_sha256(path)


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
