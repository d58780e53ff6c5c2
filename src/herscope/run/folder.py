"""The RUN folder: where its files are, and the parts rebuilt from the slides' own folders.

``run.json`` says with which Spec, versions and machine the run was started. ``failures.json`` and
the cohort are derived from ``slides/*``, never accumulated, so shards may finish in any order.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from herscope import __version__
from herscope.core import provenance
from herscope.core.errors import NotComputed, OutputError, SchemaError
from herscope.core.spec import Spec
from herscope.core.store import host_token, make_folder, read_json, sweep, write_json
from herscope.run.lock import Lock
from herscope.run.state import SlideState

RUN_SCHEMA = "herscope.run/1"
REBUILD_WAIT_S = 120.0


class RunFolder:
    """A run on disk.

    Parameters
    ----------
    root
        The folder given as ``--out``.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    @property
    def slides(self) -> Path:
        """Folder of the slides' folders."""
        return self.root / "slides"

    @property
    def run_file(self) -> Path:
        """``run.json``."""
        return self.root / "run.json"

    @property
    def index(self) -> Path:
        """``index.html`` of the cohort."""
        return self.root / "index.html"

    def slide(self, name: str) -> Path:
        """Folder of one slide."""
        return self.slides / name

    def scratch(self, name: str) -> Path:
        """Folder for what workers on one slide share; swept like any leftover when we are killed.

        It is not made here.
        """
        owner = f"{host_token()}-{os.getpid()}-{secrets.token_hex(3)}"
        return self.slides / f".{name}.{owner}.partial"

    def lock(self, name: str) -> Lock:
        """Lock of one slide; beside its folder, because the folder is replaced as a whole."""
        return Lock(self.slides / f".{name}.lock")

    def create(self) -> None:
        """Make the folders and remove what killed processes left."""
        if self.root.exists() and not self.root.is_dir():
            raise OutputError(
                f"cannot write {self.root}: it is a file, not a folder", hint="choose another --out"
            )
        make_folder(self.slides)
        sweep(self.root)
        sweep(self.slides)
        for lock in sorted(self.slides.glob(".*.lock")):
            Lock(lock).clear_stale()

    def states(self) -> Iterator[tuple[str, SlideState]]:
        """Name and state of every slide of the run, by name."""
        if not self.slides.is_dir():
            return
        for folder in sorted(self.slides.iterdir()):
            if folder.is_dir() and not folder.name.startswith("."):
                state = SlideState.read(folder)
                if state is not None:
                    yield folder.name, state

    def read_run(self) -> dict[str, Any] | None:
        """Return ``run.json``, or ``None`` when this is no run yet."""
        if not self.run_file.is_file():
            return None
        document = read_json(self.run_file)
        if not isinstance(document, dict) or document.get("schema") != RUN_SCHEMA:
            raise SchemaError(
                f"{self.run_file} is not a run of this version of herscope",
                hint="choose another --out",
            )
        return document

    def write_run(self, spec: Spec, models: dict[str, Any], seed: int | None) -> None:
        """Write ``run.json`` unless it already says the same."""
        known = self.read_run()
        fingerprint = spec.fingerprint()
        same = ("spec_fingerprint", "herscope")
        if known is not None and [known.get(key) for key in same] == [fingerprint, __version__]:
            return
        write_json(
            self.run_file,
            {
                "schema": RUN_SCHEMA,
                "spec_fingerprint": fingerprint,
                "spec": spec.model_dump(mode="json"),
                "models": models,
                "seed": seed,
                **provenance.collect(),
            },
        )

    def failures(self) -> dict[str, dict[str, str]]:
        """Return ``{slide: {error, message, hint, stage}}`` as the slides' states say."""
        return {
            name: state.failure.model_dump()
            for name, state in self.states()
            if state.status == "failed" and state.failure is not None
        }

    def rebuild(self, write_cohort: Callable[[Path], object] | None) -> None:
        """Write ``failures.json`` and the cohort files from the slides' folders.

        A lock makes the last of several processes see everything the others finished.
        """
        lock = Lock(self.root / ".rebuild.lock")
        if not lock.wait(REBUILD_WAIT_S):
            raise OutputError(
                f"another process has been rebuilding {self.root} for {REBUILD_WAIT_S:.0f} s",
                hint=f"if none is running, delete {lock.path}, then: herscope report {self.root}",
            )
        try:
            write_json(self.root / "failures.json", self.failures())
            if write_cohort is not None and any(True for _ in self.states()):
                write_cohort(self.root)
        finally:
            lock.release()

    def require(self) -> None:
        """Refuse a folder that holds no run."""
        if not self.slides.is_dir():
            raise NotComputed(
                f"{self.root} holds no run (it has no slides folder)",
                hint=f"herscope score SLIDE... --out {self.root} makes one",
            )
