"""An 8-bit copy of a network: faster on processors, and checked against the network it was made of.

Static quantisation (Jacob et al., CVPR 2018; the survey of Nagel et al., arXiv:2106.08295, 2021) by
ONNX Runtime's tool: weights as int8, one scale an output channel, activations as uint8, one scale a
tensor, written as pairs of QuantizeLinear and DequantizeLinear that ONNX Runtime and OpenVINO both
fuse. The scales of activations are the smallest and largest value over calibration pictures, so
these must look like what the network will be given: patches of the training set, scaled as the card
says. The first two and the last two convolutions stay in float32: with them in 8 bits a trained
U-Net (compartments, width 0.25) agreed with itself on 0.981 and 0.975 of the pixels of two sets of
pictures, without on 0.992 and 0.993, for a fifth more time.

Half of the samples (every other one) calibrate; on the other half the copy runs beside the network,
and where it calls too many pixels otherwise it is refused. Same network and samples, same bytes.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import DependencyMissing, InputError, ModelError, WrongInput
from herscope.nn.int8_file import MADE_FROM
from herscope.nn.model_file import ModelFile, check_onnx
from herscope.nn.runtime import Runner

Floats = NDArray[np.float32]
AGREEMENT_LIMIT: Final = 0.98
"""Share of pixels that both call the same."""
DICE_LIMIT: Final = 0.95
"""Mean over the classes that float32 calls on a hundredth of the pixels or more."""
MAP_LIMIT: Final = 0.02
"""Mean difference of a nucleus model's other maps (distance 0 to 1, position -1 to 1)."""
RARE: Final = 1e-2
FEWEST: Final = 4
EDGE_CONVOLUTIONS: Final = 2
"""At either end, not quantised."""
SIGMOID: Final = frozenset({"nucleus", "distance"})


class Quantised(NamedTuple):
    """The 8-bit copy, and how near it is to its network (for the card).

    ``figures`` has ``int8_agreement`` (share of pixels called the same), ``int8_dice`` and, for
    nuclei with further maps, ``int8_map_difference``.
    """

    onnx: bytes
    figures: dict[str, float]


def quantise(model: ModelFile, samples: Sequence[Floats]) -> Quantised:
    """Make and check an 8-bit copy of a network.

    Parameters
    ----------
    model
        Of compartments or nuclei, as :func:`herscope.nn.model_file.read_model` gives it.
    samples
        Four or more pictures, float32 (channels, height, width) as the network takes them; sizes
        may differ. Sixteen of training crops are plenty.

    Returns
    -------
    Quantised
        For :func:`herscope.nn.int8_file.write_int8`.

    Raises
    ------
    InputError
        Too few samples, or a model of another task.
    WrongInput
        A sample the network does not take.
    ModelError
        The copy calls too many pixels otherwise; no copy is better than a bad one.
    DependencyMissing
        The package onnx is absent (extra ``learn``).
    """
    if model.card.task not in {"compartments", "nuclei"}:
        raise InputError(
            f"an 8-bit copy is made of compartment and nucleus models, not of {model.card.task}",
            hint="smaller networks gain nothing by it",
        )
    if len(samples) < FEWEST:
        raise InputError(
            f"{len(samples)} samples are too few to find scales and check them (at least {FEWEST})",
            hint="give some sixteen training patches",
        )
    _check_samples(model, samples)
    data = _quantised(model, [samples[i] for i in range(0, len(samples), 2)])
    copy = ModelFile(model.folder, model.card, data)
    figures = differences(model, copy, [samples[i] for i in range(1, len(samples), 2)])
    _check_figures(model, figures)
    return Quantised(data, figures)


def differences(model: ModelFile, copy: ModelFile, samples: Sequence[Floats]) -> dict[str, float]:
    """Compare two networks of one card over pictures; see :class:`Quantised` for the figures."""
    runners = [Runner(each) for each in (model, copy)]
    names = model.card.classes or []
    counts = np.zeros((len(names) + 1, len(names) + 1), np.int64)  # one class alone has a "not"
    apart: list[float] = []
    for sample in samples:
        maps = [runner.run(sample[None])[0] for runner in runners]
        if model.card.task == "nuclei":
            called = [(each[0] > 0).astype(np.int64) for each in maps]
            scaled = [_scaled(each, names) for each in maps]
            apart += [float(np.abs(a - b).mean()) for a, b in zip(*scaled, strict=True)]
        else:
            called = [each.argmax(axis=0) for each in maps]
        np.add.at(counts, (called[0].ravel(), called[1].ravel()), 1)
    total, both = counts.sum(), np.diag(counts)
    sums = counts.sum(axis=0) + counts.sum(axis=1)
    seen = counts.sum(axis=1) >= max(1.0, RARE * total)
    found = {
        "int8_agreement": float(both.sum() / total),
        "int8_dice": float((2 * both[seen] / sums[seen]).mean()),
    }
    if apart:
        found["int8_map_difference"] = max(apart)
    return {name: round(value, 5) for name, value in found.items()}


def _scaled(maps: Floats, names: Sequence[str]) -> list[Floats]:
    """Return the maps beyond the nucleus, as they are decoded."""
    return [
        1 / (1 + np.exp(-one)) if name in SIGMOID else np.clip(one, -1, 1)
        for name, one in zip(names[1:], maps[1:], strict=True)
    ]


def _check_samples(model: ModelFile, samples: Sequence[Floats]) -> None:
    for number, sample in enumerate(samples):
        if sample.ndim != 3 or sample.shape[0] != model.channels or sample.dtype != np.float32:
            raise WrongInput(
                f"sample {number} is {sample.dtype} {sample.shape}; model {model.card.name} takes "
                f"float32 ({model.channels}, height, width)",
                hint="make it with herscope.nn.inputs.network_input",
            )


def _check_figures(model: ModelFile, figures: dict[str, float]) -> None:
    limits = (
        ("int8_agreement", AGREEMENT_LIMIT, "agrees on {:.3f} of the pixels"),
        ("int8_dice", DICE_LIMIT, "has a Dice of {:.3f}"),
    )
    faults = [
        f"{words.format(figures[name])} (at least {limit:g})"
        for name, limit, words in limits
        if figures[name] < limit
    ]
    if figures.get("int8_map_difference", 0.0) > MAP_LIMIT:
        faults.append(f"is off by {figures['int8_map_difference']:.3f} (at most {MAP_LIMIT:g})")
    if faults:
        raise ModelError(
            f"the 8-bit copy of {model.card.name} is too far from it: it {', '.join(faults)}",
            hint="calibrate with pictures like those it will see, more of them; or stay with "
            "float32 or bf16",
        )


def _quantised(model: ModelFile, samples: Sequence[Floats]) -> bytes:
    try:
        import onnx
        from onnxruntime import quantization
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError as error:
        raise DependencyMissing(
            f"an 8-bit copy is made with the package {error.name or 'onnx'}",
            hint="pip install 'herscope[learn]'",
        ) from error

    class Pictures(quantization.CalibrationDataReader):
        def __init__(self, name: str) -> None:
            self.left = iter(samples)
            self.name = name

        def get_next(self) -> dict[str, Floats] | None:
            sample = next(self.left, None)
            return None if sample is None else {self.name: sample[None]}

    try:
        with tempfile.TemporaryDirectory() as folder, _quiet():
            plain, ready, done = (Path(folder) / f"{name}.onnx" for name in "pqr")
            plain.write_bytes(model.onnx)
            quant_pre_process(plain, ready, skip_symbolic_shape=True)
            graph = onnx.load(ready).graph
            convolutions = [node.name for node in graph.node if node.op_type == "Conv"]
            quantization.quantize_static(
                ready,
                done,
                Pictures(graph.input[0].name),
                nodes_to_exclude=convolutions[:EDGE_CONVOLUTIONS]
                + convolutions[-EDGE_CONVOLUTIONS:],
                quant_format=quantization.QuantFormat.QDQ,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                per_channel=True,
                calibrate_method=quantization.CalibrationMethod.MinMax,
            )
            made = onnx.load(done)
    except Exception as error:  # the tool raises what its parts raise
        raise ModelError(
            f"no 8-bit copy of {model.card.name} can be made: {' '.join(str(error).split())[:300]}",
            hint="stay with float32 or bf16 for this network",
        ) from error
    made.ClearField("metadata_props")
    onnx.helper.set_model_props(made, {MADE_FROM: model.card.sha256 or ""})
    data = bytes(made.SerializeToString(deterministic=True))
    check_onnx(data, f"the 8-bit copy of {model.card.name}")
    return data


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the tool's notes away from the user, in this block only."""
    logger: Any = logging.getLogger()
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
