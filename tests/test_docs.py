"""What the documents promise exists: schema, links, commands, options, set-up lines."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from herscope.cli.app import COMMANDS, TASKS, run
from herscope.score.alerts import AlertSpec
from herscope.score.result import SlideResult

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
SET_UP = (
    "python -m venv .venv && .venv/bin/pip install . && .venv/bin/herscope demo",
    (
        "python -m venv .venv && .venv/bin/pip install -c constraints.txt -e '.[dev]' "
        "&& .venv/bin/pytest"
    ),
)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
CALL = re.compile(r"(?:^|[\s/])herscope\s+(?=[a-z-])(.*)")
MACHINE_PATH = re.compile(r"/(?:work|tmp|root|home|Users)/")


def page_id(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def prose(text: str) -> str:
    return FENCE.sub("", text)


def calls(text: str) -> Iterator[list[str]]:
    """Words after ``herscope`` of every command in a shell block."""
    for language, body in FENCE.findall(text):
        if language not in {"sh", "bash", ""}:
            continue
        for line in body.replace("\\\n", " ").splitlines():
            if line.lstrip().startswith("#"):
                continue
            found = CALL.search(line)
            if found:
                yield shlex.split(found[1], comments=True)


@functools.cache
def help_of(*command: str) -> str:
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert run([*command, "--help"]) == 0
    return said.getvalue()


def anchors(path: Path) -> set[str]:
    """Return anchors of the headings as GitHub makes them."""
    heads = re.findall(r"^#+ (.+)$", prose(path.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def test_the_published_schema_is_that_of_the_result() -> None:
    published = json.loads((ROOT / "docs/schema/result.schema.json").read_text(encoding="utf-8"))
    assert published == SlideResult.model_json_schema(by_alias=True)


def test_the_readme_shows_the_two_set_up_lines() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    for line in SET_UP:
        assert line in lines


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_relative_link_resolves(page: Path) -> None:
    broken = []
    for target in LINK.findall(prose(page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_command_and_option_shown_exists(page: Path, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    for words in calls(page.read_text(encoding="utf-8")):
        command = words[0]
        assert command in COMMANDS, f"herscope {command} is no command"
        asked = [command]
        if command in TASKS and words[1:] and not words[1].startswith("-"):
            assert words[1] in TASKS[command], f"herscope {command} {words[1]} is no command"
            asked.append(words[1])
        known = set(re.findall(r"--[a-z][a-z0-9.-]*", help_of(*asked)))
        shown = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert shown <= known, (
            f"herscope {' '.join(asked)} has no {', '.join(sorted(shown - known))}"
        )


def test_the_readme_names_every_command() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in COMMANDS if f"`herscope {name}" not in text] == []


def test_the_shell_blocks_are_found_at_all() -> None:
    shown = [words for page in PAGES for words in calls(page.read_text(encoding="utf-8"))]
    assert len(shown) > 20
    assert {"score", "phantom", "report"} <= {words[0] for words in shown}


def test_the_index_reaches_every_page() -> None:
    index = ROOT / "docs" / "README.md"
    reached = {
        (index.parent / target.partition("#")[0]).resolve()
        for target in LINK.findall(index.read_text(encoding="utf-8"))
    }
    pages = {*(ROOT / "docs/howto").glob("*.md"), *(ROOT / "docs/science").glob("*.md")}
    assert {page_id(page) for page in pages - reached} == set()


def test_every_alert_is_explained() -> None:
    files = ("score/alerts.py", "score/her2/alerts.py")
    page = (ROOT / "docs/science/alerts.md").read_text(encoding="utf-8")
    codes = [
        set(re.findall(r'\balert\(\s*"([a-z0-9-]+)"', source.read_text(encoding="utf-8")))
        for source in (ROOT / "src/herscope" / name for name in files)
    ]
    assert len(codes[0]) > 10
    assert len(codes[1]) > 5
    assert {code for code in codes[0] | codes[1] if f"`{code}`" not in page} == set()
    assert AlertSpec().min_cells == 100  # the page's limits are the defaults
    assert AlertSpec().stain_angle_deg == 15.0


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_no_page_names_a_path_of_one_machine(page: Path) -> None:
    assert MACHINE_PATH.findall(page.read_text(encoding="utf-8")) == []


def test_pictures_are_small() -> None:
    for picture in (ROOT / "docs" / "figures").iterdir():
        assert picture.stat().st_size < 400_000
