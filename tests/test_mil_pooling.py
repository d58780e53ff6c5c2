"""Attention, mean and maximum over tiles: formulas, raggedness, gradients, a planted tile."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the learn extra is not installed")

from torch.nn import functional  # noqa: E402 - after the skip

from herscope.core.errors import InputError, WrongInput  # noqa: E402
from herscope.embed.bag import make_bag  # noqa: E402
from herscope.mil.pooling import PoolingModel, PoolingSample, PoolingSpec  # noqa: E402
from herscope.mil.sample_store import load_sample, save_sample  # noqa: E402
from herscope.mil.segment_sums import (  # noqa: E402
    segment_max,
    segment_mean,
    segment_softmax,
    segment_sum,
)
from herscope.mil.standardise import Standardise  # noqa: E402

KINDS = ["gated", "plain", "mean", "max"]


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def rng(seed):
    return np.random.Generator(np.random.PCG64(seed))


def tiles_of(seed, tiles, size=6):
    return PoolingSample(rng(seed).normal(size=(tiles, size)).astype(np.float32))


def small(kind, *, features=6, outputs=3, dropout=0.25):
    torch.manual_seed(0)
    model = PoolingModel(PoolingSpec(pooling=kind, width=16, hidden=8, dropout=dropout))
    module = model.build(features, outputs).eval()
    module.fit_statistics([tiles_of(99, 50, features)])
    return model, module


def numpy_of(linear, rows):
    return rows @ linear.weight.detach().numpy().T + linear.bias.detach().numpy()


def by_formula(module, kind, sample):
    """Outputs and tile scores in numpy, from the definition."""
    table = (sample.features - module.standardise.mean.numpy()) * (
        module.standardise.factor.numpy()
    )
    h = np.maximum(numpy_of(module.embedding[0], table), 0)
    if kind == "mean":
        return numpy_of(module.head, h).mean(0), numpy_of(module.head, h)
    if kind == "max":
        return numpy_of(module.head, h).max(0), numpy_of(module.head, h)
    inside = np.tanh(numpy_of(module.attention.v, h))
    if kind == "gated":
        inside = inside / (1 + np.exp(-numpy_of(module.attention.u, h)))
    a = np.exp(numpy_of(module.attention.w, inside))
    a = a / a.sum()
    return numpy_of(module.head, (a * h).sum(0)), a * len(h)


@pytest.mark.parametrize("kind", KINDS)
def test_outputs_and_tile_scores_are_those_of_the_formula(kind):
    model, module = small(kind)
    sample = tiles_of(1, 11)
    output, scores = by_formula(module, kind, sample)
    with torch.no_grad():
        found = module(model.collate([sample]))[0].numpy()
    np.testing.assert_allclose(found, output, atol=1e-5)
    np.testing.assert_allclose(model.tile_scores(module, sample), scores, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_bag_is_scored_alike_alone_and_among_others(kind):
    model, module = small(kind)
    samples = [tiles_of(k, tiles) for k, tiles in enumerate([1, 7, 300, 2])]
    with torch.no_grad():
        together = module(model.collate(samples))
        alone = torch.cat([module(model.collate([sample])) for sample in samples])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_bag_twice_as_large_of_the_same_tiles_gives_the_same(kind):
    model, module = small(kind)
    one = tiles_of(1, 9)
    two = PoolingSample(np.concatenate([one.features, one.features]))
    with torch.no_grad():
        found = module(model.collate([one, two]))
    torch.testing.assert_close(found[0], found[1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_the_pooling_are_right(kind):
    model, module = small(kind, dropout=0.0)
    module = module.double()
    batch = model.collate([tiles_of(0, 4), tiles_of(1, 3)])
    features = batch.features.double().requires_grad_(True)

    def forward(values):
        return module(type(batch)(values, batch.sizes))

    assert torch.autograd.gradcheck(forward, (features,))


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_step_gives_the_same_bits_again(kind):
    def gradients():
        model, module = small(kind)
        torch.manual_seed(3)
        samples = [tiles_of(k, 20 + k) for k in range(4)]
        outputs = module.train()(model.collate(samples))
        functional.cross_entropy(outputs, torch.tensor([0, 1, 2, 0])).backward()
        return torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])

    assert torch.equal(gradients(), gradients())


@pytest.mark.parametrize("kind", KINDS)
def test_a_planted_bright_tile_is_found_after_training(kind):
    torch.manual_seed(0)
    model = PoolingModel(PoolingSpec(pooling=kind, width=32, hidden=16))
    bags, places = [], []
    for k in range(60):
        features = rng(k).normal(size=(20 + k % 7, 8)).astype(np.float32)
        place = int(rng(k + 1000).integers(len(features)))
        if k % 2:
            features[place, 3] += 6
        bags.append(PoolingSample(features))
        places.append(place)
    module = model.build(8, 2)
    module.fit_statistics(bags[:40])
    optimiser = torch.optim.AdamW(module.parameters(), lr=5e-3)
    classes = torch.tensor([k % 2 for k in range(40)])
    for _ in range(60):
        loss = functional.cross_entropy(module(model.collate(bags[:40])), classes)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    module.eval()
    hits = sum(
        int(model.tile_scores(module, bags[k])[:, -1].argmax()) == places[k]
        for k in range(41, 60, 2)
    )
    assert hits >= 9  # of 10 that training never saw


def test_attention_scores_have_a_mean_of_one():
    model, module = small("gated")
    scores = model.tile_scores(module, tiles_of(3, 40))
    assert scores.shape == (40, 1)
    assert scores.mean() == pytest.approx(1, abs=1e-5)


def test_attention_survives_logits_that_exp_cannot_take():
    logits = torch.tensor([[1000.0], [0.0], [-1000.0]])
    found = segment_softmax(logits, torch.tensor([2, 1]))
    assert found.flatten().tolist() == [1.0, 0.0, 1.0]


def test_segments_are_those_of_a_loop():
    sizes = [3, 1, 5]
    rows = torch.from_numpy(rng(0).normal(size=(9, 4)))
    parts = rows.split(sizes)
    given = torch.tensor(sizes)
    wanted = torch.stack([p.sum(0) for p in parts])
    torch.testing.assert_close(segment_sum(rows, given), wanted)
    torch.testing.assert_close(segment_mean(rows, given), torch.stack([p.mean(0) for p in parts]))
    torch.testing.assert_close(segment_max(rows, given), torch.stack([p.amax(0) for p in parts]))
    soft = torch.cat([p.softmax(0) for p in parts])
    torch.testing.assert_close(segment_softmax(rows, given), soft)


def test_sums_of_bf16_rows_are_taken_in_float32():
    rows = torch.full((3000, 1), 1.0, dtype=torch.bfloat16)
    assert float(segment_sum(rows, torch.tensor([3000]))) == 3000


def test_statistics_are_those_of_all_rows_together():
    tables = [rng(k).normal(1e4, 3, (5 + k, 3)).astype(np.float32) for k in range(4)]
    layer = Standardise(3)
    layer.fit_statistics(tables)
    rows = np.concatenate(tables).astype(np.float64)
    np.testing.assert_allclose(layer.mean.numpy(), rows.mean(0), rtol=1e-6)
    np.testing.assert_allclose(1 / layer.factor.numpy(), rows.std(0), rtol=1e-5)
    layer.fit_statistics(tables[:1])  # set anew, not added to
    np.testing.assert_allclose(layer.mean.numpy(), tables[0].mean(0, np.float64), rtol=1e-6)


def test_a_constant_feature_becomes_zero_and_stays_so():
    layer = Standardise(2)
    layer.fit_statistics([np.array([[1, 5], [2, 5]], np.float32)])
    assert layer(torch.tensor([[1.5, 900.0]])).tolist() == [[0.0, 0.0]]


def test_statistics_of_nothing_and_of_another_size_are_refused():
    with pytest.raises(InputError, match="no tile"):
        Standardise(2).fit_statistics([])
    with pytest.raises(WrongInput, match="3 features, the model takes 2"):
        Standardise(2).fit_statistics([np.ones((4, 3), np.float32)])


@pytest.mark.parametrize("kind", KINDS)
def test_features_of_another_encoder_are_refused(kind):
    model, module = small(kind)
    with pytest.raises(WrongInput, match="7 features, the model takes 6"):
        module(model.collate([tiles_of(0, 3, 7)]))


def test_bags_of_different_encoders_are_not_put_together():
    model, _ = small("mean")
    with pytest.raises(WrongInput, match="7"):
        model.collate([tiles_of(0, 3, 6), tiles_of(0, 3, 7)])


def test_thinning_keeps_what_is_asked_and_at_least_one_tile():
    model, _ = small("gated")
    sample = tiles_of(0, 5)
    keep = np.array([True, False, True, False, False])
    np.testing.assert_array_equal(model.thin(sample, keep).features, sample.features[keep])
    assert model.thin(sample, np.zeros(5, bool)).tiles == 1
    assert model.thin(sample, np.ones(5, bool)) is sample


def test_the_order_of_the_tiles_in_a_file_changes_no_bit():
    features, xy = rng(0).normal(size=(12, 4)), rng(1).permutation(24).reshape(12, 2) * 256
    order = rng(2).permutation(12)
    told = {"tile_px": 256, "mpp": 0.5, "encoder": "e", "encoder_id": "e:4"}
    model = PoolingModel()
    one = model.sample(make_bag("a", features, xy, **told))
    two = model.sample(make_bag("a", features[order], xy[order], **told))
    assert np.array_equal(one.features, two.features)


def test_a_sample_can_be_stored_and_read_back(tmp_path):
    save_sample(tmp_path / "a.npz", tiles_of(0, 5))
    assert np.array_equal(
        load_sample(tmp_path / "a.npz", PoolingSample).features, tiles_of(0, 5).features
    )


def test_models_are_called_by_what_they_pool_with():
    names = [PoolingModel(PoolingSpec(pooling=kind)).name for kind in KINDS]
    assert names == ["abmil", "abmil", "mean", "max"]


@pytest.mark.parametrize("kind", KINDS)
def test_bf16_gives_nearly_the_same_outputs(kind):
    model, module = small(kind)
    batch = model.collate([tiles_of(0, 400), tiles_of(1, 30)])
    with torch.no_grad():
        exact = module(batch)
        with torch.autocast("cpu", torch.bfloat16):
            rough = module(batch)
    assert float((exact - rough.float()).abs().max()) < 0.05 * float(exact.abs().max())
