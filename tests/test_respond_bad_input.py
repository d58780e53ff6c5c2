"""Bad input at the level of a cohort: every fault is told with row, patient, value and next step.

A drawn cohort is sound; each test spoils a copy of it in one way and asks ``herscope respond
cohort`` and :func:`read_cohort`.
"""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from herscope.cli import main
from herscope.core.errors import HerscopeError, InputError
from herscope.recipes.cohorts import response_cohort
from herscope.respond.cohort.cohort import read_cohort
from herscope.respond.cohort.consistency import consistency
from herscope.respond.cohort.findings import refuse_errors
from herscope.respond.drawn_cohort.spec import DrawnCohortSpec

CONTRADICTIONS = 3
FAILED = 1
NAME = "drawn-3-0002"
ROW = 3


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound")
    response_cohort(DrawnCohortSpec(signal="none", patients=12, seed=3), folder)
    return folder


@pytest.fixture
def copy(sound, tmp_path):
    """A copy to be spoiled; files of images are linked, for nobody opens them here."""

    def linked(source, target):
        if Path(source).suffix in {".csv", ".toml"}:
            shutil.copyfile(source, target)
        else:
            Path(target).symlink_to(source)

    return Path(shutil.copytree(sound, tmp_path / "copy", copy_function=linked))


def rows_of(folder):
    with (folder / "patients.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def write(folder, rows):
    with (folder / "patients.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def spoil(folder, **values):
    """Write values into the row of one patient."""
    rows = rows_of(folder)
    assert rows[ROW - 1]["patient"] == NAME
    rows[ROW - 1] |= values
    write(folder, rows)


def spoil_all(folder, **values):
    write(folder, [row | values for row in rows_of(folder)])


def edit(folder, old, new):
    path = folder / "cohort.toml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def told(folder, capsys, *more):
    """Return code and document of the command."""
    code = main(["respond", "cohort", str(folder / "cohort.toml"), *more, "--json"])
    printed = capsys.readouterr()
    assert "Traceback" not in printed.out + printed.err
    return code, json.loads(printed.out)


def refused(folder, capsys):
    """Return what the command says when it cannot go on."""
    code = main(["respond", "cohort", str(folder / "cohort.toml")])
    printed = capsys.readouterr()
    assert "Traceback" not in printed.out + printed.err
    assert code == FAILED
    assert "error:" in printed.err
    assert "hint:" in printed.err
    return printed.err


def test_the_copy_is_sound_until_it_is_spoiled(copy, capsys):
    code, document = told(copy, capsys)

    assert (code, document["severities"]["error"], document["severities"]["warning"]) == (0, 0, 0)


# -- one patient's values ------------------------------------------------------------------------

LATE = {"recist": "PR", "pfs_days": "100", "progressed": "1", "os_days": "400", "died": "1",
        "start": "2015-01-01", "diagnosis": "2014-12-01", "birth": "1950-01-01",
        "progression": "2015-04-11", "last_seen": "2016-02-05"}  # fmt: skip
DATELESS = dict.fromkeys(("birth", "diagnosis", "progression", "last_seen"), "")


@pytest.mark.parametrize(
    ("values", "finding", "said"),
    [
        ({"os_days": "50"}, "os-before-pfs", ["50", "100"]),
        ({"progression": "2014-06-01"}, "dates-out-of-order", ["2014-06-01", "2014-12-01"]),
        ({"last_seen": "2014-12-24"}, "dates-out-of-order", ["2014-12-24"]),
        ({"birth": "2015-06-01"}, "dates-out-of-order", ["2015-06-01"]),
        ({"diagnosis": "2017-01-01"}, "dates-out-of-order", ["2017-01-01"]),
        ({"start": "2015-02-30"}, "unknown-value", ["2015-02-30", "start"]),
        ({"start": "1915-01-01", **DATELESS}, "unknown-value", ["1915", "1990"]),
        ({"recist": "better"}, "unreadable-outcome", ["better", "CR, PR, SD, PD"]),
        ({"progressed": "2"}, "unreadable-outcome", ["'2'", "1 or 0"]),
        ({"died": "alive"}, "unreadable-outcome", ["alive"]),
        ({"pfs_days": "-5"}, "unreadable-outcome", ["-5", "0 or more"]),
        ({"pfs_days": "8 months"}, "unreadable-outcome", ["8 months"]),
        ({"os_days": "inf"}, "unreadable-outcome", ["inf"]),
        ({"os_days": "1e999"}, "unreadable-outcome", ["1e999"]),
        ({"sex": "x"}, "unknown-value", ["'x'", "female, male"]),
        ({"lauren": "signet"}, "unknown-value", ["signet", "intestinal, diffuse, mixed"]),
        ({"differentiation": "9"}, "unknown-value", ["'9'", "poor"]),
        ({"line": "third-ish"}, "unknown-value", ["third-ish"]),
        ({"age": "161"}, "unknown-value", ["161", "0 to 120"]),
        ({"tils": "55"}, "unknown-value", ["55", "0 to 1"]),
        ({"tumour_proportion": "-0.2"}, "unknown-value", ["-0.2", "0 to 1"]),
        ({"her2_heterogeneity": "3+60%, 2+20%"}, "unknown-value", ["80 %", "100"]),
        ({"her2_heterogeneity": "4+"}, "unknown-value", ["4+"]),
        ({"node_location": "127"}, "unknown-value", ["127", "0 to 4"]),
        ({"metastatic_sites": "01010101010101"}, "unknown-value", ["13 digits"]),
        ({"metastatic_lesions": "many"}, "unknown-value", ["many"]),
        ({"peritoneal_metastasis": "perhaps"}, "unknown-value", ["perhaps", "no, yes"]),
        ({"radiology_time": "4"}, "unknown-value", ["'4'"]),
    ],
)
def test_a_value_that_cannot_be_is_told_with_row_patient_value_and_advice(
    copy, capsys, values, finding, said
):
    spoil(copy, **LATE | values)

    code, document = told(copy, capsys)

    errors = [one for one in document["findings"] if one["severity"] == "error"]
    assert code == CONTRADICTIONS
    assert [(one["code"], one["row"], one["patient"]) for one in errors][:1] == [
        (finding, ROW, NAME)
    ]
    for words in said:
        assert words in errors[0]["message"]
    assert errors[0]["advice"]


def test_a_model_is_not_fitted_on_a_contradiction(copy):
    spoil(copy, **LATE | {"last_seen": "2014-12-24"})
    cohort = read_cohort(copy / "cohort.toml")

    with pytest.raises(InputError, match=f"patients.csv, row {ROW}: .*2014-12-24") as caught:
        refuse_errors(consistency(cohort), cohort.table.name)
    assert caught.value.hint


def test_a_value_that_cannot_be_read_stops_the_strict_reader(copy):
    spoil(copy, sex="x")

    with pytest.raises(InputError, match=f"row {ROW}: column sex: 'x'") as caught:
        read_cohort(copy / "cohort.toml")
    assert "tokens.spellings" in caught.value.hint


# -- who is in it --------------------------------------------------------------------------------


def test_a_patient_in_two_rows_is_named_with_both(copy, capsys):
    rows = rows_of(copy)
    write(copy, [*rows, rows[ROW - 1] | {"age": "41"}])

    code, document = told(copy, capsys)

    found = document["findings"][0]
    assert (code, found["code"], found["patient"]) == (CONTRADICTIONS, "patient-twice", NAME)
    assert "3, 13" in found["message"]
    with pytest.raises(InputError, match="rows 3, 13"):
        read_cohort(copy / "cohort.toml")


def test_a_patient_with_a_blank_behind_the_name_is_the_same_patient(copy, capsys):
    rows = rows_of(copy)
    rows[4]["patient"] = f" {NAME} "
    write(copy, rows)

    code, document = told(copy, capsys)

    assert code == CONTRADICTIONS
    assert document["findings"][0]["code"] == "patient-twice"


def test_a_row_without_a_patient_is_refused(copy, capsys):
    spoil(copy, patient="")

    said = refused(copy, capsys)

    assert f"row {ROW}" in said
    assert "the patient is missing" in said


def test_a_patient_in_two_cohorts_is_named(copy, sound, tmp_path, capsys):
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(sound / "cohort.toml", other / "cohort.toml")
    edit(other, "drawn none, all there", "external")
    for name in ("features", "ct", "lesions"):
        (other / name).symlink_to(sound / name)
    rows = rows_of(sound)
    kept = [rows[2], *({**row, "patient": f"b{n}"} for n, row in enumerate(rows[3:]))]
    write(other, kept)

    code, document = told(copy, capsys, "--other", str(other / "cohort.toml"))

    (found,) = [one for one in document["findings"] if one["severity"] == "error"]
    assert code == CONTRADICTIONS
    assert (found["code"], found["patient"], found["row"]) == ("patient-in-two-cohorts", NAME, ROW)
    assert "external" in found["message"]
    assert "(row 1)" in found["message"]


# -- the cohort as a whole -----------------------------------------------------------------------


@pytest.mark.parametrize(("folder", "modality"), [("features", "bags"), ("ct", "ct")])
def test_a_modality_missing_for_everyone_is_an_error(copy, capsys, folder, modality):
    shutil.rmtree(copy / folder)

    code, document = told(copy, capsys)

    errors = [one for one in document["findings"] if one["severity"] == "error"]
    assert code == CONTRADICTIONS
    assert errors[0]["code"] == "modality-missing-for-all"
    assert f"files of {modality}" in errors[0]["message"]
    assert f"[files.{modality}]" in errors[0]["advice"]


def test_reports_missing_for_everyone_are_told(copy, capsys):
    spoil_all(copy, **dict.fromkeys(("tils", "her2_heterogeneity", "tumour_proportion"), ""))

    _, document = told(copy, capsys)

    found = [one for one in document["findings"] if one["code"] == "set-missing-for-all"]
    assert "all 3 tokens of pathology-report" in found[0]["message"]
    assert "[tokens.columns]" in found[0]["advice"]


@pytest.mark.parametrize(
    ("column", "values", "what"),
    [
        ("progressed", {"progressed": "0", "progression": "", "died": "0"}, "PFS"),
        ("died", {"died": "0"}, "OS"),
    ],
)
def test_a_cohort_without_events_is_an_error(copy, capsys, column, values, what):
    spoil_all(copy, **values)

    code, document = told(copy, capsys)

    found = [one for one in document["findings"] if one["code"] == "no-events"]
    assert code == CONTRADICTIONS
    assert any(f"event of {what} (column {column})" in one["message"] for one in found)
    assert "1 is an event" in found[0]["advice"]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"recist": "PR"}, "only responders"),
        ({"recist": "PD", "pfs_days": "60", "progressed": "1"}, "only non-responders"),
        ({"recist": "NE", "pfs_days": "60", "progressed": "0"}, "no labels"),
    ],
)
def test_one_class_only_is_an_error(copy, capsys, values, said):
    spoil_all(copy, **values)

    code, document = told(copy, capsys)

    found = [one for one in document["findings"] if one["code"] == "one-class"]
    assert code == CONTRADICTIONS
    assert said in found[0]["message"]
    assert found[0]["advice"]


# -- the files -----------------------------------------------------------------------------------


def test_a_file_that_a_row_names_and_nobody_has_is_an_error(copy, capsys):
    edit(copy, 'pattern = "ct/{patient}.nii.gz"', 'column = "scan"')
    rows = [row | {"scan": f"ct/{row['patient']}.nii.gz"} for row in rows_of(copy)]
    rows[ROW - 1]["scan"] = "ct/absent.nii.gz"
    write(copy, rows)

    code, document = told(copy, capsys)

    found = document["findings"][0]
    assert (code, found["code"], found["row"]) == (CONTRADICTIONS, "file-absent", ROW)
    assert found["patient"] == NAME
    assert "absent.nii.gz" in found["message"]
    assert document["files"]["ct"] == 11


def test_an_absent_table_is_told_by_name(copy, capsys):
    (copy / "patients.csv").unlink()

    assert "patients.csv" in refused(copy, capsys)


def test_an_absent_cohort_file_is_told_by_name(copy, capsys):
    (copy / "cohort.toml").unlink()

    assert "cohort.toml" in refused(copy, capsys)


@pytest.mark.parametrize(
    ("old", "new", "nearest"),
    [
        ('"pfs_days"', '"pfs_day"', "pfs_days"),
        ('"progressed"', '"Progressed"', "progressed"),
        ('id = "patient"', 'id = "pateint"', "patient"),
        ('site = "site"', 'site = "hospital"', "site"),
        ('birth = "birth"', 'birth = "born"', "birth"),
        ('pattern = "ct/{patient}.nii.gz"', 'column = "scan"', "last_seen"),
    ],
)
def test_a_wrong_name_of_a_column_is_told_with_those_that_are_there(
    copy, capsys, old, new, nearest
):
    edit(copy, old, new)

    said = refused(copy, capsys)

    assert "patients.csv has no column" in said
    assert nearest in said.rpartition("hint:")[2]


def test_a_token_whose_column_is_not_there_is_told(copy, capsys):
    edit(copy, "[files.bags]", '[tokens.columns]\ntils = "lymphocytes"\n\n[files.bags]')

    said = refused(copy, capsys)

    assert "lymphocytes" in said
    assert "patients.csv" in said


def test_a_heading_in_other_letters_is_no_column_and_that_is_told(copy, capsys):
    path = copy / "patients.csv"
    path.write_text(path.read_text(encoding="utf-8").replace("tils", "TILs", 1), encoding="utf-8")

    code, document = told(copy, capsys)

    (found,) = [one for one in document["findings"] if one["code"] == "token-missing-for-all"]
    assert code == 0
    assert "tils of pathology-report is missing for every patient" in found["message"]
    assert "[tokens.columns]" in found["advice"]


def test_a_token_that_does_not_exist_is_told(copy, capsys):
    edit(copy, "[files.bags]", '[tokens.columns]\ntills = "tils"\n\n[files.bags]')

    assert "tills" in refused(copy, capsys)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "patients.csv"),
        (b"patient,site\n", "patients.csv"),
        (b"patient,patient\na,b\n", "patient"),
        (b"patient,recist\na,PR,3\n", "row 1"),
        (b"patient,recist\n\xff\xfe\x00,PR\n", "patients.csv"),
        (b"PK\x03\x04\x14\x00\x00\x00\x08\x00", "patients.csv"),
        (b"patient,recist\na\x00,PR\n", "patients.csv"),
    ],
)
def test_a_table_that_is_none_is_refused(copy, capsys, data, said):
    (copy / "patients.csv").write_bytes(data)

    assert said in refused(copy, capsys)


@pytest.mark.parametrize("name", ["patients.csv", "cohort.toml"])
def test_a_folder_in_place_of_a_file_is_refused(copy, capsys, name):
    (copy / name).unlink()
    (copy / name).mkdir()

    assert name in refused(copy, capsys)


def test_no_reader_raises_anything_but_our_own_errors(copy):
    rows = rows_of(copy)
    for column in rows[0]:
        for value in ("", "?", "-1", "9" * 400, "1e400", "٣", "=1+1", "\n", "nan", "2015-99-99"):
            write(copy, [*rows[:2], rows[2] | {column: value}, *rows[3:]])
            try:
                consistency(read_cohort(copy / "cohort.toml", strict=False))
            except HerscopeError:
                continue


# ---- files, times and headings that do not fit together ------------------------------------------


def codes(folder):
    return consistency(read_cohort(folder / "cohort.toml", strict=False))


def test_a_mask_without_its_ct_and_a_ct_without_lesions_are_told(copy):
    scans = sorted((copy / "ct").glob("*_mask.nii.gz"))
    first, second = (path.name.removesuffix("_mask.nii.gz") for path in scans[:2])
    (copy / "ct" / f"{first}.nii.gz").unlink()
    (copy / "ct" / f"{second}_mask.nii.gz").unlink()
    (copy / "lesions" / f"{second}.csv").unlink()

    found = {(one.code, one.patient) for one in codes(copy)}

    assert {("mask-without-ct", first), ("ct-without-lesions", second)} <= found


def test_files_that_were_never_sampled_are_told(copy):
    spoil(copy, pathology_time="-1")

    found = [one for one in codes(copy) if one.code == "time-against-files"]

    assert [one.patient for one in found] == [NAME]


def test_a_time_nobody_lives_through_is_an_error_that_asks_for_the_unit(copy):
    spoil(copy, os_days="1000000000")

    found = [one for one in codes(copy) if one.code == "time-too-long"]

    assert [one.severity for one in found] == ["error"]
    assert "time_unit" in found[0].advice


def test_a_heading_in_other_letters_is_named(copy):
    table = (copy / "patients.csv").read_text("utf-8")
    assert ",tils," in table
    (copy / "patients.csv").write_text(table.replace(",tils,", ",TILs,", 1), "utf-8")

    found = [one for one in codes(copy) if one.code == "heading-not-used"]

    assert 'tils = "TILs"' in found[0].advice
