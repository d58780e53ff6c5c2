"""A drawn cohort carries the signal it says and no other, and every reader of ours opens it."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from herscope.cli import main
from herscope.core.errors import InputError
from herscope.embed.open_features import read_any
from herscope.recipes.cohorts import response_cohort
from herscope.respond.cohort.cohort import read_cohort
from herscope.respond.cohort.consistency import apart, consistency
from herscope.respond.cohort.response import read_recist, response
from herscope.respond.cohort.token_sets import load_set
from herscope.respond.cohort.tokens import encode
from herscope.respond.drawn_cohort.body import LIVER_HU, SPACING_MM, draw_anatomy, draw_body
from herscope.respond.drawn_cohort.drawn_lesions import draw_scan, plan_lesions
from herscope.respond.drawn_cohort.nifti_writing import write_nifti
from herscope.respond.drawn_cohort.outcome import draw_outcome, draw_readers
from herscope.respond.drawn_cohort.reports import draw_reports
from herscope.respond.drawn_cohort.spec import DrawnCohortSpec, plan_patient
from herscope.respond.drawn_cohort.words import draw_words
from herscope.respond.pathology.bags import read_pathology
from herscope.respond.radiology.lesion_boxes import lesions_from_boxes, read_boxes
from herscope.respond.radiology.masks import read_mask, read_volume
from herscope.stats.table import from_columns

MANY = 300


def plans(spec, count=MANY):
    return [plan_patient(spec, number) for number in range(count)]


def auc_of(values, labels):
    """Cross-validated AUC of a logistic regression on columns of values."""
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
    table = np.asarray(values, float).reshape(len(labels), -1)
    said = cross_val_predict(model, table, labels, cv=5, method="predict_proba")[:, 1]
    return float(roc_auc_score(labels, said))


def word_means(spec, found):
    return np.array([draw_words(spec, one).bag.features.mean(axis=0) for one in found])


def lesion_means(spec, found):
    lesions = [plan_lesions(spec, one)[1] for one in found]
    return np.array(
        [
            [np.mean([v.density_hu for v in ls]), np.mean([v.texture_hu for v in ls])]
            for ls in lesions
        ]
    )


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    spec = DrawnCohortSpec(signal="radiology", patients=16, missing=0.3, seed=5)
    return spec, folder, response_cohort(spec, folder)


@pytest.fixture(scope="module")
def cohort(drawn):
    return read_cohort(drawn[1] / "cohort.toml")


def truth_of(folder):
    with (folder / "truth.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


# -- the signal ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("signal", "slides", "scans"),
    [
        ("pathology", True, False),
        ("radiology", False, True),
        ("interaction", False, False),
        ("reports", False, False),
        ("none", False, False),
    ],
)
def test_images_tell_the_label_where_the_signal_says_so_and_nowhere_else(signal, slides, scans):
    spec = DrawnCohortSpec(signal=signal, seed=1)
    found = plans(spec)
    labels = np.array([one.label for one in found])

    by_slides = auc_of(word_means(spec, found), labels)
    by_scans = auc_of(lesion_means(spec, found), labels)

    # 300 patients: the standard error of an AUC at chance is 0.033.
    assert by_slides >= 0.95 if slides else abs(by_slides - 0.5) < 0.1
    assert by_scans >= 0.95 if scans else abs(by_scans - 0.5) < 0.1


def test_an_interaction_is_in_the_product_of_what_the_two_modalities_show():
    spec = DrawnCohortSpec(signal="interaction", seed=1)
    found = plans(spec)
    labels = np.array([one.label for one in found])
    slide = word_means(spec, found) @ np.where(np.arange(24) % 2 == 0, 1.0, -1.0)
    scan = lesion_means(spec, found)[:, 0] - 70.0

    assert roc_auc_score(labels, slide * scan) > 0.95


def test_the_densities_are_seen_in_the_ct_itself():
    spec = DrawnCohortSpec(signal="radiology", seed=2)
    found = plans(spec, 30)
    means = []
    for one in found:
        anatomy, lesions = plan_lesions(spec, one)
        scan = draw_scan(spec, one, anatomy, lesions)
        means.append(float(scan.hu[scan.labels > 0].mean()))

    assert roc_auc_score([one.label for one in found], means) > 0.9


def test_reports_lean_with_the_label_for_that_signal_only():
    def told(signal):
        spec = DrawnCohortSpec(signal=signal, seed=3)
        rows = []
        for one in plans(spec):
            kinds = [lesion.kind for lesion in plan_lesions(spec, one)[1]]
            rows.append(draw_reports(spec, one, kinds, draw_outcome(spec, one).start)[0])
        names = ("pathology-report", "radiology-report", "patient")
        # start_year is read from a date of the table, not from a report
        declared = [t for n in names for t in load_set(n).token if t.name != "start_year"]
        table = from_columns({name: [row[name] for row in rows] for name in rows[0]})
        values, _ = encode(table, declared).flat()
        return auc_of(values, np.array([one.label for one in plans(spec)]))

    assert told("reports") > 0.7
    assert abs(told("pathology") - 0.5) < 0.1


def test_strength_zero_shows_nothing_and_more_shows_more():
    def auc(strength):
        spec = DrawnCohortSpec(signal="pathology", strength=strength, seed=4)
        found = plans(spec)
        return auc_of(word_means(spec, found), np.array([one.label for one in found]))

    nothing, weak, strong = (auc(value) for value in (0.0, 0.5, 2.0))

    assert abs(nothing - 0.5) < 0.1
    assert nothing + 0.1 < weak < strong


# -- no other way to know the label --------------------------------------------------------------


def test_counts_sites_and_missingness_do_not_tell_the_label():
    spec = DrawnCohortSpec(signal="pathology", missing=0.4, seed=6)
    found = plans(spec)
    labels = np.array([one.label for one in found])
    words = [draw_words(spec, one) for one in found]
    lesions = [plan_lesions(spec, one)[1] for one in found]
    reports = [
        draw_reports(spec, one, [v.kind for v in ls], draw_outcome(spec, one).start)[0]
        for one, ls in zip(found, lesions, strict=True)
    ]
    known = {
        "bags": [len(one.carries) for one in words],
        "words": [len(one.bag) for one in words],
        "carriers": [one.carries.sum() for one in words],
        "lesions": [len(one) for one in lesions],
        "volume": [sum(np.prod(v.place.radii_mm) for v in ls) for ls in lesions],
        "no slide": ["pathology" in one.gone for one in found],
        "no CT": ["radiology" in one.gone for one in found],
        "no label": [one.lost_early for one in found],
        "site": [one.site == "North" for one in found],
        "empty cells": [sum(not cell for cell in row.values()) for row in reports],
    }

    for name, values in known.items():
        # Three standard errors of 0.033.
        assert abs(roc_auc_score(labels, np.array(values, float)) - 0.5) < 0.1, name


def test_a_signal_changes_values_and_nothing_else():
    plain = DrawnCohortSpec(signal="none", missing=0.4, seed=7)
    shown = DrawnCohortSpec(signal="interaction", missing=0.4, seed=7)
    for one, other in zip(plans(plain, 20), plans(shown, 20), strict=True):
        first, second = draw_words(plain, one), draw_words(shown, other)
        assert (one.label, one.gone, one.site) == (other.label, other.gone, other.site)
        np.testing.assert_array_equal(first.bag.xy_px, second.bag.xy_px)
        np.testing.assert_array_equal(first.carries, second.carries)
        lesions = [[(v.kind, v.place) for v in plan_lesions(s, p)[1]] for s, p in
                   ((plain, one), (shown, other))]  # fmt: skip
        assert lesions[0] == lesions[1]
        assert draw_outcome(plain, one) == draw_outcome(shown, other)


def test_a_patient_is_the_same_in_a_larger_cohort_and_with_more_missing():
    small = DrawnCohortSpec(patients=8, seed=8)
    large = DrawnCohortSpec(patients=100, missing=0.6, seed=8)
    for one, other in zip(plans(small, 8), plans(large, 8), strict=True):
        assert (one.name, one.label) == (other.name, other.label)
        features = [draw_words(s, p).bag.features for s, p in ((small, one), (large, other))]
        np.testing.assert_array_equal(*features)
    assert any(one.gone for one in plans(large, 8))


def test_missing_takes_the_share_that_was_asked_for():
    spec = DrawnCohortSpec(missing=0.3, seed=9)
    gone = [name for one in plans(spec, 1000) for name in one.gone]

    for name in ("pathology", "radiology"):
        assert abs(gone.count(name) / 1000 - 0.3) < 0.05


# -- outcome -------------------------------------------------------------------------------------


def test_the_rule_gives_back_the_label_that_was_drawn():
    spec = DrawnCohortSpec(seed=10)
    for one in plans(spec):
        told = draw_outcome(spec, one)
        recist = read_recist(told.recist) if told.recist else None
        made = response(recist, told.pfs_days, bool(told.pfs_event))
        assert made.label == (None if one.lost_early else one.label), made.explanation


def test_responders_live_longer_and_nobody_dies_before_progressing():
    spec = DrawnCohortSpec(seed=10)
    found = plans(spec)
    told = [draw_outcome(spec, one) for one in found]

    assert all(0 < one.pfs_days <= one.os_days for one in told)
    after = [
        np.mean([t.os_days - t.pfs_days for t, p in zip(told, found, strict=True)
                 if p.label == label and t.progression])
        for label in (0, 1)
    ]  # fmt: skip
    assert after[1] > 1.5 * after[0]


def test_readers_are_right_in_about_two_thirds():
    spec = DrawnCohortSpec(seed=11)
    right = [[guess == one.label for guess in draw_readers(spec, one)] for one in plans(spec, 1000)]

    assert np.abs(np.mean(right, axis=0) - 0.65).max() < 0.05


# -- files ---------------------------------------------------------------------------------------


def test_the_cohort_opens_without_a_finding(cohort, drawn):
    assert [finding.message for finding in consistency(cohort) if finding.severity != "note"] == []
    assert len(cohort) == 16
    assert cohort.patients == tuple(row["patient"] for row in truth_of(drawn[1]))
    assert cohort.labels.tolist() == [int(row["rule_label"]) for row in truth_of(drawn[1])]
    assert set(cohort.labels.tolist()) == {-1, 0, 1}
    assert {"reader_1", "reader_2"} <= set(cohort.table.columns)


def test_a_modality_goes_with_its_files_and_its_report(cohort, drawn):
    lacking = 0
    for place, row in enumerate(truth_of(drawn[1])):
        gone = row["taken_away"].split(";")
        for modality, kinds in (
            ("pathology", ("bags",)),
            ("radiology", ("ct", "ct_mask", "lesions")),
        ):
            assert all(bool(cohort.files[k][place]) == (modality not in gone) for k in kinds)
            told = cohort.tokens_of(modality).present[place].any()
            assert told == (modality not in gone)
            lacking += modality in gone
    assert lacking > 4


def test_bags_of_words_are_those_of_the_truth(cohort, drawn):
    for place, row in enumerate(truth_of(drawn[1])):
        if not cohort.files["bags"][place]:
            continue
        found = read_pathology(cohort.files["bags"][place])
        assert len(found) == int(row["bags"])
        assert found.bag_px == 448.0
        assert found.words.shape[1:] == (49, 24)
        assert found.omics is not None
        assert not np.isnan(found.omics).any()
        assert read_any(cohort.files["bags"][place][0]).encoder == "drawn-words"


def test_the_truth_names_the_bags_that_carry(tmp_path):
    response_cohort(DrawnCohortSpec(patients=4, strength=10.0, seed=1), tmp_path)
    for row in truth_of(tmp_path):
        found = read_pathology([tmp_path / "features" / f"{row['patient']}.h5ad"])
        along = np.where(np.arange(24) % 2 == 0, 1.0, -1.0) / np.sqrt(24)
        middle = found.words.sum(axis=1) / found.word_there.sum(axis=1)[:, None] @ along
        said = {f"{x}:{y}" for x, y in found.xy_px[np.abs(middle) > 5].tolist()}
        assert said == set(row["carrying_bags"].split(";"))
        assert {np.sign(v) for v in middle[np.abs(middle) > 5]} == {float(row["pathology"])}


def test_ct_mask_and_table_of_lesions_lie_on_one_grid(cohort, drawn):
    seen = 0
    for place, row in enumerate(truth_of(drawn[1])):
        if not cohort.files["ct"][place]:
            continue
        volume = read_volume(cohort.files["ct"][place][0])
        mask = read_mask(cohort.files["ct_mask"][place][0], volume)
        table = read_boxes(cohort.files["lesions"][place][0])
        lesions = lesions_from_boxes(table, row["patient"], volume)
        assert (volume.notes, volume.spacing_mm) == ((), SPACING_MM)
        assert np.array_equal(volume.direction, np.eye(3))
        assert len(lesions) == len(mask.labels) == int(row["lesions"])
        for label, lesion in enumerate(lesions, 1):
            where = np.nonzero(mask.array == label)
            tight = [(int(axis.min()), int(axis.max()) + 1) for axis in where]
            box = lesion.box
            assert tight == [(box.z0, box.z1), (box.y0, box.y1), (box.x0, box.x1)]
            assert lesion.name == f"label {label}"
        seen += 1
    assert seen > 6


def test_the_lesions_of_a_patient_are_read_with_their_kinds(cohort, drawn):
    from herscope.respond.radiology.patient_lesions import PatientLesionSpec, read_lesions

    spec, place = drawn[0], next(i for i, paths in enumerate(cohort.files["ct"]) if paths)
    files = [cohort.files[name][place] for name in ("ct", "ct_mask", "lesions")]
    _, lesions = plan_lesions(spec, plan_patient(spec, place))

    found = read_lesions(
        cohort.patients[place], *files, cohort.sites[place], PatientLesionSpec(with_radiomics=False)
    )

    told = dict(zip(found.names, found.kinds.tolist(), strict=True))
    assert told == {f"label {n}": int(one.kind) for n, one in enumerate(lesions, 1)}


def test_the_liver_is_on_the_right_the_spine_behind_and_gas_in_front():
    hu = draw_body(draw_anatomy(np.random.Generator(np.random.PCG64(0))))
    upper = hu[15]
    right, left = upper[:, :56], upper[:, 56:]

    assert (np.abs(right - LIVER_HU) < 5).sum() > 3 * (np.abs(left - LIVER_HU) < 5).sum()
    rows = np.argwhere(upper > 150)[:, 0]
    assert np.median(rows) > 60
    inside = np.argwhere(upper[30:80, 30:95] < -500)
    assert len(inside) > 20
    assert inside[:, 0].mean() + 30 < 56
    assert hu[:, 0, 0].max() == -1000.0


def test_equal_cohorts_are_equal_bytes(tmp_path):
    spec = DrawnCohortSpec(signal="interaction", patients=4, missing=0.2, seed=12)
    for name in ("one", "other"):
        response_cohort(spec, tmp_path / name)
    files = sorted(p.relative_to(tmp_path / "one") for p in (tmp_path / "one").rglob("*.*"))

    assert len(files) > 10
    for path in files:
        first, second = ((tmp_path / name / path).read_bytes() for name in ("one", "other"))
        assert first == second, path


def test_a_scan_gives_back_its_voxels_and_places(tmp_path):
    array = (np.arange(2 * 3 * 5).reshape(2, 3, 5) * 40 - 1000).astype(np.int16)
    path = tmp_path / "a.nii.gz"

    write_nifti(path, array, spacing_mm=(5.0, 2.0, 1.5), origin_mm=(-3.0, 7.0, 11.0))

    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, array)
    assert volume.spacing_mm == (5.0, 2.0, 1.5)
    assert volume.grid.origin_mm == pytest.approx((-3.0, 7.0, 11.0))
    assert volume.notes == ()
    packed = path.read_bytes()
    assert len(gzip.decompress(packed)) == 352 + array.nbytes
    # Neither time nor name of the file: equal volumes are equal bytes.
    assert packed[3:8] == bytes(5)


def test_other_numbers_than_whole_ones_are_not_written(tmp_path):
    with pytest.raises(InputError, match="float64 for a NIfTI file"):
        write_nifti(
            tmp_path / "a.nii.gz", np.zeros((2, 2, 2)), spacing_mm=(1, 1, 1), origin_mm=(0, 0, 0)
        )


# -- the command ---------------------------------------------------------------------------------


def test_the_command_draws_a_cohort_and_says_what(tmp_path, capsys):
    words = ["--cohort", "4", "--cohort-of", "respond-radiology", "--missing", "0.3", "--seed", "2"]

    code = main(["phantom", "--out", str(tmp_path), *words, "--strength", "1.5", "--json"])

    told = json.loads(capsys.readouterr().out)
    assert code == 0
    assert told["patients"] == sum(told["labels"].values()) == 4
    assert told["spec"]["strength"] == 1.5
    assert read_cohort(Path(told["cohort"])).patients[0] == "drawn-2-0000"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--cohort", "2", "--cohort-of", "respond-none"], "--cohort"),
        (["--cohort", "9", "--cohort-of", "respond-none", "--missing", "1"], "--missing"),
        (["--cohort", "9", "--cohort-of", "respond-none", "--strength", "-1"], "--strength"),
        (["--cohort", "9", "--cohort-of", "bags-none", "--missing", "0.3"], "patients only"),
        (["--missing", "0.3"], "patients only"),
    ],
)
def test_what_cannot_be_drawn_is_refused_by_the_name_of_the_option(tmp_path, capsys, words, said):
    assert main(["phantom", "--out", str(tmp_path / "x"), *words]) != 0
    assert said in capsys.readouterr().err
    assert not (tmp_path / "x" / "cohort.toml").exists()


def test_a_folder_with_other_files_is_not_mixed(drawn):
    spec, folder, _ = drawn
    with pytest.raises(InputError, match="not of this cohort"):
        response_cohort(spec.model_copy(update={"seed": 6}), folder)


def test_two_seeds_share_no_patient(drawn, cohort, tmp_path):
    spec = drawn[0].model_copy(update={"seed": 6, "patients": 4})
    response_cohort(spec, tmp_path)

    assert apart(cohort, read_cohort(tmp_path / "cohort.toml")) == ()


def test_a_spec_takes_no_unknown_signal():
    with pytest.raises(ValidationError):
        DrawnCohortSpec.model_validate({"signal": "slides"})
