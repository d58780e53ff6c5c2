"""The best that any rule could find in a drawn cohort, from how it was drawn (Bayes).

An instance that carries the signal is normal about +s or -s, another about 0; one of a patient's
instances carries it for sure, every other with a probability of a half. So, over the values v of
the one feature that tells, with phi the normal density,

    p(v | s) = mean over j of phi(v_j - s) prod over i != j of (phi(v_i) + phi(v_i - s)) / 2

and the log odds of a modality's sign are log p(v | s) - log p(v | -s); 0 where it is missing. In an
interaction the label is whether both signs agree: with p, q the probabilities of a positive sign,
p q + (1 - p)(1 - q), a half as soon as one is missing. A telling token has odds of 85 to 15.
Not for pictures.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import InputError
from herscope.respond.fusion.patients import Patient, TokenRow
from herscope.respond.fusion.synthetic import (
    PATIENT_TOKEN,
    REPORT_TOKEN,
    TELLING,
    WITNESSES,
    SyntheticSpec,
)


def best_log_odds(patient: Patient, spec: SyntheticSpec) -> float:
    """Return the log odds of a response, given what is known of a drawn patient.

    Parameters
    ----------
    patient
        As :func:`synthetic_case` draws it, or with parts taken away.
    spec
        What it was drawn with.

    Raises
    ------
    InputError
        The cohort is of pictures.

    Examples
    --------
    >>> from herscope.respond.fusion.synthetic import synthetic_case
    >>> spec = SyntheticSpec(signal="pathology")
    >>> case = synthetic_case(spec, 0)
    >>> (best_log_odds(case.patient, spec) > 0) == (case.label == 1)
    True
    >>> best_log_odds(case.patient.without("pathology"), spec)
    0.0
    """
    if spec.picture_px:
        raise InputError("no best rule is known for pictures", hint="draw vectors: picture_px=0")
    if spec.signal == "report":
        branch = patient.branches.get("pathology")
        return 0.0 if branch is None else _token_odds(branch.report, REPORT_TOKEN)
    if spec.signal == "patient":
        return _token_odds(patient.tokens, PATIENT_TOKEN)
    signs = {
        name: _sign_odds(branch.instances[:, 0].astype(np.float64), spec.strength)
        for name, branch in patient.branches.items()
        if branch.instances is not None
    }
    if spec.signal == "interaction":
        p, q = (1 / (1 + math.exp(-signs.get(name, 0.0))) for name in ("pathology", "radiology"))
        agree = p * q + (1 - p) * (1 - q)
        return math.log(agree) - math.log1p(-agree)
    return signs.get(spec.signal, 0.0)


def _sign_odds(values: NDArray[np.float64], shift: float) -> float:
    return _log_likelihood(values, shift) - _log_likelihood(values, -shift)


def _log_likelihood(values: NDArray[np.float64], shift: float) -> float:
    """Up to a constant: densities are divided by phi(v), which both signs share."""
    ratio = np.exp(values * shift - shift**2 / 2)  # phi(v - s) / phi(v)
    mixed = 1 - WITNESSES + WITNESSES * ratio
    return float(np.log(mixed).sum() + np.log(np.mean(ratio / mixed)))


def _token_odds(row: TokenRow, token: int) -> float:
    """Log odds that a telling token gives; its upper half speaks for a response."""
    if not row.present[token]:
        return 0.0
    start = sum(row.sizes[:token])
    value = int(np.argmax(row.values[start : start + row.sizes[token]]))
    odds = math.log(TELLING / (1 - TELLING))
    return odds if value >= row.sizes[token] // 2 else -odds
