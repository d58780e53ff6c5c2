"""What a worker does with a slide: plan it, score tiles, finish it; and how it reports a failure.

The engine knows nothing of scoring: it is given three module-level functions (:class:`Stages`), so
they reach a worker process by name. Every function here returns a value in all cases; an error
becomes a :class:`~herscope.run.state.Failure` in it, so one bad slide can never stop the pool.
"""

from __future__ import annotations

import errno
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from herscope.core.errors import HerscopeError
from herscope.core.store import output_error, staged_folder
from herscope.run.jobs import SlideJob
from herscope.run.state import Failure


class Plan(Protocol):
    """What planning a slide gives; it travels to the workers with each chunk of tiles."""

    @property
    def tiles(self) -> Sequence[Any]:
        """The tiles to score, in a fixed order."""


@dataclass(frozen=True, slots=True)
class Stages:
    """The scorer as three functions that can be found by name in a worker process.

    Parameters
    ----------
    plan
        ``(job) -> Plan``; opens the slide, finds tissue, cuts tiles.
    tiles
        ``(plan, tiles) -> list``; one result a tile, in order; pure.
    finish
        ``(plan, results, timings_s, folder) -> None``; writes all result files into ``folder``.
    warm
        Imports what a worker will need, while a large slide is still being planned.
    share
        ``(plan, folder) -> plan``: says where workers on one slide may share files; the folder is
        not there yet, and is removed when the slide is done or has failed.
    """

    plan: Callable[[SlideJob], Any]
    tiles: Callable[[Any, Sequence[Any]], list[Any]]
    finish: Callable[[Any, list[Any], dict[str, float], Path], None]
    warm: Callable[[], None] | None = None
    share: Callable[[Any, Path], Any] | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a task gives back: a value or a failure, and the seconds each stage took."""

    value: Any = None
    failure: Failure | None = None
    traceback: str = ""
    timings_s: dict[str, float] = field(default_factory=dict)
    finished: bool = False


def warm(stages: Stages) -> None:
    """Get a worker process ready."""
    if stages.warm is not None:
        stages.warm()


def begin(stages: Stages, job: SlideJob, home: Path, whole_tiles: int) -> Outcome:
    """Plan a slide; when it has at most ``whole_tiles`` tiles, score and save it here as well.

    A small slide is one task from file to result, so nothing of it crosses process borders.
    """
    start = time.perf_counter()
    try:
        plan = stages.plan(job)
        timings = {"plan": time.perf_counter() - start}
    except Exception as error:  # noqa: BLE001 - one bad slide never stops the rest
        return _failed(error, "plan")
    if len(plan.tiles) > whole_tiles:
        return Outcome(value=plan, timings_s=timings)
    scored = score(stages, plan, plan.tiles)
    if scored.failure is not None:
        return scored
    return finish(stages, job, plan, scored.value, timings | scored.timings_s, home)


def score(stages: Stages, plan: Any, tiles: Sequence[Any]) -> Outcome:
    """Score a chunk of tiles."""
    start = time.perf_counter()
    try:
        results = stages.tiles(plan, tiles)
    except Exception as error:  # noqa: BLE001 - one bad slide never stops the rest
        return _failed(error, "tiles")
    return Outcome(value=results, timings_s={"tiles": time.perf_counter() - start})


def finish(
    stages: Stages,
    job: SlideJob,
    plan: Any,
    results: list[Any],
    timings_s: dict[str, float],
    home: Path,
) -> Outcome:
    """Write the result files into a staged folder that becomes the slide's folder at once."""
    start = time.perf_counter()
    try:
        with staged_folder(home) as folder:
            stages.finish(plan, results, timings_s, folder)
            timings = timings_s | {"finish": time.perf_counter() - start}
            rounded = {name: round(seconds, 3) for name, seconds in timings.items()}
            job.state("done", timings_s=rounded).write(folder)
    except Exception as error:  # noqa: BLE001 - one bad slide never stops the rest
        return _failed(error, "finish")
    return Outcome(timings_s=timings, finished=True)


def failure_of(error: BaseException, stage: str) -> Failure:
    """Describe an error: a deliberate one by its words, any other as an internal error."""
    if isinstance(error, OSError) and not isinstance(error, HerscopeError):
        full = error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
        if full:
            error = output_error(error, Path(str(error.filename or "the results")))
    if isinstance(error, HerscopeError):
        return Failure(
            error=type(error).__name__, message=error.message, hint=error.hint, stage=stage
        )
    if isinstance(error, MemoryError):
        return Failure(
            error="MemoryError",
            message="not enough memory for this slide",
            hint="use fewer --workers, or a machine with more memory",
            stage=stage,
        )
    said = str(error).strip().split("\n")[0]
    return Failure(
        error=type(error).__name__,
        message=f"internal error: {type(error).__name__}{': ' if said else ''}{said}",
        hint="please report it with the slide's traceback.txt",
        stage=stage,
    )


def _failed(error: BaseException, stage: str) -> Outcome:
    failure = failure_of(error, stage)
    internal = failure.message.startswith("internal error")
    told = "".join(traceback.format_exception(error)) if internal else ""
    return Outcome(failure=failure, traceback=told)
