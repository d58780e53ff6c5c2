"""A scorer without slides: a 'slide' is a text file of numbers, one a tile.

Words in the file make things happen: ``boom`` an unexpected error, ``refuse`` a deliberate one,
``die`` the death of the process, ``slow`` a pause, ``full`` a full disk at the end.
"""

import errno
import json
import os
import signal
import time

from herscope.core.errors import SlideError
from herscope.core.spec import Spec
from herscope.run.stages import Stages


class FakeSpec(Spec):
    factor: int = 2
    offset: int = 0


class FakePlan:
    def __init__(self, path, factor):
        self.path = path
        self.factor = factor
        self.tiles = path.read_text().split()


def plan(job):
    made = FakePlan(job.path, job.spec.factor)
    if "refuse" in made.tiles:
        raise SlideError(f"slide {job.name} is refused", hint="do not ask for it")
    return made


def score(plan, tiles):
    results = []
    for tile in tiles:
        if tile == "boom":
            raise RuntimeError("tile went off")
        if tile == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if tile == "slow":
            time.sleep(0.02)
        results.append((int(tile) if tile.isdigit() else 1) * plan.factor)
    return results


def finish(plan, results, _timings_s, folder):
    if "full" in plan.tiles:
        raise OSError(errno.ENOSPC, "No space left on device", str(folder / "cells.parquet"))
    document = {"total": sum(results), "tiles": results, "slide": {"sha256": ""}}
    (folder / "result.json").write_text(json.dumps(document))


STAGES = Stages(plan=plan, tiles=score, finish=finish)
