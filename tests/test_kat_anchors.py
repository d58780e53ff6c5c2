"""Anchors lie in the middle of their tiles, masks are Gaussians of distance, thinning fits."""

from __future__ import annotations

import time

import numpy as np
import pytest

from herscope.core.errors import InputError
from herscope.embed.bag import make_bag
from herscope.mil.anchors import cluster_places, count_kernels, place_anchors
from herscope.mil.kernel_masks import kernel_mask, mask_rate, squared_distances
from herscope.mil.lattice import thin_lattice


def square(rows, columns):
    return np.stack(np.divmod(np.arange(rows * columns), columns), 1).astype(np.int64)


def blob(tiles, seed):
    """Tissue of ragged shape: several ellipses with holes."""
    rng = np.random.Generator(np.random.PCG64(seed))
    grid = square(200, 160)
    inside = np.zeros(len(grid), bool)
    for _ in range(6):
        centre, axes = rng.uniform(20, 140, 2), rng.uniform(8, 40, 2)
        inside |= (((grid - centre) / axes) ** 2).sum(axis=1) < 1
    return grid[inside & (rng.random(len(grid)) < 0.9)][:tiles]


def bag_at(grid, tile_px=256):
    return make_bag(
        "slide", np.ones((len(grid), 1)), grid[:, ::-1] * 256, tile_px=tile_px, mpp=0.5,
        encoder="e", encoder_id="e",
    )  # fmt: skip


def inertia(grid, centres):
    return ((grid[:, None] - centres[None]) ** 2).sum(2).min(1).sum()


def test_the_number_of_kernels_is_the_papers():
    assert count_kernels(4096, 144) == 29
    assert len(place_anchors(square(64, 64), 144)) == 29


@pytest.mark.parametrize("grid", [square(64, 64), blob(3000, 1), square(3, 400)])
def test_clusters_are_as_tight_as_those_of_scikit_learn(grid):
    cluster = pytest.importorskip("sklearn.cluster")
    count = count_kernels(len(grid), 144)
    theirs = [
        cluster.KMeans(count, max_iter=10, n_init=1, random_state=s).fit(grid.astype(float))
        for s in (9, 1)
    ]
    ours = inertia(grid, cluster_places(grid, count, 9))
    assert ours < 1.05 * np.mean([t.inertia_ for t in theirs])


def test_an_anchor_is_the_tile_nearest_to_its_centre():
    grid = blob(3000, 2)
    centres = cluster_places(grid, count_kernels(len(grid), 144), 9)
    nearest = ((grid[:, None] - centres[None]) ** 2).sum(2).argmin(0)
    assert place_anchors(grid, 144).tolist() == sorted(nearest.tolist())


def test_anchors_repeat_and_follow_the_seed():
    grid = blob(4000, 3)
    assert place_anchors(grid, 144, 9).tolist() == place_anchors(grid, 144, 9).tolist()
    assert place_anchors(grid, 144, 9).tolist() != place_anchors(grid, 144, 10).tolist()


def test_a_shifted_slide_has_the_same_anchors():
    grid = blob(2000, 4)
    moved = grid + np.array([7, 90])
    assert place_anchors(grid, 100).tolist() == place_anchors(moved, 100).tolist()


@pytest.mark.parametrize("tiles", [1, 2, 3, 4, 5, 8, 17])
def test_no_two_kernels_share_an_anchor_on_tiny_slides(tiles):
    found = place_anchors(square(1, tiles), 4)
    assert len(found) == tiles // 4 + 1
    assert len(set(found.tolist())) == len(found)


def test_no_two_kernels_share_an_anchor_when_tiles_lie_in_one_place():
    found = place_anchors(np.zeros((12, 2), np.int64), 4)
    assert sorted(set(found.tolist())) == [0, 1, 2, 3]


def test_no_tile_and_no_kernel_size_are_refused():
    with pytest.raises(InputError, match="0 tiles"):
        place_anchors(np.zeros((0, 2), np.int64), 144)
    with pytest.raises(InputError, match="at 1 tiles a kernel"):
        place_anchors(square(3, 3), 1)


def test_masks_are_the_papers_gaussians():
    grid = square(20, 20)
    squared = squared_distances(grid, np.array([0, 210]), f=2)
    assert squared.dtype == np.float32
    assert squared[0, 21] == 2 / 4
    assert squared[1, 0] == (10**2 + 10**2) / 4
    for layer, sigma in enumerate((12.0, 16.97, 24.0, 33.94)):
        mask = kernel_mask(squared, 144, layer)
        np.testing.assert_allclose(mask, np.exp(-squared / (2 * sigma**2)), rtol=1e-3)
        assert mask[0, 0] == 1
    assert mask_rate(144, 1) == mask_rate(144, 0) / 2


def test_20000_tiles_have_anchors_and_masks_within_2_seconds():
    grid = square(142, 142)[:20_000]
    squared_distances(grid[:300], place_anchors(grid[:300], 144))
    start = time.perf_counter()
    squared = squared_distances(grid, place_anchors(grid, 144))
    masks = [kernel_mask(squared, 144, layer) for layer in range(4)]
    assert time.perf_counter() - start < 2
    assert masks[0].shape == (139, 20_000)


def test_a_bag_that_fits_is_left_whole():
    kept, f = thin_lattice(bag_at(square(8, 8)), 64)
    assert f == 1
    assert kept.tolist() == list(range(64))


def test_thinning_keeps_every_fth_row_and_column():
    kept, f = thin_lattice(bag_at(square(100, 100)), 4096)
    assert f == 2
    assert len(kept) == 2500
    assert (square(100, 100)[kept] % 2 == 0).all()


def test_thinning_goes_on_until_the_tiles_fit():
    # All tiles lie on even rows and columns, so that f = 2 leaves every one of them.
    kept, f = thin_lattice(bag_at(square(30, 30) * 2), 500)
    assert f == 3
    assert len(kept) == 100


def test_a_slide_without_tiles_on_those_rows_and_columns_keeps_others():
    grid = np.array([[0, 1], [1, 0], [1, 2], [2, 1], [3, 0], [3, 2], [2, 3], [0, 3]])
    kept, f = thin_lattice(bag_at(grid[np.lexsort((grid[:, 1], grid[:, 0]))]), 4)
    assert f == 2
    assert len(kept) == 4


def test_tiles_that_lie_in_one_place_of_the_lattice_are_refused_with_the_reason():
    down_the_diagonal = np.stack([np.arange(400)] * 2, axis=1)  # no two in a row tell a step
    with pytest.raises(InputError, match="share a place") as caught:
        thin_lattice(bag_at(down_the_diagonal, tile_px=1e6), 100)
    assert "size of its tiles" in caught.value.hint
