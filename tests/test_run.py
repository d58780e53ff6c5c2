import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from herscope.core.errors import InputError, OutputError, StaleResult
from herscope.core.store import host_token
from herscope.run.folder import RunFolder
from herscope.run.jobs import Shard
from herscope.run.lock import Lock
from herscope.run.many import score_many
from herscope.run.progress import Lines

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # worker processes import the fake scorer by its name

from fake_scorer import STAGES, FakeSpec  # noqa: E402 - needs the path above


def make_slides(folder, **tiles):
    folder.mkdir(exist_ok=True)
    names = {}
    for name, text in tiles.items():
        path = folder / f"{name}.txt"
        path.write_text(text)
        names[path] = name
    return names


def results(run):
    return {p.parent.name: p.read_bytes() for p in sorted(run.glob("slides/[!.]*/result.json"))}


def state(run, name):
    return json.loads((run / "slides" / name / "state.json").read_text())


def numbers(count, start=0):
    return " ".join(str(start + i) for i in range(count))


def hidden(run):
    return sorted(p.name for p in run.rglob(".*"))


def test_a_finished_run_has_results_states_and_empty_failures(tmp_path):
    names = make_slides(tmp_path / "in", a="1 2 3", b="4")

    run = score_many(names, tmp_path / "run", FakeSpec(), STAGES, workers=1)

    assert run.report.done == ["a", "b"]
    assert json.loads((tmp_path / "run/slides/a/result.json").read_text())["total"] == 12
    assert state(tmp_path / "run", "a")["status"] == "done"
    assert set(state(tmp_path / "run", "a")["timings_s"]) == {"plan", "tiles", "finish"}
    assert json.loads((tmp_path / "run/failures.json").read_text()) == {}
    assert hidden(tmp_path / "run") == []


def test_results_are_the_same_bytes_for_any_number_of_workers(tmp_path):
    slides = {"big": numbers(150), "other": numbers(90, 7)} | {f"s{i}": str(i) for i in range(6)}
    names = make_slides(tmp_path / "in", **slides)

    for workers in (1, 2, 3):
        score_many(names, tmp_path / f"run{workers}", FakeSpec(), STAGES, workers=workers)

    one = results(tmp_path / "run1")
    assert len(one) == 8
    assert one == results(tmp_path / "run2") == results(tmp_path / "run3")


@pytest.mark.parametrize("workers", [1, 2])
def test_one_bad_slide_fails_with_its_reason_and_the_rest_is_done(tmp_path, workers):
    names = make_slides(tmp_path / "in", a="1", bad="2 boom 3", c="4", no="refuse")

    run = score_many(names, tmp_path / "run", FakeSpec(), STAGES, workers=workers)

    assert sorted(run.report.done) == ["a", "c"]
    failures = json.loads((tmp_path / "run/failures.json").read_text())
    assert failures["no"] == {
        "error": "SlideError",
        "message": "slide no is refused",
        "hint": "do not ask for it",
        "stage": "plan",
    }
    assert failures["bad"]["message"] == "internal error: RuntimeError: tile went off"
    assert failures["bad"]["stage"] == "tiles"
    assert "tile went off" in (tmp_path / "run/slides/bad/traceback.txt").read_text()
    assert not (tmp_path / "run/slides/no/traceback.txt").exists()
    assert state(tmp_path / "run", "bad")["status"] == "failed"


def test_a_killed_worker_fails_only_its_own_slide(tmp_path):
    slides = {f"s{i}": numbers(3, i) for i in range(5)}
    names = make_slides(tmp_path / "in", big=numbers(100), killer="1 die", **slides)

    run = score_many(names, tmp_path / "run", FakeSpec(), STAGES, workers=2)

    assert run.report.failed == ["killer"]
    assert sorted(run.report.done) == ["big", *sorted(slides)]
    assert run.failures["killer"]["error"] == "WorkerKilled"
    assert "--workers" in run.failures["killer"]["hint"]
    assert hidden(tmp_path / "run") == []


def test_finished_slides_are_skipped_and_failed_ones_are_done_again(tmp_path):
    names = make_slides(tmp_path / "in", a="1", b="boom")
    score_many(names, tmp_path / "run", FakeSpec(), STAGES, workers=1)
    before = (tmp_path / "run/slides/a/state.json").stat().st_mtime_ns
    (tmp_path / "in/b.txt").write_text("5")

    run = score_many(names, tmp_path / "run", FakeSpec(), STAGES, workers=1)

    assert (run.report.skipped, run.report.done) == (["a"], ["b"])
    assert (tmp_path / "run/slides/a/state.json").stat().st_mtime_ns == before
    assert not (tmp_path / "run/slides/b/traceback.txt").exists()
    assert run.failures == {}


def test_a_changed_slide_file_is_scored_again(tmp_path):
    names = make_slides(tmp_path / "in", a="1", b="1")
    score_many(names, tmp_path / "run", FakeSpec(), STAGES, workers=1)
    (tmp_path / "in/a.txt").write_text("1 1")

    run = score_many(names, tmp_path / "run", FakeSpec(), STAGES, workers=1)

    assert (run.report.done, run.report.skipped) == (["a"], ["b"])


def test_changed_annotations_make_a_slide_due_again(tmp_path):
    names = make_slides(tmp_path / "in", a="1")
    drawn = tmp_path / "a.geojson"
    drawn.write_text("{}")
    options = {"annotations": {"a": drawn}, "workers": 1}
    score_many(names, tmp_path / "run", FakeSpec(), STAGES, **options)
    again = score_many(names, tmp_path / "run", FakeSpec(), STAGES, **options)
    drawn.write_text('{"type": "FeatureCollection"}')

    changed = score_many(names, tmp_path / "run", FakeSpec(), STAGES, **options)

    assert again.report.skipped == ["a"]
    assert changed.report.done == ["a"]


def test_other_parameters_are_refused_with_the_fields_that_changed(tmp_path):
    names = make_slides(tmp_path / "in", a="3")
    score_many(names, tmp_path / "run", FakeSpec(), STAGES, workers=1)

    with pytest.raises(StaleResult, match="factor 2 -> 5") as caught:
        score_many(names, tmp_path / "run", FakeSpec(factor=5), STAGES, workers=1)

    assert "--force" in caught.value.hint
    assert "offset" not in caught.value.message
    assert json.loads((tmp_path / "run/slides/a/result.json").read_text())["total"] == 6


def test_force_scores_again_with_the_new_parameters(tmp_path):
    names = make_slides(tmp_path / "in", a="3")
    score_many(names, tmp_path / "run", FakeSpec(), STAGES, workers=1)

    score_many(names, tmp_path / "run", FakeSpec(factor=5), STAGES, workers=1, force=True)
    again = score_many(names, tmp_path / "run", FakeSpec(factor=5), STAGES, workers=1)

    assert json.loads((tmp_path / "run/slides/a/result.json").read_text())["total"] == 15
    assert json.loads((tmp_path / "run/run.json").read_text())["spec"]["factor"] == 5
    assert again.report.skipped == ["a"]


def test_shards_together_do_every_slide_once(tmp_path):
    names = make_slides(tmp_path / "in", **{f"s{i}": str(i) for i in range(7)}, bad="boom")

    runs = [
        score_many(names, tmp_path / "run", FakeSpec(), STAGES, workers=1, shard=Shard(i, 3))
        for i in (3, 1, 2)
    ]

    done = [name for run in runs for name in run.report.done]
    assert sorted(done) == [f"s{i}" for i in range(7)]
    assert list(json.loads((tmp_path / "run/failures.json").read_text())) == ["bad"]


@pytest.mark.parametrize("text", ["0/3", "4/3", "x", "1", "1/0", "-1/2", "1/2/3"])
def test_an_impossible_shard_is_refused(text):
    with pytest.raises(InputError, match="--shard"):
        Shard.parse(text)


def test_the_cohort_is_rebuilt_from_the_folders(tmp_path):
    names = make_slides(tmp_path / "in", a="1", b="boom")
    seen = []

    score_many(names, tmp_path / "run", FakeSpec(), STAGES, workers=1, write_cohort=seen.append)

    assert seen == [tmp_path / "run"]


def test_a_slide_that_another_process_is_scoring_is_left_to_it(tmp_path):
    names = make_slides(tmp_path / "in", a="1", b="2")
    folder = RunFolder(tmp_path / "run")
    folder.create()
    with subprocess.Popen(["sleep", "30"]) as other:
        holder = f'{{"pid": {other.pid}, "pid_started": %s, "host": "{host_token()}"}}'
        started = Path(f"/proc/{other.pid}/stat").read_text().rpartition(")")[2].split()[19]
        folder.lock("a").path.write_text(holder % started)

        first = score_many(names, tmp_path / "run", FakeSpec(), STAGES, workers=1)
        other.kill()
        other.wait()
    second = score_many(names, tmp_path / "run", FakeSpec(), STAGES, workers=1)

    assert (first.report.busy, first.report.done) == (["a"], ["b"])
    assert (second.report.done, second.report.skipped) == (["a"], ["b"])


def test_a_lock_of_another_machine_holds_until_it_is_silent(tmp_path):
    path = tmp_path / ".a.lock"
    path.write_text('{"pid": 1, "pid_started": 1, "host": "elsewhere"}')

    held = Lock(path).acquire()
    long_ago = time.time() - 3600
    os.utime(path, (long_ago, long_ago))

    assert not held
    assert Lock(path).acquire()


RUN_SCRIPT = """
import sys
sys.path.insert(0, {here!r})
from pathlib import Path
from fake_scorer import STAGES, FakeSpec
from herscope.run.many import score_many
if __name__ == "__main__":
    names = {{p: p.stem for p in sorted(Path({slides!r}).iterdir())}}
    score_many(names, {run!r}, FakeSpec(), STAGES, workers={workers})
"""


def heed_ctrl_c():
    """Undo what a background shell does: its children ignore the interrupt."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(tmp_path, run, workers):
    script = tmp_path / f"script{workers}.py"
    values = {"here": str(HERE), "slides": str(tmp_path / "in"), "run": str(run)}
    script.write_text(RUN_SCRIPT.format(workers=workers, **values))
    source = str(HERE.parent / "src")
    return subprocess.Popen(
        [sys.executable, str(script)],
        env=os.environ | {"PYTHONPATH": source},
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_ctrl_c,  # noqa: PLW1509 - it only sets a signal
    )


def wait_for(condition, seconds=20):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.01)


@pytest.mark.parametrize("workers", [1, 2])
def test_after_sigkill_the_same_call_gives_the_same_bytes(tmp_path, workers):
    slides = {f"s{i}": " ".join(["slow", numbers(3, i)] * 3) for i in range(8)}
    names = make_slides(tmp_path / "in", big="slow " * 20 + numbers(40), **slides)
    score_many(names, tmp_path / "whole", FakeSpec(), STAGES, workers=1)
    run = tmp_path / "run"

    process = start(tmp_path, run, workers)
    wait_for(lambda: len(results(run)) >= 2)
    process.kill()
    process.communicate()
    kept = results(run)
    again = score_many(names, run, FakeSpec(), STAGES, workers=1)

    assert 2 <= len(kept) < 9
    assert set(again.report.skipped) >= set(kept)
    assert results(run) == results(tmp_path / "whole")
    assert hidden(run) == []


def test_ctrl_c_keeps_finished_slides_and_leaves_no_running_state(tmp_path):
    slides = {f"s{i}": " ".join(["slow"] * 10) for i in range(10)}
    make_slides(tmp_path / "in", **slides)
    run = tmp_path / "run"

    process = start(tmp_path, run, 2)
    wait_for(lambda: len(results(run)) >= 2)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)

    statuses = {state(run, name)["status"] for name in slides}
    assert process.returncode != 0
    assert statuses == {"done", "queued"}
    assert json.loads((run / "failures.json").read_text()) == {}
    assert hidden(run) == []


def test_workers_end_with_the_process_that_started_them(tmp_path):
    make_slides(tmp_path / "in", a="slow " * 600, b="slow " * 600)
    process = start(tmp_path, tmp_path / "run", 2)
    group = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    wait_for((tmp_path / "run/slides/b/state.json").exists)
    time.sleep(1.0)
    family = descendants(process.pid) if group.exists() else []

    process.kill()
    process.communicate()

    assert len(family) >= 3
    wait_for(lambda: not any(alive(pid) for pid in family), seconds=5)


def descendants(pid):
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [d for child in children for d in [int(child), *descendants(int(child))]]


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_file_in_the_place_of_the_run_is_refused(tmp_path):
    names = make_slides(tmp_path / "in", a="1")
    (tmp_path / "run").write_text("mine")

    with pytest.raises(OutputError, match="file"):
        score_many(names, tmp_path / "run", FakeSpec(), STAGES, workers=1)

    assert (tmp_path / "run").read_text() == "mine"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_stops_the_run_and_keeps_finished_slides(tmp_path, workers):
    later = {f"s{i}": "slow " * 20 for i in range(20)}
    names = make_slides(tmp_path / "in", a="1", b="full", **later)

    with pytest.raises(OutputError, match="the disk is full"):
        score_many(names, tmp_path / "run", FakeSpec(), STAGES, workers=workers)

    statuses = [state(tmp_path / "run", name)["status"] for name in ["a", "b", *later]]
    assert statuses[:2] == ["done", "failed"]
    assert statuses.count("queued") >= 10
    assert "running" not in statuses


def test_results_of_another_version_are_refused(tmp_path, monkeypatch):
    names = make_slides(tmp_path / "in", a="3")
    score_many(names, tmp_path / "run", FakeSpec(), STAGES, workers=1)
    monkeypatch.setattr("herscope.run.jobs.__version__", "9.0")

    with pytest.raises(StaleResult, match=r"herscope \S+ -> 9\.0"):
        score_many(names, tmp_path / "run", FakeSpec(), STAGES, workers=1)


@pytest.mark.parametrize("workers", [0, -1, 100_000])
def test_an_absurd_number_of_workers_is_refused(tmp_path, workers):
    with pytest.raises(InputError, match="--workers"):
        score_many({}, tmp_path / "run", FakeSpec(), STAGES, workers=workers)


def test_progress_lines_say_how_many_are_done(tmp_path, capsys):
    names = make_slides(tmp_path / "in", a="1", b="refuse")

    score_many(names, tmp_path / "r", FakeSpec(), STAGES, workers=1, progress=Lines(sys.stderr))

    said = capsys.readouterr().err
    assert "scoring 2 slides" in said
    assert "[1/2] a done" in said
    assert "[2/2] b failed: slide b is refused" in said
