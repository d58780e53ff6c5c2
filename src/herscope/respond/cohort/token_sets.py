"""Report tokens as data: what a token is called, what fills it and how it is spelt.

A set is a TOML file; those of the package lie in ``tokens/`` beside this module, and a user may
write others. Four kinds of token:

* ``one-hot``: one of several categories;
* ``bins``: a number (or the year of a date) sorted between edges;
* ``multi-hot``: any of several categories, written as a list, as digits or as 0/1 flags;
* ``fractions``: shares of categories that sum to one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, Self

from pydantic import Field, model_validator

from herscope.core.errors import InputError, SchemaError
from herscope.core.registry import nearest
from herscope.core.spec import Spec
from herscope.respond.cohort.cohort_toml import read_toml

SETS: Final = Path(__file__).parent / "tokens"


class CategorySpec(Spec):
    """One category and what is read as it; case and blanks at the ends never count."""

    name: str = Field(..., min_length=1, description="Name, itself a spelling")
    spellings: tuple[str, ...] = Field(default=(), description="Further accepted spellings")
    starts_with: tuple[str, ...] = Field(
        default=(), description="Beginnings of accepted spellings, for entries with remarks"
    )


class TokenDeclaration(Spec):
    """One token."""

    name: str = Field(..., pattern=r"^[a-z][a-z0-9_]*$", description="Name")
    about: str = Field(default="", description="What it tells, in one line")
    kind: Literal["one-hot", "bins", "multi-hot", "fractions"] = Field(..., description="Kind")
    column: str | None = Field(default=None, description="Column it is read from unless told")
    categories: tuple[CategorySpec, ...] = Field(
        default=(), description="Categories in the order of the vector; not for bins"
    )
    edges: tuple[float, ...] = Field(default=(), description="Inner edges of bins, rising")
    edge_belongs: Literal["above", "below"] = Field(
        default="above", description="The bin a value on an edge falls in"
    )
    minimum: float | None = Field(default=None, description="Smallest value that can be right")
    maximum: float | None = Field(default=None, description="Largest; it falls in the last bin")
    share: bool = Field(default=False, description="Bins of a share: 70% is read as 0.7")
    year: bool = Field(default=False, description="Bins of the year of a date")
    code: Literal["list", "digits", "flags"] = Field(
        default="list",
        description="Multi-hot: names with separators, digits that are numbers of categories from "
        "0, or one 0 or 1 a category",
    )
    missing: tuple[str, ...] = Field(default=(), description="Spellings that mean missing")
    words: tuple[str, ...] = Field(default=(), description="Fractions: words that say nothing")

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        if self.kind == "bins":
            if self.categories or not self.edges:
                raise ValueError(f"{self.name}: bins have edges and no categories")
            if any(b <= a for a, b in zip(self.edges, self.edges[1:], strict=False)):
                raise ValueError(f"{self.name}: the edges {list(self.edges)} do not rise")
            return self
        if self.edges or len(self.categories) < 2:
            raise ValueError(f"{self.name}: {self.kind} has two or more categories and no edges")
        if self.kind == "multi-hot" and self.code == "digits" and len(self.categories) > 10:
            raise ValueError(f"{self.name}: digits name at most 10 categories")
        held: dict[str, str] = {}
        for category in self.categories:
            for text in (category.name, *category.spellings):
                other = held.setdefault(text.lower(), category.name)
                if other != category.name:
                    raise ValueError(
                        f"{self.name}: {text!r} is a spelling of {other} and of {category.name}"
                    )
        return self

    @property
    def width(self) -> int:
        """Numbers in the vector."""
        return len(self.edges) + 1 if self.kind == "bins" else len(self.categories)

    @property
    def names(self) -> tuple[str, ...]:
        """What each number of the vector stands for."""
        if self.kind != "bins":
            return tuple(category.name for category in self.categories)
        below, above = ("<", ">=") if self.edge_belongs == "above" else ("<=", ">")
        first, last = f"{below}{self.edges[0]:g}", f"{above}{self.edges[-1]:g}"
        return (first, *map(self._between, self.edges, self.edges[1:]), last)

    def _between(self, low: float, high: float) -> str:
        """Name a bin as people say it: whole numbers by themselves."""
        if self.edge_belongs == "below":
            return f">{low:g} to {high:g}"
        whole = low == int(low) and high == low + 1 and not self.share
        return f"{low:g}" if whole else f"{low:g} to <{high:g}"


class TokenSet(Spec):
    """Tokens that are read together, in the order of the file."""

    format: Literal["herscope.tokens/1"] = Field(
        default="herscope.tokens/1", description="Version of the file"
    )
    name: str = Field(..., min_length=1, description="Name of the set")
    modality: Literal["pathology", "radiology", "patient"] = Field(
        ..., description="What the tokens describe"
    )
    source: str = Field(default="", description="Where the declaration comes from")
    token: tuple[TokenDeclaration, ...] = Field(..., min_length=1, description="The tokens")


def known_sets() -> list[str]:
    """Return the names of the sets of the package.

    Examples
    --------
    >>> known_sets()
    ['pathology-report', 'patient', 'radiology-report', 'sampling-times']
    """
    return sorted(path.stem for path in SETS.glob("*.toml"))


def load_set(name: str, folder: str | Path = ".") -> TokenSet:
    """Read a set of the package, or a user's TOML file.

    Parameters
    ----------
    name
        Name of a set, or a path that ends in ``.toml``.
    folder
        What the path is relative to.

    Raises
    ------
    InputError
        There is no such set or file.
    SchemaError
        The file is not as it must be.

    Examples
    --------
    >>> [(token.name, token.width) for token in load_set("pathology-report").token]
    [('tils', 10), ('her2_heterogeneity', 4), ('tumour_proportion', 10)]
    """
    if name.endswith(".toml"):
        return read_toml(Path(folder) / name, TokenSet, what="token file")
    if name not in known_sets():
        raise InputError(
            f"there is no token set {name!r}",
            hint=f"{nearest(name, known_sets(), shown=12)}; a file of your own ends in .toml",
        )
    return read_toml(SETS / f"{name}.toml", TokenSet, what="token set")


def load_sets(names: Sequence[str], folder: str | Path = ".") -> tuple[TokenSet, ...]:
    """Read several sets; a token may be declared once.

    Raises
    ------
    InputError, SchemaError
        As :func:`load_set`; two tokens of one name.
    """
    sets = tuple(load_set(name, folder) for name in names)
    seen: dict[str, str] = {}
    for one in sets:
        for token in one.token:
            if token.name in seen:
                raise SchemaError(
                    f"the token {token.name} is declared in {seen[token.name]} and in {one.name}",
                    hint="rename one of them, or leave one of the sets out",
                )
            seen[token.name] = one.name
    return sets
