"""A bag of features stands in one order, on one lattice, and refuses what cannot be right."""

from __future__ import annotations

import numpy as np
import pytest

from herscope.core.errors import InputError, SchemaError
from herscope.embed.bag import FeatureBag, make_bag


def bag(xy: list[list[float]], tile_px: float = 256.0, features: object = None) -> FeatureBag:
    values = np.arange(2.0 * len(xy)).reshape(-1, 2) if features is None else np.asarray(features)
    return make_bag(
        "a", values, np.array(xy), tile_px=tile_px, mpp=0.5, encoder="e", encoder_id="e:2"
    )


def test_the_order_of_the_file_does_not_matter() -> None:
    xy = [[256, 0], [0, 256], [0, 0]]
    one = bag(xy)
    other = bag(xy[::-1], features=np.arange(6.0).reshape(3, 2)[::-1])
    assert (one.features == other.features).all()
    assert one.xy_px.tolist() == [[0, 0], [256, 0], [0, 256]] == other.xy_px.tolist()


def test_the_lattice_begins_at_the_first_tile_and_bears_rounding() -> None:
    found = bag([[1000, 500], [1255.6, 500], [1511.2, 755.8]], tile_px=255.7)
    assert found.grid.tolist() == [[0, 0], [0, 1], [1, 2]]


def test_overlapping_tiles_have_places_of_their_own() -> None:
    found = bag([[x, y] for y in (0, 128) for x in (0, 128, 256)])
    assert found.step_px == 128
    assert found.grid.tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]


def test_a_single_tile_has_the_step_of_its_edge() -> None:
    assert bag([[7, 9]]).step_px == 256


@pytest.mark.parametrize(
    ("xy", "features", "said"),
    [
        ([[0, 0], [0, 0]], None, "2 tiles|1 tiles lie where another does"),
        ([[0, 0], [256, 0]], [[1.0, np.nan], [0.0, 0.0]], "no numbers, first tile 0"),
        ([[0, 0], [256, 0]], [[1.0, 2.0]], "features with"),
    ],
)
def test_what_cannot_be_right_is_refused(
    xy: list[list[float]], features: object, said: str
) -> None:
    with pytest.raises(SchemaError, match=said):
        bag(xy, features=features)


def test_an_empty_bag_says_what_to_do() -> None:
    with pytest.raises(InputError, match="no tile with features") as caught:
        make_bag(
            "a", np.zeros((0, 3)), np.zeros((0, 2)), tile_px=1, mpp=None, encoder="", encoder_id=""
        )
    assert "tissue" in caught.value.hint
