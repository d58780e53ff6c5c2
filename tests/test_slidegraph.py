"""SlideGraph+: clusters against scipy, edges, layers against slow loops, what tiles are given."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

torch = pytest.importorskip("torch", reason="the learn extra is not installed")

from herscope.core.errors import InputError, WrongInput  # noqa: E402 - after the skip
from herscope.embed.bag import make_bag  # noqa: E402
from herscope.mil import adaptive_clusters  # noqa: E402
from herscope.mil.adaptive_clusters import ClusterSpec, cluster_tiles  # noqa: E402
from herscope.mil.graph import delaunay_edges, induced_edges  # noqa: E402
from herscope.mil.ranking_loss import ranking_loss  # noqa: E402
from herscope.mil.sample_store import load_sample, save_sample  # noqa: E402
from herscope.mil.slidegraph import (  # noqa: E402
    SlideGraphModel,
    SlideGraphSample,
    SlideGraphSpec,
)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def rng(seed):
    return np.random.Generator(np.random.PCG64(seed))


def bag_of(features, xy_px, **given):
    told = {"tile_px": 256, "mpp": 0.5, "encoder": "e", "encoder_id": "e:1"} | given
    return make_bag("a", features, xy_px, **told)


def lattice(columns, rows, pitch=256):
    steps = np.meshgrid(np.arange(columns), np.arange(rows))
    return np.stack(steps, -1).reshape(-1, 2) * pitch


def random_bag(seed, *, columns=10, rows=8, size=6):
    return bag_of(rng(seed).normal(size=(columns * rows, size)), lattice(columns, rows))


def first_of_each(labels):
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return first[inverse.ravel()]


def textbook_clusters(bag, spec):
    """All pairs, scipy's linkage: the definition."""
    features, places = bag.features.astype(np.float64), bag.xy_px * bag.mpp
    differ = np.linalg.norm(features[:, None] - features[None], axis=-1)
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1)
    pair = np.triu_indices(len(bag), 1)
    if spec.feature_scale == "slide":
        beside = differ[pair][apart[pair] <= 1.5 * bag.tile_px * bag.mpp]
        within = differ[pair][apart[pair] <= spec.cutoff_um]
        chosen = beside if len(beside) else within
        differ = differ / (np.median(chosen) if len(chosen) else 1.0)
    distance = 1 - np.exp(-spec.feature_decay * differ) * np.exp(-spec.decay_per_um * apart)
    distance[apart > spec.cutoff_um] = 1
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(distance, checks=False), "average")
    return first_of_each(fcluster(tree, spec.cut, "distance"))


@pytest.mark.parametrize("decay", [0.0015, 0.004, 0.012, 0.03])
@pytest.mark.parametrize("scale", ["slide", "raw"])
def test_sparse_clusters_are_those_of_scipy_with_all_pairs(decay, scale):
    generator = rng(3)
    spec = ClusterSpec(decay_per_um=decay, cutoff_um=6 / decay, feature_scale=scale)
    for tiles in (2, 40, 400):
        spots = generator.choice(900 * 900, tiles, replace=False)
        xy = np.stack([spots % 900, spots // 900], 1) * 11
        bag = bag_of(generator.normal(size=(tiles, 5)), xy)
        found = first_of_each(cluster_tiles(bag, spec).tile_node)
        assert found.tolist() == textbook_clusters(bag, spec).tolist()


def test_a_cut_off_that_matters_is_kept_exactly():
    spec = ClusterSpec(decay_per_um=0.001, cutoff_um=700)  # similarity 0.5 where it is cut
    bag = random_bag(5, columns=18, rows=18)
    assert first_of_each(cluster_tiles(bag, spec).tile_node).tolist() == (
        textbook_clusters(bag, spec).tolist()
    )


def test_nodes_are_means_of_their_tiles_and_numbered_by_the_first():
    bag = random_bag(1)
    found = cluster_tiles(bag, ClusterSpec(decay_per_um=0.003))
    _, first = np.unique(found.tile_node, return_index=True)
    assert (np.diff(first) > 0).all()
    assert 1 < len(first) < len(bag)
    for node in range(len(first)):
        mine = found.tile_node == node
        np.testing.assert_allclose(found.features[node], bag.features[mine].mean(0), rtol=1e-5)
        centre = (bag.xy_px[mine] + 128).mean(0) * 0.5
        np.testing.assert_allclose(found.centres_um[node], centre)


def test_neighbours_join_where_they_look_alike_and_not_where_they_differ():
    bag = bag_of([[0.0], [0.1], [9.0], [9.1], [0.0]], lattice(5, 1))
    assert cluster_tiles(bag).tile_node.tolist() == [0, 0, 1, 1, 2]


def test_clusters_do_not_change_with_the_scale_or_the_offset_of_features_or_places():
    bag = random_bag(2)
    bag = bag_of(np.round(bag.features * 64) / 64, bag.xy_px)  # so that moving them is exact
    one = cluster_tiles(bag).tile_node
    moved = bag_of(bag.features * 8 + 4, bag.xy_px + 1000)
    assert cluster_tiles(moved).tile_node.tolist() == one.tolist()
    raw = ClusterSpec(feature_scale="raw", feature_decay=0.01)
    again = cluster_tiles(moved, raw).tile_node
    assert again.tolist() != cluster_tiles(bag, raw).tile_node.tolist()


def test_clusters_depend_on_micrometres_and_not_on_pixels():
    fine = bag_of(random_bag(2).features, lattice(10, 8, 512), tile_px=512, mpp=0.25)
    assert cluster_tiles(fine).tile_node.tolist() == cluster_tiles(random_bag(2)).tile_node.tolist()
    coarse = bag_of(random_bag(2).features, lattice(10, 8), mpp=1.0)
    assert len(cluster_tiles(coarse).features) == 80  # 256 µm apart: nothing is near enough


def test_without_a_resolution_tiles_are_taken_for_128_um_and_it_is_said():
    bag = random_bag(2)
    silent = bag_of(bag.features, bag.xy_px, mpp=None)
    found = cluster_tiles(silent)
    assert found.tile_node.tolist() == cluster_tiles(bag).tile_node.tolist()
    assert "128 µm" in found.notes[0]
    assert cluster_tiles(bag).notes == ()


def test_equal_tiles_give_the_same_clusters_again_and_no_warning():
    flat = bag_of(np.ones((48, 3)), lattice(8, 6))
    one, two = cluster_tiles(flat), cluster_tiles(flat)
    assert one.tile_node.tolist() == two.tile_node.tolist()
    assert np.bincount(one.tile_node).max() == 2


def test_a_slide_with_too_many_tiles_is_thinned_and_every_tile_still_has_a_node():
    bag = random_bag(4, columns=20, rows=20)
    found = cluster_tiles(bag, ClusterSpec(max_tiles=100, decay_per_um=0.001))
    assert len(found.tile_node) == 400
    assert found.tile_node.max() + 1 == len(found.features) <= 100
    assert "every 2" in found.notes[0] or "every 3" in found.notes[0]
    tiles = np.bincount(found.tile_node)[:, None]
    np.testing.assert_allclose((found.features * tiles).sum(0), bag.features.sum(0), atol=1e-3)


def test_more_pairs_than_memory_are_refused_before_it_is_taken(monkeypatch):
    monkeypatch.setattr(adaptive_clusters, "MOST_PAIRS", 50)
    with pytest.raises(InputError, match="pairs of tiles lie within 500 µm"):
        cluster_tiles(random_bag(0))


@pytest.mark.slow
def test_twenty_thousand_tiles_are_clustered_in_seconds():
    import time

    bag = random_bag(0, columns=200, rows=100, size=256)
    cluster_tiles(random_bag(0))  # compiles
    start = time.process_time()
    cluster_tiles(bag)
    assert time.process_time() - start < 10


def test_delaunay_joins_neighbours_both_ways_and_drops_long_edges():
    points = rng(0).uniform(0, 3000, (60, 2))
    edges = delaunay_edges(points, 900)
    there = {tuple(edge) for edge in edges.tolist()}
    assert len(there) == len(edges)
    assert all((b, a) in there and a != b for a, b in there)
    assert np.linalg.norm(points[edges[:, 0]] - points[edges[:, 1]], axis=1).max() <= 900
    assert (np.diff(edges[:, 1]) >= 0).all()
    for k in range(60):  # the nearest point is always a Delaunay neighbour
        apart = np.linalg.norm(points - points[k], axis=1)
        apart[k] = np.inf
        assert (int(apart.argmin()), k) in there


def test_points_on_a_line_form_a_chain():
    points = np.array([[300.0, 300], [0, 0], [100, 100], [200, 200], [5000, 5000]])
    there = {tuple(edge) for edge in delaunay_edges(points).tolist()}
    assert there == {(1, 2), (2, 1), (2, 3), (3, 2), (3, 0), (0, 3)}


def test_an_oblique_line_is_one_in_spite_of_rounding():
    points = np.arange(1, 31)[:, None] * np.array([[100.0, 100 / 3]])
    points[:, 1] += rng(0).uniform(-1e-7, 1e-7, 30)
    edges = delaunay_edges(points)
    assert np.abs(edges[:, 0] - edges[:, 1]).tolist() == [1] * 58


def test_points_in_one_place_are_all_joined_to_something():
    corners = np.array([[0.0, 0], [100, 0], [0, 100], [100, 100], [50, 50], [50, 50]])
    assert set(delaunay_edges(corners)[:, 1].tolist()) == set(range(6))
    same = delaunay_edges(np.zeros((5, 2)))
    assert set(same[:, 1].tolist()) == set(range(5))


@pytest.mark.parametrize(("nodes", "edges"), [(1, 0), (2, 2), (3, 6)])
def test_fewer_than_four_nodes_are_all_joined(nodes, edges):
    assert delaunay_edges(np.array([[0.0, 0], [90, 0], [0, 90]])[:nodes]).shape == (edges, 2)


def test_a_slide_of_two_tiles_is_scored_and_says_that_it_has_few_nodes():
    model = SlideGraphModel()
    sample = model.sample(bag_of([[0.0], [5.0]], [[0, 0], [2560, 0]]))
    assert "2 nodes" in sample.notes[0]
    module = model.build(1, 3).eval()
    assert torch.isfinite(module(model.collate([sample]))).all()
    assert model.tile_scores(module, sample).shape == (2, 3)


def test_thinning_drops_whole_nodes_with_their_tiles_and_keeps_edges_between_the_others():
    model = SlideGraphModel()
    sample = model.sample(random_bag(7))
    _, first = np.unique(sample.tile_node, return_index=True)
    keep = rng(1).uniform(size=sample.tiles) >= 0.4
    thinner = model.thin(sample, keep)
    stays = keep[first]
    np.testing.assert_array_equal(thinner.features, sample.features[stays])
    assert thinner.tiles == int(stays[sample.tile_node].sum())
    assert thinner.tile_node.max() + 1 == len(thinner.features)
    old = np.flatnonzero(stays)
    there = {tuple(edge) for edge in sample.edges.tolist()}
    wanted = {edge for edge in there if set(edge) <= set(old.tolist())}
    assert {tuple(edge) for edge in old[thinner.edges].tolist()} == wanted
    assert model.thin(sample, np.ones(sample.tiles, bool)) is sample
    assert len(model.thin(sample, np.zeros(sample.tiles, bool)).features) == 4


def test_induced_edges_of_all_nodes_are_the_edges():
    edges = delaunay_edges(rng(0).uniform(0, 900, (20, 2)))
    np.testing.assert_array_equal(induced_edges(edges, np.ones(20, bool)), edges)


def test_a_sample_can_be_stored_and_read_back(tmp_path):
    sample = SlideGraphModel().sample(bag_of(np.eye(3), lattice(3, 1), mpp=None))
    save_sample(tmp_path / "a.npz", sample)
    again = load_sample(tmp_path / "a.npz", SlideGraphSample)
    for each in dataclasses.fields(sample):
        assert np.array_equal(getattr(again, each.name), getattr(sample, each.name)), each.name


# The network


def trained_like(module, seed=0):
    """Running statistics and weights that are not the trivial ones."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, values in [*module.named_parameters(), *module.named_buffers()]:
            if values.is_floating_point():
                noise = torch.rand(values.shape, generator=generator)
                values.copy_(noise + 0.5 if "var" in name or "factor" in name else noise - 0.5)
    return module.eval()


def slow_stage(stage, rows):
    norm = stage.norm
    values = rows @ stage.linear.weight.T + stage.linear.bias
    values = (values - norm.running_mean) / torch.sqrt(norm.running_var + norm.eps)
    return torch.clamp(values * norm.weight + norm.bias, min=0)


def slow_nodes(conv, kind, nodes, edges):
    rows = []
    for i in range(len(nodes)):
        mine = [int(a) for a, b in edges if b == i]
        if kind == "gin":
            total = nodes[i] + sum((nodes[j] for j in mine), torch.zeros_like(nodes[i]))
            rows.append(slow_stage(conv.update, total[None])[0])
        else:
            near = [nodes[j] for j in mine] or [nodes[i]]
            pairs = torch.stack([torch.cat([nodes[i], other - nodes[i]]) for other in near])
            rows.append(slow_stage(conv.message, pairs).max(0).values)
    return torch.stack(rows)


@pytest.mark.parametrize("kind", ["edge", "gin"])
def test_layers_scores_and_sums_are_those_of_a_slow_loop(kind):
    model = SlideGraphModel(SlideGraphSpec(conv=kind))
    bag = bag_of(rng(0).normal(size=(21, 6)), np.r_[lattice(5, 4), [[90_000, 90_000]]])
    sample = model.sample(bag)
    assert (np.bincount(sample.edges[:, 1], minlength=len(sample.features)) == 0).sum() == 1
    module = trained_like(model.build(6, 3))
    table = (torch.from_numpy(sample.features) - module.standardise.mean) * (
        module.standardise.factor
    )
    nodes = slow_stage(module.first, table)
    total = nodes @ module.scores[0].weight.T + module.scores[0].bias
    for conv, score in zip(module.convs, module.scores[1:], strict=True):
        nodes = slow_nodes(conv, kind, nodes, sample.edges)
        total = total + nodes @ score.weight.T + score.bias
    with torch.no_grad():
        found = model.tile_scores(module, sample)
        np.testing.assert_allclose(found, total.numpy()[sample.tile_node], atol=1e-5)
        output = module(model.collate([sample]))[0]
        np.testing.assert_allclose(output.numpy(), total.mean(0).numpy(), atol=1e-5)


@pytest.mark.parametrize("kind", ["edge", "gin"])
def test_a_slide_is_scored_alike_alone_and_among_others(kind):
    model = SlideGraphModel(SlideGraphSpec(conv=kind))
    samples = [model.sample(random_bag(seed, columns=4 + seed)) for seed in range(3)]
    module = trained_like(model.build(6, 2))
    with torch.no_grad():
        together = module(model.collate(samples))
        alone = torch.cat([module(model.collate([sample])) for sample in samples])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_the_order_of_the_tiles_in_a_file_changes_no_bit():
    bag = random_bag(3)
    order = rng(9).permutation(len(bag))
    model = SlideGraphModel()
    one, two = model.sample(bag), model.sample(bag_of(bag.features[order], bag.xy_px[order]))
    for each in dataclasses.fields(one):
        assert np.array_equal(getattr(one, each.name), getattr(two, each.name)), each.name


def step_gradients(kind):
    torch.manual_seed(0)
    model = SlideGraphModel(SlideGraphSpec(conv=kind))
    samples = [model.sample(random_bag(seed)) for seed in range(4)]
    module = model.build(6, 1)
    module.fit_statistics(samples)
    ranking_loss(module(model.collate(samples)), torch.tensor([0, 1, 0, 1])).backward()
    return torch.cat([p.grad.flatten() for p in module.parameters()])


@pytest.mark.parametrize("kind", ["edge", "gin"])
def test_a_training_step_gives_the_same_bits_again(kind):
    one = step_gradients(kind)
    assert torch.isfinite(one).all()
    assert float(one.abs().sum()) > 0
    assert torch.equal(one, step_gradients(kind))


def test_the_gradient_through_equal_neighbours_is_shared():
    from herscope.mil.segment_sums import segment_max

    rows = torch.tensor([[1.0], [1.0], [0.0]], requires_grad=True)
    segment_max(rows, torch.tensor([3])).sum().backward()
    assert rows.grad.tolist() == [[0.5], [0.5], [0.0]]


def test_one_slide_of_one_tile_can_be_trained_on():
    model = SlideGraphModel()
    sample = model.sample(bag_of([[1.0, 2.0]], [[0, 0]]))
    module = model.build(2, 2).train()
    module(model.collate([sample])).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in module.parameters() if p.grad is not None)


def test_statistics_come_from_the_training_slides_and_stay_with_the_weights():
    model = SlideGraphModel()
    samples = [model.sample(random_bag(seed)) for seed in range(3)]
    module = model.build(6, 1)
    module.fit_statistics(samples[:2])
    nodes = np.concatenate([s.features for s in samples[:2]])
    np.testing.assert_allclose(module.standardise.mean.numpy(), nodes.mean(0), atol=1e-6)
    np.testing.assert_allclose(1 / module.standardise.factor.numpy(), nodes.std(0), rtol=1e-5)
    other = model.build(6, 1)
    other.load_state_dict(module.state_dict())
    assert torch.equal(other.standardise.mean, module.standardise.mean)
    before = module.standardise.mean.clone()
    with torch.no_grad():
        module.train()(model.collate(samples))
    assert torch.equal(before, module.standardise.mean)


def test_features_that_hardly_vary_in_training_count_for_nothing():
    bag = random_bag(0)
    features = bag.features.copy()
    features[:, 2] = 5 + 1e-5 * rng(0).uniform(size=len(bag))
    model = SlideGraphModel()
    module = model.build(6, 1)
    module.fit_statistics([model.sample(bag_of(features, bag.xy_px))])
    sample = model.sample(bag)
    changed = sample.features.copy()
    changed[:, 2] += 100
    module.eval()
    one = model.tile_scores(module, sample)
    two = model.tile_scores(module, dataclasses.replace(sample, features=changed))
    assert np.array_equal(one, two)


def test_features_of_another_size_are_refused():
    model = SlideGraphModel()
    sample = model.sample(random_bag(0))
    module = model.build(7, 1)
    with pytest.raises(WrongInput, match="6 features, the model takes 7"):
        module.eval()(model.collate([sample]))
    with pytest.raises(WrongInput):
        module.fit_statistics([sample])


def test_bf16_gives_nearly_the_same_scores():
    model = SlideGraphModel()
    module = trained_like(model.build(6, 2))
    batch = model.collate([model.sample(random_bag(k)) for k in range(2)])
    with torch.no_grad():
        exact = module(batch)
        with torch.autocast("cpu", torch.bfloat16):
            rough = module(batch)
    assert float((exact - rough.float()).abs().max()) < 0.05 * float(exact.abs().max())


# The ranking loss


def test_ranking_loss_is_the_mean_over_pairs_of_different_classes():
    generator = rng(0)
    scores, classes = generator.normal(size=12), generator.integers(0, 2, 12)
    costs = [
        max(0.0, 1 - (classes[i] - classes[j]) * (scores[i] - scores[j]))
        for i in range(12)
        for j in range(12)
        if classes[i] != classes[j]
    ]
    found = ranking_loss(torch.from_numpy(scores), torch.from_numpy(classes))
    assert float(found) == pytest.approx(np.mean(costs), rel=1e-5)


def test_ranking_loss_is_zero_when_every_pair_is_a_whole_step_apart():
    assert float(ranking_loss(torch.tensor([0.0, 1.0, 2.0]), torch.tensor([0, 1, 1]))) == 0
    assert float(ranking_loss(torch.tensor([1.0, 0.0]), torch.tensor([0, 1]))) == 2


def test_one_class_costs_nothing_and_moves_nothing():
    scores = torch.tensor([[1.0], [2.0]], requires_grad=True)
    loss = ranking_loss(scores, torch.tensor([1, 1]))
    loss.backward()
    assert float(loss.detach()) == 0
    assert scores.grad.tolist() == [[0.0], [0.0]]


def test_a_graph_learns_what_only_the_arrangement_of_tiles_tells():
    """Equal bags of bright and dark tiles, in blocks or in rows of single ones."""
    model = SlideGraphModel()
    samples, classes = [], []
    for k in range(48):
        generator, xy = rng(k), lattice(10, 10)
        checker = (xy.sum(1) // 256) % 2
        halves = (xy[:, 0] >= 1280).astype(int)
        bright = halves if k % 2 else checker
        features = np.stack([bright, 1 - bright], 1) + generator.normal(size=(100, 2)) * 0.2
        samples.append(model.sample(bag_of(features, xy)))
        classes.append(k % 2)
    torch.manual_seed(1)
    module = model.build(2, 1)
    module.fit_statistics(samples[:32])
    optimiser = torch.optim.AdamW(module.parameters(), lr=1e-2, weight_decay=1e-4)
    for _ in range(30):
        for start in range(0, 32, 16):
            part = slice(start, start + 16)
            loss = ranking_loss(module(model.collate(samples[part])), torch.tensor(classes[part]))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    with torch.no_grad():
        scores = module.eval()(model.collate(samples[32:]))[:, 0]
    truth = torch.tensor(classes[32:])
    assert float(scores[truth == 1].min()) > float(scores[truth == 0].max())
