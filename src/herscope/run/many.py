"""Score a set of slides into a RUN folder: the whole life of one ``herscope score`` call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from herscope.core.errors import InputError
from herscope.core.provenance import cpu_count
from herscope.core.spec import Spec
from herscope.run.engine import Engine, Report
from herscope.run.folder import RunFolder
from herscope.run.jobs import Shard, make_jobs, refuse_stale
from herscope.run.progress import Progress, Quiet
from herscope.run.stages import Stages

MOST_WORKERS = 1024


@dataclass(frozen=True)
class Run:
    """A finished call: the folder, what became of each slide, and the names it was asked for."""

    folder: RunFolder
    report: Report
    names: list[str]

    @property
    def failures(self) -> dict[str, dict[str, str]]:
        """Failures among the slides of this call."""
        known = self.folder.failures()
        return {name: known[name] for name in self.names if name in known}


def score_many(
    names: Mapping[Path, str],
    out: str | Path,
    spec: Spec,
    stages: Stages,
    *,
    spec_for: Callable[[Any, Path], Spec] | None = None,
    annotations: Mapping[str, Path | None] | None = None,
    workers: int | None = None,
    shard: Shard | None = None,
    force: bool = False,
    progress: Progress | None = None,
    models: dict[str, Any] | None = None,
    seed: int | None = None,
    write_cohort: Callable[[Path], object] | None = None,
) -> Run:
    """Score slides and keep what was finished before.

    Parameters
    ----------
    names
        Slide file to its unique name.
    out
        The RUN folder; made when it does not exist.
    spec, stages
        Parameters and scorer.
    spec_for
        Cuts the Spec down to what concerns one slide; the Spec as it is when ``None``.
    annotations
        Slide name to its annotation file.
    workers
        Processes; ``None`` for one a core.
    shard
        Which part of the sorted names this call scores.
    force
        Score everything again, also what was done with these parameters.
    write_cohort
        Called with ``out`` at the end, to rebuild the cohort from the slides' folders.

    Raises
    ------
    StaleResult
        The folder holds slides scored with other parameters and ``force`` is off.
    OutputError
        The folder cannot be written.
    """
    if workers is not None and not 1 <= workers <= MOST_WORKERS:
        raise InputError(
            f"--workers must be between 1 and {MOST_WORKERS}, got {workers}",
            hint=f"this machine has {cpu_count()} core(s); leave it out to use them all",
        )
    folder = RunFolder(out)
    folder.create()
    jobs = make_jobs(names, annotations or {}, spec, spec_for)
    if not force:
        refuse_stale(folder, jobs, spec)
    folder.write_run(spec, models or {}, seed)
    mine = set((shard or Shard()).of([job.name for job in jobs]))
    jobs = [job for job in jobs if job.name in mine]
    engine = Engine(folder, stages, workers=workers or cpu_count(), progress=progress or Quiet())
    try:
        report = engine.run(jobs, force=force)
    except KeyboardInterrupt:
        folder.rebuild(None)
        raise
    folder.rebuild(write_cohort)
    return Run(folder, report, sorted(mine))
