"""One patient's prediction as one self-contained page: the answer, what it rests on, what moved it.

Made of ``explanation.json`` alone (:mod:`herscope.respond.explaining.explanation` says what is in
it), with pictures added as data URIs where a program has them. Everything is optional but the
patient and the probability.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from herscope.core.errors import SchemaError
from herscope.core.store import make_folder, write_text
from herscope.report.html import environment
from herscope.report.mil_words import counted
from herscope.report.respond_patient_charts import (
    contribution_chart,
    dependence_chart,
    part_dependence_chart,
    probability_strip,
    ranged,
    signed,
)
from herscope.report.respond_patient_instances import (
    bag_caption,
    bag_maps,
    bag_row,
    bag_words,
    lesion_context,
    lesion_words,
    picture_uri,
)
from herscope.report.statistics_page import Picture
from herscope.respond.explaining.words import PART_WORDS, chance, known_words

CAVEATS: Final = (
    (
        "A prediction of one model, trained on one cohort. It is no finding of this patient and "
        "decides nothing about treatment."
    ),
    (
        "The range beside the probability says how far training again would move the number. It "
        "is not the chance of being right: a narrow range may be wrong, and the probability is "
        "that of the training cohort's mix of patients."
    ),
    (
        "What moved the model is not what moves the disease. Contributions, attention and maps "
        "explain the model, and explain a wrong answer as convincingly as a right one."
    ),
)
METHODS: Final = (
    "contributions: exact Shapley values over all subsets of the known parts (Shapley 1953; "
    "Lundberg and Lee 2017); entries: one left out at a time, attention beside it (Jain and "
    "Wallace 2019); pictures: Grad-CAM (Selvaraju 2017); cohort: partial dependence (Friedman 2001)"
)
EXPECTED: Final = {
    "low risk": "response expected (low risk)",
    "high risk": "no response expected (high risk)",
}
MOST_BAG_PICTURES: Final = 12
MOST_BAG_ROWS: Final = 12
MOST_DEPENDENCE: Final = 6
"""Panels that are seen at once, those along which risk moves most."""
LABELS: Final = {1: "response", 0: "no response"}


def write_patient_page(
    path: str | Path, document: Mapping[str, Any], *, back: str | None = None
) -> Path:
    """Write the page of a patient; arguments and errors as :func:`patient_page`.

    Raises
    ------
    OutputError
        The page cannot be written.
    """
    target = Path(path)
    page = patient_page(document, back=back)
    make_folder(target.parent)
    write_text(target, page)
    return target


def patient_page(document: Mapping[str, Any], *, back: str | None = None) -> str:
    """Return the page of a patient.

    Parameters
    ----------
    document
        As ``Explanation.document`` gives it. Besides: ``picture`` of a bag, ``picture`` and
        ``cam_picture`` of a lesion (PNG or JPEG data URIs); ``slides``, a list of ``{name,
        width_px, height_px, thumbnail}`` (data URI); ``model``, ``cohort``, ``herscope`` for the
        last table.
    back
        Link to the cohort page, relative to this page.

    Raises
    ------
    SchemaError
        No patient or probability, or a picture that is no PNG or JPEG data URI.

    Examples
    --------
    >>> page = patient_page({"patient": "<b>", "probability": 0.4})
    >>> "&lt;b&gt;" in page, "Probability of response 0.40" in page
    (True, True)
    """
    _check(document)
    dependence = document.get("dependence") or {}
    bags = list(document.get("bags", ()))
    context = {
        "title": f"Patient {document['patient']}",
        "facts": _facts(document),
        "alerts": list(document.get("alerts", ())),
        "caveats": CAVEATS if document.get("contributions") else CAVEATS[:-1],
        "notes": list(document.get("notes", ())),
        "verdict": _verdict(document),
        "strip": _strip(document),
        "statement": list(document.get("statement", ())),
        "known": _known(document),
        "availability": _availability(document),
        "contributions": _contributions(document),
        "tokens": _tokens(document),
        "bag_count": len(bags),
        "bag_words": bag_words(bags),
        "maps": bag_maps(document, bags),
        "bag_pictures": [
            {
                "picture": picture_uri(bag["picture"], "a bag's picture"),
                "words": bag_caption(bag, bags),
            }
            for bag in bags
            if bag.get("picture")
        ][:MOST_BAG_PICTURES],
        "bag_rows": [bag_row(bag, bags) for bag in bags[:MOST_BAG_ROWS]],
        "lesions": [lesion_context(lesion) for lesion in document.get("lesions", ())],
        "lesion_words": lesion_words(document),
        "part_dependence": _part_dependence(dependence.get("parts", ())),
        "dependence": _dependence(dependence.get("tokens", ()), document),
        "most_dependence": MOST_DEPENDENCE,
        "made": _made(document),
        "back": back and quote(back),
    }
    return str(environment().get_template("respond_patient.html.j2").render(context))


def _check(document: Mapping[str, Any]) -> None:
    probability = document.get("probability")
    if not document.get("patient") or not isinstance(probability, int | float):
        raise SchemaError(
            "an explanation without patient or probability",
            hint="make it again with herscope respond explain",
        )
    if not math.isfinite(probability) or not 0 <= probability <= 1:
        raise SchemaError(
            f"patient {document['patient']}: probability {probability} (0 to 1)",
            hint="make the explanation again with herscope respond explain",
        )


def _facts(document: Mapping[str, Any]) -> list[str]:
    facts = []
    if document.get("members"):
        facts.append(counted(document["members"], "network"))
    if document.get("parts") is not None:
        facts.append(f"{counted(len(document['parts']), 'part')} known")
    if document.get("label") in LABELS:
        facts.append(f"truth: {LABELS[document['label']]}")
    return facts


def _verdict(document: Mapping[str, Any]) -> str:
    said = f"Probability of response {chance(document['probability'])}"
    low, high = document.get("low"), document.get("high")
    if low is not None and high is not None:
        said += f" ({chance(low)} to {chance(high)} over networks)"
    expected = EXPECTED.get(str(document.get("group")))
    return f"{said}: {expected}" if expected else said


def _strip(document: Mapping[str, Any]) -> Picture:
    ends = "; bar: 5th to 95th percentile of the networks" if document.get("low") is not None else (
        ""
    )  # fmt: skip
    cut = "; broken line: cut-off between the groups, from other patients" if (
        document.get("cut") is not None
    ) else ""  # fmt: skip
    return Picture(probability_strip(document), _verdict(document), f"Dot: mean{ends}{cut}.")


def _known(document: Mapping[str, Any]) -> list[tuple[str, bool]]:
    known, missing = document.get("parts", ()), document.get("missing", ())
    return [(words, part in known) for part, words in PART_WORDS.items()
            if part in known or part in missing]  # fmt: skip


def _availability(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    own = set(document.get("parts", ()))
    return [
        {
            "words": known_words(row["parts"], row.get("without", ())),
            "patients": f"{row['patients']:,}",
            "auc": _auc(row.get("auc")),
            "mine": set(row["parts"]) == own,
        }
        for row in document.get("availability", ())
    ]


def _contributions(document: Mapping[str, Any]) -> Picture | None:
    rows = document.get("contributions", ())
    if not rows:
        return None
    said = ", ".join(
        f"{PART_WORDS.get(r['part'], r['part'])} {signed(r['logit'], 2)}" for r in rows
    )
    base, logit = (document.get(key) for key in ("base", "logit"))
    sums = ""
    if base and logit:
        sums = (
            f" They lead from {signed(base['value'], 2)}, said when nothing is known, to "
            f"{signed(logit['value'], 2)}. Subsets that the training seldom saw are guesses of "
            "the model, which widens the lines."
        )
    line = " Line: 5th to 95th percentile of the networks." if rows[0].get("low") is not None else (
        ""
    )  # fmt: skip
    return Picture(
        contribution_chart(rows),
        f"Contributions in logit of response: {said}",
        "Shapley value of each known part, in logit of response (+0.69 doubles the odds): its mean "
        f"gain over all orders in which the parts could become known.{sums}{line}",
    )


def _tokens(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "title": PART_WORDS.get(name, name).capitalize(),
            "rows": [
                {
                    "token": row["token"],
                    "value": row.get("value"),
                    "attention": _figure(row.get("attention"), ".2f"),
                    "moved": ranged(row, "occlusion", 2),
                }
                for row in rows
            ],
        }
        for name, rows in (document.get("tokens") or {}).items()
        if rows
    ]


def _part_dependence(rows: Sequence[Mapping[str, Any]]) -> Picture | None:
    if not rows:
        return None
    return Picture(
        part_dependence_chart(rows),
        "How far risk moves when a part is unknown",
        "Change of a patient's risk of no response when a part becomes unknown, of the patients "
        "who have it: bar, mean in either direction; mean, risk with minus without (95 % interval "
        "over patients), near nought where a part moves some up and others down.",
    )


def _dependence(rows: Sequence[Mapping[str, Any]], document: Mapping[str, Any]) -> list[Picture]:
    own = {
        (name, token["token"]): token.get("value")
        for name, tokens in (document.get("tokens") or {}).items()
        for token in tokens
    }
    return [
        Picture(
            dependence_chart(row, own.get((row["set"], row["token"]))),
            f"Risk along {row['token']}: "
            + ", ".join(f"{level['level']} {level['mean']:.2f}" for level in row["levels"]),
            "",
        )
        for row in sorted(rows, key=_reach, reverse=True)
    ]


def _reach(row: Mapping[str, Any]) -> float:
    """How far the mean risk moves along the levels."""
    means = [level["mean"] for level in row["levels"]]
    return float(max(means) - min(means))


def _made(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = [(key, str(document[key])) for key in ("model", "cohort", "herscope")
            if document.get(key)]  # fmt: skip
    if document.get("members"):
        rows.append(("networks", str(document["members"])))
    if document.get("cut") is not None:
        rows.append(("cut-off on the probability", f"{document['cut']:.3f}"))
    return [*rows, ("methods", METHODS)] if document.get("contributions") else rows


def _auc(auc: Mapping[str, Any] | None) -> str:
    if auc is None or auc.get("value") is None:
        return "not measured"
    low, high = auc.get("low"), auc.get("high")
    ends = "" if low is None or high is None else f" ({low:.3f} to {high:.3f})"
    return f"{auc['value']:.3f}{ends}"


def _figure(value: float | None, form: str) -> str:
    return "" if value is None else f"{value:{form}}"
