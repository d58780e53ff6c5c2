"""KAT gives what its equations say, with little memory, and looks where the signal is.

The oracle is written from the equations in this file: padded bags, dense masks, every update of
every layer, attention as it stands in the paper.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="KAT needs the extra learn")

from torch import nn  # noqa: E402 - after the check that torch is there

from herscope.core.errors import InputError  # noqa: E402
from herscope.embed.bag import make_bag  # noqa: E402
from herscope.mil.kat import KatModel  # noqa: E402
from herscope.mil.kat_network import KatNetwork, collate  # noqa: E402
from herscope.mil.kat_sample import KatSpec  # noqa: E402
from herscope.mil.kernel_reads import (  # noqa: E402
    FeedForward,
    KernelReads,
    Layout,
    TileReads,
    draw_keep,
)

SMALL = {"dim": 12, "depth": 3, "heads": 2, "head_dim": 5, "mlp": 10, "tiles_per_kernel": 9}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(4)
    yield
    torch.set_num_threads(before)


def a_bag(tiles=40, features=7, seed=0, wide=8):
    rng = np.random.Generator(np.random.PCG64(seed))
    xy = np.stack(np.divmod(np.arange(tiles), wide), 1)[:, ::-1] * 256
    return make_bag(
        f"bag{seed}", rng.normal(size=(tiles, features)), xy, tile_px=256, mpp=0.5, encoder="e",
        encoder_id="e",
    )  # fmt: skip


def network(outputs=3, features=7, **changes):
    model = KatModel(KatSpec(**{**SMALL, **changes}))
    return model, model.build(features, outputs).double().eval()


def samples(model, *sizes):
    return [model.sample(a_bag(n, seed=n)) for n in sizes]


def batch_of(found):
    batch = collate(found)
    squared = tuple(s.double() for s in batch.layout.squared)
    return type(batch)(
        batch.features.double(), Layout(batch.layout.tiles, batch.layout.kernels, squared)
    )


def textbook(net, found):
    """Outputs, class-to-kernel weights and masked kernel-to-tile weights by layer."""
    spec, bags = net.spec, len(found)
    n, k = max(s.tiles for s in found), max(len(s.squared) for s in found)
    x = torch.zeros(bags, n, found[0].features.shape[1], dtype=torch.float64)
    squared = torch.zeros(bags, k, n, dtype=torch.float64)
    no_tile, no_kernel = torch.ones(bags, n, dtype=bool), torch.ones(bags, k, dtype=bool)
    for b, s in enumerate(found):
        x[b, : s.tiles] = torch.from_numpy(s.features)
        squared[b, : len(s.squared), : s.tiles] = torch.from_numpy(s.squared)
        no_tile[b, : s.tiles], no_kernel[b, : len(s.squared)] = False, False
    t = net.embed(x)
    p, c = net.kernel_token.expand(bags, k, -1), net.class_token.expand(bags, 1, -1)
    seen = []
    for number, layer in enumerate(net.layers):
        mask = torch.exp(-squared / (2 * spec.tiles_per_kernel * 2**number))[:, None]
        raw = (t, p, c)
        t, p, c = (layer.norm(v) for v in raw)
        (qt, kt, vt), (qp, kp, vp), (qc, _, _) = (
            layer.qkv(v).reshape(bags, -1, 3, spec.heads, spec.head_dim).permute(2, 0, 3, 1, 4)
            for v in (t, p, c)
        )

        def weights(q, key, missing):
            dots = q @ key.transpose(2, 3) / math.sqrt(spec.head_dim)
            return dots.masked_fill(missing[:, None, None], -1e9).softmax(3)

        of_tiles = weights(qt, kp, no_kernel) * mask.transpose(2, 3)
        of_kernels, of_class = weights(qp, kt, no_tile) * mask, weights(qc, kp, no_kernel)
        seen.append((of_class[:, :, 0], of_kernels))
        base = (t, p, c) if spec.residual == "normed" else raw
        after = []
        for old, weight, v in zip(
            base, (of_tiles, of_kernels, of_class), (vp, vt, vp), strict=True
        ):
            new = old + layer.out((weight @ v).transpose(1, 2).reshape(bags, old.shape[1], -1))
            hidden = nn.functional.gelu(layer.feed_in(layer.feed_norm(new)))
            after.append(new + layer.feed_out(hidden))
        t, p, c = after
    return net.head(net.norm(c[:, 0])), seen


def gradients(net, value):
    net.zero_grad()
    value.backward()
    return {name: p.grad.clone() for name, p in net.named_parameters()}


def test_the_network_of_the_paper_has_3287300_parameters():
    net = KatModel().build(512, 4)
    assert sum(p.numel() for p in net.parameters()) == 3_287_300


@pytest.mark.parametrize("residual", ["normed", "standard"])
def test_outputs_and_gradients_are_those_of_the_equations(residual):
    model, net = network(residual=residual)
    found = samples(model, 40, 7, 65)
    assert len({len(s.squared) for s in found}) == 3
    pull = torch.randn(3, 3, dtype=torch.float64)
    mine = net(batch_of(found))
    ours = gradients(net, (mine * pull).sum())
    theirs, _ = textbook(net, found)
    torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-10)
    for name, grad in gradients(net, (theirs * pull).sum()).items():
        torch.testing.assert_close(ours[name], grad, rtol=0, atol=1e-10, msg=name)


@pytest.mark.parametrize("residual", ["normed", "standard"])
def test_single_precision_is_within_1e_5_of_the_equations(residual):
    model = KatModel(KatSpec(residual=residual))
    net = model.build(7, 4).eval()
    found = [model.sample(a_bag(300, wide=20))]
    with torch.no_grad():
        single = net(collate(found))
        torch.testing.assert_close(
            single.double(), textbook(net.double(), found)[0], rtol=0, atol=1e-5
        )


def test_bags_of_several_chunks_are_as_exact():
    model, net = network(depth=2, tiles_per_kernel=400)
    found = [model.sample(a_bag(2100, wide=50)), model.sample(a_bag(1024, wide=50))]
    torch.testing.assert_close(net(batch_of(found)), textbook(net, found)[0], rtol=0, atol=1e-10)


def test_the_two_residuals_differ():
    outputs = []
    for residual in ("normed", "standard"):
        torch.manual_seed(1)
        model, net = network(residual=residual)
        outputs.append(net(batch_of(samples(model, 40))))
    assert not torch.allclose(*outputs, atol=1e-3)


def test_the_mask_falls_off_with_distance_and_is_not_renormalised():
    model, net = network()
    (sample,) = samples(model, 60)
    near, _ = textbook(net, [sample])
    far = collate([sample])
    wider = type(far)(
        far.features.double(),
        Layout(far.layout.tiles, far.layout.kernels, (far.layout.squared[0].double() + 1e6,)),
    )
    # All masks 0: nothing of the tiles reaches the result, which they would were it renormalised.
    blank = type(far)(torch.zeros_like(wider.features), wider.layout)
    torch.testing.assert_close(net(wider), net(blank), rtol=0, atol=1e-12)
    assert not torch.allclose(net(wider), near, atol=1e-4)


def test_gradients_pass_finite_differences():
    generator = torch.Generator().manual_seed(2)

    def draw(*shape):
        return torch.randn(shape, dtype=torch.float64, generator=generator, requires_grad=True)

    layout = Layout([5, 3], [2, 1], (draw(2, 5).detach() ** 2, draw(1, 3).detach() ** 2))
    keep = torch.rand((8, 4), generator=generator) > 0.5
    x, base, bias = draw(8, 4), draw(8, 4), draw(4)
    kernels, values = draw(2, 3, 4), draw(2, 3, 4)
    assert torch.autograd.gradcheck(
        lambda *a: TileReads.apply(*a, keep, 0.5, layout, -0.3), (x, base, kernels, values, bias)
    )
    assert torch.autograd.gradcheck(lambda *a: KernelReads.apply(*a, layout, -0.3), (x, kernels))
    hidden = torch.rand((8, 6), generator=generator) > 0.5
    parameters = (x, draw(4), draw(4), draw(6, 4), draw(6), draw(4, 6), draw(4))
    assert torch.autograd.gradcheck(
        lambda *a: FeedForward.apply(*a, hidden, keep, 0.5, torch.float64), parameters
    )
    model, net = network(depth=2, dim=4, head_dim=2, mlp=3)
    batch = batch_of(samples(model, 9))
    assert torch.autograd.gradcheck(
        lambda f: net(type(batch)(f, batch.layout)), (batch.features.requires_grad_(),)
    )


def test_every_parameter_learns_although_dead_updates_are_left_out():
    model, net = network()
    found = gradients(net.train(), net(batch_of(samples(model, 30, 50))).square().sum())
    assert all(g.isfinite().all() and g.abs().max() > 0 for g in found.values())


def test_the_order_of_the_tiles_does_not_matter():
    model, net = network()
    bag = a_bag(60)
    turned = np.random.Generator(np.random.PCG64(3)).permutation(60)
    same = make_bag(
        bag.slide, bag.features[turned], bag.xy_px[turned], tile_px=256, mpp=0.5, encoder="e",
        encoder_id="e",
    )  # fmt: skip
    one, other = model.sample(bag), model.sample(same)
    assert one.features.tobytes() == other.features.tobytes()
    assert one.squared.tobytes() == other.squared.tobytes()
    batch = batch_of([one])
    mixed = type(batch)(
        batch.features[turned],
        Layout(batch.layout.tiles, batch.layout.kernels, (batch.layout.squared[0][:, turned],)),
    )
    torch.testing.assert_close(net(batch), net(mixed), rtol=0, atol=1e-12)


def test_a_bag_does_not_see_its_batch_mates():
    model, net = network()
    found = samples(model, 33, 70, 12)
    together = net(batch_of(found))
    for row, sample in zip(together, found, strict=True):
        torch.testing.assert_close(net(batch_of([sample]))[0], row, rtol=0, atol=1e-12)


def test_equal_seeds_give_equal_training_steps_to_the_bit():
    def step():
        torch.manual_seed(7)
        model = KatModel(KatSpec(**SMALL))
        net = model.build(7, 3).train()
        net(collate(samples(model, 30, 50))).square().sum().backward()
        return [p.grad.clone() for p in net.parameters()]

    assert all(torch.equal(a, b) for a, b in zip(step(), step(), strict=True))


def test_dropout_keeps_its_share_and_the_mean():
    keep, share = draw_keep(400, 501, 0.5, torch.device("cpu"))
    assert keep.shape == (400, 501)
    assert keep.dtype == torch.bool
    assert share == 0.5
    assert abs(keep.double().mean() - 0.5) < 0.005
    rare, share = draw_keep(1000, 300, 0.1, torch.device("cpu"))
    assert abs(rare.double().mean() - share) < 0.004
    assert abs(share - 0.9) < 1 / 256
    neighbours = keep[:, 1:] & keep[:, :-1]
    assert abs(neighbours.double().mean() - 0.25) < 0.005


def test_dropout_changes_training_and_leaves_evaluation_alone():
    model, net = network()
    batch = batch_of(samples(model, 40))
    still = net(batch)
    assert torch.equal(net(batch), still)
    net.train()
    assert not torch.allclose(net(batch), net(batch))


def test_memory_grows_with_tiles_times_kernels_not_with_their_square():
    def saved(tiles):
        model = KatModel(KatSpec())
        net = model.build(16, 2).train()
        bag = a_bag(tiles, features=16, wide=math.isqrt(tiles))
        batch, storages = collate([model.sample(bag)]), {}

        def note(tensor):
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
            net(batch)
        return sum(storages.values())

    few, more, many = saved(1024), saved(2048), saved(4096)
    # Less than eleven rows of 256 numbers a tile; one 4096 x 4096 array alone is 64 MiB.
    assert many - few < 3072 * 256 * 4 * 11
    assert abs((many - more) / (more - few) - 2) < 0.1


def test_bf16_autocast_stays_close_and_trains():
    model = KatModel(KatSpec(dropout=0))
    net = model.build(7, 4)
    batch = collate([model.sample(a_bag(300, wide=20))])
    single = net(batch)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = net(batch)
    assert (single - mixed).abs().max() < 0.05
    mixed.float().square().sum().backward()
    assert all(p.grad.isfinite().all() and p.grad.dtype == p.dtype for p in net.parameters())


def test_dropped_tiles_vanish_and_anchors_stay():
    model, net = network()
    (sample,) = samples(model, 40)
    keep = np.arange(40) % 3 == 1
    thinned = model.thin(sample, keep)
    assert thinned.tiles == keep.sum()
    assert (thinned.squared == sample.squared[:, keep]).all()
    assert thinned.kept.tolist() == np.flatnonzero(keep).tolist()
    assert net(batch_of([thinned])).shape == (1, 3)
    assert model.thin(sample, np.zeros(40, bool)).kept.tolist() == [0]
    with pytest.raises(InputError, match="3 decisions for 40 tiles"):
        model.thin(sample, np.ones(3, bool))


@pytest.mark.parametrize("tiles", [1, 2, 9])
def test_tiny_slides_have_an_output(tiles):
    model, net = network()
    found = model.sample(a_bag(tiles))
    assert net(batch_of([found])).isfinite().all()
    assert model.tile_scores(net.float(), found).shape == (tiles, 1)


def test_too_many_tiles_are_thinned_and_distances_shrink_with_them():
    model = KatModel(KatSpec(max_tiles=100))
    sample = model.sample(a_bag(400, wide=20))
    assert sample.tiles == 49  # every third row and column
    assert sample.kept[:2].tolist() == [0, 3]
    line = np.sort(np.unique(np.sqrt(sample.squared[0])))
    assert line[:2].tolist() == [0, 1]


@pytest.mark.parametrize("how", ["path", "last", "mean", "product"])
def test_heatmap_scores_are_attention_of_the_class_token_through_kernels(how):
    model, net = network(rollout=how)
    (sample,) = samples(model, 40)
    _, seen = textbook(net, [sample])
    layers = [
        torch.einsum("hk,hkn->n", a[0], b[0]).div(len(a[0])).detach().numpy() for a, b in seen
    ]
    crossed = torch.einsum("hk,hkn->n", seen[-1][0][0], seen[-2][1][0]).div(2).detach().numpy()
    expected = {
        "path": crossed,
        "last": layers[-1],
        "mean": np.mean(layers, axis=0),
        "product": np.prod(layers, axis=0) ** (1 / len(layers)),
    }[how]
    scores = model.tile_scores(net.float(), sample)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores[:, 0], expected, rtol=1e-4)


def test_attention_of_the_last_layer_to_tiles_does_not_reach_the_result():
    """Why ``path`` is the default and not ``last``."""
    model, net = network()
    (sample,) = samples(model, 40)
    outputs, seen = textbook(net, [sample])
    reach = torch.autograd.grad(outputs.sum(), [kernels for _, kernels in seen], allow_unused=True)
    assert [g is not None for g in reach] == [True, True, False]


def test_one_layer_is_refused_since_nothing_of_the_tiles_would_reach_the_class_token():
    with pytest.raises(ValueError, match="greater than or equal to 2"):
        KatSpec(depth=1)


def test_a_new_network_without_contrast_is_plain():
    assert isinstance(KatModel().build(4, 2), KatNetwork)
