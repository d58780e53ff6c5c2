import contextlib
import json
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from herscope.core import store
from herscope.core.errors import OutputError, SchemaError

SOURCE = str(Path(__file__).parents[1] / "src")


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_a_written_file_has_its_content_and_no_neighbours(tmp_path):
    store.write_json(tmp_path / "a.json", {"µ": [1, None]})

    assert names(tmp_path) == ["a.json"]
    assert json.loads((tmp_path / "a.json").read_bytes()) == {"µ": [1, None]}


def test_equal_documents_are_equal_bytes_ending_in_one_newline(tmp_path):
    store.write_json(tmp_path / "a.json", {"a": 1.5, "b": "x"})
    store.write_json(tmp_path / "b.json", {"a": 1.5, "b": "x"})

    text = (tmp_path / "a.json").read_bytes()
    assert text == (tmp_path / "b.json").read_bytes()
    assert text.endswith(b"}\n")
    assert b"\r" not in text


def test_nan_never_reaches_a_json_file(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        store.write_json(tmp_path / "a.json", {"a": float("nan")})

    assert names(tmp_path) == []


def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")

    with contextlib.suppress(RuntimeError), store.replacing(target) as partial:
        partial.write_text("half")
        raise RuntimeError

    assert target.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_full_disk_is_told_with_a_hint_and_leaves_the_old_file(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    code = """
        import resource, sys
        from herscope.core.errors import OutputError
        from herscope.core.store import write_bytes
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            write_bytes(sys.argv[1], bytes(5000))
        except OutputError as error:
            print(error.message, "|", error.hint)
    """

    said = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(target)],
        env=os.environ | {"PYTHONPATH": SOURCE},
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert said.startswith(f"cannot write {target}: ")
    assert "choose another --out" in said
    assert target.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_enospc_is_called_a_full_disk(tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.os, "fsync", full)

    with pytest.raises(OutputError, match="the disk is full") as caught:
        store.write_text(tmp_path / "a.txt", "x")

    assert "free some space" in caught.value.hint
    assert names(tmp_path) == []


@pytest.mark.parametrize("make", [store.make_folder, lambda p: store.write_text(p, "x")])
def test_a_file_in_the_way_of_a_folder_is_told(tmp_path, make):
    (tmp_path / "file").write_text("mine")

    with pytest.raises(OutputError, match="in the way"):
        make(tmp_path / "file" / "inner")


def test_tables_keep_their_columns_and_metadata(tmp_path):
    frame = pd.DataFrame({"x_um": [1.0, 2.0], "grade": [0, 3]})

    store.write_parquet(tmp_path / "t.parquet", frame)

    table = pq.read_table(tmp_path / "t.parquet")
    assert table.column_names[:2] == ["x_um", "grade"]
    assert table["grade"].to_pylist() == [0, 3]


def test_a_broken_json_file_is_named(tmp_path):
    (tmp_path / "a.json").write_text("{")

    with pytest.raises(SchemaError, match=r"a\.json is not JSON"):
        store.read_json(tmp_path / "a.json")


def test_a_staged_folder_appears_at_once_and_replaces_the_old_one_whole(tmp_path):
    final = tmp_path / "slide"
    final.mkdir()
    (final / "old.txt").write_text("old")

    with store.staged_folder(final) as folder:
        (folder / "new.txt").write_text("new")
        assert names(final) == ["old.txt"]

    assert names(final) == ["new.txt"]
    assert names(tmp_path) == ["slide"]


def test_a_staged_folder_that_fails_changes_nothing(tmp_path):
    final = tmp_path / "slide"
    final.mkdir()
    (final / "old.txt").write_text("old")

    with contextlib.suppress(RuntimeError), store.staged_folder(final) as folder:
        (folder / "new.txt").write_text("new")
        raise RuntimeError

    assert names(final) == ["old.txt"]
    assert names(tmp_path) == ["slide"]


def dead_pid():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_sweeping_removes_what_the_dead_left_and_nothing_else(tmp_path):
    owner = f"{store.host_token()}-{dead_pid()}-abc123"
    living = f"{store.host_token()}-{os.getpid()}-abc123"
    foreign = "00000000-1-abc123"
    for name in (f".a.json.{owner}.partial", f".b.json.{living}.partial", ".hidden", "a.partial"):
        (tmp_path / name).write_text("x")
    (tmp_path / f".d.json.{foreign}.partial").write_text("x")
    staged = tmp_path / f".c.{owner}.partial"
    staged.mkdir()
    (staged / "inner.txt").write_text("x")

    store.sweep(tmp_path)

    assert names(tmp_path) == sorted(
        [f".b.json.{living}.partial", f".d.json.{foreign}.partial", ".hidden", "a.partial"]
    )


def test_a_leftover_of_another_machine_is_removed_after_a_day(tmp_path):
    leftover = tmp_path / ".a.00000000-1-abc123.partial"
    leftover.write_text("x")
    os.utime(leftover, (time.time() - 2 * store.FOREIGN_LEFTOVER_S,) * 2)

    store.sweep(tmp_path)

    assert names(tmp_path) == []


def test_a_kill_between_the_two_renames_loses_no_finished_folder(tmp_path):
    owner = f"{store.host_token()}-{dead_pid()}-abc123"
    aside = tmp_path / f".slide.{owner}.old"
    aside.mkdir()
    (aside / "result.json").write_text("{}")

    store.sweep(tmp_path)

    assert names(tmp_path) == ["slide"]
    assert names(tmp_path / "slide") == ["result.json"]
