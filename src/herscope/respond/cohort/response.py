"""The response label, by rule, with the reason for every patient.

Rule of the MuMo study (2024), for best response by RECIST 1.1 and progression-free survival (PFS):

1. CR or PR is a response (1); PD is none (0).
2. Otherwise PFS beyond the cut-off is a response, whether or not an event came later.
3. Otherwise progression or death at or before the cut-off is none.
4. Otherwise the patient was lost from sight before the cut-off: nobody can know. There is no label,
   and the patient is kept for survival, where censoring is accounted for.

The cut-off is 240 days, 300 with immunotherapy. A label is made for research; it is no RECIST
category. Two consequences are built into the rule: PR with progression a month later counts as a
response, and SD counts either way depending on time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from herscope.respond.cohort.cohort_spec import ResponseSpec

Recist = Literal["CR", "PR", "SD", "PD", "non-CR/non-PD", "NE"]
Rule = Literal["recist", "pfs beyond cut-off", "event before cut-off", "censored early", "no pfs"]

_SPELLINGS: Final[dict[str, Recist]] = {
    "cr": "CR", "complete response": "CR", "pr": "PR", "partial response": "PR",
    "sd": "SD", "stable disease": "SD", "pd": "PD", "progressive disease": "PD",
    "ne": "NE", "not evaluable": "NE", "inevaluable": "NE", "not evaluated": "NE",
    "non-cr/non-pd": "non-CR/non-PD", "non cr/non pd": "non-CR/non-PD",
    "not cr, not pd": "non-CR/non-PD", "not cr not pd": "non-CR/non-PD",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Response:
    """The label of one patient.

    Attributes
    ----------
    label
        1 response, 0 none, None where it cannot be known.
    rule
        What decided.
    explanation
        The same in a sentence, with the values.
    """

    label: int | None
    rule: Rule
    explanation: str


def read_recist(text: str) -> Recist | None:
    """Return the category a text spells, None when it cannot be read.

    A remark in brackets behind it is not read.

    Examples
    --------
    >>> read_recist("pr"), read_recist("not CR, not PD (benefit)"), read_recist("good")
    ('PR', 'non-CR/non-PD', None)
    """
    plain = " ".join(text.partition("(")[0].lower().split())
    return _SPELLINGS.get(plain)


def response(
    recist: Recist | None,
    pfs_days: float | None,
    progressed: bool | None,
    spec: ResponseSpec | None = None,
) -> Response:
    """Label one patient.

    Parameters
    ----------
    recist
        Best response, None where it is missing.
    pfs_days
        Progression-free time in days, None where it is missing.
    progressed
        Whether progression or death was seen at that time; False is censored then.
    spec
        The cut-off.

    Examples
    --------
    >>> print(response("SD", 86, True).explanation)
    SD does not decide; progression or death after 86 days, within 240: no response
    >>> response(None, 202, False).label is None
    True
    """
    cut = (spec or ResponseSpec()).cut_days
    if recist in {"CR", "PR", "PD"}:
        label = int(recist != "PD")
        return Response(label, "recist", f"{recist}: {'response' if label else 'no response'}")
    why = "no RECIST" if recist is None else f"{recist} does not decide"
    if pfs_days is None or (progressed is None and pfs_days <= cut):
        return Response(None, "no pfs", f"{why}, and the progression-free time is not known")
    if pfs_days > cut:
        said = f"{why}; {_days(pfs_days)} days without progression, more than {cut:g}: response"
        return Response(1, "pfs beyond cut-off", said)
    if progressed:
        said = (
            f"{why}; progression or death after {_days(pfs_days)} days, within {cut:g}: no response"
        )
        return Response(0, "event before cut-off", said)
    said = (
        f"{why}; last seen without progression after {_days(pfs_days)} days, within {cut:g}: no "
        "label, kept for survival"
    )
    return Response(None, "censored early", said)


def _days(days: float) -> str:
    """Whole days, and a tenth where the time was not counted in days."""
    return f"{days:.1f}".removesuffix(".0")
