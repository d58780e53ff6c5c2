"""Report tokens declared as data: widths, bins, fractions, codes, missing and unknown values."""

import numpy as np
import pytest

from herscope.core.errors import InputError, SchemaError
from herscope.respond.cohort.token_sets import TokenDeclaration, load_set, load_sets
from herscope.respond.cohort.tokens import encode
from herscope.stats.table import from_columns

ALL = ("pathology-report", "radiology-report", "patient", "sampling-times")
DECLARED = {token.name: token for one in load_sets(ALL) for token in one.token}


def vector(name, *cells, **options):
    column = DECLARED[name].column
    tokens = encode(from_columns({column: list(cells)}), [DECLARED[name]], **options)
    return tokens.of(name)


def place(name, cell):
    return vector(name, cell)[0].argmax()


def test_the_sets_have_the_tokens_and_widths_of_the_paper():
    widths = {name: [t.width for t in load_set(name).token] for name in ALL}

    assert widths == {
        "pathology-report": [10, 4, 10],
        "radiology-report": [2, 7, 3, 5, 4, 2],
        "patient": [2, 2, 2, 2, 3, 3, 4, 13],
        "sampling-times": [3, 3],
    }


@pytest.mark.parametrize(
    ("cell", "bin_"),
    [
        ("0", 0), ("0.05", 0), ("0.1", 1), ("0.3", 3), ("0.55", 5), ("0.6", 6), ("0.7", 7),
        ("0.95", 9), ("1.0", 9), ("70%", 7), ("0.29", 2), ("0.58", 5),
    ],
)  # fmt: skip
def test_shares_fall_in_tenths_and_one_in_the_last(cell, bin_):
    assert place("tils", cell) == bin_


@pytest.mark.parametrize(
    ("cell", "shares"),
    [
        ("none(all3+)", [0, 0, 0, 1]),
        ("none(all0+)", [1, 0, 0, 0]),
        ("2+", [0, 0, 1, 0]),
        ("heterogeneity(3+60%, 2+40%)", [0, 0, 0.4, 0.6]),
        ("heterogeneity(3+10%, 2+30%, 1+20%, 0+40%)", [0.4, 0.2, 0.3, 0.1]),
        ("3+ : 33%; 2+ : 33%; 1+ : 33%", [0, 1 / 3, 1 / 3, 1 / 3]),
    ],
)
def test_her2_fractions_are_read_from_the_text_of_the_report(cell, shares):
    assert vector("her2_heterogeneity", cell)[0] == pytest.approx(shares)


@pytest.mark.parametrize(
    ("cell", "why"),
    [
        ("heterogeneity(3+60%, 1+%)", "no category with a percentage"),
        ("3+60%, 2+20%", "sum to 80 %"),
        ("3+60%, 3+40%", "two percentages"),
        ("3+85%, 15%", "no category"),
        ("4+100%", "no category"),
        ("mostly 3+", "no category"),
    ],
)
def test_fractions_that_say_nothing_certain_are_refused(cell, why):
    with pytest.raises(InputError, match=why):
        vector("her2_heterogeneity", cell)


def test_fractions_may_stand_in_a_column_each():
    table = from_columns({"a": [40, 0.5], "b": [0, 0.5], "c": [None, None], "d": [60, 0]})

    tokens = encode(
        table,
        [DECLARED["her2_heterogeneity"]],
        columns={"her2_heterogeneity": ["a", "b", "c", "d"]},
    )

    assert tokens.of("her2_heterogeneity") == pytest.approx(
        np.array([[0.4, 0, 0, 0.6], [0.5, 0.5, 0, 0]])
    )


def test_digits_and_flags_become_multi_hot():
    assert vector("node_location", "123")[0].tolist() == [0, 1, 1, 1, 0]
    assert vector("node_location", "0")[0].tolist() == [1, 0, 0, 0, 0]
    assert vector("node_location", "region 1; region 4")[0].tolist() == [0, 1, 0, 0, 1]
    assert np.flatnonzero(vector("metastatic_sites", "1000100000010")[0]).tolist() == [0, 4, 11]


def test_leading_zeros_that_a_spreadsheet_took_are_put_back_and_told():
    table = from_columns({"metastatic_sites": [100000000010]})

    tokens = encode(table, [DECLARED["metastatic_sites"]])

    assert np.flatnonzero(tokens.values[0, 0]).tolist() == [1, 11]
    assert tokens.notes == ("metastatic_sites: codes had lost leading zeros (1)",)


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("node_location", "15"), ("node_location", "11"), ("metastatic_sites", "1.1E+12"),
        ("metastatic_sites", "2000000000000"), ("tils", "70"), ("tils", "high"), ("age", "-3"),
        ("start_year", "03/2019"), ("lauren", "7"), ("sex", "1"), ("start_year", "2019-02-30"),
    ],
)  # fmt: skip
def test_an_unknown_value_names_row_column_and_value(name, cell):
    with pytest.raises(InputError) as caught:
        vector(name, None, cell)

    column = DECLARED[name].column
    assert f"row 2, column {column}: {cell!r} cannot be read as {name}" in str(caught.value)
    assert "on_unknown" in caught.value.hint


def test_unknown_values_may_be_taken_as_missing_and_are_kept_for_the_report():
    table = from_columns({"tils": ["70", "0.7", None]})

    tokens = encode(table, [DECLARED["tils"]], on_unknown="missing")

    assert tokens.present[:, 0].tolist() == [False, True, False]
    assert [(cell.row, cell.value) for cell in tokens.unread] == [(1, "70")]


@pytest.mark.parametrize(
    ("name", "cell", "bin_"),
    [
        ("age", "60", 0), ("age", "61", 1), ("age", "60.5", 1),
        ("start_year", "2011-12-31", 0), ("start_year", "2012", 1), ("start_year", "2024-05-01", 2),
        ("metastatic_lesions", "0", 0), ("metastatic_lesions", "6", 6),
        ("metastatic_lesions", "12", 6),
        ("sex", "Male", 1), ("tumour_site", "non-GJE", 1), ("tumour_site", "gej", 0),
        ("line", "1(postoperative recurrence)", 0), ("line", "3+", 1), ("line", "早期1", 1),
        ("line", "other+adjuvant", 1), ("differentiation", "Moderate", 1), ("lauren", "2", 2),
    ],
)  # fmt: skip
def test_the_patient_is_read_in_the_spellings_of_the_table(name, cell, bin_):
    assert place(name, cell) == bin_


def test_missing_is_zeros_and_a_mask_which_no_site_is_not():
    tokens = encode(
        from_columns({"metastatic_sites": ["0000000000000", None]}), [DECLARED["metastatic_sites"]]
    )

    assert not tokens.values.any()
    assert tokens.present[:, 0].tolist() == [True, False]
    assert tokens.missing() == {"metastatic_sites": 1}


def test_minus_one_means_that_a_modality_is_missing():
    tokens = encode(from_columns({"pathology_time": ["-1", "2"]}), [DECLARED["pathology_time"]])

    assert tokens.of("pathology_time").tolist() == [[0, 0, 0], [0, 0, 1]]
    assert tokens.present[:, 0].tolist() == [False, True]


def test_further_spellings_turn_a_code_round():
    extra = {"primary_lesion": {"0": "present", "1": "absent", "?": "missing"}}

    found = vector("primary_lesion", "0", "1", "?", spellings=extra)

    assert found.tolist() == [[0, 1], [1, 0], [0, 0]]


def test_a_spelling_in_other_case_is_told():
    table = from_columns({"sex": ["MALE", "male"]})

    assert encode(table, [DECLARED["sex"]]).notes == ("sex: 'MALE' read as male (1)",)


def test_names_that_do_not_exist_are_refused_with_the_nearest():
    table = from_columns({"sex": ["male"]})
    for options, said, hint in (
        ({"columns": {"sexx": "sex"}}, "no token is called 'sexx'", "did you mean sex"),
        ({"columns": {"sex": "Sex"}}, "no column 'Sex'", "nearest: sex"),
        ({"spellings": {"sex": {"M": "mael"}}}, "no category 'mael'", "did you mean male"),
        ({"columns": {"sex": ["sex", "sex"]}}, "cannot be filled from 2 columns", "one column"),
    ):
        with pytest.raises(SchemaError, match=said) as caught:
            encode(table, [DECLARED["sex"]], **options)
        assert hint in caught.value.hint


def test_values_are_padded_and_flat_are_side_by_side():
    tokens = encode(
        from_columns({"sex": ["f"], "age": ["70"], "lauren": ["1"]}),
        [DECLARED[name] for name in ("sex", "age", "lauren")],
    )

    flat, names = tokens.flat()

    assert tokens.values.shape == (1, 3, 3)
    assert tokens.values.dtype == np.float32
    assert flat.tolist() == [[1, 0, 0, 1, 0, 1, 0]]
    assert names[:4] == ("sex: female", "sex: male", "age: <=60", "age: >60")


def test_a_user_can_declare_a_set(tmp_path):
    (tmp_path / "mine.toml").write_text(
        'name = "mine"\nmodality = "patient"\n[[token]]\nname = "ecog"\nkind = "bins"\n'
        'column = "ECOG"\nedges = [1.0, 2.0]\nminimum = 0.0\nmaximum = 4.0\n',
        encoding="utf-8",
    )

    (ecog,) = load_set("mine.toml", tmp_path).token

    assert encode(from_columns({"ECOG": [0, 1, 4]}), [ecog]).of("ecog").argmax(1).tolist() == [
        0, 1, 2,
    ]  # fmt: skip


def test_a_declaration_with_a_slip_is_refused(tmp_path):
    (tmp_path / "a.toml").write_text(
        'name = "a"\nmodality = "patient"\n[[token]]\nname = "x"\nkind = "bins"\nedge = [1.0]\n',
        encoding="utf-8",
    )
    with pytest.raises(
        SchemaError, match=r"a.toml, line 6: \[token\] edge is not a known"
    ) as caught:
        load_set("a.toml", tmp_path)
    assert "did you mean edges?" in caught.value.hint

    with pytest.raises(InputError, match="no token set 'pathologyreport'") as caught:
        load_set("pathologyreport")
    assert "did you mean pathology-report?" in caught.value.hint
    with pytest.raises(SchemaError, match="tils is declared in"):
        load_sets(["pathology-report", "pathology-report"])


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "bins", "edges": (2.0, 1.0)},
        {"kind": "bins"},
        {"kind": "one-hot", "categories": ({"name": "a"},)},
        {"kind": "one-hot", "categories": ({"name": "a"}, {"name": "b", "spellings": ("A",)})},
        {
            "kind": "multi-hot",
            "code": "digits",
            "categories": [{"name": str(i)} for i in range(11)],
        },
    ],
)
def test_a_declaration_that_cannot_work_is_refused(fields):
    with pytest.raises(ValueError, match="x: "):
        TokenDeclaration(name="x", **fields)
