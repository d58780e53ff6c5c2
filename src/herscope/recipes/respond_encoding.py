"""Patients of one cohort as the patients of another were encoded, such as an external test's.

Tokens are put in the order of the training's; a token that a cohort does not have is missing, one
with other values is refused. Parts that nobody in the training had say nothing and are hidden.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from herscope.core.errors import SchemaError, WrongInput
from herscope.recipes.respond_notes import unknown_patients
from herscope.recipes.respond_patients import Prepared, tokens_by_set

if TYPE_CHECKING:
    from herscope.respond.fusion.patients import TokenRow
    from herscope.respond.training.raw import RawPatient

Wanted = Mapping[str, Sequence[tuple[str, tuple[str, ...]]]]
"""Modality (pathology, radiology, patient) to names and values of its tokens, in order."""


def encoded(prepared: Prepared, wanted: Wanted) -> tuple[list[RawPatient], list[str]]:
    """Return patients with these tokens, and what was lacking or is not read.

    Raises
    ------
    SchemaError
        A token has other values.
    """
    found = tokens_by_set(prepared.cohort)
    rows: dict[str, list[TokenRow]] = {}
    notes = []
    for name, tokens in wanted.items():
        rows[name], lacking = _rows(found[name], tokens, len(prepared.patients))
        if lacking:
            notes.append(f"tokens of {name} that the cohort does not have: {', '.join(lacking)}")
        extra = sorted(set(found[name].names) - {token for token, _ in tokens})
        if extra:
            notes.append(f"tokens of {name} that the model does not read: {', '.join(extra)}")
    return [
        replace(
            one,
            reports={name: rows[name][i] for name in ("pathology", "radiology")},
            tokens=rows["patient"][i],
        )
        for i, one in enumerate(prepared.patients)
    ], notes


def like(others: Prepared, prepared: Prepared) -> Prepared:
    """Return another cohort as the training cohort's members see it.

    Raises
    ------
    SchemaError
        A token has other values.
    WrongInput
        Bags of another encoder, or other radiomics.
    """
    wanted = {
        name: list(zip(tokens.names, tokens.categories, strict=True))
        for name, tokens in tokens_by_set(prepared.cohort).items()
    }
    patients, notes = encoded(others, wanted)
    unknown = [part for part, having in prepared.counts().items() if not having]
    shown = tuple(one.without(*unknown) for one in patients)
    made = replace(others, patients=shown, notes=(*others.notes, *notes))
    made = replace(made, notes=(*made.notes, *unknown_patients(made)))
    _check_features(made, prepared)
    return made


def _check_features(others: Prepared, prepared: Prepared) -> None:
    where = f"cohort {others.cohort.spec.name}"
    for one in others.patients:
        bags = one.pathology
        if bags is None or "pathology-images" not in one.parts:
            continue
        if bags.encoder_id != prepared.encoder_id:
            raise WrongInput(
                f"{where}, patient {one.name}: bags of {bags.encoder} ({bags.encoder_id}), the "
                f"training has {prepared.encoder} ({prepared.encoder_id})",
                hint="embed the slides of both cohorts with the same encoder, weights, tile and "
                "normalisation",
            )
    counts = others.counts()
    for name, mine in others.omics_names.items():
        if counts[f"{name}-radiomics"] and mine != prepared.omics_names[name]:
            raise WrongInput(
                f"{where}: {len(mine)} radiomics of {name}, the training has "
                f"{len(prepared.omics_names[name])}, or others",
                hint="measure those of both cohorts with the same settings",
            )


def _rows(
    found: Any, wanted: Sequence[tuple[str, tuple[str, ...]]], count: int
) -> tuple[list[TokenRow], list[str]]:
    from herscope.respond.fusion.patients import TokenRow

    sizes = tuple(len(values) for _, values in wanted)
    columns, there, lacking = [], np.zeros((count, len(wanted)), np.bool_), []
    for place, (name, values) in enumerate(wanted):
        if name not in found.names:
            lacking.append(name)
            columns.append(np.zeros((count, sizes[place]), np.float32))
            continue
        at = found.names.index(name)
        if found.categories[at] != values:
            raise SchemaError(
                f"token {name} has the values {', '.join(found.categories[at])}; the model "
                f"was trained on {', '.join(values)}",
                hint="encode the cohort with the model's own token declaration",
            )
        columns.append(found.of(name))
        there[:, place] = found.present[:, at]
    rows = np.concatenate([*columns, np.zeros((count, 0), np.float32)], axis=1)
    return [TokenRow(rows[i], there[i], sizes) for i in range(count)], lacking
