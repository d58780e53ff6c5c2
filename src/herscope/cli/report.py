"""``herscope report``: rebuild the pages of a run."""

from __future__ import annotations

from pathlib import Path

from herscope.cli.output import COMMON, Common, Outcome


def report(folder: Path, /, *, common: Common = COMMON) -> Outcome:
    """Rebuild the HTML of a run, cohort table included.

    Parameters
    ----------
    folder
        The folder that was given to `herscope score --out`.
    """
    from herscope import recipes

    del common
    made = recipes.report(folder)
    problems = {
        name: {"error": type(error).__name__, "message": error.message, "hint": error.hint}
        for name, error in made.problems.items()
    }
    document = {
        "run": str(folder),
        "index": str(made.index),
        "reports": [str(path) for path in made.reports],
        "problems": problems,
    }
    lines = [f"{name}: {problem['message']}" for name, problem in problems.items()]
    lines.append(f"rebuilt {len(made.reports)} slide report(s); open {made.index}")
    return Outcome(document, ["\n".join(lines)], code=3 if problems else 0)
