"""The response label by rule, and the golden values of the released table through our reader."""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from herscope.respond.cohort.cohort import read_cohort
from herscope.respond.cohort.cohort_spec import CUT_DAYS_IMMUNOTHERAPY, ResponseSpec
from herscope.respond.cohort.consistency import consistency
from herscope.respond.cohort.response import read_recist, response
from herscope.stats.survival.concordance_index import harrell_c
from herscope.stats.survival.group_tests import chi_square
from herscope.stats.survival.kaplan_meier import kaplan_meier
from herscope.stats.survival.log_rank import log_rank

DATA = Path(os.environ.get("HERSCOPE_DATA", Path(__file__).parents[1].parent / "shared" / "data"))
MUMO = DATA / "clinical" / "mumo_NO_LICENCE" / "anti_her2.csv"
real = pytest.mark.skipif(not MUMO.is_file(), reason="the shared data folder is absent")

COHORT = """
[table]
file = '{file}'
[patient]
id = "id"
[outcome]
recist = "recist"
pfs_time = "pfs_days"
pfs_event = "pfs_flag"
os_time = "os_days"
os_event = "os_flag"
progressed = "progressed"
died = "dead"
label = "response_label"
[tokens]
on_unknown = "missing"
[tokens.columns]
primary_lesion = "postoperative"
metastatic_lesions = "ln_num"
node_status = "ln_metastasis_code"
node_location = "ln_location_code"
liver_lung_multiple = "liver_lung_multi_code"
line = "treatment_line"
lauren = "lauren_code"
differentiation = "differentiation_code"
metastatic_sites = "metastatic_site_code"
pathology_time = "pathology_time_code"
radiology_time = "radiology_time_code"
[tokens.spellings]
primary_lesion = {{ "0" = "present", "1" = "absent" }}
"""


@pytest.fixture(scope="module")
def mumo(tmp_path_factory):
    path = tmp_path_factory.mktemp("mumo") / "cohort.toml"
    path.write_text(COHORT.format(file=MUMO.resolve()), encoding="utf-8")
    return read_cohort(path)


# -- the rule ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recist", "days", "event", "label", "rule"),
    [
        ("CR", 10, True, 1, "recist"),
        ("PR", 10, True, 1, "recist"),
        ("PR", None, None, 1, "recist"),
        ("PD", 500, False, 0, "recist"),
        ("SD", 240, True, 0, "event before cut-off"),
        ("SD", 240, False, None, "censored early"),
        ("SD", 241, True, 1, "pfs beyond cut-off"),
        ("non-CR/non-PD", 241, False, 1, "pfs beyond cut-off"),
        (None, 241, None, 1, "pfs beyond cut-off"),
        ("NE", 100, True, 0, "event before cut-off"),
        (None, 100, None, None, "no pfs"),
        (None, None, None, None, "no pfs"),
    ],
)
def test_the_label_follows_the_rule(recist, days, event, label, rule):
    found = response(recist, days, event)

    assert (found.label, found.rule) == (label, rule)


def test_with_immunotherapy_the_cut_off_is_ten_months():
    spec = ResponseSpec(cut_days=CUT_DAYS_IMMUNOTHERAPY)

    assert response("SD", 270, True, spec).label == 0
    assert response("SD", 270, True).label == 1


def test_the_explanation_says_values_and_cut_off():
    assert response("SD", 86, True).explanation == (
        "SD does not decide; progression or death after 86 days, within 240: no response"
    )


@pytest.mark.parametrize(
    ("text", "category"),
    [
        ("pr", "PR"),
        (" Stable  Disease ", "SD"),
        ("not CR, not PD (benefit)", "non-CR/non-PD"),
        ("Not evaluable", "NE"),
        ("better", None),
    ],
)
def test_recist_is_read_in_its_usual_spellings(text, category):
    assert read_recist(text) == category


# -- the released table --------------------------------------------------------------------------


@real
def test_the_rule_gives_270_of_271_released_labels(mumo):
    released = mumo.table.numbers("response_label")
    differ = np.flatnonzero(released != mumo.labels)

    assert Counter(released.tolist()) == {1: 144, 0: 64, -1: 63}
    assert [mumo.table.rows[i] for i in differ] == [271]
    assert mumo.outcomes.responses[270].explanation.startswith("SD does not decide; progression")
    assert released[270] == 1
    assert mumo.outcomes.pfs.days[270] == 86


@real
@pytest.mark.parametrize(
    ("endpoint", "median", "by_label", "c"),
    [("pfs", 253, 166.39, 0.7059), ("os", 455, 59.05, 0.6403)],
)
def test_golden_survival_values_come_out(mumo, endpoint, median, by_label, c):
    follow_up = getattr(mumo.outcomes, endpoint)
    released = mumo.table.numbers("response_label")
    labelled = released >= 0

    outcome = follow_up.outcome(labelled)
    tested = log_rank(outcome, released[labelled].astype(int).astype(str).tolist())
    concordance = harrell_c(outcome, 1 - released[labelled], same_time="left out")

    assert kaplan_meier(follow_up.outcome()).median.value == median
    assert tested.chi2 == pytest.approx(by_label, abs=5e-3)
    assert concordance.value == pytest.approx(c, abs=5e-5)


@real
@pytest.mark.parametrize(
    ("token", "counts", "chi2"),
    [
        ("peritoneal_metastasis", [[29, 26], [92, 28]], 10.130),
        ("line", [[40, 24], [122, 22]], 12.703),
    ],
)
def test_golden_chi_squares_come_out_of_the_tokens(mumo, token, counts, chi2):
    released = mumo.table.numbers("response_label")
    vectors = mumo.tokens.of(token)
    known = vectors.any(axis=1)
    found = [
        [int((known & (released == label) & (vectors[:, i] == 1)).sum()) for i in (0, 1)]
        for label in (0, 1)
    ]

    assert found == counts
    assert chi_square(found).statistic == pytest.approx(chi2, abs=5e-4)


@real
def test_the_released_tables_contradictions_are_found(mumo):
    found = Counter(finding.code for finding in consistency(mumo))

    assert found["status-against-event"] == 2
    assert found["label-differs"] == 1
    assert found["pd-without-event"] == 3
    assert found["unknown-value"] == 1
    assert found["token-missing-for-all"] == 1  # calendar dates were left out of the table
    assert not [f for f in consistency(mumo) if f.severity == "error"]


@real
def test_reports_are_there_for_as_many_patients_as_published(mumo):
    pathology = mumo.tokens_of("pathology").present.any(axis=1)
    radiology = mumo.tokens_of("radiology").present.any(axis=1)

    assert (pathology & radiology).sum() == 124
    assert (radiology & ~pathology).sum() == 100
    assert (pathology & ~radiology).sum() == 44
    assert (~pathology & ~radiology).sum() == 3
