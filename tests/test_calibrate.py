"""``herscope calibrate``: planted cut-offs, honest folds, refusals, the file it writes."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from herscope.cli.app import run as herscope
from herscope.core.errors import InputError, NotComputed, OutputError, UndefinedStatistic
from herscope.core.store import write_json, write_parquet
from herscope.core.study import load_study
from herscope.guidelines.her2_reading import Her2Floors
from herscope.measure.completeness import (
    UNSEEN,
    CompletenessSpec,
    class_counts,
    classify,
)
from herscope.recipes.calibration import calibrate
from herscope.score.calibration.cells import Membranes, Settings
from herscope.score.calibration.fit import calibrate as fit
from herscope.score.calibration.predict import Her2Scored, Stained
from herscope.score.calibration.search import figure, patient_folds
from herscope.score.her2.clusters import ClusterSpec, largest_clusters
from herscope.score.her2.reading import read_her2
from herscope.score.spec import ScoreSpec
from herscope.stats.agreement.correlation import spearman
from herscope.stats.agreement.kappa import cohen_kappa

PLANTED = (0.28, 0.47, 0.83)
GRADES = ("0", "1+", "2+", "3+")


def generator(seed):
    return np.random.Generator(np.random.PCG64(seed))


def write_run(root: Path, slides: dict, *, marker="er", **spec) -> Path:
    """Write what ``herscope score`` leaves behind: ``slides`` has columns of cells by slide."""
    full = ScoreSpec(marker=marker, **spec)
    (root / "slides").mkdir(parents=True)
    write_json(
        root / "run.json",
        {
            "schema": "herscope.run/1",
            "spec": full.model_dump(mode="json"),
            "spec_fingerprint": full.fingerprint(),
        },
    )
    for name, columns in slides.items():
        folder = root / "slides" / name
        folder.mkdir()
        od = columns["od"]
        cells = {
            "x_um": np.arange(len(od)) % 60 * 12.0,
            "y_um": np.arange(len(od)) // 60 * 12.0,
            "compartment": pa.array(columns.get("compartment", ["other"] * len(od))),
            "od": od.astype(np.float32),
        }
        if "sectors" in columns:
            flat = pa.array(columns["sectors"].ravel())
            cells["sectors"] = pa.FixedSizeListArray.from_arrays(flat, 32)
        write_parquet(folder / "cells.parquet", pa.table(cells))
        parts = {"all": {"h_score": {"value": columns.get("stored")}}}
        if "tumor" in columns.get("compartment", ()):
            parts["tumor"] = {"h_score": {"value": None}}
        write_json(folder / "result.json", {"compartments": parts, "her2": None})
    return root


def write_readers(path: Path, rows: list[dict]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def stained(n=14, cells=1500, seed=1):
    """Slides from pale to dark, their cells' optical densities in whole milli-OD."""
    draw = generator(seed)
    return {
        f"case-{i:02}": {
            "od": np.floor(draw.gamma(3.0, 0.05 + 0.5 * i / n / 1.5, cells).clip(0, 2.4) * 1000)
            / 1000
        }
        for i in range(n)
    }


def h_score(od, cuts):
    return 100 * sum(float((od >= cut - 1e-9).mean()) for cut in cuts)


def membranes(n=16, cells=400, seed=2):
    """Slides with a share of completely stained cells that grows, at an OD that grows as well."""
    draw = generator(seed)
    found = {}
    for i in range(n):
        level = draw.normal(100 + 1100 * i / n, 60, cells)
        sectors = level[:, None] + draw.normal(0, 40, (cells, 32))
        gaps = draw.uniform(size=cells) > 0.25 + 0.7 * i / n
        sectors[gaps, :12] = 20
        sectors[draw.uniform(size=cells) < 0.3] = 10
        whole = sectors.clip(-200, 2500).astype(np.int16)
        found[f"case-{i:02}"] = {"od": sectors.mean(axis=1).clip(0) / 1000, "sectors": whole}
    return found


def her2_score(slide, cuts, share=0.85, marker="her2-breast"):
    """The score as the package itself makes it, not through the calibration's tables."""
    spec = CompletenessSpec(complete_share=share)
    classes = classify(slide["sectors"], [round(1000 * c) for c in cuts], spec)
    n = np.arange(len(slide["sectors"]))
    clusters = largest_clusters(n % 60 * 12.0, n // 60 * 12.0, classes, ClusterSpec())
    return read_her2(marker, class_counts(classes), clusters, Her2Floors()).score


@pytest.fixture
def h_run(tmp_path):
    slides = stained()
    run = write_run(tmp_path / "run", slides)
    rows = [{"slide": k, "a": round(h_score(v["od"], PLANTED), 3)} for k, v in slides.items()]
    return run, write_readers(tmp_path / "readers.csv", rows), slides


@pytest.fixture(scope="module")
def her2_run(tmp_path_factory):
    home = tmp_path_factory.mktemp("her2")
    slides = membranes()
    run = write_run(home / "run", slides, marker="her2-breast")
    rows = [{"slide": k, "a": her2_score(v, PLANTED)} for k, v in slides.items()]
    readers = write_readers(home / "readers.csv", rows)
    return run, readers, slides, calibrate(run, readers, mapping=True)


def test_noise_free_h_scores_give_the_planted_cut_offs_back(h_run):
    run, readers, _ = h_run
    found = calibrate(run, readers)
    assert found["what"] == "h-score"
    assert found["calibrated"]["cuts"] == pytest.approx(PLANTED, abs=0.011)
    assert found["figures"]["apparent"] < 0.35
    assert found["figures"]["cross_validated"] < 1.0
    assert found["figures"]["present"] > 10
    assert "overfitting" not in found["verdict"]


def test_percent_positive_moves_the_first_cut_off_only(tmp_path):
    slides = stained()
    run = write_run(tmp_path / "run", slides)
    rows = [{"slide": k, "a": 100 * float((v["od"] >= 0.33).mean())} for k, v in slides.items()]
    found = calibrate(run, write_readers(tmp_path / "r.csv", rows))
    assert found["what"] == "positive"
    assert found["calibrated"]["cuts"] == [0.33, 0.4, 0.6]
    assert found["figures"]["apparent"] == pytest.approx(0, abs=1e-9)


def test_noise_free_her2_scores_are_reproduced_and_the_plateau_holds_the_first_cut_off(her2_run):
    _, _, slides, found = her2_run
    assert found["figures"]["apparent"] == 1
    assert found["figures"]["present"] < 0.95
    cuts = found["calibrated"]["cuts"]
    assert [row["calibrated"] for row in found["slides"]] == [
        GRADES.index(her2_score(v, cuts, found["calibrated"]["complete_share"]))
        for v in slides.values()
    ]
    low, high = found["calibrated"]["plateau"]["low"]
    assert low <= cuts[0] <= high


@pytest.mark.parametrize("marker", ["her2-breast", "her2-gastric-resection", "her2-gastric-biopsy"])
def test_the_tables_give_the_same_score_as_the_package_at_any_cut_offs(marker):
    draw = generator(5)
    slide = membranes(4, 250, seed=8)["case-02"]
    slide["sectors"][::9, 3:9] = UNSEEN
    slide["sectors"][::11, 1:20] = UNSEEN
    n = np.arange(250)
    spec = CompletenessSpec(intensity_share=0.6)
    own = Membranes(slide["sectors"], n % 60 * 12.0, n // 60 * 12.0, spec, ClusterSpec())
    for _ in range(25):
        low, middle, high = np.sort(draw.choice(np.arange(2, 130), 3, replace=False)).tolist()
        share = int(draw.choice([700, 850, 900, 1000]))
        at = Settings(low, middle, high, share)
        used = spec.model_copy(update={"complete_share": share / 1000})
        classes = classify(slide["sectors"], [10 * c for c in at[:3]], used)
        assert own.counts(at, shapes=True) == class_counts(classes)
        seen = classes.code != 6
        assert own.classes(at).code.tolist() == classes.code[seen].tolist()
        assert own.classes(at).u_shaped.tolist() == classes.u_shaped[seen].tolist()
        cells = type("One", (), {"membranes": own, "name": "x"})()
        predictor = Her2Scored([cells], marker, at, used, Her2Floors())
        clusters = own.largest(at)
        assert (
            predictor.score(cells, at)
            == read_her2(marker, class_counts(classes), clusters, Her2Floors()).score
        )


def test_a_fold_is_fitted_without_the_slides_it_is_judged_on(h_run):
    """Replace one slide's reading by nonsense: its own held-out value must not change."""
    run, readers, slides = h_run
    noise = generator(7).normal(0, 25, len(slides))
    read = [h_score(v["od"], PLANTED) + e for v, e in zip(slides.values(), noise, strict=True)]
    found = []
    for wrong in (read[3], 299.0):
        told = [*read[:3], wrong, *read[4:]]
        rows = [{"slide": k, "a": min(max(v, 0), 300)} for k, v in zip(slides, told, strict=True)]
        document = calibrate(run, write_readers(readers, rows), force=True)
        found.append([row["held_out"] for row in document["slides"]])
    before, after = found
    assert after[3] == before[3]
    assert sum(a != b for a, b in zip(after, before, strict=True)) > 5


def test_slides_of_one_patient_are_left_out_together(tmp_path):
    slides = stained(8)

    readings = np.array([h_score(v["od"], PLANTED) for v in slides.values()])
    patients = ["p1", "p1", "p2", "p2", "p3", "p3", "p4", "p4"]
    folds = patient_folds(patients, readings, k=None, seed=1)
    seen = [sorted(fold.rows(patients, "test").tolist()) for fold in folds]
    assert sorted(seen) == [[0, 1], [2, 3], [4, 5], [6, 7]]
    run = write_run(tmp_path / "run", slides)
    rows = [
        {"slide": k, "a": r, "patient": p}
        for (k, r, p) in zip(slides, readings, patients, strict=True)
    ]
    found = calibrate(run, write_readers(tmp_path / "r.csv", rows), patient="patient")
    assert (found["n_patients"], found["folds"]["method"]) == (
        4,
        "leave one patient out, 4 patients",
    )
    assert found["gain"]["ci95"] is None
    assert "patient" not in found["readers"]


def test_folds_above_twenty_patients_are_five_and_spread_over_the_readings():
    readings = np.arange(43.0)
    patients = [f"p{i}" for i in range(43)]
    folds = list(patient_folds(patients, readings, k=None, seed=3))
    assert len(folds) == 5
    tested = [readings[fold.rows(patients, "test")] for fold in folds]
    assert sorted(np.concatenate(tested).tolist()) == readings.tolist()
    assert max(t.mean() for t in tested) - min(t.mean() for t in tested) < 5
    with pytest.raises(InputError, match="44 fold"):
        patient_folds(patients, readings, k=44, seed=3)


def test_the_figures_are_those_of_the_statistics():
    draw = generator(4)
    a, b = draw.integers(0, 4, 60), draw.integers(0, 4, 60)
    kappa = cohen_kappa(
        [GRADES[i] for i in a], [GRADES[i] for i in b], weights="quadratic", order=GRADES
    )
    assert figure(a.astype(float), b.astype(float), "kappa") == pytest.approx(kappa.value)
    x, y = draw.normal(size=30), draw.normal(size=30)
    assert figure(x, y, "spearman") == pytest.approx(spearman(x, y).value)
    assert figure(x, y, "mae") == pytest.approx(float(np.abs(x - y).mean()))


def test_readers_who_score_at_random_are_called_overfitting(tmp_path):
    slides = stained(12, 400)
    run = write_run(tmp_path / "run", slides)
    values = generator(0).permutation(np.linspace(0, 300, 12)).round()
    rows = [{"slide": k, "a": v} for k, v in zip(slides, values, strict=True)]
    found = calibrate(run, write_readers(tmp_path / "r.csv", rows))
    told = found["figures"]
    assert told["apparent"] < told["present"]
    assert told["optimism"] == pytest.approx(told["cross_validated"] - told["apparent"], abs=1e-5)
    assert told["optimism"] > 0
    assert "more than" in found["verdict"] or "overfitting" in found["verdict"]


def test_readers_who_agree_with_the_present_cut_offs_leave_them_alone(tmp_path):
    slides = stained(12, 400)
    run = write_run(tmp_path / "run", slides)
    rows = [{"slide": k, "a": h_score(v["od"], (0.2, 0.4, 0.6))} for k, v in slides.items()]
    found = calibrate(run, write_readers(tmp_path / "r.csv", rows))
    assert found["calibrated"]["cuts"] == found["present"]["cuts"] == [0.2, 0.4, 0.6]
    assert "nothing agrees better" in found["verdict"]


def test_the_written_study_loads_and_changes_the_scores(h_run):
    run, readers, slides = h_run
    found = calibrate(run, readers, profile="our-lab")
    study = load_study(run / "calibration.toml", ScoreSpec)
    assert study.marker == "er"
    assert (study.grades.profile, list(study.grades.values)) == (
        "our-lab",
        found["calibrated"]["cuts"],
    )
    od = slides["case-09"]["od"]
    before = h_score(od, ScoreSpec().grades.values)
    after = h_score(od, study.grades.values)
    assert after == pytest.approx(found["slides"][9]["calibrated"], abs=1e-3)
    assert abs(before - after) > 10


def test_the_written_study_keeps_the_other_parameters_of_the_run(tmp_path):
    slides = stained(5, 300)
    run = write_run(tmp_path / "run", slides, tiles={"mpp": 0.4}, grades={"cuts": [0.1, 0.3, 0.5]})
    rows = [{"slide": k, "a": h_score(v["od"], PLANTED)} for k, v in slides.items()]
    found = calibrate(run, write_readers(tmp_path / "r.csv", rows), out=tmp_path / "s.toml")
    study = load_study(tmp_path / "s.toml", ScoreSpec)
    assert study.tiles.mpp == 0.4
    assert found["present"]["cuts"] == [0.1, 0.3, 0.5]
    changed = ScoreSpec(marker="er", tiles={"mpp": 0.4}).differences(study)
    assert set(changed) == {"grades.cuts", "grades.profile"}


def test_the_file_says_where_it_comes_from_and_is_the_same_again(h_run):
    run, readers, _ = h_run
    found = calibrate(run, readers)
    file = run / "calibration.toml"
    text = file.read_text(encoding="utf-8")
    assert found["readers_sha256"][:16] in text
    assert found["run_fingerprint"] in text
    assert "cross-validated" in text
    calibrate(run, readers, force=True)
    assert file.read_text(encoding="utf-8") == text


def test_a_her2_study_holds_the_completeness_and_the_mapping(her2_run):
    run, _, slides, found = her2_run
    study = load_study(run / "calibration.toml", ScoreSpec)
    assert study.completeness.complete_share == found["calibrated"]["complete_share"]
    assert study.mapping is not None
    assert study.mapping.why_not(study.grades, study.completeness) == ""
    readers = [row["readers"] for row in found["slides"]]
    cuts, share = study.grades.values, study.completeness.complete_share
    told = []
    for slide in slides.values():
        classes = classify(
            slide["sectors"],
            [round(1000 * c) for c in cuts],
            CompletenessSpec(complete_share=share),
        )
        pcms = 100 * float((classes.code <= 2).mean())
        told.append(GRADES.index(study.mapping.predict(h_score(slide["od"], cuts), pcms)))
    right = found["mapping"]["apparent"]["accuracy"]["value"]
    assert np.mean(np.array(told) == readers) == pytest.approx(right)
    assert right > 0.8
    assert found["mapping"]["cross_validated"]["kappa"]["value"] is not None


def test_several_readers_are_one_median_and_their_agreement_is_told(tmp_path):
    slides = membranes(6, 150)
    run = write_run(tmp_path / "run", slides, marker="her2-breast")
    pairs = [("0", "0"), ("0", "1+"), ("1+", "1+"), ("1+", "2+"), ("2+", "3+"), ("3+", "")]
    rows = [{"slide": k, "ann": a, "bob": b} for k, (a, b) in zip(slides, pairs, strict=True)]
    found = calibrate(run, write_readers(tmp_path / "r.csv", rows))
    assert [row["readers"] for row in found["slides"]] == [0, 0, 1, 1, 2, 3]
    assert any("split evenly on 3 slides" in note for note in found["notes"])
    assert found["readers_agreement"]["n"] == 5
    assert found["readers_agreement"]["coefficients"]
    assert any("fewer than 10" in warning for warning in found["warnings"])


def test_a_slide_of_the_tumour_is_read_in_the_tumour(tmp_path):
    slides = stained(6, 200)
    for columns in slides.values():
        dark = np.full(200, 2.0)
        columns["compartment"] = ["tumor"] * 200 + ["stroma"] * 200
        columns["od"] = np.concatenate([columns["od"], dark])
    run = write_run(tmp_path / "run", slides)
    rows = [{"slide": k, "a": h_score(v["od"][:200], PLANTED)} for k, v in slides.items()]
    found = calibrate(run, write_readers(tmp_path / "r.csv", rows))
    assert found["figures"]["apparent"] < 2


def test_one_score_for_all_slides_is_refused(her2_run, tmp_path):
    run, _, slides, _ = her2_run
    rows = [{"slide": k, "a": "2+"} for k in slides]
    with pytest.raises(UndefinedStatistic, match=r"same score \(HER2 2\+\)") as refused:
        calibrate(run, write_readers(tmp_path / "r.csv", rows), out=tmp_path / "s.toml")
    assert "every score" in refused.value.hint
    assert not (tmp_path / "s.toml").exists()


def test_unknown_slides_are_named_with_the_nearest(h_run):
    run, readers, _ = h_run
    rows = [{"slide": "case-01.svs", "a": 3}, {"slide": "cse-02", "a": 4}]
    with pytest.raises(InputError, match="1 of 2 slides are not in the run: cse-02") as refused:
        calibrate(run, write_readers(readers.with_name("r.csv"), rows))
    assert "cse-02 -> case-02" in refused.value.hint


def test_slides_nobody_read_and_slides_that_failed_are_listed(h_run):
    run, _, slides = h_run
    (run / "slides" / "case-13" / "result.json").unlink()
    rows = [
        {"slide": k, "a": "" if k == "case-00" else h_score(v["od"], PLANTED)}
        for k, v in slides.items()
        if k != "case-01"
    ]
    found = calibrate(run, write_readers(run.with_name("r.csv"), rows))
    assert found["left_out"] == {
        "case-00": "no reader scored it",
        "case-01": "no reader scored it",
        "case-13": "not scored to the end",
    }
    assert found["n_slides"] == 11


def test_slides_with_too_few_membranes_are_left_out(tmp_path):
    slides = membranes(6, 150)
    slides["case-02"] = {k: v[:50] for k, v in slides["case-02"].items()}
    run = write_run(tmp_path / "run", slides, marker="her2-breast")
    rows = [{"slide": k, "a": GRADES[i // 2 + 1]} for i, k in enumerate(slides)]
    found = calibrate(run, write_readers(tmp_path / "r.csv", rows))
    assert found["left_out"] == {"case-02": "too few evaluable cells for a HER2 score"}


@pytest.mark.parametrize(
    ("cells", "options", "said"),
    [
        (["310", "20", "30"], {}, "row 1, column a: '310' is not an H-score"),
        (["3", "1", "0"], {}, "H-scores or percentages"),
        (["1+", "2+", "0"], {}, "HER2 scores cannot be read for the marker er"),
        (["120", "x", "0"], {}, "row 2, column a: 'x'"),
        (["120", "20", "0"], {"objective": "kappa"}, "kappa compares categories"),
        (["120", "20", "0"], {"mapping": True}, "needs HER2 scores"),
        (["120", "20", "0"], {"marker": "her2-breast"}, "measured the nucleus"),
        (["120", "20", "0"], {"readers": ["b"]}, "no column 'b'"),
        (["120", "20", "0"], {"folds": 9}, "9 fold"),
        (["", "", ""], {}, "no slide has a score"),
    ],
)
def test_readings_that_cannot_be_used_are_refused_with_the_reason(h_run, cells, options, said):
    run, readers, _ = h_run
    rows = [{"slide": f"case-0{i}", "a": cell} for i, cell in enumerate(cells)]
    with pytest.raises(InputError) as refused:
        calibrate(run, write_readers(readers.with_name("r.csv"), rows), **options)
    assert said in refused.value.message
    assert refused.value.hint


def test_cells_without_sectors_say_what_to_do(tmp_path):
    run = write_run(tmp_path / "run", stained(4, 100), marker="her2-breast")
    rows = [{"slide": f"case-0{i}", "a": GRADES[i]} for i in range(4)]
    with pytest.raises(NotComputed, match="no membrane sectors") as refused:
        calibrate(run, write_readers(tmp_path / "r.csv", rows))
    assert "--what h-score" in refused.value.hint


def test_a_study_file_that_is_there_is_kept(h_run):
    run, readers, _ = h_run
    (run / "calibration.toml").write_text("mine", encoding="utf-8")
    with pytest.raises(OutputError, match="exists already"):
        calibrate(run, readers)
    assert (run / "calibration.toml").read_text(encoding="utf-8") == "mine"


def test_a_stored_score_that_does_not_come_out_again_is_told(tmp_path):
    slides = stained(5, 200)
    slides["case-03"]["stored"] = 12.0
    run = write_run(tmp_path / "run", slides)
    rows = [{"slide": k, "a": h_score(v["od"], PLANTED)} for k, v in slides.items()]
    found = calibrate(run, write_readers(tmp_path / "r.csv", rows))
    assert any("does not come out again on case-03" in note for note in found["notes"])


def test_single_precision_does_not_move_a_cell_off_a_cut_off(tmp_path):
    """0.7 and 0.29 are a little less than that in single precision."""
    values = {"case-0": [0.7] * 50 + [0.1] * 50, "case-1": [0.29] * 100, "case-2": [0.1] * 100}
    run = write_run(tmp_path / "run", {k: {"od": np.array(v)} for k, v in values.items()})
    rows = [
        {"slide": "case-0", "a": 150},
        {"slide": "case-1", "a": 100},
        {"slide": "case-2", "a": 0},
    ]
    found = calibrate(run, write_readers(tmp_path / "r.csv", rows))
    assert found["figures"]["apparent"] == 0


def test_the_command_prints_one_document_and_a_table_for_people(h_run, capsys):
    run, readers, _ = h_run
    assert herscope(["calibrate", str(run), str(readers), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "herscope.calibration/1"
    assert Path(document["file"]).is_file()
    assert herscope(["calibrate", str(run), str(readers)]) == 1
    assert "exists already" in capsys.readouterr().err
    words = [
        "calibrate",
        str(run),
        str(readers),
        "--force",
        "--reader",
        "a",
        "--objective",
        "spearman",
    ]
    assert herscope(words) == 0
    out = capsys.readouterr().out
    assert "optimism" in out
    assert "slides not seen" in out
    assert "does not fix the scale" in out


def test_a_folder_that_is_no_run_is_refused_in_one_line(tmp_path, capsys):
    readers = write_readers(tmp_path / "r.csv", [{"slide": "a", "x": 1}])
    assert herscope(["calibrate", str(tmp_path / "none"), str(readers)]) == 1
    assert "not the folder of a run" in capsys.readouterr().err
    assert herscope(["calibrate", str(tmp_path), str(readers)]) == 1
    assert "holds no run" in capsys.readouterr().err
    run = write_run(tmp_path / "empty", {})
    assert herscope(["calibrate", str(run), str(readers)]) == 1
    assert "holds no slides" in capsys.readouterr().err


def test_two_slides_are_too_few():
    slides = stained(2, 100)
    with pytest.raises(UndefinedStatistic, match="2 slide"):
        fit(
            Stained([], "h-score", Settings(20, 40, 60, 850)),
            list(slides),
            np.array([1.0, 2.0]),
            objective="mae",
        )
