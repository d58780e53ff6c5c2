"""A patient with one thing changed: a token or an instance taken away, or a token set.

What is taken away is missing, exactly as if it had never been known. Where nothing of a modality is
left, the modality is missing. No torch here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from herscope.core.errors import InputError
from herscope.core.registry import nearest
from herscope.respond.fusion.patients import Patient, TokenRow

TOKEN_SETS: Final = {
    "pathology-report": "pathology",
    "radiology-report": "radiology",
    "patient": None,
}
"""Set of tokens, named as the part it is, to the modality whose report it is."""


def tokens_of(patient: Patient, token_set: str) -> TokenRow | None:
    """Return a set of tokens of a patient; None where its modality is missing.

    Raises
    ------
    InputError
        There is no such set.
    """
    if token_set not in TOKEN_SETS:
        raise InputError(f"there is no set of tokens {token_set!r}",
                         hint=nearest(token_set, list(TOKEN_SETS)))  # fmt: skip
    name = TOKEN_SETS[token_set]
    if name is None:
        return patient.tokens
    branch = patient.branches.get(name)
    return None if branch is None else branch.report


def without_token(patient: Patient, token_set: str, number: int) -> Patient:
    """Return the patient as if one token were missing.

    Examples
    --------
    >>> row = TokenRow(np.array([1, 0, 0, 1], np.float32), np.array([True, True]), (2, 2))
    >>> without_token(Patient("a", {}, row), "patient", 1).tokens.values.tolist()
    [1.0, 0.0, 0.0, 0.0]
    """
    return _with(patient, token_set, number, None)


def with_token(patient: Patient, token_set: str, number: int, level: int) -> Patient:
    """Return the patient as if a token were known and were this level alone.

    Raises
    ------
    InputError
        The patient has nothing of this modality, or the token has no such level.

    Examples
    --------
    >>> row = TokenRow(np.array([1, 0], np.float32), np.array([True]), (2,))
    >>> with_token(Patient("a", {}, row), "patient", 0, 1).tokens.values.tolist()
    [0.0, 1.0]
    """
    return _with(patient, token_set, number, level)


def without_instance(patient: Patient, modality: str, number: int) -> Patient:
    """Return the patient without one bag or lesion and what was measured in it.

    Raises
    ------
    InputError
        There is no such instance.
    """
    branch = patient.branches.get(modality)
    count = 0 if branch is None or branch.instances is None else len(branch.instances)
    if branch is None or branch.instances is None or not 0 <= number < count:
        raise InputError(
            f"patient {patient.name} has no instance {number} of {modality} ({count} in all)",
            hint="number them from 0",
        )
    if count == 1:
        return patient.without(f"{modality}-images", f"{modality}-radiomics")
    rest = np.delete(np.arange(count), number)
    left = replace(
        branch,
        instances=branch.instances[rest],
        omics=None if branch.omics is None else branch.omics[rest],
        kinds=None if branch.kinds is None else branch.kinds[rest],
        word_there=None if branch.word_there is None else branch.word_there[rest],
    )
    return Patient(patient.name, {**patient.branches, modality: left}, patient.tokens)


def _with(patient: Patient, token_set: str, number: int, level: int | None) -> Patient:
    row = tokens_of(patient, token_set)
    if row is None:
        raise InputError(
            f"patient {patient.name} has nothing of {token_set}", hint="leave the patient out"
        )
    changed = _changed(row, number, level)
    name = TOKEN_SETS[token_set]
    if name is None:
        return Patient(patient.name, patient.branches, changed)
    branch = patient.branches[name]
    kept = dict(patient.branches)
    if changed.present.any() or branch.instances is not None or branch.omics is not None:
        kept[name] = replace(branch, report=changed)
    else:
        del kept[name]
    return Patient(patient.name, kept, patient.tokens)


def _changed(row: TokenRow, number: int, level: int | None) -> TokenRow:
    levels = row.sizes[number] if 0 <= number < len(row.sizes) else 0
    if not levels or not 0 <= (level or 0) < levels:
        raise InputError(
            f"token {number}, level {level}: there are {len(row.sizes)} tokens, of {row.sizes} "
            "levels",
            hint="number tokens and levels from 0",
        )
    start = sum(row.sizes[:number])
    values, present = row.values.copy(), row.present.copy()
    values[start : start + levels] = 0.0
    present[number] = level is not None
    if level is not None:
        values[start + level] = 1.0
    return TokenRow(values, present, row.sizes)
