"""Read what a model's card names: nothing is believed whose SHA-256 is not the card's."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from herscope.core.errors import ModelError, SchemaError, WeightsUnavailable
from herscope.core.store import read_json

AGAIN = "copy the whole folder again, or train again"
C = TypeVar("C", bound=BaseModel)


def checked_bytes(file: Path, sha256: str, card: str) -> bytes:
    """Return the bytes of a file that a card names.

    Raises
    ------
    WeightsUnavailable
        It cannot be read.
    ModelError
        It is not the file that was named.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise WeightsUnavailable(
            f"{file} cannot be read: {error.strerror or error}", hint=AGAIN
        ) from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ModelError(f"{file} is not the file that {card} names", hint=AGAIN)
    return data


def read_card(file: Path, card_class: type[C], schema: str) -> C:
    """Read a card of this version.

    Raises
    ------
    SchemaError
        It is of another version, or not whole; the first field that is wrong is named.
    """
    found: Any = read_json(file)
    if isinstance(found, dict) and found.get("schema") != schema:
        raise SchemaError(f"{file} has the schema {found.get('schema')}, not {schema}", hint=AGAIN)
    try:
        return card_class.model_validate(found)
    except ValidationError as error:
        raise unlike(file, error) from error


def unlike(file: Path, error: ValidationError) -> SchemaError:
    """Return what is told of a card that does not hold what it should."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return SchemaError(f"{file} is no model of this version: {where}: {first['msg']}", hint=AGAIN)
