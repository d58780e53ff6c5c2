"""``herscope agree`` as a new user calls it: numbers, pages, and what is refused."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from herscope.cli.app import run
from herscope.core.errors import InputError
from herscope.recipes import agree
from herscope.stats.agreement.agreement_summary import categorical_agreement, continuous_agreement

DATA = Path(os.environ.get("HERSCOPE_DATA", Path(__file__).parents[1].parent / "shared" / "data"))
METABRIC = DATA / "clinical" / "metabric" / "metabric_her2_survival.csv"
CPTAC = DATA / "clinical" / "cptac" / "cptac_brca_erbb2.csv"

WRIGHT = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
MINI = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]


@pytest.fixture
def peak_flow(tmp_path):
    rows = [f"s{i},{a},{b}" for i, (a, b) in enumerate(zip(WRIGHT, MINI, strict=True))]
    path = tmp_path / "pefr.csv"
    path.write_text("subject,wright,mini\n" + "\n".join(rows) + "\n")
    return path


@pytest.fixture
def her2(tmp_path):
    ai = ["0"] * 20 + ["1+"] * 15 + ["2+"] * 10 + ["3+"] * 10
    one = ["0"] * 17 + ["1+"] * 17 + ["2+"] * 12 + ["3+"] * 9
    two = ["0"] * 18 + ["1+"] * 18 + ["2+"] * 8 + ["3+"] * 10 + [""]
    rows = [f"c{i},{a},{b},{c}" for i, (a, b, c) in enumerate(zip(ai, one, two, strict=True))]
    path = tmp_path / "her2.csv"
    path.write_text("case,ai,p1,p2\n" + "\n".join(rows) + "\n")
    return path


def told(capsys, *words):
    code = run([str(word) for word in words])
    return code, capsys.readouterr()


def test_measurements_are_reported_with_limits_lines_and_correlations(peak_flow, capsys):
    code, said = told(capsys, "agree", peak_flow, "--a", "wright", "--b", "mini", "--json")

    document = json.loads(said.out)
    assert code == 0
    assert document["kind"] == "continuous"
    assert document["n"] == 17
    assert round(document["bland_altman"]["bias"]["value"], 1) == -2.1
    assert round(document["coefficients"]["lin_ccc"]["value"], 3) == 0.943
    for number in document["coefficients"].values():
        assert {"value", "low", "high", "method", "n", "counts"} <= number.keys()


def test_her2_grades_are_categories_in_their_order_with_a_table_and_the_line(her2, capsys):
    code, said = told(capsys, "agree", her2, "--a", "ai", "--b", "p1", "--line", "0.85", "--json")

    document = json.loads(said.out)
    assert code == 0
    assert document["categories"] == ["0", "1+", "2+", "3+"]
    assert document["categories_ordered"] is True
    assert sum(map(sum, document["table"])) == 55
    assert document["concordance"]["value"] == pytest.approx(50 / 55)
    assert (document["concordance"]["line_met"], document["concordance"]["line_shown"]) == (
        True,
        False,
    )
    keys = {"cohen_kappa_none", "cohen_kappa_linear", "cohen_kappa_quadratic", "gwet_ac_none"}
    assert keys <= document["coefficients"].keys()


def test_the_terminal_shows_table_kappas_and_notes_in_plain_text(her2, capsys):
    code, said = told(capsys, "agree", her2, "--a", "ai", "--b", "p1", "--weights", "quadratic")

    assert code == 0
    assert "categories in order: 0 < 1+ < 2+ < 3+" in said.out
    assert "Cohen's kappa, quadratic weights" in said.out
    assert "linear weights" not in said.out
    assert "line 0.9 met, not shown" in said.out


def test_three_readers_get_pairwise_kappas_and_keep_incomplete_cases_only_when_asked(her2, capsys):
    code, said = told(capsys, "agree", her2, "--readers", "ai,p1,p2", "--id", "case", "--json")
    refused = json.loads(said.out)["error"]
    assert code == 1
    assert refused["message"].endswith("p2 has not read 1 of 55 cases: c54")

    dropped = agree(her2, ["ai", "p1", "p2"], missing="drop")
    kept = agree(her2, ["ai", "p1", "p2"], missing="keep")

    assert (dropped.n, kept.n) == (54, 55)
    assert dropped.left_out == {"rows with a missing value": 1}
    pair = next(r for r in kept.coefficients if r.key == "cohen_kappa_quadratic:ai:p1")
    assert pair.estimate.n == 55


def test_the_page_is_self_contained_and_holds_every_number_and_plot(peak_flow, her2, tmp_path):
    agree(peak_flow, ["wright", "mini"], out=tmp_path / "a.html")
    agree(her2, ["ai", "p1"], out=tmp_path / "b.html")

    for name, pictures in (("a.html", 2), ("b.html", 1)):
        page = (tmp_path / name).read_text()
        assert page.count("data:image/svg+xml;base64,") == pictures
        assert not re.search(r"(?:src|href)=['\"](?!data:)", page)
        assert "Research use only" in page
        assert "nan" not in re.sub(r"base64,[^\"]*", "", page).lower().split()
    numbers = (tmp_path / "a.html").read_text()
    for text in ("-2.118", "-22.05 to 17.81", "0.943", "Passing and Bablok (1983)"):
        assert text in numbers


def test_the_page_is_the_same_bytes_every_time(her2, tmp_path):
    agree(her2, ["ai", "p1"], out=tmp_path / "one.html")
    agree(her2, ["ai", "p1"], out=tmp_path / "two.html")

    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()


def test_reader_names_with_markup_or_formulas_stay_text(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("<b>A</b>,$\\foo$\n0,0\n1,1\n1,0\n")

    agree(path, ["<b>A</b>", "$\\foo$"], out=tmp_path / "p.html")

    assert "<b>A</b>" not in (tmp_path / "p.html").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--a", "ai"], "1 reader column"),
        (["--a", "ai", "--b", "ai"], "named twice"),
        (["--a", "ai", "--b", "P_1"], "no column 'P_1'"),
        (["--a", "ai", "--b", "p2"], "row 55, column p2: the value is missing"),
        (["--a", "ai", "--b", "p1", "--id", "ai"], "'0' stands in rows 1, 2"),
        (["--a", "ai", "--b", "p1", "--kind", "continuous"], "'1\\+' is not a number"),
        (["--a", "ai", "--b", "p1", "--line", "90"], "line"),
        (["--a", "ai", "--b", "p1", "--order", "0,1+"], "does not hold 2\\+, 3\\+"),
        (["--a", "ai", "--b", "p1", "--recode", "x=y"], "'x', which no reader used"),
        (["--a", "ai", "--b", "p2", "--keep-missing"], "three or more"),
        (["--a", "case", "--b", "ai"], "share no category"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_a_remedy(her2, capsys, words, message):
    code, said = told(capsys, "agree", her2, *words)

    assert code == 1
    assert re.search(message, said.err)
    assert "hint: " in said.err
    assert "Traceback" not in said.err


def test_readers_who_never_use_two_categories_get_concordance_and_the_reason_for_no_kappa():
    report = categorical_agreement({"a": ["0"] * 30, "b": ["0"] * 30})

    kappa = report.coefficients[0]
    assert report.concordance.estimate.value == 1.0
    assert kappa.estimate is None
    assert "0/0" in kappa.why_not
    assert report.document()["coefficients"]["cohen_kappa_none"]["value"] is None


def test_identical_measurements_are_reported_without_a_traceback(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n" + "".join(f"{v},{v}\n" for v in (1.5, 2.5, 7.5, 20.5)))

    report = agree(path, ["a", "b"], out=tmp_path / "p.html")

    assert set(report.undefined) == {"bland_altman", "signed_rank"}
    assert report.passing_bablok.slope.value == 1.0


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        ("0,3 1,2 3,3", "categorical"),
        ("0,8 7,7 3,4", "categorical"),
        ("-1,0 0,0 1,1", "categorical"),
        ("0,1+ 1+,1+ 3+,3+", "categorical"),
        ("120,130 10,0 300,280", "continuous"),
        ("0.5,1 1,2 3,3", "continuous"),
    ],
)
def test_the_kind_of_values_is_found(tmp_path, cells, kind):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n" + cells.replace(" ", "\n") + "\n")

    assert agree(path, ["a", "b"]).kind == kind


def test_a_word_among_measurements_is_refused_with_its_row(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n120,130\n80,pos\n70,90\n")

    with pytest.raises(InputError, match=r"row 2, column b: 'pos' is not a number"):
        agree(path, ["a", "b"])


def test_numbers_no_instrument_gives_are_refused_instead_of_overflowing(tmp_path):
    path = tmp_path / "t.csv"
    for odd in ("1e308", "1e-300"):
        path.write_text(f"a,b\n{odd},130\n80,7\n70,90\n75,90\n")

        with pytest.raises(InputError, match=r"row 1: 1e.* is no measurement"):
            agree(path, ["a", "b"])


def test_a_table_too_long_for_passing_bablok_still_gets_its_report(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n" + "".join(f"{i}.5,{i + i % 7}\n" for i in range(5001)))

    report = agree(path, ["a", "b"])

    assert "5001 cases" in report.undefined["passing_bablok"]
    assert report.deming.slope.value == pytest.approx(1, abs=0.01)


def test_the_seed_moves_bootstrap_intervals_only(peak_flow):
    from herscope.stats.agreement.agreement_report import AgreementSpec

    one, two = (agree(peak_flow, ["wright", "mini"], spec=AgreementSpec(seed=s)) for s in (1, 2))

    moved = {
        x.key
        for x, y in zip(one.coefficients, two.coefficients, strict=True)
        if x.estimate.low != y.estimate.low
    }
    assert moved == {"mean_absolute_error", "krippendorff_alpha_interval"}
    assert one.bland_altman == two.bland_altman


def test_readers_with_different_numbers_of_cases_are_named():
    with pytest.raises(InputError, match="different numbers of rows: a 2, b 3"):
        continuous_agreement({"a": [1.0, 2.0], "b": [1.0, 2.0, 3.0]})


@pytest.mark.skipif(not METABRIC.exists(), reason="the METABRIC table is not on this machine")
def test_metabric_er_by_ihc_and_by_expression_agree_once_their_words_are_translated():
    from sklearn.metrics import cohen_kappa_score

    with pytest.raises(InputError, match="share no category"):
        agree(METABRIC, ["ER_IHC", "ER_STATUS"], case_id="PATIENT_ID", missing="drop")
    report = agree(
        METABRIC,
        ["ER_IHC", "ER_STATUS"],
        case_id="PATIENT_ID",
        missing="drop",
        recode={"pos": "+", "neg": "-"},
    )

    # Counted in the table: 997 + 269 agree, 50 + 42 do not, 37 have no IHC.
    assert (report.pairs.agreed, report.n) == (1266, 1358)
    assert report.left_out == {"rows with a missing value": 37}
    truth = ["+"] * 997 + ["-"] * 269 + ["+"] * 50 + ["-"] * 42
    other = ["+"] * 997 + ["-"] * 269 + ["-"] * 50 + ["+"] * 42
    assert report.coefficients[0].estimate.value == pytest.approx(cohen_kappa_score(truth, other))
    assert report.concordance.shown


@pytest.mark.skipif(not CPTAC.exists(), reason="the CPTAC table is not on this machine")
def test_cptac_labels_that_differ_in_capitals_are_refused_with_a_remedy():
    readers = ["ERBB2 Proteogenomic Status", "ERBB2 Updated Clinical Status"]

    with pytest.raises(InputError, match="differ in capitals") as caught:
        agree(CPTAC, readers, missing="drop")
    report = agree(
        CPTAC, readers, missing="drop", recode={"negative": "Negative", "equivocal": "Equivocal"}
    )

    assert "one way" in caught.value.hint
    assert report.pairs.scale.names == ("Negative", "Equivocal", "Positive")
    assert report.n == 103
