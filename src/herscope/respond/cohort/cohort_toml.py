"""``cohort.toml``: read it strictly, or write a commented one.

The file is a :class:`~herscope.respond.cohort.cohort_spec.CohortSpec`. An unknown key is refused
with its line and the nearest key that exists, also inside lists of tables.
"""

from __future__ import annotations

import tomllib
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from herscope.core.errors import InputError, SchemaError
from herscope.core.registry import nearest
from herscope.core.study import build, study_template
from herscope.respond.cohort.cohort_spec import CohortSpec

_WRITE = "write one with herscope.respond.cohort.cohort_toml.template()"


def template() -> str:
    """Return a commented ``cohort.toml`` with every key.

    Examples
    --------
    >>> "[outcome]" in template() and "pfs_time" in template()
    True
    """
    return study_template(CohortSpec, title="herscope cohort: which columns and files are what")


def load_cohort(path: str | Path) -> CohortSpec:
    """Read a cohort file.

    Raises
    ------
    InputError
        It cannot be read.
    SchemaError
        No TOML, an unknown key (the nearest is named), a wrong type or value.
    """
    return read_toml(path, CohortSpec, what="cohort file")


S = typing.TypeVar("S", bound=BaseModel)


def read_toml(path: str | Path, spec_class: type[S], *, what: str) -> S:
    """Read a TOML file into a Spec; unknown keys are refused at any depth.

    Parameters
    ----------
    path
        The file.
    spec_class
        What it must be.
    what
        Name of such a file in messages.
    """
    file = Path(path)
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SchemaError(f"{file} is no UTF-8 text", hint="save it as UTF-8") from error
    except OSError as error:
        raise InputError(
            f"{what} {file} cannot be read: {error.strerror}", hint="check the path"
        ) from error
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SchemaError(
            f"{file} is not valid TOML: {error}", hint="texts stand between double quotes"
        ) from error
    for names, key, known in _unknown(values, spec_class):
        line = _line(text, key)
        where = f"[{'.'.join(names)}] " if names else ""
        raise SchemaError(
            f"{file.name}{f', line {line}' if line else ''}: {where}{key} is not a known key",
            hint=nearest(key, known, shown=12),
        )
    return build(spec_class, values, where=file.name, text=text)  # type: ignore[type-var]


def _unknown(
    values: Mapping[str, Any], spec_class: type[BaseModel], names: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], str, list[str]]]:
    """Yield the unknown keys with the tables they stand in and the keys known there."""
    fields = spec_class.model_fields
    for key, value in values.items():
        if key not in fields:
            yield names, key, list(fields)
            continue
        inner = _model(fields[key].annotation)
        if inner is None:
            continue
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, Mapping):
                yield from _unknown(one, inner, (*names, key))


def _model(annotation: Any) -> type[BaseModel] | None:
    """Return the Spec of a field that is one or a tuple of them."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) is not tuple:
        return None
    return next((a for a in map(_model, typing.get_args(annotation)) if a is not None), None)


def _line(text: str, key: str) -> int | None:
    """First line that begins with the key, or mentions it in an inline table."""
    lines = [line.strip() for line in text.splitlines()]
    starts = [n for n, line in enumerate(lines, 1) if line.lstrip("[").startswith(key)]
    inside = [n for n, line in enumerate(lines, 1) if key in line.partition("#")[0]]
    return next(iter([*starts, *inside]), None)
