"""Members of an ensemble are trained in processes of their own; what they tell goes to stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Future, as_completed
from typing import Any, Final

from herscope.core.errors import HerscopeError, ModelError
from herscope.run.pool import BrokenProcessPool, Inline, Pool, Workers

TELL_EVERY: Final = 10


class Told:
    """Says a line now and then on stderr."""

    def __init__(self, name: str) -> None:
        self.name = name

    def epoch(self, row: dict[str, float | int | None], best: int) -> None:
        """Tell of the first and every tenth epoch."""
        epoch = int(row["epoch"] or 0)
        if epoch != 1 and epoch % TELL_EVERY:
            return
        auc = row.get("val_auc")
        said = "-" if auc is None else f"{auc:.3f}"
        tell(
            f"{self.name} epoch {epoch}: loss {row['loss']:.4f}, validation AUC {said}, "
            f"{row['seconds']:.1f} s (best: epoch {best})"
        )


def tell(line: str) -> None:
    """Write a line that nobody has to read."""
    try:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        return


def train_all(train_one: Callable[[Any], Any], jobs: Sequence[Any], *, workers: int) -> list[Any]:
    """Train all members; returns what ``train_one`` gives, in the order of the jobs.

    Raises
    ------
    HerscopeError
        The first deliberate error of a member; members that are finished are kept.
    ModelError
        A process died, most often for want of memory.
    """
    calls = [(train_one, job) for job in jobs]
    found = in_pool(_or_error, calls, workers=min(workers, len(jobs)))
    for one in found:
        if isinstance(one, HerscopeError):
            raise one
    return found


def _or_error(train_one: Callable[[Any], Any], job: Any) -> Any:
    try:
        return train_one(job)
    except HerscopeError as error:
        return error


def in_pool(
    function: Callable[..., Any], calls: Sequence[tuple[Any, ...]], *, workers: int
) -> list[Any]:
    """Call a function for each tuple of arguments; results in that order.

    Raises
    ------
    ModelError
        A process died.
    """
    pool: Pool = Inline() if workers <= 1 else Workers(workers)
    futures: dict[Future[Any], int] = {}
    results: list[Any] = [None] * len(calls)
    kill = True
    try:
        for place, call in enumerate(calls):
            futures[pool.submit(function, *call)] = place
        for future in as_completed(futures):
            results[futures[future]] = future.result()
        kill = False
    except BrokenProcessPool as error:
        raise ModelError(
            "a training process died, most often for want of memory",
            hint="take fewer --workers and go on with --resume",
        ) from error
    finally:
        pool.close(kill=kill)
    return results
