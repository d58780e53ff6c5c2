"""Score many slides with one pool: small slides one task each, large slides in chunks of tiles.

Few slides are open and few tasks are in flight at any time, so memory does not grow with the number
or the size of the slides. Results of a slide are put in tile order before it is finished, so they
do not depend on which worker was faster.

When a worker process is killed (usually by the system, for memory), Python cannot say which task it
was running. All tasks that were in flight are then run again one at a time: the one that kills its
worker again is the culprit, and only its slide fails.
"""

from __future__ import annotations

import concurrent.futures
import shutil
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from herscope.core.errors import OutputError
from herscope.core.store import make_folder, staged_folder, sweep
from herscope.run import stages as work
from herscope.run.folder import RunFolder
from herscope.run.interrupt import POLL_S, Interruption
from herscope.run.jobs import SlideJob, is_done
from herscope.run.lock import Lock
from herscope.run.pool import BrokenProcessPool, Inline, Pool, Workers
from herscope.run.progress import Progress
from herscope.run.stages import Outcome, Stages
from herscope.run.state import Failure, SlideState

CHUNK_TILES = 4
"""Most tiles a task: a tile here is a block of some megapixels, about a second of work."""
CHUNKS_PER_WORKER = 16
"""Aim: enough chunks that the last ones do not leave workers idle."""
WHOLE_SLIDE_TILES = 12
"""Up to here a slide is one task when there are other slides to keep the workers busy."""
WHOLE_SINGLE_TILES = 3
"""Up to here a slide is one task when there are not."""
WARM_BYTES = 50_000_000
"""A single slide file of this size will need the workers: they start while it is planned."""
LARGE_OPEN = 2
"""Large slides with tile results in memory: one being finished, one being scored."""


@dataclass
class Report:
    """Names of slides by what became of them in this call."""

    done: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    busy: list[str] = field(default_factory=list)


@dataclass
class _Open:
    """A slide being scored."""

    job: SlideJob
    lock: Lock
    scratch: Path
    plan: Any = None
    chunks: deque[int] = field(default_factory=deque)
    chunk_tiles: int = 1
    results: dict[int, list[Any]] = field(default_factory=dict)
    timings_s: dict[str, float] = field(default_factory=dict)
    tiles_done: int = 0
    closed: bool = False


@dataclass(frozen=True)
class _Task:
    """A task in flight: ``begin``, ``chunk`` (with the first tile's index) or ``finish``."""

    kind: str
    slide: _Open
    first: int = 0


class Engine:
    """Runs the slides of one call.

    Parameters
    ----------
    folder
        The run; :meth:`RunFolder.create` was called.
    stages
        The scorer.
    workers
        Processes; with 1 everything runs in this process.
    progress
        Where to tell how far it is.
    """

    def __init__(
        self, folder: RunFolder, stages: Stages, *, workers: int, progress: Progress
    ) -> None:
        self.folder, self.stages = folder, stages
        self.workers, self.progress = workers, progress
        self.report = Report()
        self._queue: deque[SlideJob] = deque()
        self._open: list[_Open] = []
        self._tasks: dict[Future[Outcome], _Task] = {}
        self._suspects: deque[_Task] = deque()
        self._alone: _Task | None = None
        self._pool: Pool = Inline()
        self._finisher: ThreadPoolExecutor | Inline = Inline()
        self._single = False

    def run(self, jobs: Sequence[SlideJob], *, force: bool = False) -> Report:
        """Score what is due and return what became of each slide.

        Raises
        ------
        OutputError
            The run's folder cannot be written any more; finished slides are kept.
        KeyboardInterrupt
            After the workers are ended and the open slides are marked as queued again.
        """
        with Interruption() as interruption:
            try:
                self._run(jobs, interruption, force=force)
            except Exception:
                interruption.check()  # what Ctrl-C broke is not an error
                raise
        return self.report

    def _run(self, jobs: Sequence[SlideJob], interruption: Interruption, *, force: bool) -> None:
        due = []
        for job in jobs:
            interruption.check()
            if not force and is_done(self.folder, job):
                self.report.skipped.append(job.name)
            else:
                self._mark_queued(job, force=force)
                due.append(job)
        self._queue = deque(due)
        self._single = len(due) == 1
        self.progress.start(len(due), len(self.report.skipped))
        if self.workers > 1:
            self._pool = Workers(self.workers)
            self._finisher = ThreadPoolExecutor(1, thread_name_prefix="finish")
        if self._single and self.workers > 1 and due[0].inputs.size_bytes >= WARM_BYTES:
            for _ in range(self.workers):
                self._pool.submit(work.warm, self.stages)
        finished = False
        try:
            self._loop(interruption, force=force)
            finished = True
        finally:
            self._stop(kill=not finished)

    def _loop(self, interruption: Interruption, *, force: bool) -> None:
        while self._queue or self._open:
            interruption.check()
            self._top_up(force=force)
            if not self._tasks:
                continue
            ready, _ = concurrent.futures.wait(
                self._tasks, timeout=POLL_S, return_when=concurrent.futures.FIRST_COMPLETED
            )
            broken = [task for future in ready if (task := self._settle(future)) is not None]
            if broken:
                self._recover(broken)
            for slide in self._open:
                slide.lock.beat()

    # ---- giving out work -------------------------------------------------------------------

    def _top_up(self, *, force: bool) -> None:
        """Keep the workers busy, and no more than that."""
        window = 1 if self.workers == 1 else 2 * self.workers
        while self._in_pool() < window:
            if self._suspects or self._alone is not None:
                if self._in_pool() == 0 and self._suspects:
                    self._alone = self._suspects.popleft()
                    self._send(self._alone)
                return
            task = self._next_chunk() or self._next_slide(force=force)
            if task is None:
                return
            self._send(task)

    def _in_pool(self) -> int:
        """Tasks that keep workers busy; finishing runs beside them, unless all is one process."""
        beside = isinstance(self._finisher, ThreadPoolExecutor)
        return sum(task.kind != "finish" or not beside for task in self._tasks.values())

    def _next_chunk(self) -> _Task | None:
        for slide in self._open:
            if slide.chunks:
                return _Task("chunk", slide, slide.chunks.popleft())
        return None

    def _next_slide(self, *, force: bool) -> _Task | None:
        large = sum(slide.plan is not None for slide in self._open)
        if large >= LARGE_OPEN or len(self._open) > 2 * self.workers:
            return None
        while self._queue:
            job = self._queue.popleft()
            lock = self.folder.lock(job.name)
            if not lock.acquire():
                self.report.busy.append(job.name)
                self.progress.slide(job.name, "busy", "another process is scoring it")
                continue
            if not force and is_done(self.folder, job):
                lock.release()
                self.report.skipped.append(job.name)
                self.progress.slide(job.name, "done", "by another process")
                continue
            slide = _Open(job, lock, self.folder.scratch(job.name))
            self._open.append(slide)
            sweep(self.folder.slides, job.name)
            job.state("running").write(make_folder(self.folder.slide(job.name)))
            return _Task("begin", slide)
        return None

    def _send(self, task: _Task) -> None:
        slide, home = task.slide, self.folder.slide(task.slide.job.name)
        # A single slide is planned here: a field of view is then done without starting workers.
        pool = Inline() if task.kind == "begin" and self._single else self._pool
        try:
            if task.kind == "begin":
                many = len(self._queue) >= self.workers
                most = WHOLE_SLIDE_TILES if many else WHOLE_SINGLE_TILES
                whole = 0 if self.workers == 1 else most
                future = pool.submit(work.begin, self.stages, slide.job, home, whole)
            elif task.kind == "chunk":
                tiles = slide.plan.tiles[task.first : task.first + slide.chunk_tiles]
                future = pool.submit(work.score, self.stages, slide.plan, tiles)
            else:
                results = [item for first in sorted(slide.results) for item in slide.results[first]]
                slide.results.clear()
                future = self._finisher.submit(
                    work.finish,
                    self.stages,
                    slide.job,
                    slide.plan,
                    results,
                    dict(slide.timings_s),
                    home,
                )
        except BrokenProcessPool:
            self._recover([task])
            return
        self._tasks[future] = task

    # ---- taking in results -----------------------------------------------------------------

    def _settle(self, future: Future[Outcome]) -> _Task | None:
        """Take in a finished task; return it when its worker was killed."""
        task = self._tasks.pop(future)
        slide = task.slide
        error = future.exception()
        if isinstance(error, BrokenProcessPool):
            return task
        if task is self._alone:
            self._alone = None
        if slide.closed:
            return None
        if error is not None:  # what a stage returned could not be sent
            self._fail(slide, work.failure_of(error, task.kind), repr(error))
            return None
        outcome = future.result()
        for name, seconds in outcome.timings_s.items():
            before = 0.0 if task.kind == "finish" else slide.timings_s.get(name, 0.0)
            slide.timings_s[name] = before + seconds
        if outcome.failure is not None:
            self._fail(slide, outcome.failure, outcome.traceback)
        elif outcome.finished:
            self._close(slide)
            self.report.done.append(slide.job.name)
            self.progress.slide(slide.job.name, "done")
        elif task.kind == "begin":
            self._planned(slide, outcome.value)
        else:
            self._scored(slide, task.first, outcome.value)
        return None

    def _planned(self, slide: _Open, plan: Any) -> None:
        if self.workers > 1 and self.stages.share is not None:
            plan = self.stages.share(plan, slide.scratch)
        slide.plan = plan
        count = len(plan.tiles)
        aim = count // (CHUNKS_PER_WORKER * self.workers)
        slide.chunk_tiles = min(CHUNK_TILES, max(1, aim))
        slide.chunks = deque(range(0, count, slide.chunk_tiles))
        if not slide.chunks:
            self._send(_Task("finish", slide))

    def _scored(self, slide: _Open, first: int, results: list[Any]) -> None:
        slide.results[first] = results
        slide.tiles_done += len(slide.plan.tiles[first : first + slide.chunk_tiles])
        self.progress.tiles(slide.job.name, slide.tiles_done, len(slide.plan.tiles))
        if slide.tiles_done == len(slide.plan.tiles):
            self._send(_Task("finish", slide))

    def _fail(self, slide: _Open, failure: Failure, told: str = "") -> None:
        """Store a failure in place of whatever the slide's folder held."""
        name = slide.job.name
        rounded = {stage: round(seconds, 3) for stage, seconds in slide.timings_s.items()}
        state = slide.job.state("failed", failure=failure, timings_s=rounded)
        with staged_folder(self.folder.slide(name)) as folder:
            if told:
                (folder / "traceback.txt").write_text(told, "utf-8")
            state.write(folder)
        self._close(slide)
        self.report.failed.append(name)
        self.progress.slide(name, "failed", failure.message)
        if failure.error == OutputError.__name__:
            raise OutputError(failure.message, hint=failure.hint)

    def _close(self, slide: _Open) -> None:
        slide.closed = True
        slide.chunks.clear()
        slide.results.clear()
        slide.plan = None
        self._open.remove(slide)
        shutil.rmtree(slide.scratch, ignore_errors=True)
        slide.lock.release()

    def _recover(self, broken: list[_Task]) -> None:
        """Restart the workers; run what was in flight again, one task at a time."""
        lost = [future for future, task in self._tasks.items() if task.kind != "finish"]
        broken += [self._tasks.pop(future) for future in lost]
        self._pool.restart()
        for task in broken:
            if task is self._alone:
                self._alone = None
                self._fail(
                    task.slide,
                    Failure(
                        error="WorkerKilled",
                        message="the worker process was killed while it scored this slide",
                        hint="most likely memory ran out: use fewer --workers",
                        stage="worker",
                    ),
                )
            elif not task.slide.closed:
                self._suspects.append(task)
            sweep(self.folder.slides, task.slide.job.name)
        self._suspects = deque(task for task in self._suspects if not task.slide.closed)

    # ---- beginning and end -----------------------------------------------------------------

    def _mark_queued(self, job: SlideJob, *, force: bool) -> None:
        """Say that a slide is due; leave alone what another process is working on."""
        home = self.folder.slide(job.name)
        state = SlideState.read(home)
        if state is None or state.status == "failed" or (force and state.status == "done"):
            job.state("queued").write(make_folder(home))

    def _stop(self, *, kill: bool) -> None:
        self._pool.close(kill=kill)
        if isinstance(self._finisher, ThreadPoolExecutor):
            self._finisher.shutdown(wait=True, cancel_futures=True)
        for slide in list(self._open):
            shutil.rmtree(slide.scratch, ignore_errors=True)
            state = SlideState.read(self.folder.slide(slide.job.name))
            try:
                if state is not None and state.status == "running":
                    slide.job.state("queued").write(self.folder.slide(slide.job.name))
            except OutputError:
                pass  # the disk is full; "running" without a lock is due again as well
            slide.lock.release()
        if kill:
            sweep(self.folder.slides)
        self.progress.close()
