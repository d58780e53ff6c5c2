"""Which slides are to be scored: names, shard, annotations, and what an earlier run already did."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from herscope import __version__
from herscope.core.errors import InputError, StaleResult
from herscope.core.spec import Spec, flat_fields
from herscope.run.folder import RunFolder
from herscope.run.state import Inputs, SlideState, inputs_of, same_inputs

_SHOWN_DIFFERENCES = 6
_PER_SLIDE = "slide.mpp_table."
"""Rows that concern one slide each; a slide's own fingerprint has its own row."""


@dataclass(frozen=True, slots=True)
class SlideJob:
    """One slide to score, with the Spec as it applies to this slide and its fingerprint."""

    name: str
    path: Path
    annotations: Path | None
    inputs: Inputs
    spec: Spec
    fingerprint: str

    def state(self, status: Any, **more: Any) -> SlideState:
        """Return this slide's state with the given status."""
        return SlideState(
            name=self.name,
            status=status,
            spec_fingerprint=self.fingerprint,
            inputs=self.inputs,
            **more,
        )


@dataclass(frozen=True, slots=True)
class Shard:
    """Part ``index`` (from 1) of ``count`` parts of the sorted slide names.

    Examples
    --------
    >>> Shard.parse("2/3")
    Shard(index=2, count=3)
    >>> Shard.parse("2/3").of(["a", "b", "c", "d", "e"])
    ['b', 'e']
    """

    index: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read ``i/n`` with 1 <= i <= n."""
        head, slash, tail = text.partition("/")
        if not (slash and head.strip().isdecimal() and tail.strip().isdecimal()):
            raise InputError(f"--shard must be i/n, got {text!r}", hint="for example --shard 1/4")
        index, count = int(head), int(tail)
        if not 1 <= index <= count:
            raise InputError(
                f"--shard {text}: i must be between 1 and n", hint="for example --shard 1/4"
            )
        return cls(index, count)

    def of(self, names: Sequence[str]) -> list[str]:
        """Return every ``count``-th of the sorted names, beginning with the ``index``-th."""
        return sorted(names)[self.index - 1 :: self.count]


def make_jobs(
    names: Mapping[Path, str],
    annotations: Mapping[str, Path | None],
    spec: Spec,
    spec_for: Callable[[Any, Path], Spec] | None = None,
) -> list[SlideJob]:
    """Describe every slide; ``names`` are unique, ``annotations`` are by slide name.

    ``spec_for`` cuts the Spec down to what concerns one slide, so that a table with a row a slide
    may grow without making the other slides' results stale.
    """
    jobs = []
    for path, name in names.items():
        drawn = annotations.get(name)
        own = spec if spec_for is None else spec_for(spec, path)
        inputs = inputs_of(path, drawn)
        jobs.append(SlideJob(name, path, drawn, inputs, own, own.fingerprint()))
    return sorted(jobs, key=lambda job: job.name)


def is_done(folder: RunFolder, job: SlideJob) -> bool:
    """Whether the run already holds this slide's result, made with this Spec from these inputs."""
    home = folder.slide(job.name)
    state = SlideState.read(home)
    return (
        state is not None
        and state.status == "done"
        and state.spec_fingerprint == job.fingerprint
        and state.herscope == __version__
        and (home / "result.json").is_file()
        and same_inputs(job.path, job.inputs, state.inputs, home / "result.json")
    )


def refuse_stale(folder: RunFolder, jobs: Sequence[SlideJob], spec: Spec) -> None:
    """Refuse to add to a run whose slides were scored with other parameters or another version.

    Raises
    ------
    StaleResult
        The message lists the fields that differ.
    """
    wanted = {job.name: job.fingerprint for job in jobs}
    changed = _changed(folder, spec)
    stale = [
        name
        for name, state in folder.states()
        if state.status == "done"
        and (
            state.herscope != __version__
            or (state.spec_fingerprint != wanted[name] if name in wanted else bool(changed))
        )
    ]
    if not stale:
        return
    listed = ", ".join(changed[:_SHOWN_DIFFERENCES])
    more = len(changed) - _SHOWN_DIFFERENCES
    raise StaleResult(
        f"{folder.root} holds {len(stale)} slide(s) scored with other parameters"
        + (f": {listed}" if changed else "")
        + (f" and {more} more" if more > 0 else ""),
        hint="use --force to score them again with the new ones, or choose another --out",
    )


def _changed(folder: RunFolder, spec: Spec) -> list[str]:
    """Fields that differ from those in ``run.json``, as ``name old -> new``."""
    known = folder.read_run()
    if known is None:
        return []
    stored, now = flat_fields(known["spec"]), flat_fields(spec.model_dump(mode="json"))
    absent = object()
    version = known.get("herscope")
    newer = [] if version == __version__ else [f"herscope {version} -> {__version__}"]
    return newer + [
        f"{name} {stored.get(name)!r} -> {now.get(name)!r}"
        for name in sorted(stored.keys() | now.keys())
        if stored.get(name, absent) != now.get(name, absent) and not name.startswith(_PER_SLIDE)
    ]
