"""A drawn H&E cohort is a function of its Spec; morphology follows the class, colour does not."""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tifffile
from pydantic import ValidationError

from herscope.cli.phantom import phantom
from herscope.core.errors import InputError
from herscope.mil.labels import read_labels
from herscope.recipes.cohorts import he_cohort
from herscope.slide.opened import open_slide
from herscope.slide.phantom.he_cohort import HeCohortSpec, draw_he_slide, he_slide
from herscope.slide.phantom.render import render_region
from herscope.slide.phantom.spec import PhantomSpec
from herscope.slide.phantom.write import draw_phantom

SMALL = {"size_px": 512, "mpp": 1.0}


def cohort(**fields) -> HeCohortSpec:
    return HeCohortSpec(**{**SMALL, **fields})


def test_classes_are_even_and_some_patients_have_two_slides():
    spec = cohort(slides=100)
    slides = [he_slide(spec, number) for number in range(100)]
    held = Counter(slide.patient for slide in slides)
    assert sorted(Counter(held.values()).items()) == [(1, 60), (2, 20)]
    patients = {slide.patient: slide for slide in slides}
    assert Counter(s.ihc for s in patients.values()) == {"0": 20, "1+": 20, "2+": 20, "3+": 20}
    for slide in slides:
        other = patients[slide.patient]
        assert (slide.site, slide.ihc, slide.fish) == (other.site, other.ihc, other.fish)
        assert (slide.fish == "") == (slide.ihc != "2+")


def test_the_grade_follows_the_class_as_far_as_the_signal_says():
    def gap(signal: float) -> float:
        spec = cohort(slides=200, signal=signal)
        grades: dict[str, list[float]] = {}
        for number in range(200):
            slide = he_slide(spec, number)
            grades.setdefault(slide.ihc, []).append(slide.grade)
        return float(np.mean(grades["3+"]) - np.mean(grades["0"]))

    assert gap(1.0) == pytest.approx(0.72, abs=0.08)
    assert gap(0.5) == pytest.approx(0.37, abs=0.08)
    assert abs(gap(0.0)) < 0.06


def test_without_signal_the_label_changes_nothing_that_is_drawn():
    """The same numbers are drawn at any signal; only the class's part of them is missing."""
    none, full = (he_slide(cohort(signal=s), 2) for s in (0.0, 1.0))
    told = full.spec.differences(none.spec)
    assert "nucleus_diameter_um" in told
    colour = {"hematoxylin_od", "eosin_od", "white_point", "gamma", "tumor_fraction", "island_um"}
    assert not colour & set(told)


def test_dyes_belong_to_sites_and_not_to_classes():
    spec = cohort(slides=200, sites=2)
    slides = [he_slide(spec, number) for number in range(200)]
    eosin = {
        name: np.mean([s.spec.eosin_od for s in slides if s.site == name])
        for name in ("site-A", "site-B")
    }
    spread = np.std([s.spec.eosin_od for s in slides if s.site == "site-A"])
    assert abs(eosin["site-A"] - eosin["site-B"]) > spread
    for site in ("site-A", "site-B"):
        by_class = [
            np.mean([s.spec.eosin_od for s in slides if s.site == site and s.ihc == ihc])
            for ihc in ("0", "3+")
        ]
        assert abs(by_class[0] - by_class[1]) < spread


def test_a_slide_does_not_depend_on_how_many_there_are():
    few, many = (he_slide(cohort(slides=n, seed=3), 4) for n in (5, 50))
    assert few == many
    assert few != he_slide(cohort(slides=5, seed=4), 4)


def test_a_slide_is_drawn_the_same_to_the_bit(tmp_path: Path):
    slide = he_slide(cohort(region=True, slides=9), 1)
    sums = []
    for name in ("a.tif", "b.tif"):
        draw_he_slide(slide, tmp_path / name)
        sums.append(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest())
    assert sums[0] == sums[1]


def regional() -> tuple[HeCohortSpec, int]:
    spec = cohort(region=True, slides=40, size_px=768)
    return spec, next(
        n for n in range(40) if he_slide(spec, n).region and he_slide(spec, n).ihc == "3+"
    )


def test_a_region_alone_shows_the_class(tmp_path: Path):
    spec, number = regional()
    slide = he_slide(spec, number)
    assert slide.region is not None
    assert slide.inside is not None
    x, y, width, height = slide.region
    assert x % 256 == y % 256 == width % 256 == 0
    assert slide.inside.nucleus_diameter_um > slide.spec.nucleus_diameter_um + 1
    draw_he_slide(slide, tmp_path / "slide.tif")
    seen = tifffile.imread(tmp_path / "slide.tif", level=0).astype(int)
    around = render_region(slide.spec, 0, 0, 768, 768).astype(int)
    inside = render_region(slide.inside, x, y, width, height).astype(int)
    difference = np.abs(seen - around).mean(axis=2)
    within = np.zeros((768, 768), bool)
    within[y : y + height, x : x + width] = True
    # JPEG moves every pixel a little; another drawing moves them by far more.
    assert difference[~within].mean() < 6
    assert difference[within].mean() > 3 * difference[~within].mean()
    assert np.abs(seen[y : y + height, x : x + width] - inside).mean() < 6


def test_half_of_the_slides_above_zero_have_a_region():
    spec = cohort(region=True, slides=60)
    slides = [he_slide(spec, number) for number in range(60)]
    assert not any(slide.region for slide in slides if slide.ihc == "0")
    above = [slide.region is not None for slide in slides if slide.ihc != "0"]
    assert 0.3 < np.mean(above) < 0.7
    assert not any(he_slide(cohort(slides=40), n).region for n in range(40))


def test_a_cohort_is_slides_labels_and_truth(tmp_path: Path):
    document = he_cohort(cohort(slides=3), tmp_path, workers=1)
    names = sorted(path.stem for path in (tmp_path / "slides").iterdir())
    table = read_labels(tmp_path / "labels.csv", task="her2-four")
    assert [row.slide for row in table.rows] == names
    assert document["patients"] == 3
    truth = json.loads((tmp_path / "truth.json").read_text())
    assert sorted(truth["slides"]) == names
    with (tmp_path / "labels.csv").open() as file:
        assert list(next(csv.reader(file))) == ["slide", "patient", "site", "ihc", "fish"]
    with open_slide(tmp_path / "slides" / f"{names[0]}.tif") as slide:
        assert float(slide.info.mpp) == 1.0
        assert (slide.info.width_px, slide.info.height_px) == (512, 512)


@pytest.mark.slow
def test_workers_draw_the_same_bits_as_one_process(tmp_path: Path):
    for name, workers in (("one", 1), ("two", 2)):
        he_cohort(cohort(slides=3), tmp_path / name, workers=workers)
    for path in (tmp_path / "one" / "slides").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / "slides" / path.name).read_bytes()


def test_slides_of_something_else_are_not_mixed_with_a_cohort(tmp_path: Path):
    (tmp_path / "slides").mkdir()
    (tmp_path / "slides" / "patient-7.svs").write_bytes(b"real")
    with pytest.raises(InputError, match=r"patient-7\.svs"):
        he_cohort(cohort(slides=2), tmp_path, workers=1)


@pytest.mark.parametrize("fields", [{"slides": 1}, {"signal": 1.5}, {"sites": 9}, {"size_px": 64}])
def test_an_impossible_cohort_is_refused(fields):
    with pytest.raises(ValidationError):
        cohort(**fields)


def test_the_command_draws_bags_and_refuses_what_does_not_go_together(tmp_path: Path, capsys):
    outcome = phantom(out=tmp_path / "bags", cohort=12, cohort_of="bags-none")
    assert outcome.document["bags"] == 12
    assert len(list((tmp_path / "bags" / "features").glob("*.h5ad"))) == 12
    assert "12 of 12 drawn" in capsys.readouterr().err
    with pytest.raises(InputError, match="--patches and --cohort"):
        phantom(out=tmp_path / "x", cohort=4, patches=4)
    with pytest.raises(InputError, match="--signal"):
        phantom(out=tmp_path / "x", cohort=4, signal=2.0)
    with pytest.raises(InputError, match="--cohort"):
        phantom(out=tmp_path / "x", cohort=1)


def test_a_plain_phantom_is_drawn_as_before(tmp_path: Path):
    """The writer is shared with cohorts; a slide of its own must not change by that."""
    spec = PhantomSpec(width_um=150, height_um=130, mpp=0.5, seed=9)
    truth = draw_phantom(spec, tmp_path / "a.tif")
    image = tifffile.imread(tmp_path / "a.tif", level=0).astype(int)
    assert np.abs(image - render_region(spec, 0, 0, 300, 260).astype(int)).mean() < 4
    assert len(truth.cells) > 0
