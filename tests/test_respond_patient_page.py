"""The page of a patient says what the document says, escaped, and fetches nothing."""

from __future__ import annotations

import base64
import copy
import io
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from PIL import Image

from herscope.core.errors import SchemaError
from herscope.report.respond_patient_charts import (
    bag_map,
    contribution_chart,
    probability_strip,
)
from herscope.report.respond_patient_page import patient_page, write_patient_page


def png_uri(shade: int = 128) -> str:
    out = io.BytesIO()
    Image.new("RGB", (6, 4), (shade,) * 3).save(out, "PNG")
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()


def level(name: str, mean: float) -> dict[str, Any]:
    return {
        "level": name, "mean": mean, "low": mean - 0.05, "high": mean + 0.05,
        "individual_low": mean - 0.2, "individual_high": mean + 0.2, "observed": mean,
        "observed_patients": 9,
    }  # fmt: skip


DOCUMENT: dict[str, Any] = {
    "schema": "herscope.explanation/1",
    "patient": "P-7",
    "label": 0,
    "members": 5,
    "probability": 0.31,
    "low": 0.2,
    "high": 0.44,
    "cut": 0.52,
    "group": "high risk",
    "parts": ["pathology-images", "radiology-images", "patient"],
    "missing": ["radiology-report"],
    "logit": {"value": -0.8, "low": -1.2, "high": -0.2},
    "base": {"value": 0.1, "low": 0.0, "high": 0.2},
    "statement": ["Known: slides, CT lesions and patient data. Missing: radiology report."],
    "contributions": [
        {"part": "pathology-images", "logit": -0.7, "low": -1.0, "high": -0.3},
        {"part": "radiology-images", "logit": -0.3, "low": -0.5, "high": 0.1},
        {"part": "patient", "logit": 0.1, "low": 0.0, "high": 0.2},
    ],
    "tokens": {
        "patient": [
            {"token": "sex", "value": "male", "attention": 0.6, "occlusion": 0.12,
             "low": 0.1, "high": 0.2},
            {"token": "Lauren", "value": None, "attention": None, "occlusion": None,
             "low": None, "high": None},
        ]
    },
    "bags": [
        {"number": 1, "slide": "case-9", "x_px": 4000, "y_px": 100, "bag_px": 900.0,
         "weight": 0.75, "left_out": -0.4, "low": -0.6, "high": -0.1, "picture": png_uri(200)},
        {"number": 0, "slide": "case-9", "x_px": 0, "y_px": 0, "bag_px": 900.0,
         "weight": 0.25, "left_out": None, "low": None, "high": None},
    ],
    "slides": [{"name": "case-9", "width_px": 9000, "height_px": 6000, "thumbnail": png_uri()}],
    "lesions": [
        {"number": 0, "name": "liver 1", "kind": "liver", "source": "ct-3", "key_slice": 11,
         "weight": 1.0, "left_out": -0.3, "low": None, "high": None, "cam_peak": 0.5,
         "picture": png_uri(1), "cam_picture": png_uri(2)},
    ],
    "dependence": {
        "parts": [{"part": "patient", "patients": 40, "known": 0.4, "unknown": 0.5, "moved": 0.2,
                   "difference": -0.1, "low": -0.2, "high": 0.0}],
        "tokens": [{"set": "patient", "token": "sex", "patients": 40,
                    "levels": [level("female", 0.4), level("male", 0.45)]}],
    },
    "availability": [
        {"parts": ["pathology-images", "radiology-images", "patient"],
         "without": ["radiology-report"], "patients": 44,
         "auc": {"value": 0.66, "low": 0.5, "high": 0.8}},
        {"parts": ["patient"], "without": [], "patients": 12, "auc": None},
    ],
    "notes": ["A note."],
}  # fmt: skip


class Words(HTMLParser):
    """The text of a page as it is read, its tags, and where its pictures come from."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.tags, self.sources = "", list[str](), list[str]()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [str(value) for name, value in attrs if name in {"src", "href"}]

    def handle_data(self, data: str) -> None:
        self.text += " " + data


def read(document: dict[str, Any], **options: Any) -> Words:
    return Words(patient_page(document, **options))


def test_the_page_says_what_the_document_says():
    text = re.sub(r"\s+", " ", read(DOCUMENT).text)

    for said in (
        "Patient P-7",
        "Probability of response 0.31 (0.20 to 0.44 over networks): no response expected",
        "truth: no response",
        "Missing: radiology report.",
        "0.660 (0.500 to 0.800)",
        "+0.12 (+0.10 to +0.20)",
        "2: case-9, x 4,000, y 100 0.750 1.5× -0.400 (-0.600 to -0.100)",
        "not measured",
        "liver 1 (liver, ct-3, slice 12): weight 1.00, moved -0.30, map up to 0.5",
        "decides nothing about treatment",
        "from +0.10, said when nothing is known, to -0.80",
        "A note.",
    ):
        assert said in text, said


def test_a_missing_entry_is_said_to_be_missing():
    text = re.sub(r"\s+", " ", read(DOCUMENT).text)

    assert "Lauren missing" in text
    assert "radiology report patient data known known missing known" in text


def test_everything_but_patient_and_probability_may_be_missing():
    page = read({"patient": "a", "probability": 0.5})

    assert "Probability of response 0.50" in page.text
    for heading in ("Where on the slides", "Lesions", "What moved the answer", "Reports"):
        assert heading not in page.text


@pytest.mark.parametrize("key", sorted(set(DOCUMENT) - {"patient", "probability"}))
def test_any_one_part_of_the_document_may_be_missing(key):
    document = {name: value for name, value in DOCUMENT.items() if name != key}

    assert "P-7" in patient_page(document)


def test_text_of_a_document_is_never_markup():
    evil = "<script>alert(1)</script>"
    document = copy.deepcopy(DOCUMENT)
    document["patient"] = document["group"] = evil
    document["statement"], document["notes"] = [evil], [evil]
    document["tokens"]["patient"][0]["value"] = evil
    document["tokens"]["patient"][0]["token"] = evil
    document["bags"][0]["slide"] = document["lesions"][0]["name"] = evil
    document["dependence"]["tokens"][0]["token"] = evil

    page = read(document, back='"><script>')

    assert "script" not in page.tags
    assert evil in page.text


def test_the_page_fetches_nothing():
    page = read(DOCUMENT, back="../index.html")

    assert "../index.html" in page.sources
    outside = [s for s in page.sources if not s.startswith("data:image/") and s != "../index.html"]
    assert outside == []
    assert "link" not in page.tags


@pytest.mark.parametrize(
    "address",
    ["https://example.org/a.png", "data:text/html;base64,AAAA", "data:image/svg+xml;base64,AAAA",
     'data:image/png;base64,AA" onload="x', 5],
)  # fmt: skip
def test_a_picture_that_is_no_png_or_jpeg_is_refused(address):
    document = copy.deepcopy(DOCUMENT)
    document["lesions"][0]["cam_picture"] = address

    with pytest.raises(SchemaError, match="no PNG or JPEG data URI"):
        patient_page(document)


def test_a_thumbnail_that_cannot_be_decoded_is_refused():
    document = copy.deepcopy(DOCUMENT)
    document["slides"][0]["thumbnail"] = "data:image/png;base64,AAAA"

    with pytest.raises(SchemaError, match="cannot be decoded"):
        patient_page(document)


@pytest.mark.parametrize("probability", [None, "0.5", float("nan"), 1.2, -0.1])
def test_a_document_without_a_probability_is_refused(probability):
    with pytest.raises(SchemaError, match="probability"):
        patient_page({**DOCUMENT, "probability": probability})


def test_nobody_is_certain():
    text = read({"patient": "a", "probability": 0.99996, "low": 0.9, "high": 1.0}).text

    assert "Probability of response over 0.99 (0.90 to over 0.99 over networks)" in text


def test_the_page_is_written_with_its_folder(tmp_path):
    written = write_patient_page(tmp_path / "patients" / "a b.html", DOCUMENT)

    assert "P-7" in written.read_text(encoding="utf-8")


def test_the_same_document_gives_the_same_page():
    assert patient_page(DOCUMENT) == patient_page(copy.deepcopy(DOCUMENT))


def test_charts_follow_their_numbers():
    rows = copy.deepcopy(DOCUMENT["contributions"])
    before = contribution_chart(rows)
    rows[0]["logit"] = 0.7

    assert contribution_chart(rows) != before
    assert probability_strip(DOCUMENT) != probability_strip({**DOCUMENT, "cut": 0.1})


def test_the_heaviest_bag_is_the_brightest_at_its_place():
    bags = [{"x_px": 0, "y_px": 0, "bag_px": 1000.0, "weight": 0.1},
            {"x_px": 3000, "y_px": 1000, "bag_px": 1000.0, "weight": 0.9}]  # fmt: skip

    png = bag_map(bags, 0.9, 0.5, size_px=(4000, 2000)).png()

    picture = np.asarray(Image.open(io.BytesIO(png)).convert("L")).astype(float)
    scale, margin = 620 / 4000, 14
    at = [
        picture[int(margin + scale * (b["y_px"] + 500)), int(margin + scale * (b["x_px"] + 500))]
        for b in bags
    ]
    assert at[1] > at[0] + 60
    assert picture[int(margin + scale * 1500), int(margin + scale * 500)] == 255
