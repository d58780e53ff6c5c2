"""Start-up is kept cheap by counting what is imported, not by a clock."""

import ast
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
HEAVY = {
    "cv2", "imagecodecs", "jinja2", "matplotlib", "multiprocessing.pool", "numba", "numpy",
    "openslide", "pandas", "PIL", "pyarrow", "scipy", "shapely", "skimage", "tifffile", "torch",
}  # fmt: skip


def python(code, *args):
    return subprocess.run(
        [sys.executable, "-c", code, *args],
        env=os.environ | {"PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout


def modules_after(code):
    listed = python(f"import sys, json\n{code}\nprint(json.dumps(sorted(sys.modules)))")
    return set(json.loads(listed.splitlines()[-1]))


def test_importing_herscope_imports_nothing_heavy():
    loaded = modules_after("import herscope")

    assert not loaded & (HEAVY | {"pydantic", "rich", "cyclopts"})


def test_listing_models_and_encoders_imports_nothing_heavier_than_numpy():
    loaded = modules_after("from herscope.cli import main\nmain(['models'])")

    assert loaded & HEAVY <= {"numpy"}


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["score", "--help"]])
def test_help_imports_nothing_heavy(words):
    loaded = modules_after(f"from herscope.cli import main\nmain({words!r})")

    assert not loaded & HEAVY
    assert "cyclopts" in loaded


def test_importing_herscope_writes_no_file_and_opens_no_socket(tmp_path):
    code = """
import os, sys
os.chdir(sys.argv[1])
seen = []
def watch(event, args):
    if event.startswith("socket.") or (event == "open" and "w" in str(args[1])):
        seen.append((event, str(args[0])))
sys.dont_write_bytecode = True
sys.addaudithook(watch)
import herscope
print(seen)
"""

    assert python(code, str(tmp_path)).strip() == "[]"
    assert list(tmp_path.iterdir()) == []


def test_the_verb_score_and_the_layer_score_live_together():
    code = """
import herscope as hs
assert callable(hs.score)
import herscope.score.result
assert callable(hs.score)
assert hs.score.result.SCHEMA == "herscope.score/1"
from herscope.score.result import SlideResult
import herscope.recipes
herscope.recipes.score = lambda *a, **k: (a, k)
print(hs.score("x.svs", marker="er"))
"""

    assert python(code).strip() == "(('x.svs',), {'marker': 'er'})"


def test_an_unknown_attribute_is_an_attribute_error():
    import herscope

    with pytest.raises(AttributeError, match="scoore"):
        _ = herscope.scoore
    assert "open_slide" in dir(herscope)


def test_the_version_is_that_of_the_package():
    import herscope

    stated = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]

    assert herscope.__version__ == stated


def test_every_package_of_a_layer_holds_only_a_docstring():
    faces = ("", "cli", "recipes")  # what people import from
    allowed = {SOURCE / "herscope" / face / "__init__.py" for face in faces}
    for file in SOURCE.rglob("__init__.py"):
        body = ast.parse(file.read_text("utf-8")).body
        assert file in allowed or len(body) == 1, file
        assert ast.get_docstring(ast.parse(file.read_text("utf-8"))), file
