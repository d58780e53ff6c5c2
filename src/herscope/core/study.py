"""``study.toml``: the parameters of a whole study in one commented file.

The template is generated from the Specs (names, descriptions, limits, defaults), every line active,
so the file says everything that will be used and loads back to the default Spec. Reading is strict:
an unknown key, a wrong type or a value out of range is refused with table, key and line.
"""

from __future__ import annotations

import difflib
import re
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path, PurePath
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticUndefined

from herscope.core.errors import InputError, SchemaError
from herscope.core.spec import Spec

S = TypeVar("S", bound=Spec)

_UNITS = {
    "um2": "µm²",
    "mm2": "mm²",
    "mpp": "µm/px",
    "um": "µm",
    "mm": "mm",
    "px": "px",
    "od": "OD",
    "percent": "%",
    "deg": "degrees",
    "s": "seconds",
}
_LIMITS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<", "multiple_of": "multiple of"}
_TYPE_WORDS = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "string": "text",
    "path": "a path",
    "list": "a list",
    "tuple": "a list",
    "dict": "a table",
    "model": "a table",
}
_KEY = re.compile(r"""^\s*(?:"([^"]+)"|'([^']+)'|([A-Za-z0-9_.-]+))\s*=""")
_TABLE = re.compile(r"^\s*\[\[?\s*([^\]]+?)\s*\]\]?")
_WIDTH = 96


def load_study(path: str | Path, spec_class: type[S]) -> S:
    """Read a study file into a Spec; keys that are absent keep their defaults.

    Parameters
    ----------
    path
        A TOML file as :func:`study_template` writes it.
    spec_class
        The Spec the file describes; nested Specs are its tables.

    Raises
    ------
    InputError
        The file cannot be read.
    SchemaError
        It is no TOML, has an unknown key, a wrong type or a value out of range.
    """
    file = Path(path)
    try:
        text = file.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise SchemaError(
            f"{file} is not a text file in UTF-8", hint="herscope init writes a valid study file"
        ) from error
    except OSError as error:
        raise InputError(
            f"study file {file} cannot be read: {error.strerror}",
            hint="herscope init --out study.toml writes one",
        ) from error
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SchemaError(
            f"{file} is not valid TOML: {error}", hint="herscope init writes a valid study file"
        ) from error
    return build(spec_class, values, where=str(file), text=text)


def build(spec_class: type[S], values: Mapping[str, Any], *, where: str, text: str = "") -> S:
    """Make a Spec from nested values, or say in plain words what is wrong with them.

    Parameters
    ----------
    spec_class, values
        The Spec and its (nested) fields.
    where
        What the message calls the source of the values: a file, an option.
    text
        The TOML text the values come from, for line numbers.

    Raises
    ------
    SchemaError
        A value does not fit.
    """
    try:
        return spec_class.model_validate(dict(values))
    except ValidationError as error:
        raise explain(error, spec_class, where=where, text=text) from error


def with_values(spec: S, changes: Mapping[str, Any], *, where: str = "option") -> S:
    """Return the Spec with some fields changed, addressed by dotted names, and validated again.

    Examples
    --------
    >>> class Inner(Spec):
    ...     radius_um: float = 2.0
    >>> class Outer(Spec):
    ...     blur: Inner = Inner()
    >>> with_values(Outer(), {"blur.radius_um": 3.0}).blur.radius_um
    3.0
    """
    tree = spec.model_dump()
    for name, value in changes.items():
        *tables, key = name.split(".")
        table = tree
        for step in tables:
            table = table[step]
        table[key] = value
    return build(type(spec), tree, where=where)


def explain(
    error: ValidationError, spec_class: type[BaseModel], *, where: str, text: str = ""
) -> SchemaError:
    """Turn pydantic's report into one line and a hint a person can act on."""
    details = error.errors(include_url=False)
    first = details[0]
    names = [str(part) for part in first["loc"]]
    line = _line_of(text, names)
    table = f"[{'.'.join(names[:-1])}] " if len(names) > 1 else ""
    place = f"{where}{f', line {line}' if line else ''}: {table}{names[-1] if names else 'file'}"
    more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    said, hint = _plain(first, names, spec_class)
    return SchemaError(f"{place} {said}{more}", hint=hint)


def study_template(spec_class: type[Spec], *, title: str = "herscope study") -> str:
    """Return a commented TOML file with every field at its default.

    A field whose default is "not set" has no TOML value; its line is a comment.

    Examples
    --------
    >>> from pydantic import Field
    >>> class BlurSpec(Spec):
    ...     radius_um: float = Field(2.0, gt=0, description="Radius of the blur")
    >>> print(study_template(BlurSpec))
    # herscope study
    # Every value that is used is written here; change what you need, delete what you do not.
    <BLANKLINE>
    # Radius of the blur (µm; > 0)
    radius_um = 2.0
    <BLANKLINE>
    """
    head = [
        f"# {title}",
        "# Every value that is used is written here; change what you need, delete what you do not.",
    ]
    return "\n".join([*head, *_lines(spec_class(), ())]) + "\n"


def study_schema(spec_class: type[Spec]) -> dict[str, Any]:
    """Return the JSON Schema of the study file, for editors and other programs."""
    schema = spec_class.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _lines(spec: BaseModel, path: tuple[str, ...]) -> Iterator[str]:
    """Plain fields first, then one table per nested Spec: TOML needs that order."""
    fields = type(spec).model_fields
    tables = {n: getattr(spec, n) for n in fields if isinstance(getattr(spec, n), BaseModel)}
    for name, field in fields.items():
        if name in tables:
            continue
        value = getattr(spec, name)
        yield ""
        yield from _comment(_about(name, field))
        yield f"# {name} =    (not set)" if value is None else f"{name} = {_toml(value)}"
    for name, inner in tables.items():
        yield ""
        yield ""
        yield from _comment(fields[name].description or (type(inner).__doc__ or "").split("\n")[0])
        yield f"[{'.'.join((*path, name))}]"
        yield from _lines(inner, (*path, name))


def _comment(text: str) -> Iterator[str]:
    import textwrap

    for line in textwrap.wrap(" ".join(text.split()), _WIDTH):
        yield f"# {line}"


def _about(name: str, field: FieldInfo) -> str:
    """Return the description, then unit, allowed values and limits in brackets."""
    ending = name.rsplit("_", 1)[-1]
    said = [_UNITS[ending]] if ending in _UNITS and ending != name else []
    choices = _choices(field.annotation)
    if choices:
        said.append("one of " + ", ".join(choices))
    for item in field.metadata:
        said += [
            f"{sign} {getattr(item, limit):g}"
            for limit, sign in _LIMITS.items()
            if isinstance(getattr(item, limit, None), (int, float))
        ]
    text = field.description or name.replace("_", " ")
    return f"{text} ({'; '.join(said)})" if said else text


def _choices(annotation: Any) -> list[str]:
    if get_origin(annotation) is Literal:
        return [str(choice) for choice in get_args(annotation)]
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return [str(member.value) for member in annotation]
    if get_origin(annotation) in {Union, types.UnionType, typing.Annotated}:
        return [choice for part in get_args(annotation) for choice in _choices(part)]
    return []


def _toml(value: Any) -> str:
    """Write one value as TOML (strings, numbers, booleans, lists, inline tables)."""
    if isinstance(value, BaseModel):
        value = {n: v for n, v in value.model_dump(mode="json").items() if v is not None}
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_toml_string(str(k))} = {_toml(v)}" for k, v in value.items())
        return "{ " + inner + " }" if inner else "{}"
    if isinstance(value, (set, frozenset)):
        value = sorted(value)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return _toml_scalar(value.value if isinstance(value, Enum) else value)


def _toml_scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(float(value))
    if isinstance(value, (str, PurePath)):
        return _toml_string(str(value))
    raise SchemaError(f"a value of type {type(value).__name__} has no form in TOML")


def _toml_string(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + re.sub(r"[\x00-\x1f\x7f]", lambda m: f"\\u{ord(m[0]):04x}", escaped) + '"'


def _line_of(text: str, names: list[str]) -> int | None:
    """Line of a key in TOML text; tomllib gives no positions, so tables and keys are scanned."""
    table: list[str] = []
    best = None
    for number, line in enumerate(text.splitlines(), 1):
        if header := _TABLE.match(line):
            table = [part.strip(" \"'") for part in header[1].split(".")]
            if table == names:
                best = best or number
        elif key := _KEY.match(line):
            full = [*table, *next(filter(None, key.groups())).split(".")]
            if full == names[: len(full)] and len(full) > len(table):
                best = number
    return best


def plain(detail: ErrorDetails) -> tuple[str, str]:
    """Say in plain words what pydantic found wrong with one value; message and hint."""
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    shown = repr(value) if len(repr(value)) < 60 else type(value).__name__
    hint = "herscope init writes every key with its meaning and limits"
    if kind == "value_error":
        cause = context.get("error")
        return str(cause), (getattr(cause, "hint", "") or hint)
    said = {
        "int_from_float": "must be a whole number",
        "literal_error": f"must be {context.get('expected')}",
        "enum": f"must be {context.get('expected')}",
        "missing": "is missing",
    }.get(kind)
    base, _, ending = kind.rpartition("_")
    if said is None and ending in {"type", "parsing"} and base in _TYPE_WORDS:
        said = f"must be {_TYPE_WORDS[base]}"
    if said is None:
        message = detail["msg"].replace("Input should", "must")
        said = f"{message[:1].lower()}{message[1:]}"
    return said if kind == "missing" else f"{said}, got {shown}", hint


def _plain(detail: ErrorDetails, names: list[str], spec_class: type[BaseModel]) -> tuple[str, str]:
    if detail["type"] == "value_error":
        said, hint = plain(detail)
        return f"is not allowed: {said}", hint
    if detail["type"] != "extra_forbidden":
        return plain(detail)
    known = _fields_at(spec_class, names[:-1])
    close = difflib.get_close_matches(names[-1], known, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]}?" if close else f"known keys: {', '.join(known)}"
    return "is not a known key", hint


def _fields_at(spec_class: type[BaseModel], names: list[str]) -> list[str]:
    """Names of the fields of the nested Spec at this place."""
    current: Any = spec_class
    for name in names:
        field = current.model_fields.get(name)
        default = None if field is None else field.get_default(call_default_factory=True)
        if default is None or default is PydanticUndefined or not isinstance(default, BaseModel):
            return []
        current = type(default)
    return sorted(current.model_fields)
