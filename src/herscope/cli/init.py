"""``herscope init``: write a study file."""

from __future__ import annotations

from pathlib import Path

from herscope.cli.output import COMMON, Common, Flag, Outcome
from herscope.core.errors import OutputError


def init(
    *,
    out: Path = Path("study.toml"),
    schema: Flag = False,
    force: Flag = False,
    common: Common = COMMON,
) -> Outcome:
    """Write a commented study.toml with every parameter at its default.

    Parameters
    ----------
    out
        The file to write; an existing one is kept unless --force.
    schema
        Print the JSON Schema of the study file instead of writing one.
    force
        Replace an existing file.
    """
    import json

    from herscope.core.store import write_text
    from herscope.core.study import study_schema, study_template
    from herscope.score.spec import ScoreSpec

    del common
    if schema:
        document = study_schema(ScoreSpec)
        return Outcome(document, [json.dumps(document, indent=1)])
    if out.exists() and not force:
        raise OutputError(
            f"{out} exists already", hint="use --force to replace it, or another --out"
        )
    write_text(out, study_template(ScoreSpec))
    return Outcome(
        {"study": str(out)},
        [f"wrote {out}\nscore with it: herscope score SLIDE... --out RUN --study {out}"],
    )
