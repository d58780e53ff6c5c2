"""Label tables are read as people write them, contradictions are refused, slides are found."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest

from herscope.core.errors import HerscopeError, InputError, LeakyFolds, SchemaError
from herscope.mil.her2_labels import read_ihc, read_ish
from herscope.mil.label_table import LabelRow, LabelTable, label_table
from herscope.mil.labels import read_labels
from herscope.mil.slide_matching import match
from herscope.mil.tcga_labels import read_tcga

DATA = Path(os.environ.get("HERSCOPE_DATA", Path(__file__).parents[1].parent / "shared" / "data"))
TCGA = DATA / "clinical" / "tcga" / "tcga_brca_her2.csv"
needs_tcga = pytest.mark.skipif(not TCGA.exists(), reason="the TCGA table is not on this machine")

TCGA_HEADER = (
    "bcr_patient_barcode,her2_status_by_ihc,her2_ihc_score,her2_fish_status,"
    "her2_copy_number,her2_cent17_ratio"
)


def table(folder: Path, text: str, name: str = "labels.csv") -> Path:
    path = folder / name
    path.write_text("\n".join(line.strip() for line in text.strip().splitlines()) + "\n")
    return path


def labels_of(found: LabelTable) -> dict[str, str]:
    return {row.slide or row.patient: row.label for row in found.rows}


def paths(*names: str) -> dict[str, Path]:
    return {name: Path(f"{name}.h5ad") for name in names}


@pytest.mark.parametrize(
    ("text", "ihc"),
    [
        ("0", "0"), ("1+", "1+"), ("2 +", "2+"), ("IHC 3+", "3+"), ("Score 0", "0"), ("+2", "2+"),
        ("HER2: 1+", "1+"), ("her2/neu 3+", "3+"), ("3.0", "3+"), ("+++", "3+"),
        ("neg", "negative"), ("Positive", "positive"), ("Equivocal", "equivocal"),
        ("HER2-low", "low"), ("ultralow", "0"),
    ],
)  # fmt: skip
def test_scores_are_read_as_people_write_them(text, ihc):
    assert read_ihc(text).ihc == ihc


@pytest.mark.parametrize("text", ["1+/2+", "4+", "+", "maybe", "0-1", "2+ FISH blue"])
def test_what_is_ambiguous_is_not_read(text):
    assert read_ihc(text) is None


@pytest.mark.parametrize(
    ("text", "ish"),
    [
        ("amplified", "positive"), ("Not Amplified", "negative"), ("FISH negative", "negative"),
        ("+", "positive"), ("equivocal", None), ("Not Performed", None),
    ],
)  # fmt: skip
def test_ish_is_read_as_people_write_it(text, ish):
    assert read_ish(text) == (True, ish)


def test_one_cell_may_tell_ihc_and_ish():
    reading = read_ihc("2+ (FISH amplified)")
    assert (reading.ihc, reading.ish) == ("2+", "positive")


HER2 = """
slide,patient,hospital,HER2,FISH
a.svs,p1,X,0,
b.svs,p2,X,IHC 1+,
c.svs,p3,Y,2+,amplified
d.svs,p4,Y,2+,not amplified
e.svs,p5,Y,2+,
f.svs,p6,X,3+,
"""


@pytest.mark.parametrize(
    ("task", "wanted"),
    [
        ("her2-four", {"a": "0", "b": "1+", "c": "2+", "d": "2+", "e": "2+", "f": "3+"}),
        (
            "her2-positive",
            {"a": "negative", "b": "negative", "c": "positive", "d": "negative", "f": "positive"},
        ),
        ("her2-low-vs-0", {"a": "0", "b": "low", "d": "low"}),
    ],
)
def test_each_task_has_its_classes(tmp_path, task, wanted):
    assert labels_of(read_labels(table(tmp_path, HER2), task=task)) == wanted


def test_what_is_left_out_and_what_was_guessed_is_told(tmp_path):
    found = read_labels(table(tmp_path, HER2), task="her2-low-vs-0")
    told = "; ".join(found.notes)
    assert "2 x HER2-positive" in told
    assert "1 x IHC 2+ without a decided ISH" in told
    assert "label: HER2" in told
    assert "site: hospital" in told
    assert [row.site for row in found.rows] == ["X", "X", "Y"]


def test_classes_stand_in_order(tmp_path):
    found = read_labels(table(tmp_path, "slide,label\na,3+\nb,0\nc,1+"))
    assert found.classes == ("0", "1+", "3+")
    numbers = read_labels(table(tmp_path, "slide,label\na,10\nb,9\nc,2"))
    assert numbers.classes == ("2", "9", "10")
    words = read_labels(table(tmp_path, "slide,label\na,lobular\nb,ductal"))
    assert words.classes == ("ductal", "lobular")


def test_parquet_is_read_like_csv(tmp_path):
    frame = pd.DataFrame({"slide_id": ["a", "b"], "her2_score": [0, 3]})
    frame.to_parquet(tmp_path / "labels.parquet")
    found = read_labels(tmp_path / "labels.parquet", task="her2-four")
    assert labels_of(found) == {"a": "0", "b": "3+"}


def test_a_cell_that_cannot_be_read_is_named_or_counted(tmp_path):
    path = table(tmp_path, "slide,label\na,0\nb,three\nc,3+")
    with pytest.raises(InputError, match=r"row 2.*'three'"):
        read_labels(path, task="her2-four")
    found = read_labels(path, task="her2-four", drop_missing=True)
    assert len(found) == 2
    assert any("1 x the result cannot be read" in note for note in found.notes)


def test_a_status_is_no_score(tmp_path):
    path = table(tmp_path, "slide,label\na,0\nb,negative\nc,3+")
    with pytest.raises(InputError, match="is a status") as refused:
        read_labels(path, task="her2-four")
    assert "her2-positive" in refused.value.hint
    assert len(read_labels(path, task="her2-positive")) == 3


def test_a_missing_label_is_refused_or_counted(tmp_path):
    path = table(tmp_path, "slide,label\na,x\nb,\nc,y")
    with pytest.raises(InputError, match="row 2"):
        read_labels(path)
    assert len(read_labels(path, drop_missing=True)) == 2


def test_one_class_is_refused(tmp_path):
    with pytest.raises(InputError, match="all 2 rows have the label"):
        read_labels(table(tmp_path, "slide,label\na,0\nb,0"))


def test_the_same_slide_twice_is_kept_once_unless_its_labels_differ(tmp_path):
    same = table(tmp_path, "slide,label\na.svs,0\nscans/a.svs,0\nb,1")
    assert len(read_labels(same)) == 2
    differ = table(tmp_path, "slide,label\na,0\na,1\nb,1")
    with pytest.raises(InputError, match=r"slide 'a'.*row 1.*row 2"):
        read_labels(differ)


def test_a_patient_with_two_labels_is_refused_unless_labels_are_of_slides(tmp_path):
    path = table(tmp_path, "slide,patient,label\na,p,0\nb,p,1\nc,q,1")
    with pytest.raises(InputError, match=r"1 patient.*p \(0 in row 1, 1 in row 2\)"):
        read_labels(path)
    assert len(read_labels(path, patient_labels="slide")) == 3


def test_a_patient_in_two_sites_is_refused(tmp_path):
    path = table(tmp_path, "slide,patient,site,label\na,p,X,0\nb,p,Y,0\nc,q,Y,1")
    with pytest.raises(InputError, match="patient 'p' is from site X in row 1 and from Y in row 2"):
        read_labels(path)


def test_a_patient_on_both_sides_of_the_split_is_a_leak(tmp_path):
    path = table(tmp_path, "slide,patient,label,split\na,p,0,train\nb,p,0,test\nc,q,1,train")
    with pytest.raises(LeakyFolds, match="patient 'p'"):
        read_labels(path)


def test_a_split_has_two_sides(tmp_path):
    path = table(tmp_path, "slide,label,split\na,0,Train\nb,1,validation\nc,1,TEST")
    found = read_labels(path)
    assert [row.split for row in found.rows] == ["train", "train", "test"]
    assert any("validation is taken as train" in note for note in found.notes)
    with pytest.raises(InputError, match="'left' is no side"):
        read_labels(table(tmp_path, "slide,label,split\na,0,left\nb,1,test"))


def test_a_column_that_is_named_must_be_there_and_one_must_be_found(tmp_path):
    path = table(tmp_path, "slide,label\na,0\nb,1")
    with pytest.raises(SchemaError, match="no column 'diagnosis'"):
        read_labels(path, label_column="diagnosis")
    with pytest.raises(SchemaError, match="looks like the label"):
        read_labels(table(tmp_path, "slide,diagnosis\na,0\nb,1"))
    with pytest.raises(SchemaError, match="looks like the slide"):
        read_labels(table(tmp_path, "who,label\na,0\nb,1"))
    named = read_labels(table(tmp_path, "who,x\na,0\nb,1"), slide_column="who", label_column="x")
    assert len(named) == 2


def test_without_patients_a_slide_is_its_own_but_a_tcga_slide_is_its_patients(tmp_path):
    path = table(
        tmp_path,
        """slide,label
        TCGA-A1-A0SB-01Z-00-DX1.UUID,0
        TCGA-A1-A0SB-01Z-00-DX2.UUID,0
        TCGA-E2-A14N-01Z-00-DX1.UUID,1
        other,1""",
    )
    found = read_labels(path)
    assert [row.patient for row in found.rows] == [
        "TCGA-A1-A0SB", "TCGA-A1-A0SB", "TCGA-E2-A14N", "other"
    ]  # fmt: skip
    assert [row.site for row in found.rows] == ["A1", "A1", "E2", None]


def test_an_unknown_task_is_named(tmp_path):
    with pytest.raises(InputError, match="no task 'her2'"):
        read_labels(table(tmp_path, "slide,label\na,0\nb,1"), task="her2")


def test_too_many_folds_tell_how_many_patients_each_class_has(tmp_path):
    found = read_labels(table(tmp_path, "slide,label\na,0\nb,0\nc,0\nd,1\ne,1"))
    found.check_folds(2)
    with pytest.raises(InputError, match=r"class '1' has 2 patient.*0 3, 1 2"):
        found.check_folds(3)


def tcga(folder: Path, *rows: str) -> Path:
    return table(folder, "\n".join((TCGA_HEADER, *rows)), "tcga.csv")


def test_equivocal_is_settled_by_fish_then_by_ratio_and_copies(tmp_path):
    path = tcga(
        tmp_path,
        "TCGA-A1-AAA1,Equivocal,2+,Positive,[Not Available],[Not Available]",
        "TCGA-A1-AAA2,Equivocal,2+,Negative,[Not Available],[Not Available]",
        "TCGA-A1-AAA3,Equivocal,2+,[Not Evaluated],8.1,3.2",
        "TCGA-A1-AAA4,Equivocal,2+,[Not Evaluated],4.5,1.6",
        "TCGA-A1-AAA5,Equivocal,[Not Available],Negative,[Not Available],[Not Available]",
        "TCGA-A1-AAA6,[Not Evaluated],[Not Available],Positive,[Not Available],[Not Available]",
    )
    found = read_tcga(path, "her2-positive")
    assert labels_of(found) == {
        "TCGA-A1-AAA1": "positive",
        "TCGA-A1-AAA2": "negative",
        "TCGA-A1-AAA3": "positive",
        "TCGA-A1-AAA5": "negative",
        "TCGA-A1-AAA6": "positive",
    }
    assert {row.site for row in found.rows} == {"A1"}
    assert found.by_patient


def test_contradictions_are_counted_and_kept_or_dropped(tmp_path):
    path = tcga(
        tmp_path,
        "TCGA-A1-AAA1,Negative,3+,[Not Evaluated],,",
        "TCGA-A1-AAA2,Negative,0,[Not Evaluated],,",
        "TCGA-A1-AAA3,Negative,1+,Positive,,",
        "TCGA-A1-AAA4,Positive,2+,Positive,,",
    )
    kept = read_tcga(path, "her2-four")
    assert len(kept) == 4
    assert any("2 contradictions kept" in note for note in kept.notes)
    assert labels_of(read_tcga(path, "her2-four", contradictions="drop")) == {
        "TCGA-A1-AAA2": "0",
        "TCGA-A1-AAA4": "2+",
    }


def test_a_barcode_or_value_that_is_none_is_named(tmp_path):
    with pytest.raises(InputError, match=r"row 1.*'A1-1' is no TCGA barcode"):
        read_tcga(tcga(tmp_path, "A1-1,Negative,0,,,"))
    with pytest.raises(InputError, match=r"row 1.*her2_ihc_score: 'high'"):
        read_tcga(tcga(tmp_path, "TCGA-A1-AAA1,Negative,high,,,"))


@needs_tcga
def test_the_real_tcga_table_gives_the_counts_in_the_docs():
    four = read_labels(TCGA, task="her2-four")
    assert four.patients == {"0": 51, "1+": 194, "2+": 138, "3+": 70}
    positive = read_labels(TCGA, task="her2-positive")
    assert positive.patients == {"negative": 551, "positive": 132}
    low = read_labels(TCGA, task="her2-low-vs-0")
    assert low.patients == {"0": 51, "low": 286}
    assert any("23 contradictions" in note for note in four.notes)


def by_slide(*rows: tuple[str, str]) -> LabelTable:
    made = [LabelRow(s, s, None, label, None, n) for n, (s, label) in enumerate(rows, 1)]
    return label_table(made, task="classes", source="labels.csv")


def by_patient(*rows: tuple[str, str]) -> LabelTable:
    made = [LabelRow(None, p, None, label, None, n) for n, (p, label) in enumerate(rows, 1)]
    return label_table(made, task="classes", source="labels.csv")


def test_slides_and_labels_without_a_partner_are_listed():
    found = match(by_slide(("a", "0"), ("b", "1"), ("c", "1")), paths("a", "b", "x"))
    assert [s.slide for s in found.slides] == ["a", "b"]
    assert found.unlabelled == ("x",)
    assert found.missing == ("c",)
    assert any("1 labels without a slide: c" in note for note in found.notes)


def test_endings_do_not_hinder_a_match():
    found = match(by_slide(("a", "0"), ("b", "1")), {"a.svs": Path("a"), "b.h5": Path("b")})
    assert len(found) == 2


def test_all_slides_of_a_patient_are_found_by_barcode():
    slides = paths(
        "TCGA-A1-A0SB-01Z-00-DX1.U1", "TCGA-A1-A0SB-01A-01-TS1.U2", "TCGA-A1-A0SC-01Z-00-DX1.U3"
    )
    found = match(by_patient(("TCGA-A1-A0SB", "0"), ("TCGA-A1-A0SC", "1")), slides)
    assert [s.patient[-1] for s in found.slides] == ["B", "B", "C"]
    assert any("1 of them are TCGA's frozen sections" in note for note in found.notes)


def test_a_number_that_begins_another_number_takes_nothing_of_it():
    found = match(by_patient(("p1", "0"), ("p10", "1")), paths("p1-a", "p10-a"))
    assert [(s.slide, s.label) for s in found.slides] == [("p1-a", "0"), ("p10-a", "1")]


def test_a_slide_that_fits_two_labels_is_refused():
    with pytest.raises(InputError, match=r"fits 'p' .* and 'p-1'"):
        match(by_patient(("p", "0"), ("p-1", "1")), paths("p-1-a"))


def test_a_label_that_fits_two_slides_is_refused_but_an_exact_name_wins():
    labels = by_slide(("s", "0"), ("t", "1"))
    with pytest.raises(InputError, match="fits 2 slides"):
        match(labels, paths("s.1", "s.2", "t"))
    found = match(labels, paths("s", "s.2", "t"))
    assert [s.slide for s in found.slides] == ["s", "t"]


def test_no_match_at_all_shows_names_of_both_sides():
    with pytest.raises(InputError, match=r"labels: a, b, c and 1 more; slides: w, x, y and 1 more"):
        match(by_slide(("a", "0"), ("b", "1"), ("c", "1"), ("d", "1")), paths("w", "x", "y", "z"))


def test_slides_of_one_class_are_refused():
    with pytest.raises(InputError, match=r"of class '0'; 1 labels have no slide: b"):
        match(by_slide(("a", "0"), ("b", "1")), paths("a"))


def test_every_refusal_says_what_to_do_next(tmp_path):
    texts = ("slide,label\na,0\nb,0", "slide,label\na,0\na,1", "slide,label\na,\nb,1")
    for text in texts:
        with pytest.raises(HerscopeError) as refused:
            read_labels(table(tmp_path, text))
        assert refused.value.hint
