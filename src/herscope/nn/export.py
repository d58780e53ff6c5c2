"""Turn a torch network into a model folder, and show that the copy computes the same.

The network is traced by ``torch.export`` and written as ONNX (operator set 18, which ONNX Runtime
1.19 and OpenVINO 2024.6 both read) with any batch, height and width. Before anything is written the
copy runs beside the original on several sizes; a difference above a ten-thousandth of the largest
logit is an error. What the exporter notes about the source (file names and line numbers of the
machine it ran on) is removed, so a model says nothing about where it was made, and the same network
gives the same bytes.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from herscope.core.errors import DependencyMissing, ModelError, WrongInput
from herscope.core.registry import INPUT_CHANNELS, ModelCard
from herscope.nn.model_file import ModelFile, read_weights_bytes, write_model
from herscope.nn.runtime import TOLERANCE, Runner

OPSET: Final = 18
INPUT_NAME: Final = "pixels"
OUTPUT_NAME: Final = "logits"

_TRACED: Final = (2, 160, 128)
"""Batch, height, width of the trace: all different and above 1, since torch takes 0 and 1 for
fixed, and still above 1 after five halvings."""

_COMPARED: Final = ((1, 160, 128), (3, 96, 224), (1, 71, 45))
"""Sizes on which the copy is checked; the last is no multiple of anything."""


def export(module: nn.Module, channels: int, folder: str | Path, card: ModelCard) -> ModelFile:
    """Write a trained network as a model folder.

    Parameters
    ----------
    module
        Takes float32 (batch, channels, height, width), gives one float32 tensor, the batch first.
        It is not changed, and may be on any device and in training mode.
    channels
        Input channels; must be those of ``card.inputs``.
    folder
        Made when it does not exist; ``card.json``, ``model.onnx`` and ``weights.safetensors``
        are replaced in it, other files are left.
    card
        What the model is for. Checksums are filled in; ``licence``, ``inputs`` and, for
        compartments, ``classes`` must be there. With ``input_size_px`` the network is written for
        that size only.

    Returns
    -------
    ModelFile
        As :func:`herscope.nn.model_file.read_model` gives it.

    Raises
    ------
    WrongInput
        Another number of channels than the card's input has.
    ModelError
        The network cannot be written as ONNX, or ONNX Runtime computes something else.
    SchemaError
        The card is incomplete.
    DependencyMissing
        ``onnx``, ``onnxscript`` or ``safetensors`` is absent.
    OutputError
        The disk does not take it.
    """
    if card.inputs is None or INPUT_CHANNELS[card.inputs] != channels:
        raise WrongInput(
            f"the network takes {channels} channel(s), its card says {card.inputs or 'nothing'}",
            hint=f"inputs and their channels: {INPUT_CHANNELS}",
        )
    still = copy.deepcopy(module).cpu().float().eval()
    onnx = onnx_bytes(still, channels, size_px=card.input_size_px)
    trial = ModelFile(Path(folder), card, onnx)
    difference = compare(still, Runner(trial, threads=torch.get_num_threads()))
    if not difference <= TOLERANCE:
        raise ModelError(
            f"the ONNX copy of {card.name} differs from the network by {difference:.2g} of the "
            f"largest output (limit {TOLERANCE:g})",
            hint="the network does something ONNX does otherwise; see what it does to its input",
        )
    return write_model(folder, card, onnx, weights=_safetensors(still))


def load_weights(module: nn.Module, model: ModelFile) -> None:
    """Load the trainable weights of a model into a network of the same architecture.

    Raises
    ------
    WeightsUnavailable
        The model came without them.
    ModelError
        They changed, or belong to another architecture.
    """
    data = read_weights_bytes(model)
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load
    except ImportError as error:
        raise _missing("safetensors") from error
    try:
        module.load_state_dict(load(data))
    except (RuntimeError, SafetensorError) as error:
        said = " ".join(str(error).split())
        raise ModelError(
            f"the weights of {model.card.name} do not fit this network: {said[:300]}",
            hint=f"the card says the architecture is {model.card.network or 'unknown'}",
        ) from error


def compare(module: nn.Module, runner: Runner) -> float:
    """Return the largest difference between a network and its copy, over the largest output.

    Parameters
    ----------
    module
        On the CPU, in evaluation mode.
    runner
        The copy.

    Returns
    -------
    float
        0 for equal; infinite when the shapes differ or the outputs are not finite.
    """
    size = runner.model.card.input_size_px
    shapes = _COMPARED if size is None else ((1, size, size), (2, size, size))
    rng = np.random.Generator(np.random.PCG64(0))
    worst = 0.0
    for batch, height, width in shapes:
        pixels = rng.random((batch, runner.model.channels, height, width), dtype=np.float32)
        with torch.inference_mode():
            expected: NDArray[np.float32] = module(torch.from_numpy(pixels)).numpy()
        found = runner.run(pixels)
        if found.shape != expected.shape or not np.isfinite(expected).all():
            return float("inf")
        largest = float(np.abs(expected).max())
        apart = float(np.abs(found - expected).max())
        worst = max(worst, apart / largest if largest else apart)
    return worst


def onnx_bytes(module: nn.Module, channels: int, *, size_px: int | None = None) -> bytes:
    """Write a network as one ONNX file in memory.

    Parameters
    ----------
    module
        On the CPU, in evaluation mode.
    channels
        Input channels.
    size_px
        Height and width when they are fixed; any when ``None``.

    Raises
    ------
    ModelError
        The network cannot be written as ONNX.
    DependencyMissing
        ``onnx`` or ``onnxscript`` is absent.
    """
    try:
        import onnx  # noqa: F401 - asked for here, so that its absence is told in plain words
        import onnxscript  # noqa: F401 - likewise
    except ImportError as error:
        raise _missing(error.name or "onnx") from error
    batch, height, width = _TRACED if size_px is None else (_TRACED[0], size_px, size_px)
    free = torch.export.Dim.DYNAMIC
    dynamic = {0: free} if size_px is not None else {0: free, 2: free, 3: free}
    try:
        with _quiet():
            program = torch.onnx.export(
                module,
                (torch.zeros(batch, channels, height, width),),
                dynamo=True,
                opset_version=OPSET,
                input_names=[INPUT_NAME],
                output_names=[OUTPUT_NAME],
                dynamic_shapes=(dynamic,),
                verbose=False,
            )
            assert program is not None  # it is None only with the exporter of old
            model = program.model_proto
            _forget_origin(model)
            # Any order of a map's entries is valid; one of them gives the same bytes again.
            return bytes(model.SerializeToString(deterministic=True))
    except Exception as error:
        raise ModelError(
            f"{type(module).__name__} cannot be written as ONNX: "
            f"{' '.join(str(error).split())[:300]}",
            hint="forward may not branch on values or sizes, and gives one tensor in eval mode",
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's notes to its own developers away from the user, in this block only."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def _forget_origin(model: Any) -> None:
    """Remove what names files of this machine, and call the free sizes by their names."""
    graph = model.graph
    names = {}
    sides = graph.input[0].type.tensor_type.shape.dim
    for side, name in zip(sides, ("batch", "channels", "height", "width"), strict=True):
        if side.HasField("dim_param"):
            names[side.dim_param] = side.dim_param = name
    for side in graph.output[0].type.tensor_type.shape.dim:
        if side.HasField("dim_param"):
            side.dim_param = names.get(side.dim_param, "")
    # Sizes of what lies between are found again by every engine.
    graph.ClearField("value_info")
    waiting = [model]
    while waiting:
        message = waiting.pop()
        for kind, value in message.ListFields():
            if kind.name in {"metadata_props", "doc_string"}:
                message.ClearField(kind.name)
            elif kind.message_type is not None:
                waiting.extend([value] if hasattr(value, "ListFields") else value)


def _safetensors(module: nn.Module) -> bytes:
    try:
        from safetensors.torch import save
    except ImportError as error:
        raise _missing("safetensors") from error
    # Tensors that share memory are refused by the format; copies do not share.
    return bytes(save({k: v.contiguous().clone() for k, v in module.state_dict().items()}))


def _missing(package: str) -> DependencyMissing:
    return DependencyMissing(
        f"writing a model needs the package {package}", hint="pip install 'herscope[learn]'"
    )
