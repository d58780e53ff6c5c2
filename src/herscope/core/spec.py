"""Parameters of a stage as one frozen value whose fingerprint is derived from all of its fields.

The fingerprint is the cache key: two results with the same fingerprints up the chain were made the
same way. It is computed from every field, so a field that is added later can never be forgotten.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict


class Spec(BaseModel):
    """Base of every stage's parameters: frozen, no unknown fields, no NaN.

    Examples
    --------
    >>> class BlurSpec(Spec):
    ...     radius_um: float = 2.0
    >>> BlurSpec().fingerprint() == BlurSpec(radius_um=2.0).fingerprint()
    True
    >>> BlurSpec().fingerprint() == BlurSpec(radius_um=3.0).fingerprint()
    False
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True
    )

    def fingerprint(self, *upstream: str) -> str:
        """Return 16 hexadecimal digits that change with any field or any upstream fingerprint."""
        body = {
            "spec": type(self).__name__,
            "fields": self.model_dump(mode="json"),
            "upstream": list(upstream),
        }
        text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def differences(self, other: Spec) -> dict[str, tuple[Any, Any]]:
        """Return the fields in which two Specs of one class differ, dotted, with both values."""
        mine, theirs = (
            flat_fields(self.model_dump(mode="json")),
            flat_fields(other.model_dump(mode="json")),
        )
        return {
            name: (mine.get(name), theirs.get(name))
            for name in sorted(mine.keys() | theirs.keys())
            if mine.get(name) != theirs.get(name)
        }


def flat_fields(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as one, with dotted names.

    >>> flat_fields({"tiles": {"mpp": 0.5}})
    {'tiles.mpp': 0.5}
    """
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat |= flat_fields(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
