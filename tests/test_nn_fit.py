"""The training loop: it learns, repeats itself, resumes to the bit, stops, and says what is wrong.

A network of two layers on a task of its own, so that nothing here depends on pathology.
"""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra learn")

from torch import nn  # noqa: E402 - after the check that torch is there

from herscope.core.errors import InputError, ModelError, StaleResult, UndefinedStatistic  # noqa: E402
from herscope.core.store import write_json  # noqa: E402
from herscope.nn.augment import OFF, AugmentSpec  # noqa: E402
from herscope.nn.batches import PatchBatches, figures, overlap_of  # noqa: E402
from herscope.nn.fit import FitSpec, fit, learning_rate_at  # noqa: E402
from herscope.nn.patches.compartments import read_patches  # noqa: E402
from herscope.nn.patches.phantom_compartments import make_phantom_patches  # noqa: E402


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Line:
    """Batches of y = 2 x0 - x1; ``asked`` remembers which epochs were read."""

    def __init__(self, count=6, size=8, poison=None):
        self.count, self.size, self.poison, self.asked = count, size, poison, []

    def __len__(self):
        return self.count

    def epoch(self, number):
        self.asked.append(number)
        generator = np.random.Generator(np.random.PCG64([5, number]))
        for k in range(self.count):
            x = torch.from_numpy(generator.normal(size=(self.size, 2)).astype(np.float32))
            y = 2 * x[:, :1] - x[:, 1:]
            yield x, y * (float("nan") if self.poison == (number, k) else 1.0)


def network():
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Linear(2, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 1)
    )


def validate(module, device):
    x = torch.linspace(-1, 1, 40, device=device).reshape(20, 2)
    error = (module(x) - (2 * x[:, :1] - x[:, 1:])).square().mean()
    return {"error": float(error), "never": None}


def spec(**fields):
    return FitSpec(
        **{"epochs": 4, "learning_rate": 0.02, "monitor": "error", "device": "cpu"} | fields
    )


def train(folder, batches=None, module=None, **options):
    module = network() if module is None else module
    given = options.pop("spec", spec())
    check = options.pop("validate", validate)
    loss = options.pop("loss", nn.functional.mse_loss)
    batches = Line() if batches is None else batches
    result = fit(module, batches, check, loss, given, folder, **options)
    return result, {k: v.clone() for k, v in module.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def untimed(history):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in history]


class Stop:
    """Progress that behaves as Ctrl-C after an epoch."""

    def __init__(self, after):
        self.after = after

    def epoch(self, row, best):  # noqa: ARG002 - as the loop calls it
        if row["epoch"] == self.after:
            raise KeyboardInterrupt


def test_training_lowers_the_loss_and_reports_every_epoch(tmp_path):
    result, _ = train(tmp_path, spec=spec(epochs=12))
    assert [row["epoch"] for row in result.history] == list(range(1, 13))
    assert result.history[-1]["loss"] < 0.5 * result.history[0]["loss"]
    assert result.best_value == min(row["val_error"] for row in result.history)


def test_the_same_seed_gives_the_same_bits_and_another_does_not(tmp_path):
    _, first = train(tmp_path / "a")
    _, again = train(tmp_path / "b")
    _, other = train(tmp_path / "c", spec=spec(seed=1))  # dropout draws otherwise
    assert same(first, again)
    assert not same(first, other)


@pytest.mark.parametrize("after", [1, 2, 3])
def test_a_cut_off_training_resumes_to_the_same_bits(tmp_path, after):
    whole, weights = train(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut", progress=Stop(after))
    batches = Line()
    resumed, again = train(tmp_path / "cut", batches=batches, resume=True)
    assert sorted(set(batches.asked)) == list(range(after, 4))
    assert resumed.resumed_after == after
    assert untimed(resumed.history) == untimed(whole.history)
    assert same(weights, again)


def test_an_interrupt_inside_an_epoch_keeps_the_last_whole_one(tmp_path):
    class Cut(Line):
        def epoch(self, number):
            for k, pair in enumerate(super().epoch(number)):
                if (number, k) == (2, 3):
                    raise KeyboardInterrupt
                yield pair

    _, weights = train(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut", batches=Cut())
    assert json.loads((tmp_path / "cut" / "state.json").read_text())["epoch"] == 2
    resumed, again = train(tmp_path / "cut", resume=True)
    assert resumed.resumed_after == 2
    assert same(weights, again)


def test_resuming_a_finished_training_trains_nothing(tmp_path):
    _, weights = train(tmp_path)
    batches = Line()
    _, again = train(tmp_path, batches=batches, resume=True)
    assert batches.asked == []
    assert same(weights, again)


def test_without_resume_an_old_training_is_forgotten(tmp_path):
    train(tmp_path, spec=spec(epochs=2))
    result, weights = train(tmp_path)
    _, clean = train(tmp_path / "clean")
    assert result.resumed_after == 0
    assert same(weights, clean)


def test_a_new_training_that_is_cut_off_at_once_does_not_leave_the_old_one(tmp_path):
    class Never(Line):
        def epoch(self, number):  # noqa: ARG002 - as the loop calls it
            raise KeyboardInterrupt

    train(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, batches=Never())
    result, _ = train(tmp_path, resume=True)
    assert result.resumed_after == 0


def test_resuming_with_other_parameters_is_refused_and_they_are_named(tmp_path):
    train(tmp_path)
    with pytest.raises(StaleResult, match=r"learning_rate was 0.02, is 0.5"):
        train(tmp_path, spec=spec(learning_rate=0.5), resume=True)
    with pytest.raises(StaleResult, match="patches have changed"):
        train(tmp_path, resume=True, data="other patches")


def test_a_changed_checkpoint_is_refused(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, progress=Stop(2))
    file = next(tmp_path.glob("epoch-*.safetensors"))
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(ModelError, match="not the file that training wrote"):
        train(tmp_path, resume=True)


def test_the_folder_holds_one_checkpoint_and_the_best(tmp_path):
    result, _ = train(tmp_path)
    names = sorted(file.name for file in tmp_path.iterdir())
    best = f"best-{result.best_epoch:04d}.safetensors"
    assert names == [best, "epoch-0004.safetensors", "state.json"]


def scripted(values):
    left = iter(values)
    return lambda *_: {"score": next(left)}


def test_training_stops_when_the_metric_no_longer_improves(tmp_path):
    result, _ = train(
        tmp_path,
        spec=spec(epochs=20, patience=3, monitor="score", larger_is_better=True),
        validate=scripted([0.1, 0.5, 0.5, 0.4, 0.2, 0.9]),
    )
    assert result.stopped_early
    assert result.best_epoch == 2  # the earlier of two equal ones
    assert len(result.history) == 5


def test_the_weights_of_the_best_epoch_are_put_back(tmp_path):
    kept = []

    def remember(module, _):
        kept.append({k: v.clone() for k, v in module.state_dict().items()})
        return {"score": [3.0, 1.0, 2.0, 4.0][len(kept) - 1]}

    _, weights = train(tmp_path, spec=spec(monitor="score"), validate=remember)
    assert same(weights, kept[1])
    assert not same(weights, kept[3])


def test_the_weights_of_the_last_epoch_stay_when_asked_for(tmp_path):
    kept, weights = {}, {}
    for keep in ("best", "last"):
        asked = spec(monitor="score", keep=keep)
        result, weights[keep] = train(
            tmp_path / keep, spec=asked, validate=scripted([3.0, 1.0, 2.0, 4.0])
        )
        kept[keep] = (result.best_epoch, result.best_value)
    assert kept == {"best": (2, 1.0), "last": (4, 4.0)}
    assert not same(weights["best"], weights["last"])


def test_batch_statistics_are_those_of_the_weights_they_are_used_with(tmp_path):
    module = network()
    result, weights = train(
        tmp_path,
        module=module,
        spec=spec(monitor="score", norm_batches=4),
        validate=scripted([4.0, 3.0, 2.0, 1.0]),
    )
    assert result.best_epoch == 4
    means = [module[0](x).mean(dim=0) for x, _ in list(Line().epoch(3))[:4]]
    expected = torch.stack(means).mean(dim=0).detach()
    assert torch.allclose(weights["1.running_mean"], expected, atol=1e-5)
    assert module[1].momentum == 0.1
    with torch.no_grad():
        assert torch.isfinite(module(torch.ones(1, 2))).all()


def test_two_batches_a_step_are_one_batch_of_twice_the_size(tmp_path):
    class Halves(Line):
        def epoch(self, number):
            for x, y in super().epoch(number):
                yield x[:4], y[:4]
                yield x[4:], y[4:]

        def __len__(self):
            return 2 * self.count

    torch.manual_seed(0)
    plain = nn.Linear(2, 1)
    torch.manual_seed(0)
    halved = nn.Linear(2, 1)
    # A rate at which gradients are clipped in some steps and not in others: AdamW alone would
    # not notice a gradient of twice the size.
    _, whole = train(tmp_path / "a", module=plain, spec=spec(learning_rate=0.2))
    _, parts = train(
        tmp_path / "b", batches=Halves(), module=halved, spec=spec(accumulate=2, learning_rate=0.2)
    )
    for name in whole:
        assert torch.allclose(whole[name], parts[name], atol=1e-5)


def test_frozen_parameters_stay_and_encoders_learn_slowly(tmp_path):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.frozen, self.encoder, self.head = (
                nn.Linear(2, 2),
                nn.Linear(2, 2),
                nn.Linear(2, 1),
            )
            self.frozen.requires_grad_(requires_grad=False)

        def forward(self, x):
            return self.head(self.encoder(self.frozen(x)))

    module = Two()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    _, after = train(tmp_path, module=module, spec=spec(epochs=1, encoder_learning_rate=1e-6))
    moved = {k: float((after[k] - before[k]).abs().max()) for k in after}
    assert moved["frozen.weight"] == 0
    assert 0 < moved["encoder.weight"] < 1e-4 < moved["head.weight"]


def test_the_learning_rate_warms_up_and_falls_to_nothing():
    rates = [learning_rate_at(k, 100, 10) for k in range(100)]
    assert rates[:10] == pytest.approx([0.1 * k for k in range(1, 11)])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[55] == pytest.approx(0.5)
    assert rates[-1] < 0.001


def test_a_loss_that_is_no_number_stops_training_with_its_place(tmp_path):
    with pytest.raises(ModelError, match="diverged: the loss is nan in epoch 2, batch 4"):
        train(tmp_path, batches=Line(poison=(1, 3)))
    assert json.loads((tmp_path / "state.json").read_text())["epoch"] == 1


def test_a_metric_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="gives no dice"):
        train(tmp_path, spec=spec(monitor="dice"))
    with pytest.raises(UndefinedStatistic, match="never is None"):
        train(tmp_path, spec=spec(monitor="never"))


def test_nothing_to_train_is_refused(tmp_path):
    with pytest.raises(InputError, match="no batch"):
        train(tmp_path, batches=Line(count=0))
    module = network()
    module.requires_grad_(requires_grad=False)
    with pytest.raises(InputError, match="no parameter"):
        train(tmp_path, module=module)


def test_a_state_of_another_kind_is_refused(tmp_path):
    write_json(tmp_path / "state.json", {"schema": "other"})
    with pytest.raises(ValueError, match="no training of this version"):
        train(tmp_path, resume=True)


# batches of patches


@pytest.fixture(scope="module")
def patches(tmp_path_factory):
    folder = make_phantom_patches(tmp_path_factory.mktemp("p") / "p", 6, 1, size_px=96)
    return read_patches(folder)


def batches_of(patches, **options):
    given = {"inputs": "rgb", "batch": 4, "crop_px": 64, "spec": AugmentSpec(), "seed": 0}
    return PatchBatches(patches, range(len(patches)), **given | options)


def test_every_batch_is_full_and_every_patch_is_seen(patches):
    made = batches_of(patches, spec=OFF, crop_px=96)
    pairs = list(made.epoch(0))
    assert len(pairs) == len(made) == 2
    assert all(x.shape == (4, 3, 96, 96) and y.shape == (4, 96, 96) for x, y in pairs)
    masks = {patches.load(i).mask.tobytes() for i in range(6)}
    drawn = {y.numpy().astype(np.uint8)[k].tobytes() for _, y in pairs for k in range(4)}
    assert drawn == masks


def test_an_epoch_is_the_same_whatever_came_before_and_unlike_the_next(patches):
    fresh, used = batches_of(patches), batches_of(patches)
    list(used.epoch(0))
    first, second = (list(made.epoch(1)) for made in (fresh, used))
    assert all(torch.equal(a[0], b[0]) for a, b in zip(first, second, strict=True))
    other = list(fresh.epoch(2))
    assert not torch.equal(first[0][0], other[0][0])


def test_the_order_changes_from_epoch_to_epoch(patches):
    made = batches_of(patches, spec=OFF, crop_px=96)
    orders = {b"".join(y.numpy().tobytes() for _, y in made.epoch(k)) for k in range(4)}
    assert len(orders) > 1


def test_small_patches_give_smaller_crops(patches):
    assert batches_of(patches, crop_px=512).crop_px == 96
    assert batches_of(patches, crop_px=80).crop_px == 64


def test_validation_counts_pixels_of_all_patches_before_dividing(patches):
    class Constant(nn.Module):
        def forward(self, x):
            out = torch.zeros(x.shape[0], 4, *x.shape[2:])
            out[:, 0] = 1  # everything is tumour
            return out

    found = overlap_of(Constant(), torch.device("cpu"), patches, range(6), "rgb")
    pixels = patches.class_pixels()
    told = figures(found)
    assert told["iou_tumor"] == pytest.approx(pixels["tumor"] / sum(pixels.values()))
    assert told["dice_stroma"] == 0
    assert told["dice_mean"] is not None
    assert math.isfinite(told["dice_mean"])


def rising():
    """A figure that grows worse, so that the first epoch stays the best."""
    left = iter(range(1, 100))
    return lambda *_: {"score": float(next(left))}


def test_epochs_between_checkpoints_are_trained_again_to_the_same_bits(tmp_path):
    given = spec(epochs=8, save_every=3, keep="last", monitor="score")
    _, whole = train(tmp_path / "whole", spec=given, validate=rising())

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut", spec=given, validate=rising(), progress=Stop(5))
    kept = sorted(file.name for file in (tmp_path / "cut").glob("epoch-*"))
    resumed, again = train(tmp_path / "cut", spec=given, validate=rising(), resume=True)

    assert kept == ["epoch-0003.safetensors"]
    assert resumed.resumed_after == 3
    assert same(whole, again)


def test_an_epoch_among_the_best_is_saved_at_once(tmp_path):
    given = spec(epochs=8, save_every=5, monitor="score", larger_is_better=True)

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, spec=given, validate=rising(), progress=Stop(4))

    assert [file.name for file in tmp_path.glob("epoch-*")] == ["epoch-0004.safetensors"]
