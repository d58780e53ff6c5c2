"""KAT learns in the training loop and lights up where the signal is; its contrast is BYOL's."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="KAT needs the extra learn")

from torch import nn  # noqa: E402 - after the check that torch is there

from herscope.embed.bag import make_bag  # noqa: E402
from herscope.mil.kat import KatModel  # noqa: E402
from herscope.mil.kat_sample import KatSpec  # noqa: E402
from herscope.mil.kernel_contrast import KernelContrast, contrast_loss, drop_tiles  # noqa: E402
from herscope.nn.fit import FitSpec, fit  # noqa: E402

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


def samples(model, *sizes):
    return [model.sample(a_bag(n, seed=n)) for n in sizes]


def planted(count, seed):
    """Bags of which every second has a bright square of tiles somewhere."""
    rng = np.random.Generator(np.random.PCG64(seed))
    grid = np.stack(np.divmod(np.arange(144), 12), 1)
    found = []
    for number in range(count):
        x = rng.normal(size=(144, 8))
        corner = rng.integers(0, 9, 2)
        bright = ((grid >= corner) & (grid < corner + 4)).all(axis=1) & (number % 2 == 1)
        x[bright, 0] += 4
        bag = make_bag(
            f"s{number}", x, grid[:, ::-1] * 256, tile_px=256, mpp=0.5, encoder="e",
            encoder_id="e",
        )  # fmt: skip
        found.append((bag, bright))
    return found


class Bags:
    """Batches of ten samples, in a new order every epoch."""

    def __init__(self, model, bags):
        self.model, self.found = model, [model.sample(b) for b, _ in bags]

    def __len__(self):
        return len(self.found) // 10

    def epoch(self, number):
        order = np.random.Generator(np.random.PCG64([1, number])).permutation(len(self.found))
        for some in order.reshape(-1, 10):
            yield self.model.collate([self.found[i] for i in some]), torch.from_numpy(some % 2)


def trained(tmp_path, bags, epochs, loss, **changes):
    model = KatModel(
        KatSpec(dim=32, heads=4, head_dim=8, mlp=64, tiles_per_kernel=16, dropout=0.1, **changes)
    )
    torch.manual_seed(0)
    net, batches = model.build(8, 2), Bags(model, planted(bags, 0))
    spec = FitSpec(epochs=epochs, learning_rate=3e-3, device="cpu", keep="last", monitor="loss")
    result = fit(net, batches, lambda *_: {"loss": 0.0}, loss, spec, tmp_path)
    return model, net.eval(), result


def test_a_planted_region_is_learned_and_lights_up_at_its_place(tmp_path):
    model, net, _ = trained(tmp_path, 60, 8, nn.functional.cross_entropy)
    test = planted(20, 1)
    found = [model.sample(bag) for bag, _ in test]
    with torch.no_grad():
        outputs = net(model.collate(found))
    assert (outputs.argmax(1).numpy() == np.arange(20) % 2).mean() >= 0.95
    for sample, (_, bright) in list(zip(found, test, strict=True))[1::2]:
        scores = model.tile_scores(net, sample)[:, 0]
        inside = np.flatnonzero(bright)
        assert np.isin(np.argsort(scores)[-8:], inside).mean() >= 0.75


def test_contrast_trains_through_the_loop_and_views_come_to_agree(tmp_path):
    loss = contrast_loss(1.0)
    seen = []

    def noted(branches, classes):
        seen.append(float(branches[1].detach().mean()))
        return loss(branches, classes)

    _, net, result = trained(tmp_path, 20, 3, noted, contrast_weight=1.0)
    assert isinstance(net, KernelContrast)
    assert len(result.history) == 3
    assert np.mean(seen[-2:]) > np.mean(seen[:2]) + 0.05


def test_the_target_follows_slowly_takes_no_gradient_and_is_saved():
    model = KatModel(KatSpec(**SMALL, contrast_weight=0.1, momentum=0.75))
    net = model.build(7, 3).train()
    batch = model.collate(samples(model, 30, 50))
    outputs, cosines = net.branches(batch)
    kernels = sum(batch.layout.kernels)
    assert outputs.shape == (2, 3)
    assert cosines.shape == (2 * 3 * kernels,)
    contrast_loss(0.1)((outputs, cosines), torch.tensor([0, 2])).backward()
    assert all(p.grad is None for p in net.target.parameters())
    assert all(p.grad is not None for p in net.online.parameters())
    before = net.target.embed.weight.clone()
    with torch.no_grad():
        net.online.embed.weight += 1
    net.branches(batch)
    torch.testing.assert_close(net.target.embed.weight, before + 0.25)
    assert not net.target.training
    assert "target.embed.weight" in net.state_dict()
    net.eval()
    assert torch.equal(net(batch), net.online(batch))
    assert model.tile_scores(net, samples(model, 30)[0]).shape == (30, 1)


def test_each_view_is_compared_with_what_the_target_makes_of_the_other(monkeypatch):
    model = KatModel(KatSpec(**SMALL, contrast_weight=0.1, dropout=0))
    net, batch = model.build(7, 3).train(), model.collate(samples(model, 30))
    one, other = torch.arange(10), torch.arange(5, 30)
    drawn = iter(([one], [other]))
    monkeypatch.setattr("herscope.mil.kernel_contrast.drop_tiles", lambda *_: next(drawn))
    outputs, cosines = net.branches(batch)
    views = [batch.keep([one]), batch.keep([other])]
    torch.testing.assert_close(outputs, net(views[0]))
    expected = [
        nn.functional.cosine_similarity(
            net.predictor(net.projector(net.online.with_kernels(mine)[1])),
            net.target_projector(net.target.with_kernels(aim)[1]),
        )
        for mine, aim in (views, views[::-1])
    ]
    torch.testing.assert_close(cosines, torch.cat(expected))


def test_views_keep_at_least_one_tile_and_drop_up_to_their_share():
    assert all(len(v) >= 1 for v in drop_tiles([1, 2] * 50, 0.99))
    views = drop_tiles([1, 2, 5000, 5000], 0.6)
    assert all((v.diff() > 0).all() for v in views)
    assert all(len(v) / 5000 > 0.35 for v in views[2:])
    assert len({len(v) for v in views[2:]}) == 2
    model = KatModel(KatSpec(**SMALL))
    batch = model.collate(samples(model, 30, 50))
    some = batch.keep([torch.tensor([4]), torch.tensor([0, 9])])
    assert torch.equal(some.features, batch.features[[4, 30, 39]])
    assert torch.equal(some.layout.squared[1], batch.layout.squared[1][:, [0, 9]])
