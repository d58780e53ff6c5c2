"""cohort.toml, the cohort it makes, and what contradicts itself in it."""

import csv
import json
import shutil

import numpy as np
import pytest

from herscope.cli.respond_cohort import cohort as cohort_command
from herscope.core.errors import InputError, OutputError, SchemaError
from herscope.recipes.respond_cohort import describe_cohort
from herscope.respond.cohort.cohort import read_cohort
from herscope.respond.cohort.cohort_spec import CohortSpec
from herscope.respond.cohort.cohort_toml import load_cohort, template
from herscope.respond.cohort.consistency import apart, consistency

COHORT = """
name = "drawn"
[table]
file = "patients.csv"
[patient]
id = "id"
site = "site"
[outcome]
recist = "recist"
pfs_time = "pfs"
pfs_event = "pfs_event"
os_time = "os"
os_event = "os_event"
progressed = "progressed"
died = "died"
label = "label"
[dates]
birth = "birth"
start = "start"
progression = "progression"
last_seen = "last_seen"
[tokens]
sets = ["pathology-report", "patient"]
"""
HEAD = (
    "id,site,recist,pfs,pfs_event,os,os_event,progressed,died,label,birth,start,progression,"
    "last_seen,sex,age,tils,her2_heterogeneity"
)
P1 = (
    "p1,A,PR,100,1,400,1,yes,yes,1,1950-01-01,2015-01-01,2015-04-11,2016-02-05,male,65,0.3,"
    "none(all3+)"
)
P2 = (
    "p2,A,PD,40,1,90,0,yes,no,0,1960-05-01,2016-01-01,2016-02-10,2016-03-31,female,55,0.7,"
    '"3+60%, 2+40%"'
)
P3 = "p3,B,SD,100,0,100,0,no,no,-1,1955-01-01,2017-01-01,,2017-04-11,male,62,,"


def drawn(folder, *rows, text=COHORT):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "patients.csv").write_text("\n".join([HEAD, *rows]) + "\n", encoding="utf-8")
    path = folder / "cohort.toml"
    path.write_text(text, encoding="utf-8")
    return path


def changed(row, **values):
    (cells,) = csv.reader([row])
    names = HEAD.split(",")
    for name, value in values.items():
        cells[names.index(name)] = value
    return ",".join(f'"{cell}"' for cell in cells)


def codes(path):
    return [(f.severity, f.code) for f in consistency(read_cohort(path, strict=False))]


QUIET = [("note", "token-missing-for-all")]


# -- the file ------------------------------------------------------------------------------------


def test_the_template_says_every_key_and_loads_to_the_defaults(tmp_path):
    (tmp_path / "cohort.toml").write_text(template(), encoding="utf-8")

    assert load_cohort(tmp_path / "cohort.toml") == CohortSpec()
    for name in ("recist", "pfs_event", "cut_days", "on_unknown", "progression", "pattern"):
        assert f"{name} =" in template()


@pytest.mark.parametrize(
    ("slip", "said", "hint"),
    [
        ('[outcome]\nrecst = "r"', r"line 2: \[outcome\] recst is not a known key", "mean recist"),
        ("[outcomes]", "outcomes is not a known key", "did you mean outcome"),
        ('more_tables = [{ fil = "a.csv" }]', r"line 1: \[more_tables\] fil", "mean file"),
        ("[response]\ncut_days = -1", "cut_days must be greater than 0", ""),
        ('[outcome]\npfs_time = "t"', "pfs_event is missing", ""),
        ('[files.ct]\npattern = "ct/*.nii"', "has no {patient} in it", ""),
        ('[files.ct]\npattern = "{patient}"\ncolumn = "ct"', "pattern and column", ""),
        ("[outcome", "is not valid TOML", ""),
        ('format = "herscope.cohort/9"', "format must be", ""),
    ],
)
def test_a_slip_in_the_file_is_told_with_its_place(tmp_path, slip, said, hint):
    (tmp_path / "cohort.toml").write_text(slip, encoding="utf-8")

    with pytest.raises(SchemaError, match=said) as caught:
        load_cohort(tmp_path / "cohort.toml")
    assert hint in caught.value.hint


def test_an_absent_file_or_column_is_told(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        load_cohort(tmp_path / "absent.toml")
    path = drawn(tmp_path, P1, P2, text=COHORT.replace('"pfs"', '"PFS days"'))
    with pytest.raises(SchemaError, match="no column 'PFS days'"):
        read_cohort(path)


# -- the cohort ----------------------------------------------------------------------------------


def test_a_cohort_has_labels_survival_tokens_and_sites(tmp_path):
    cohort = read_cohort(drawn(tmp_path, P1, P2, P3))

    assert cohort.labels.tolist() == [1, 0, -1]
    assert cohort.sites == ("A", "A", "B")
    assert len(cohort.outcomes.pfs.outcome()) == 3
    assert cohort.tokens.missing()["tils"] == 1
    assert cohort.tokens_of("pathology").names == (
        "tils",
        "her2_heterogeneity",
        "tumour_proportion",
    )


def test_times_in_months_are_compared_in_days(tmp_path):
    text = COHORT.replace("[dates]", 'time_unit = "months"\n[dates]')
    for months, label in (("7.8", 0), ("7.9", 1)):
        row = changed(P1, recist="SD", pfs=months, os="13", label="")
        cohort = read_cohort(drawn(tmp_path / months, row, P2, text=text), strict=False)
        assert cohort.labels[0] == label
    assert cohort.outcomes.os.days[0] == pytest.approx(395.7, abs=0.1)


def test_files_are_found_by_pattern_and_by_column(tmp_path):
    text = COHORT + '\n[files.bags]\npattern = "bags/{patient}-*.h5"\n[files.ct]\ncolumn = "site"\n'
    path = drawn(tmp_path, changed(P1, site="ct/1.nii; ct/2.nii"), changed(P2, site=""), text=text)
    for name in ("bags/p1-b.h5", "bags/p1-a.h5", "bags/p2.h5", "ct/1.nii", "ct/2.nii"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()

    cohort = read_cohort(path)

    assert [[p.name for p in paths] for paths in cohort.files["bags"]] == [
        ["p1-a.h5", "p1-b.h5"],
        [],
    ]
    assert [[p.name for p in paths] for paths in cohort.files["ct"]] == [["1.nii", "2.nii"], []]


def test_a_file_that_is_named_and_absent_is_an_error(tmp_path):
    path = drawn(
        tmp_path, changed(P1, site="ct/1.nii"), P2, text=COHORT + '[files.ct]\ncolumn = "site"\n'
    )

    with pytest.raises(InputError, match="there is no ct file"):
        read_cohort(path)


def test_an_id_cannot_lead_out_of_the_folder(tmp_path):
    text = COHORT + '\n[files.bags]\npattern = "bags/{patient}.h5"\n'

    with pytest.raises(InputError, match="an id with a slash"):
        read_cohort(drawn(tmp_path, changed(P1, id="../../secret"), P2, text=text))


def test_an_id_with_a_star_matches_no_other_patient(tmp_path):
    text = COHORT + '\n[files.bags]\npattern = "{patient}.h5"\n'
    path = drawn(tmp_path, changed(P1, id="p*"), P2, text=text)
    (tmp_path / "p2.h5").touch()

    assert [len(paths) for paths in read_cohort(path).files["bags"]] == [0, 1]


def test_a_value_that_cannot_be_read_is_refused_or_counted(tmp_path):
    rows = (changed(P1, tils="high", pfs="soon"), P2)
    with pytest.raises(InputError, match=r"row 1: column tils: 'high'"):
        read_cohort(drawn(tmp_path, *rows))

    text = COHORT + 'on_unknown = "missing"\n'
    cohort = read_cohort(drawn(tmp_path, *rows, text=text))

    assert [(f.severity, f.code) for f in cohort.findings] == [
        ("warning", "unreadable-outcome"),
        ("warning", "unknown-value"),
    ]
    assert not cohort.tokens.present[0, 0]
    assert np.isnan(cohort.outcomes.pfs.days[0])


# -- contradictions ------------------------------------------------------------------------------


def test_a_sound_cohort_has_no_contradictions(tmp_path):
    assert set(codes(drawn(tmp_path, P1, P2, P3))) == set(QUIET)


@pytest.mark.parametrize(
    ("values", "severity", "code"),
    [
        ({"os": "50"}, "error", "os-before-pfs"),
        ({"progressed": "no"}, "warning", "status-against-event"),
        ({"died": "0"}, "warning", "status-against-event"),
        ({"label": "0"}, "warning", "label-differs"),
        ({"start": "2015-05-01"}, "error", "dates-out-of-order"),
        ({"birth": "2050-01-01"}, "error", "dates-out-of-order"),
        ({"last_seen": "2015-03-01"}, "error", "dates-out-of-order"),
        ({"start": "01.02.2015"}, "warning", "unreadable-date"),
        ({"start": "2014-01-01"}, "warning", "time-differs-from-dates"),
        ({"pfs_event": "0", "progressed": "no"}, "warning", "progression-date-without-event"),
        ({"recist": "PD", "label": "0", "pfs_event": "0"}, "warning", "pd-without-event"),
        ({"recist": "PD", "label": "0", "pfs": "300"}, "warning", "pd-after-cut-off"),
        ({"pfs_event": "0", "pfs": "400"}, "warning", "death-without-pfs-event"),
        ({"id": "p2"}, "error", "patient-twice"),
        ({"recist": "better"}, "error", "unreadable-outcome"),
        ({"pfs_event": "2"}, "error", "unreadable-outcome"),
        ({"pfs": "-5"}, "error", "unreadable-outcome"),
        ({"sex": "x"}, "error", "unknown-value"),
        ({"her2_heterogeneity": "3+60%, 2+20%"}, "error", "unknown-value"),
    ],
)
def test_a_contradiction_is_found_with_row_and_advice(tmp_path, values, severity, code):
    path = drawn(tmp_path, P3, P2, changed(P1, **values))

    found = [f for f in consistency(read_cohort(path, strict=False)) if f.code == code]

    assert [f.severity for f in found] == [severity] * len(found)
    assert found
    assert found[0].row in {2, 3}
    assert found[0].patient
    assert found[0].advice


def test_nothing_is_corrected_for_a_contradiction(tmp_path):
    cohort = read_cohort(drawn(tmp_path, changed(P1, os="50"), P2))

    assert cohort.outcomes.os.days[0] == 50
    assert cohort.outcomes.pfs.days[0] == 100


def test_one_class_and_no_events_are_errors(tmp_path):
    alive = [changed(row, os_event="0", died="no") for row in (P1, P2)]
    found = codes(drawn(tmp_path / "a", *alive))
    assert ("error", "no-events") in found

    assert ("error", "one-class") in codes(drawn(tmp_path / "b", P1, P3))


def test_a_modality_that_nobody_has_is_told(tmp_path):
    text = COHORT.replace('"patient"]', '"patient", "radiology-report"]')
    text += '\n[files.bags]\npattern = "bags/{patient}.h5"\n'

    found = codes(drawn(tmp_path, P1, P2, text=text))

    assert ("warning", "set-missing-for-all") in found
    assert ("error", "modality-missing-for-all") in found


def test_one_person_under_two_numbers_is_suspected(tmp_path):
    assert ("warning", "same-record") in codes(drawn(tmp_path, P1, P2, changed(P1, id="p9")))


def test_a_patient_in_two_cohorts_is_named(tmp_path):
    first = read_cohort(drawn(tmp_path / "a", P1, P2))
    second = read_cohort(drawn(tmp_path / "b", P3, P2))

    (found,) = apart(first, second)

    assert (found.severity, found.patient, found.row) == ("error", "p2", 2)


# -- the description -----------------------------------------------------------------------------


def test_the_description_counts_labels_and_is_json(tmp_path):
    path = drawn(tmp_path, P1, P2, P3)

    document = describe_cohort(path, out=tmp_path / "out")

    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["labels"] == {"response": 1, "no response": 1, "none": 1}
    assert document["reasons"]["no label: censored early"] == 1
    assert document["pfs"]["events"] == 2
    with (tmp_path / "out" / "responses.csv").open(encoding="utf-8", newline="") as stream:
        told = list(csv.DictReader(stream))
    assert [row["label"] for row in told] == ["1", "0", ""]
    assert "kept for survival" in told[2]["explanation"]


def test_a_formula_in_a_table_is_no_formula_in_ours(tmp_path):
    path = drawn(tmp_path, changed(P1, id="=cmd|' /c calc'!A1"), P2)

    describe_cohort(path, out=tmp_path / "out")

    assert "'=cmd" in (tmp_path / "out" / "responses.csv").read_text(encoding="utf-8")


def test_the_command_tells_errors_by_its_code(tmp_path):
    sound = drawn(tmp_path / "a", P1, P2, P3)
    other = tmp_path / "b"
    shutil.copytree(tmp_path / "a", other)

    assert cohort_command(sound).code == 0
    outcome = cohort_command(sound, other=other / "cohort.toml")

    assert outcome.code == 3
    assert outcome.document["severities"]["error"] == 3
    assert any("is in drawn and in drawn" in str(part) for part in outcome.text)


def test_the_command_writes_a_template_once(tmp_path):
    path = tmp_path / "cohort.toml"

    cohort_command(path, template=True)

    assert load_cohort(path) == CohortSpec()
    with pytest.raises(OutputError, match="exists already"):
        cohort_command(path, template=True)
