import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from herscope.cli import main
from herscope.core.errors import SlideError
from herscope.core.registry import CARDS
from herscope.run.stages import Stages
from herscope.slide.phantom.spec import PhantomSpec
from herscope.slide.phantom.write import draw_phantom

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("HERSCOPE_DATA", ROOT.parent / "shared" / "data"))
COMMANDS = ["demo", "info", "init", "score", "report", "phantom", "models", "bench", "doctor"]


class OneTile:
    tiles = ("tile",)

    def __init__(self, name):
        self.name = name


def fake_plan(job):
    if "bad" in job.name:
        raise SlideError(f"slide {job.name} is broken", hint="scan it again")
    if "crash" in job.name:
        raise ZeroDivisionError("oops")
    return OneTile(job.name)


def fake_finish(plan, _results, _timings_s, folder):
    part = {
        "cells": 1234,
        "h_score": {"value": 212.4, "ci95": [198.0, 226.0], "method": "m"},
        "positive_percent": {"value": 81.25, "ci95": None},
    }
    document = {
        "slide": {"name": plan.name, "sha256": ""},
        "compartments": {"all": part, "tumor": part},
        "reading": None,
        "her2": None,
        "alerts": [{"severity": "warning"}],
    }
    (folder / "result.json").write_text(json.dumps(document))


@pytest.fixture
def scorer(monkeypatch):
    """Score text files in this process, so that the command itself is what is tested."""
    stages = Stages(plan=fake_plan, tiles=lambda _plan, tiles: list(tiles), finish=fake_finish)
    monkeypatch.setattr("herscope.run.scoring.SCORING", stages)
    monkeypatch.setattr("herscope.report.cohort.write_cohort", lambda _run: None)


def slides(tmp_path, *names):
    paths = []
    for name in names:
        path = tmp_path / f"{name}.tif"
        path.write_text(name)
        paths.append(str(path))
    return paths


def heed_ctrl_c():
    """Undo what a background shell does: its children ignore the interrupt."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def herscope(*words, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "herscope", *map(str, words)],
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_ctrl_c,  # noqa: PLW1509 - it only sets a signal
        **options,
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command, capsys):
    assert main([command, "--help"]) == 0

    said = capsys.readouterr().out
    assert f"Usage: herscope {command}" in said
    assert "--json" in said
    assert "--debug" in said


def test_help_lists_every_command(capsys):
    assert main(["--help"]) == 0

    said = capsys.readouterr().out
    assert all(f" {command} " in said for command in COMMANDS)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["bogus"], "bogus"),
        (["score", "a.svs"], "--out"),
        (["score", "--out", "x"], "SLIDES"),
        (["score", "a.svs", "--out", "x", "--marker", "ki76"], '"ki67"'),
        (["score", "a.svs", "--out", "x", "--engine", "tensorrt"], '"onnx"'),
        (["score", "a.svs", "--out", "x", "--workers", "two"], "--workers"),
        (["score", "a.svs", "--out", "x", "--frce"], "--force"),
        (["models", "a", "b"], "b"),
        (["phantom", "--out", "x", "--width-um", "-5"], "--width-um: must be greater than 0"),
        (["phantom", "--out", "x", "--stain", "azan"], "'nuclear'"),
    ],
)
def test_wrong_usage_is_code_2_with_one_line_and_a_hint(words, said, capsys):
    code = main(words)

    captured = capsys.readouterr()
    assert code == 2
    assert captured.out == ""
    error, hint = captured.err.splitlines()
    assert error.startswith("error: ")
    assert said in error
    assert hint.startswith("hint: herscope")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["score", "absent.svs", "--out", "x"], "absent.svs does not exist"),
        (["score", "{slide}", "--out", "{file}"], "a file"),
        (["score", "{slide}", "--out", "x", "--mpp", "0"], "--mpp"),
        (["score", "{slide}", "--out", "x", "--mpp", "1e9"], "--mpp"),
        (["score", "{slide}", "--out", "x", "--mpp", "wide"], "a CSV file, got wide"),
        (["score", "{slide}", "--out", "x", "--override-mpp", "-1"], "--override-mpp"),
        (["score", "{slide}", "--out", "x", "--workers", "0"], "between 1 and"),
        (["score", "{slide}", "--out", "x", "--shard", "3/2"], "--shard 3/2"),
        (["score", "{slide}", "--out", "x", "--study", "absent.toml"], "absent.toml"),
        (["score", "{slide}", "--out", "x", "--stains", "absent.toml"], "absent.toml"),
        (["score", "{slide}", "--out", "x", "--compartments", "absent"], "nests, a GeoJSON file"),
        (["report", "absent"], "holds no run"),
        (["models", "clasical"], "no model is called clasical"),
        (["score", "a.svs", "--out", "x", "--nuclei", "stardist"], "no model is called stardist"),
        (["bench", "--size-um", "1"], "--size-um"),
        (["phantom", "--out", "x", "--name", "a/b"], "--name"),
    ],
)
def test_a_refusal_is_code_1_with_one_line_and_a_hint(words, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    names = {"{slide}": slides(tmp_path, "a")[0], "{file}": str(tmp_path / "file")}

    code = main([names.get(word, word) for word in words])

    captured = capsys.readouterr()
    assert code == 1
    assert captured.out == ""
    error, hint = captured.err.splitlines()
    assert said in error
    assert error.startswith("error: ")
    assert hint.startswith("hint: ")
    assert "Traceback" not in captured.err


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        (["bogus", "--json"], 2, "UsageError"),
        (["models", "x", "--json"], 1, "UnknownModel"),
        (["score", "absent.svs", "--out", "x", "--json"], 1, "InputError"),
    ],
)
def test_json_is_one_document_also_for_an_error(words, code, error, capsys):
    assert main(words) == code

    document = json.loads(capsys.readouterr().out)
    assert document["error"]["error"] == error
    assert document["error"]["message"]
    assert document["error"]["hint"]


def test_json_stays_alone_on_stdout_when_a_library_prints(capsys, monkeypatch):
    card = CARDS.make("classical")

    def chatty(_name):
        print("noise")  # noqa: T201 - what is tested
        return card

    monkeypatch.setattr(CARDS, "make", chatty)

    assert main(["models", "classical", "--json"]) == 0

    captured = capsys.readouterr()
    assert json.loads(captured.out)["name"] == "classical"
    assert "noise" in captured.err


def test_debug_shows_the_traceback(capsys):
    assert main(["models", "x", "--debug"]) == 1

    said = capsys.readouterr().err
    assert "Traceback" in said
    assert said.rstrip().splitlines()[-1].startswith("hint: ")


def test_an_unexpected_error_is_one_line_too(capsys, monkeypatch):
    monkeypatch.setattr("herscope.core.registry.CARDS.make", lambda _name: 1 / 0)

    assert main(["models", "classical"]) == 1

    error, hint = capsys.readouterr().err.splitlines()
    assert error == "error: internal error: ZeroDivisionError: division by zero"
    assert "--debug" in hint


@pytest.mark.usefixtures("scorer")
def test_score_prints_a_table_and_the_report(tmp_path, capsys):
    code = main(["score", *slides(tmp_path, "a"), "--out", str(tmp_path / "run"), "--workers", "1"])

    captured = capsys.readouterr()
    assert code == 0
    assert "tumor  212 [198, 226]    81.2 %  1,234  1 warning" in captured.out
    assert str(tmp_path / "run" / "index.html") in captured.out
    assert "[1/1] a done" in captured.err


@pytest.mark.usefixtures("scorer")
def test_score_json_holds_every_slide_and_the_failures(tmp_path, capsys):
    given = slides(tmp_path, "a", "bad", "crash")

    code = main(["score", *given, "--out", str(tmp_path / "run"), "--workers", "1", "--json"])

    document = json.loads(capsys.readouterr().out)
    assert code == 3
    assert {name: slide["status"] for name, slide in document["slides"].items()} == {
        "a": "done",
        "bad": "failed",
        "crash": "failed",
    }
    assert document["slides"]["a"]["result"]["compartments"]["all"]["cells"] == 1234
    assert Path(document["slides"]["a"]["result_path"]).is_file()
    assert document["failures"]["bad"]["hint"] == "scan it again"
    assert document["failures"]["crash"]["message"].startswith("internal error: ZeroDivisionError")
    assert document["failures"] == json.loads((tmp_path / "run" / "failures.json").read_text())


@pytest.mark.usefixtures("scorer")
def test_score_goes_on_where_it_was_and_refuses_other_parameters(tmp_path, capsys):
    words = ["score", *slides(tmp_path, "a"), "--out", str(tmp_path / "run"), "--workers", "1"]
    main(words)
    again = main(words)
    before = capsys.readouterr()

    other = main([*words, "--marker", "ki67"])

    said = capsys.readouterr().err
    assert (again, other) == (0, 1)
    assert "scoring 0 slides (1 done before)" in before.err
    assert "marker 'nuclear' -> 'ki67'" in said
    assert "--force" in said
    assert main([*words, "--marker", "ki67", "--force"]) == 0


@pytest.mark.usefixtures("scorer")
def test_a_table_of_scales_may_grow_without_making_results_stale(tmp_path, capsys):
    table = tmp_path / "mpp.csv"
    words = ["--out", str(tmp_path / "run"), "--workers", "1", "--mpp", str(table)]
    first, second = slides(tmp_path, "a", "b")
    table.write_text("slide,mpp\na.tif,0.25\n")
    main(["score", first, *words])
    table.write_text("slide,mpp\na.tif,0.25\nb.tif,0.5\n")
    grown = main(["score", first, second, *words])
    table.write_text("slide,mpp\na.tif,0.30\nb.tif,0.5\n")
    capsys.readouterr()

    changed = main(["score", first, second, *words])

    assert (grown, changed) == (0, 1)
    assert "1 slide(s) scored with other parameters" in capsys.readouterr().err


@pytest.mark.usefixtures("scorer")
def test_two_slides_of_one_name_both_get_a_folder(tmp_path):
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
    given = [slides(tmp_path / folder, "a")[0] for folder in ("x", "y")]

    code = main(["score", *given, "--out", str(tmp_path / "run"), "--workers", "1"])

    assert code == 0
    assert sorted(p.name for p in (tmp_path / "run" / "slides").iterdir()) == ["x-a", "y-a"]


@pytest.mark.usefixtures("scorer")
def test_a_folder_of_annotations_must_have_one_for_every_slide(tmp_path, capsys):
    drawn = tmp_path / "drawn"
    drawn.mkdir()
    (drawn / "a.geojson").write_text("{}")
    words = ["score", *slides(tmp_path, "a", "b"), "--out", str(tmp_path / "run"), "--workers", "1"]

    missing = main([*words, "--compartments", str(drawn)])
    said = capsys.readouterr().err
    one_file = main([*words, "--compartments", str(drawn / "a.geojson")])
    said_of_file = capsys.readouterr().err
    (drawn / "b.geojson").write_text("{}")
    complete = main([*words, "--compartments", str(drawn)])

    assert (missing, one_file, complete) == (1, 1, 0)
    assert "1 of 2 slides have no annotations" in said
    assert said.splitlines()[0].endswith(": b")
    assert "there are 2 slides" in said_of_file


@pytest.mark.usefixtures("scorer")
def test_init_writes_a_study_that_score_accepts(tmp_path, capsys):
    study = tmp_path / "study.toml"

    wrote = main(["init", "--out", str(study)])
    again = main(["init", "--out", str(study)])
    words = ["score", *slides(tmp_path, "a"), "--out", str(tmp_path / "run"), "--workers", "1"]
    scored = main([*words, "--study", str(study)])
    study.write_text(study.read_text().replace("marker =", "markr ="))
    capsys.readouterr()
    refused = main([*words, "--study", str(study)])

    assert (wrote, again, scored, refused) == (0, 1, 0, 1)
    error, hint = capsys.readouterr().err.splitlines()
    assert "markr is not a known key" in error
    assert hint == "hint: did you mean marker?"


def test_init_schema_prints_a_json_schema(capsys):
    assert main(["init", "--schema", "--json"]) == 0

    document = json.loads(capsys.readouterr().out)
    assert document["type"] == "object"
    assert "marker" in document["properties"]


def test_models_shows_the_cards(capsys):
    assert main(["models", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["models"]
    assert main(["models", "classical"]) == 0

    assert "classical" in [card["name"] for card in listed]
    assert "licence: Apache-2.0" in capsys.readouterr().out


def test_doctor_finds_a_healthy_installation(capsys):
    code = main(["doctor", "--json"])

    document = json.loads(capsys.readouterr().out)
    assert code == 0
    assert document["ok"]
    checks = {check["what"]: check for check in document["checks"]}
    assert checks["openslide library"]["found"]
    assert checks["lifelines"]["status"] in {"ok", "absent"}


def test_doctor_names_a_broken_core_part(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tifffile", None)

    code = main(["doctor"])

    captured = capsys.readouterr()
    assert code == 1
    assert "tifffile" in captured.out
    assert "broken" in captured.out
    assert "1 core part(s) are broken" in captured.out


@pytest.mark.parametrize("words", [["models"], ["models", "--json"], ["models", "--help"]])
def test_output_into_a_closed_pipe_is_no_error(words):
    process = herscope(*words)
    process.stdout.close()

    said = process.stderr.read()
    process.stderr.close()

    assert process.wait(timeout=20) == 0
    assert said == ""


def test_a_closed_stderr_does_not_stop_the_scoring(tmp_path):
    process = herscope("demo", "--out", tmp_path / "demo", "--json")
    process.stderr.close()

    out = process.stdout.read()
    process.stdout.close()

    assert process.wait(timeout=60) == 0
    assert json.loads(out)["slides"]["ihc-field"]["status"] == "done"


def test_json_on_stdout_is_clean_in_a_real_process(tmp_path):
    process = herscope("score", tmp_path, "--out", tmp_path / "run", "--json")

    out, err = process.communicate(timeout=30)

    assert process.returncode == 1
    assert list(json.loads(out)) == ["error"]
    assert err.startswith("error: ")


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_is_one_line_and_code_130(tmp_path, workers):
    field = DATA / "ihc" / "deepliif" / "large_ROI_1.png"
    if not field.exists():
        pytest.skip("no real data beside the repository")
    given = tmp_path / "in"
    given.mkdir()
    for number in range(40):
        (given / f"s{number:02}.png").write_bytes(field.read_bytes())
    run = tmp_path / "run"
    words = ["score", *sorted(given.iterdir()), "--mpp", "0.25", "--out", run]
    process = herscope(*words, "--workers", workers, start_new_session=True)
    until = time.monotonic() + 40
    while not list(run.glob("slides/[!.]*/state.json")) and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(0.3)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=30)

    assert process.returncode == 130, err
    assert out == ""
    assert "error: interrupted" in err
    assert "Traceback" not in err
    statuses = {json.loads(p.read_text())["status"] for p in run.glob("slides/*/state.json")}
    assert statuses <= {"queued", "done"}


def test_the_demo_scores_a_real_field_and_writes_its_report(tmp_path, capsys):
    code = main(["demo", "--out", str(tmp_path / "demo"), "--json"])

    document = json.loads(capsys.readouterr().out)
    assert code == 0
    (slide,) = document["slides"].values()
    part = slide["result"]["compartments"]["all"]
    assert 100 < part["cells"] < 1000
    assert 0 < part["h_score"]["value"] < 300
    assert document["assumed_mpp"] == 0.5
    assert Path(document["index"]).is_file()
    assert (Path(slide["result_path"]).parent / "report.html").is_file()


def test_report_rebuilds_a_deleted_page(tmp_path, capsys):
    main(["demo", "--out", str(tmp_path / "demo"), "--json"])
    page = tmp_path / "demo" / "slides" / "ihc-field" / "report.html"
    page.unlink()
    capsys.readouterr()

    code = main(["report", str(tmp_path / "demo"), "--json"])

    document = json.loads(capsys.readouterr().out)
    assert code == 0
    assert page.is_file()
    assert [Path(path) for path in document["reports"]] == [page]


def test_info_and_phantom_agree_on_the_slide(tmp_path, capsys):
    size = ["--width-um", "150", "--height-um", "120", "--mpp", "0.5", "--seed", "3"]
    drew = main(["phantom", "--out", str(tmp_path), *size, "--json"])
    drawn = json.loads(capsys.readouterr().out)

    told = main(["info", drawn["slide"], "--json"])

    seen = json.loads(capsys.readouterr().out)
    assert (drew, told) == (0, 0)
    assert (seen["width_px"], seen["height_px"]) == (300, 240)
    assert seen["mpp"] == 0.5
    assert seen["mpp_source"] == "metadata"
    assert all(Path(path).is_file() for path in drawn["truth"])


def test_info_of_a_file_without_scale_says_so_and_goes_on(tmp_path, capsys):
    import numpy as np
    from PIL import Image

    path = tmp_path / "field.png"
    Image.fromarray(np.full((40, 50, 3), 240, np.uint8)).save(path)

    assert main(["info", str(path), "--json"]) == 0

    seen = json.loads(capsys.readouterr().out)
    assert seen["mpp"] is None
    assert (seen["width_px"], seen["height_px"]) == (50, 40)
    assert "no usable resolution" in seen["problems"][0]


def test_python_scores_an_open_slide_as_the_command_does(tmp_path, capsys):
    import herscope as hs
    from herscope.slide.resolution import SlideSpec

    main(["demo", "--out", str(tmp_path / "demo"), "--json"])
    (slide,) = json.loads(capsys.readouterr().out)["slides"].values()

    with hs.open_slide(tmp_path / "demo" / "ihc-field.png", SlideSpec(mpp=0.5)) as opened:
        scored = hs.score(opened, marker="cytoplasmic")

    found = json.loads(scored.result.to_json())
    assert found["compartments"] == slide["result"]["compartments"]


def test_scoring_h_and_e_says_loudly_that_it_is_not_ihc(tmp_path, capsys):
    slide = tmp_path / "he.tiff"
    draw_phantom(PhantomSpec(width_um=400, height_um=400, stain="he"), slide)
    assert main(["score", str(slide), "--out", str(tmp_path / "run"), "--workers", "1"]) == 0
    assert "he: This looks like H&E, not IHC" in capsys.readouterr().out
