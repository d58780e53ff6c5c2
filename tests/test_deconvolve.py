"""Optical density and deconvolution agree with independent arithmetic and published scales."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.color import separate_stains

from herscope.core.errors import InputError, SchemaError, UnknownModel
from herscope.stain.deconvolve import deconvolution_table, deconvolve, od_table
from herscope.stain.vectors import (
    RUIFROK_JOHNSTON,
    StainSpec,
    StainVectors,
    named_vectors,
    read_vectors,
)
from herscope.stain.white import white_point

WHITE = (255.0, 255.0, 255.0)


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return np.random.default_rng(3).integers(30, 256, (120, 90, 3), dtype=np.uint8)


def test_amounts_equal_a_float_least_squares_to_half_a_milli_od(picture: np.ndarray) -> None:
    stains = deconvolve(picture, deconvolution_table(RUIFROK_JOHNSTON, WHITE))
    density = -np.log10((picture.astype(float) + 1) / 256)
    h = np.array([0.650, 0.704, 0.286]) / np.linalg.norm([0.650, 0.704, 0.286])
    d = np.array([0.268, 0.570, 0.776]) / np.linalg.norm([0.268, 0.570, 0.776])
    expected = density @ np.linalg.pinv(np.stack([h, d]))
    assert np.abs(stains.hematoxylin - 1000 * expected[..., 0]).max() < 0.6
    assert np.abs(stains.dab - 1000 * expected[..., 1]).max() < 0.6
    assert np.abs(stains.nuclear - 1000 * density[..., 0]).max() < 0.6


def test_scikit_image_gives_one_sixth_and_clamps(picture: np.ndarray) -> None:
    # scikit-image divides by ln(1e-6) and takes I/255 instead of (I + 1)/256.
    theirs = separate_stains(picture, np.linalg.inv(RUIFROK_JOHNSTON.matrix()))[..., 1]
    ours = deconvolve(picture, deconvolution_table(RUIFROK_JOHNSTON, WHITE)).dab / 1000
    stained = ours > 0.05
    assert np.abs(theirs[stained] * 6 - ours[stained]).max() < 0.03
    assert theirs.min() >= 0
    assert ours.min() < 0


def test_pure_dyes_come_back_as_they_were_drawn() -> None:
    amounts = np.array([[0.3, 0.0], [0.0, 0.8], [0.4, 0.4]])
    dyes = RUIFROK_JOHNSTON.matrix()[:2]
    light = 241.0 * 10 ** -(amounts @ dyes) - 1
    rgb = np.rint(light)[None].astype(np.uint8)
    stains = deconvolve(rgb, deconvolution_table(RUIFROK_JOHNSTON, (240.0, 240.0, 240.0)))
    found = np.stack([stains.hematoxylin[0], stains.dab[0]], axis=1) / 1000
    assert np.abs(found - amounts).max() < 0.012


def test_membrane_table_leaves_no_brown_in_the_nuclear_signal() -> None:
    brown = np.rint(256 * 10 ** -(0.9 * np.array(RUIFROK_JOHNSTON.dab)) - 1)
    rgb = brown[None, None].astype(np.uint8)
    with_brown = deconvolve(rgb, deconvolution_table(RUIFROK_JOHNSTON, WHITE)).nuclear[0, 0]
    without = deconvolve(
        rgb, deconvolution_table(RUIFROK_JOHNSTON, WHITE, nuclear_dab_share=0.0)
    ).nuclear[0, 0]
    assert with_brown > 220
    assert abs(without) < 8


def test_white_point_moves_the_zero() -> None:
    grey = np.full((2, 2, 3), 230, np.uint8)
    table = deconvolution_table(RUIFROK_JOHNSTON, (230.0, 230.0, 230.0))
    assert not deconvolve(grey, table).dab.any()
    assert od_table((230.0, 230.0, 230.0))[0, 255] < 0


def test_white_point_is_the_median_of_glass_and_says_so() -> None:
    picture = np.full((40, 40, 3), 100, np.uint8)
    picture[:20] = (242, 240, 238)
    glass = np.zeros((40, 40), bool)
    glass[:20] = True
    found = white_point(picture, glass)
    assert found.values == (242.0, 240.0, 238.0)
    assert found.measured


def test_white_point_without_glass_is_marked_as_assumed() -> None:
    picture = np.full((40, 40, 3), 180, np.uint8)
    picture[0, :10] = 250
    found = white_point(picture, np.zeros((40, 40), bool))
    assert not found.measured
    assert found.source.startswith("assumed")
    assert found.values[0] >= 249


def test_vectors_that_cannot_be_told_apart_are_refused() -> None:
    with pytest.raises(InputError, match="apart"):
        StainVectors("same", (0.6, 0.7, 0.3), (0.6, 0.7, 0.31), "test", 2020)
    with pytest.raises(InputError, match="stain vector dab"):
        StainVectors("zero", (0.6, 0.7, 0.3), (0.0, 0.0, 0.0), "test", 2020)


def test_unknown_vectors_name_the_known_ones() -> None:
    with pytest.raises(UnknownModel) as caught:
        named_vectors("ruifrok")
    assert "ruifrok-johnston" in caught.value.hint


def test_a_vectors_file_is_read_and_a_broken_one_explained(tmp_path) -> None:
    good = tmp_path / "study.toml"
    good.write_text('name = "ours"\nhematoxylin = [0.6, 0.7, 0.3]\ndab = [0.25, 0.6, 0.75]\n')
    spec = read_vectors(good)
    assert spec.vectors().name == "ours"
    assert StainSpec(**spec.model_dump()) == spec
    for text in ("hematoxylin = [1, 2]", "dab = 3", "not toml at all ["):
        bad = tmp_path / "bad.toml"
        bad.write_text(text)
        with pytest.raises(SchemaError, match=r"bad\.toml"):
            read_vectors(bad)
    with pytest.raises(InputError, match="cannot be read"):
        read_vectors(tmp_path / "absent.toml")
