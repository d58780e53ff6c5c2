"""``herscope survive`` as a user calls it: on small tables, on bad ones, and on the real ones."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from herscope.cli import main
from herscope.report.survival_chart import survival_chart, time_ticks
from herscope.stats.survival.kaplan_meier import kaplan_meier
from herscope.stats.survival.outcome import Outcome

DATA = Path(os.environ.get("HERSCOPE_DATA", Path(__file__).parents[1].parent / "shared" / "data"))
CLINICAL = DATA / "clinical"
real = pytest.mark.skipif(not CLINICAL.is_dir(), reason="the shared data folder is absent")

COLUMNS = "id,months,dead,arm,score,age\n"


@pytest.fixture
def table(tmp_path):
    rng = np.random.default_rng(1)
    rows = []
    for k in range(60):
        score = rng.normal()
        months = max(1, round(rng.exponential(20 * np.exp(-score))))
        rows.append(
            f"p{k},{months},{int(rng.random() < 0.7)},{'AB'[k % 2]},{score:.3f},{50 + k % 30}"
        )
    path = tmp_path / "trial.csv"
    path.write_text(COLUMNS + "\n".join(rows) + "\n")
    return path


def survive(*words):
    return main(["survive", *map(str, words)])


def document(capsys, *words):
    assert survive(*words, "--json") == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys, *words, code=1):
    assert survive(*words) == code
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said


BASE = ("--time", "months", "--event", "dead")


def test_the_document_holds_all_that_was_asked(table, capsys):
    found = document(
        capsys, table, *BASE, "--group", "arm", "--risk", "score", "--at", "6", "12",
        "--covariates", "score", "age", "--time-unit", "months", "--id", "id",
    )  # fmt: skip

    assert found["schema"] == "herscope.survival/1"
    assert [g["name"] for g in found["groups"]] == ["A", "B"]
    assert sum(g["n"] for g in found["groups"]) == found["overall"]["n"] == 60
    assert [at["time"] for at in found["groups"][0]["at"]] == [6, 12]
    assert found["log_rank"]["df"] == 1
    assert found["discrimination"]["direction"] == "higher is worse"
    assert found["discrimination"]["harrell_c"]["value"] > 0.6
    assert [a["time"] for a in found["discrimination"]["auc"]] == [6, 12]
    assert [r["name"] for r in found["cox"]["rows"]] == ["score", "age"]
    curve = found["overall"]["curve"]
    assert len(curve["time"]) == len(curve["survival"]) == len(curve["at_risk"])


def test_the_text_tells_medians_the_test_and_the_direction_of_the_risk(table, capsys):
    assert survive(table, *BASE, "--group", "arm", "--risk", "score") == 0

    said = capsys.readouterr().out
    assert "log-rank (Mantel-Cox): chi2" in said
    assert "higher is worse" in said
    assert "median [95 %]" in said


def test_parquet_reads_as_csv_does(table, capsys, tmp_path):
    import pandas as pd

    pd.read_csv(table).to_parquet(tmp_path / "trial.parquet")

    from_csv = document(capsys, table, *BASE, "--group", "arm")
    from_parquet = document(capsys, tmp_path / "trial.parquet", *BASE, "--group", "arm")

    assert from_csv["log_rank"] == from_parquet["log_rank"]


def test_a_cut_off_from_other_data_carries_its_file_and_no_warning(table, capsys, tmp_path):
    other = tmp_path / "training.csv"
    other.write_text("score\n-0.4\n0.1\n0.2\n")

    found = document(
        capsys, table, *BASE, "--risk", "score", "--cut", "median-of", other, "--level", "0.9"
    )

    assert found["cut"]["value"] == 0.1
    assert "training.csv" in found["cut"]["source"]
    assert not found["cut"]["same_data"]
    assert [g["name"] for g in found["groups"]] == ["low risk", "high risk"]
    assert not any("same patients" in note for note in found["notes"])
    assert found["overall"]["level"] == 0.9


@pytest.mark.parametrize("own_file", [False, True])
def test_a_cut_off_from_the_same_patients_is_told(table, capsys, own_file):
    words = ["median-of", table] if own_file else ["median"]

    found = document(capsys, table, *BASE, "--risk", "score", "--cut", *words)

    assert found["cut"]["same_data"]
    assert any("same patients" in note for note in found["notes"])


def test_a_negative_cut_off_is_a_number(table, capsys):
    found = document(capsys, table, *BASE, "--risk", "score", "--cut", "-0.25")

    assert found["cut"]["value"] == -0.25


def test_a_score_that_is_upside_down_is_told(table, capsys):
    text = table.read_text().splitlines()
    rows = [line.split(",") for line in text[1:]]
    flipped = "\n".join(",".join([*r[:4], str(-float(r[4])), r[5]]) for r in rows)
    table.write_text(COLUMNS + flipped + "\n")

    found = document(capsys, table, *BASE, "--risk", "score")

    assert any("LATER" in note for note in found["notes"])


def test_a_score_with_every_pair_the_wrong_way_round_is_told(tmp_path, capsys):
    path = tmp_path / "t.csv"
    path.write_text("t,e,r\n5,1,1\n7,1,2\n9,1,3\n")

    found = document(capsys, path, "--time", "t", "--event", "e", "--risk", "r")

    assert found["discrimination"]["harrell_c"]["value"] == 0
    assert any("LATER" in note for note in found["notes"])


def test_an_auc_beyond_the_follow_up_is_a_note_and_the_others_stay(table, capsys):
    found = document(capsys, table, *BASE, "--risk", "score", "--at", "12,100000")

    assert [a["time"] for a in found["discrimination"]["auc"]] == [12]
    assert any("nobody was followed beyond 100000" in note for note in found["notes"])
    assert found["overall"]["at"][1]["value"] in {0, None}


def test_groups_can_be_chosen_and_the_others_are_counted(table, capsys):
    table.write_text(table.read_text() + "x1,5,1,C,0.1,60\nx2,9,0,C,0.2,61\n")

    found = document(capsys, table, *BASE, "--group", "arm", "--groups", "B", "A")

    assert [g["name"] for g in found["groups"]] == ["B", "A"]
    assert found["left_out"] == {"in other groups": 2}


def test_missing_values_are_refused_with_their_row_and_dropped_when_asked(table, capsys):
    table.write_text(table.read_text() + "x1,,1,A,0.1,60\n")

    said = refused(capsys, table, *BASE)
    assert "row 61, column months" in said
    assert "--drop-missing" in said

    found = document(capsys, table, *BASE, "--drop-missing")
    assert found["left_out"] == {"rows with a missing value": 1}


@pytest.mark.parametrize(
    ("row", "words", "said"),
    [
        ("x1,-4,1,A,0.1,60", (), "row 61, column months: the time -4 is negative"),
        ("x1,long,1,A,0.1,60", (), "row 61, column months: 'long' is not a number"),
        ("x1,4,2,A,0.1,60", (), "row 61: '2' does not say whether the event happened"),
        ("p0,4,1,A,0.1,60", ("--id", "id"), "'p0' stands in rows 1, 61"),
        ("x1,4,1,A,0.1,60", ("--group", "id"), "too many for groups"),
        ("x1,4,1,A,0.1,60", ("--group", "arms"), "no column 'arms'"),
        ("x1,4,1,A,0.1,60", ("--groups", "A"), "without their column"),
        ("x1,4,1,A,0.1,60", ("--group", "arm", "--groups", "Z"), "no patient is in the group 'Z'"),
        ("x1,4,1,A,0.1,60", ("--cut", "0.5"), "divides patients by their risk"),
        ("x1,4,1,A,0.1,60", ("--risk", "arm"), "'A' is not a number"),
        ("x1,4,1,A,0.1,60", ("--at", "soon"), "'soon' is not a time"),
        ("x1,4,1,A,0.1,60", ("--at=-3",), "give times of 0 or more"),
        ("x1,4,1,A,0.1,60", ("--level", "95"), "--level"),
        ("x1,4,1,A,0.1,60", ("--event-value", "dead"), "no row has the event value 'dead'"),
        ("x1,4,1,A,0.1,60", ("--out", "page.pdf"), "is no HTML file"),
        ("x1,4,1,A,0.1,60", ("--covariates", "arm", "arms"), "nearest: arm"),
    ],
)
def test_bad_input_names_the_row_or_column_and_the_remedy(table, capsys, row, words, said):
    table.write_text(table.read_text() + row + "\n")

    told = refused(capsys, table, *BASE, *words)

    assert said in told
    assert "hint:" in told


def test_swapped_columns_and_no_events_are_refused(table, capsys, tmp_path):
    said = refused(capsys, table, "--time", "dead", "--event", "months")
    assert "trial.csv, column dead: every time is 0 or 1" in said
    assert "swapped" in said

    alive = tmp_path / "alive.csv"
    alive.write_text("t,e\n4,0\n5,0\n6,0\n")
    assert "none of 3 patients had the event" in refused(
        capsys, alive, "--time", "t", "--event", "e"
    )


def test_a_refusal_with_json_is_a_document_as_well(table, capsys):
    assert survive(table, "--time", "dead", "--event", "months", "--json") == 1

    assert json.loads(capsys.readouterr().out)["error"]["error"] == "InputError"


def test_the_page_is_self_contained_and_escapes_names(table, capsys, tmp_path):
    table.write_text(table.read_text().replace(",A,", ",<script>x</script>,"))
    page = tmp_path / "page.html"

    assert survive(
        table, *BASE, "--group", "arm", "--risk", "score", "--covariates", "age", "--out", page
    ) == 0  # fmt: skip

    text = page.read_text(encoding="utf-8")
    assert "<script>x" not in text
    assert "&lt;script&gt;x" in text
    assert "data:image/svg+xml;base64," in text
    assert "http://" not in text.replace("http://www.w3.org", "")
    for words in ("Cox regression", "Harrell", "at risk", "log-rank", "Research use only"):
        assert words.lower() in text.lower()
    assert "open" in capsys.readouterr().out


def test_the_same_table_gives_the_same_page(table, tmp_path):
    pages = [tmp_path / "a.html", tmp_path / "b.html"]

    for page in pages:
        survive(table, *BASE, "--group", "arm", "--out", page)

    assert pages[0].read_bytes() == pages[1].read_bytes()


def test_the_chart_shows_the_numbers_at_risk_under_their_ticks(monkeypatch):
    written = []
    from matplotlib.axes import Axes

    plain = Axes.annotate
    monkeypatch.setattr(
        Axes,
        "annotate",
        lambda self, text, *a, **k: written.append(text) or plain(self, text, *a, **k),
    )
    curve = kaplan_meier(Outcome(time=[1, 5, 12, 20, 30], event=[1, 0, 1, 1, 0]))

    svg = survival_chart({"all": curve}, time_unit="months")

    assert svg.startswith(b"<?xml")
    assert written == ["at risk", "all", "5", "3", "3", "2", "1", "1"]
    assert time_ticks(30, "months") == [0, 6, 12, 18, 24, 30]


def test_ticks_are_round_and_few():
    for end in (0.7, 9, 61, 365, 2400, 4087, 8556):
        ticks = time_ticks(end, "days")
        assert 3 <= len(ticks) <= 12
        assert ticks[-1] <= end * (1 + 1e-9)


# -- the real tables -------------------------------------------------------------------------------


@real
def test_metabric_runs_as_a_user_would_call_it(capsys):
    table = CLINICAL / "metabric" / "metabric_her2_survival.csv"
    words = (table, "--time", "OS_MONTHS", "--event", "OS_STATUS", "--group", "HER2_STATUS")
    assert "'DECEASED' (788), 'LIVING' (607)" in refused(capsys, *words)

    found = document(
        capsys, *words, "--event-value", "DECEASED", "--risk", "NPI", "--at", "60", "--tau", "240",
        "--covariates", "AGE_AT_DIAGNOSIS", "NPI", "HER2_STATUS", "--id", "PATIENT_ID",
    )  # fmt: skip

    import pandas as pd
    from lifelines.statistics import logrank_test

    frame = pd.read_csv(table)
    positive = frame["HER2_STATUS"] == "+"
    dead = frame["OS_STATUS"] == "DECEASED"
    theirs = logrank_test(
        frame["OS_MONTHS"][positive], frame["OS_MONTHS"][~positive], dead[positive], dead[~positive]
    )
    assert found["overall"]["counts"] == {"events": 788, "censored": 607}
    assert found["log_rank"]["statistic"] == pytest.approx(theirs.test_statistic, rel=1e-9)
    assert 0.6 < found["discrimination"]["uno_c"]["value"] < 0.7
    assert any("LIVING (607)" in note for note in found["notes"])


@real
def test_tcga_runs_as_a_user_would_call_it(capsys):
    table = CLINICAL / "tcga" / "tcga_cdr_brca_stad.csv"
    words = (table, "--time", "DFI.time", "--event", "DFI", "--group", "type")
    assert "DFI.time 228, DFI 226" in refused(capsys, *words)

    found = document(capsys, *words, "--drop-missing", "--at", "365")

    assert found["left_out"] == {"rows with a missing value": 228}
    assert [g["name"] for g in found["groups"]] == ["BRCA", "STAD"]
    assert found["groups"][0]["median"]["value"] is None
    assert found["log_rank"]["p_value"] < 1e-9


@real
def test_mumo_runs_as_a_user_would_call_it(capsys):
    table = CLINICAL / "mumo_NO_LICENCE" / "anti_her2.csv"

    found = document(
        capsys, table, "--time", "os_days", "--event", "os_flag", "--group", "response_label",
        "--groups", "1", "0",
    )  # fmt: skip

    assert [g["median"]["value"] for g in found["groups"]] == [579, 288]
    assert found["log_rank"]["statistic"] == pytest.approx(59.05, abs=5e-3)
