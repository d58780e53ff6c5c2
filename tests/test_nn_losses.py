"""Losses against slow loops in numpy, and what they must do at the edges."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the learn extra is not installed")

from herscope.core.errors import InputError  # noqa: E402 - after the skip
from herscope.nn import losses  # noqa: E402

IGNORE = 255


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def drawn(seed, *, images=2, classes=4, height=5, width=7, ignored=0.2):
    draw = np.random.Generator(np.random.PCG64(seed))
    logits = draw.normal(0, 2, (images, classes, height, width))
    target = draw.integers(0, classes, (images, height, width))
    target[draw.random(target.shape) < ignored] = IGNORE
    return logits, target


def softmax(column):
    powers = [math.exp(value - max(column)) for value in column]
    return [power / sum(powers) for power in powers]


def slow_pixels(logits, target):
    """Yield (true class, probabilities) of each pixel that counts."""
    images, _, height, width = logits.shape
    for n in range(images):
        for y in range(height):
            for x in range(width):
                if target[n, y, x] != IGNORE:
                    yield int(target[n, y, x]), softmax(list(logits[n, :, y, x]))


def slow_focal(logits, target, weights, gamma):
    above = below = 0.0
    for truth, chance in slow_pixels(logits, target):
        above += weights[truth] * (1 - chance[truth]) ** gamma * -math.log(chance[truth])
        below += weights[truth]
    return above / below


def slow_dice(logits, target):
    classes = logits.shape[1]
    overlap, chances, truths = [0.0] * classes, [0.0] * classes, [0.0] * classes
    for truth, chance in slow_pixels(logits, target):
        overlap[truth] += chance[truth]
        truths[truth] += 1
        for c in range(classes):
            chances[c] += chance[c]
    each = [
        1 - (2 * overlap[c] + 1) / (chances[c] + truths[c] + 1) for c in range(classes) if truths[c]
    ]
    return sum(each) / len(each)


def tensors(logits, target):
    return torch.tensor(logits, dtype=torch.float32), torch.tensor(target)


@pytest.mark.parametrize("weights", [[1.0, 1.0, 1.0, 1.0], [0.5, 2.0, 0.1, 3.0]])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_loss_equals_a_slow_loop_and_gamma_0_is_cross_entropy(weights, gamma):
    logits, target = drawn(1)
    expected = slow_focal(logits, target, weights, gamma)

    loss = losses.focal(*tensors(logits, target), torch.tensor(weights), gamma=gamma)

    assert float(loss) == pytest.approx(expected, rel=1e-5)
    if gamma == 0:
        entropy = losses.cross_entropy(*tensors(logits, target), torch.tensor(weights))
        assert float(entropy) == pytest.approx(expected, rel=1e-5)


def test_cross_entropy_and_its_gradient_equal_those_of_torch():
    logits, target = tensors(*drawn(2))
    weights = torch.tensor([0.5, 2.0, 0.1, 3.0])
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()

    losses.cross_entropy(ours, target, weights).backward()
    torch.nn.functional.cross_entropy(theirs, target, weights, ignore_index=IGNORE).backward()

    torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize("seed", [3, 4])
def test_soft_dice_equals_a_slow_loop(seed):
    logits, target = drawn(seed)

    assert float(losses.soft_dice(*tensors(logits, target))) == pytest.approx(
        slow_dice(logits, target), rel=1e-5
    )


def test_soft_dice_leaves_out_a_class_that_does_not_occur():
    logits, target = drawn(5)
    target[target == 2] = 1

    assert float(losses.soft_dice(*tensors(logits, target))) == pytest.approx(
        slow_dice(logits, target), rel=1e-5
    )


def test_the_default_loss_is_the_sum_of_its_two_parts():
    logits, target = tensors(*drawn(6))
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0])

    loss = losses.cross_entropy_dice(logits, target, weights, dice_share=0.5)

    expected = losses.cross_entropy(logits, target, weights) + 0.5 * losses.soft_dice(
        logits, target
    )
    assert float(loss) == pytest.approx(float(expected))


def test_the_default_loss_falls_to_0_for_a_sure_and_right_answer():
    _, target = tensors(*drawn(7, ignored=0.0))
    logits = 60 * torch.nn.functional.one_hot(target, 4).permute(0, 3, 1, 2).float()

    assert float(losses.cross_entropy_dice(logits, target)) == pytest.approx(0, abs=1e-6)


ON_CLASSES = [losses.cross_entropy_dice, losses.focal, losses.soft_dice]


@pytest.mark.parametrize("loss", ON_CLASSES)
def test_pixels_without_annotation_change_nothing_and_get_no_gradient(loss):
    logits, target = tensors(*drawn(8, ignored=0.4))
    hidden = (target == IGNORE)[:, None].expand_as(logits)
    other = torch.where(hidden, logits + 50 * torch.randn(1).sign(), logits)
    other[hidden] += torch.linspace(-30, 30, int(hidden.sum()))
    logits.requires_grad_()

    first = loss(logits, target)
    first.backward()

    assert float(first.detach()) == float(loss(other, target))
    assert float(logits.grad[hidden].abs().max()) == 0
    assert float(logits.grad[~hidden].abs().min()) > 0


@pytest.mark.parametrize("loss", ON_CLASSES)
def test_a_batch_without_any_annotated_pixel_costs_0_and_trains_nothing(loss):
    logits = torch.randn(1, 4, 3, 3, requires_grad=True)
    target = torch.full((1, 3, 3), IGNORE)

    value = loss(logits, target)
    value.backward()

    assert float(value.detach()) == 0
    assert float(logits.grad.abs().max()) == 0


@pytest.mark.parametrize("loss", ON_CLASSES)
def test_absurdly_sure_answers_cost_a_finite_amount_with_a_finite_gradient(loss):
    target = torch.tensor([[[0, 1], [2, 3]]])
    logits = torch.zeros(1, 4, 2, 2)
    logits[:, 0] = 1e4
    logits.requires_grad_()

    value = loss(logits, target)
    value.backward()

    assert bool(torch.isfinite(value))
    assert bool(torch.isfinite(logits.grad).all())


@pytest.mark.parametrize("value", [4, 7, 254, -1])
def test_an_unknown_value_in_the_mask_is_an_error_that_names_it(value):
    logits, target = tensors(*drawn(9))
    target[0, 0, 0] = value

    with pytest.raises(InputError, match=f"value {value}, classes are 0 to 3"):
        losses.cross_entropy_dice(logits, target)


def test_a_mask_read_as_bytes_is_understood():
    logits, target = tensors(*drawn(10))

    assert float(losses.cross_entropy(logits, target.to(torch.uint8))) == float(
        losses.cross_entropy(logits, target)
    )


@pytest.mark.parametrize(
    ("shape", "kind"), [((2, 5, 8), torch.int64), ((2, 1, 5, 7), torch.int64), ((2, 5, 7), None)]
)
def test_a_target_of_another_shape_or_kind_is_an_error(shape, kind):
    logits, _ = tensors(*drawn(11))

    with pytest.raises(InputError, match=r"belong together|whole class numbers"):
        losses.cross_entropy(logits, torch.zeros(shape, dtype=kind))


def test_weights_for_another_number_of_classes_are_an_error():
    with pytest.raises(InputError, match="4 classes need as many weights"):
        losses.cross_entropy(*tensors(*drawn(12)), torch.ones(3))


def test_class_weights_give_every_class_that_occurs_the_same_say():
    counts = [600, 300, 100, 0]

    weights = losses.inverse_frequency(counts).tolist()

    shares = [weight * count for weight, count in zip(weights, counts, strict=True)]
    assert shares == pytest.approx([1000 / 3, 1000 / 3, 1000 / 3, 0])


def test_a_very_rare_class_weighs_at_most_ten_times_the_commonest():
    weights = losses.inverse_frequency([1_000_000, 1_000, 3])

    assert float(weights.max() / weights.min()) == pytest.approx(10)


@pytest.mark.parametrize("counts", [[0, 0, 0, 0], [5, -1], []])
def test_class_weights_from_nothing_are_an_error(counts):
    with pytest.raises(InputError, match="pixels of each class"):
        losses.inverse_frequency(counts)


def binary(seed):
    draw = np.random.Generator(np.random.PCG64(seed))
    logits = draw.normal(0, 3, (2, 1, 6, 5))
    target = draw.integers(0, 2, logits.shape)
    target[draw.random(target.shape) < 0.2] = IGNORE
    pairs = [
        (truth, 1 / (1 + math.exp(-raw)))
        for raw, truth in zip(logits.ravel(), target.ravel(), strict=True)
        if truth != IGNORE
    ]
    return *tensors(logits, target), pairs


def test_truncated_cross_entropy_equals_a_slow_loop():
    logits, target, pairs = binary(13)
    total = 0.0
    for truth, chance in pairs:
        p = chance if truth else 1 - chance
        total += -math.log(p) if p > 0.2 else -(p**2) / (2 * 0.2**2) + 0.5 - math.log(0.2)

    assert float(losses.truncated_cross_entropy(logits, target)) == pytest.approx(
        total / len(pairs), rel=1e-5
    )


def test_truncated_cross_entropy_stops_pulling_where_the_label_is_hopeless():
    target = torch.ones(1, 1, 1, 2, dtype=torch.int64)
    logits = torch.tensor([[[[-12.0, -1.0]]]], requires_grad=True)

    losses.truncated_cross_entropy(logits, target).backward()

    hopeless, doubtful = logits.grad.ravel().abs().tolist()
    assert hopeless < 1e-6
    assert doubtful > 0.1


def test_the_two_pieces_of_truncated_cross_entropy_meet_without_a_step():
    raw = math.log(0.2 / 0.8)  # p = 0.2
    target = torch.ones(1, 1, 1, 1, dtype=torch.int64)
    values = [
        float(losses.truncated_cross_entropy(torch.full((1, 1, 1, 1), raw + by), target))
        for by in (-1e-3, 1e-3)
    ]

    assert values[0] == pytest.approx(values[1], abs=0.0021)
    assert values[0] > values[1]


def test_binary_dice_and_cross_entropy_equal_slow_loops():
    logits, target, pairs = binary(14)
    overlap = sum(chance for truth, chance in pairs if truth)
    sums = sum(chance for _, chance in pairs) + sum(truth for truth, _ in pairs)
    entropy = -sum(math.log(chance if truth else 1 - chance) for truth, chance in pairs)

    assert float(losses.binary_dice(logits, target)) == pytest.approx(
        1 - (2 * overlap + 1) / (sums + 1), rel=1e-5
    )
    assert float(losses.binary_cross_entropy(logits, target)) == pytest.approx(
        entropy / len(pairs), rel=1e-5
    )


def test_the_triple_loss_weighs_its_four_parts_as_published():
    (nuclei, mask, _), (contour, outline, _), (colour, _, _) = binary(15), binary(16), binary(17)

    loss = losses.triple_loss(nuclei, contour, colour, mask, outline)

    expected = (
        losses.truncated_cross_entropy(nuclei, mask)
        + 0.3 * losses.binary_dice(nuclei, mask)
        + 0.3 * losses.binary_dice(contour, outline)
        + 0.3 * losses.binary_cross_entropy(colour, mask)
    )
    assert float(loss) == pytest.approx(float(expected))


def test_a_binary_target_with_other_values_is_an_error():
    logits, target, _ = binary(18)
    target[0, 0, 0, 0] = 3

    with pytest.raises(InputError, match="0 or 1, found 3"):
        losses.binary_dice(logits, target)
