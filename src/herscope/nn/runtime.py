"""Inference without torch: ONNX Runtime, or OpenVINO where it is installed and asked for.

A :class:`Runner` holds one network ready to run. It is given float32 (batch, channels, height,
width) and gives float32; the numbers that may be expected to differ are stated as constants here
and tested. Measured on U-Nets (x86 cores with AVX-512): each engine gives the same bits for any
number of threads and any batch a picture is in; the two engines and torch differ from one another
by about 1e-6 of the largest logit. Other processors choose other kernels and may differ by as much.
``bf16`` rounds to 8 bits of mantissa (about 1 % of the largest logit), is used only when asked for
by name, and is refused where the processor does not have it. ``int8`` runs the model's 8-bit copy
(:mod:`herscope.nn.int8_file`), with either engine, and is refused where the model has none.

Nothing of a model is executed but standard operators: no custom operator library is ever loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import DependencyMissing, InputError, ModelError, WrongInput
from herscope.core.provenance import cpu_count, package_version
from herscope.core.registry import nearest
from herscope.nn.int8_file import read_int8
from herscope.nn.model_file import AGAIN, ModelFile

Engine = Literal["onnx", "openvino"]
Precision = Literal["float32", "bf16", "int8"]
PRECISIONS: Final = ("float32", "bf16", "int8")
Floats = NDArray[np.float32]

ENGINES: Final[dict[str, str]] = {"onnx": "onnxruntime", "openvino": "openvino"}
"""Engine to the package it needs."""

TOLERANCE: Final = 1e-4
"""Largest difference between engines and torch in float32, as a share of the largest |logit|."""

TOLERANCE_BF16: Final = 0.05
"""The same with ``bf16``: 8 bits of mantissa through some twenty layers."""

TOLERANCE_INT8: Final = 0.1
"""Largest difference between two engines that run the same 8-bit copy; they round differently. How
far the copy is from its network was measured when it was made and stands in the card."""

_PROBE_PX: Final = 128
"""Edge of the picture on which two engines are compared; networks here halve it five times."""

_Run = Callable[[Floats], NDArray[Any]]


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A compiled network: how to run it, and the shapes it states (``None``: any)."""

    run: _Run
    inputs: list[list[int | None]]
    outputs: list[list[int | None]]
    float32: bool


class Runner:
    """A network that is ready to run.

    Parameters
    ----------
    model
        A model that was read and checked.
    engine
        ``onnx`` (ONNX Runtime, always installed) or ``openvino`` (extra ``fast``).
    threads
        At least 1; ``None`` for the cores this process may use. The results do not depend on it.
    precision
        ``float32``; ``bf16`` with OpenVINO on a processor that has it; ``int8`` for a model with an
        8-bit copy.

    Raises
    ------
    InputError
        An unknown engine or precision, fewer than one thread, or bf16 where it cannot be had.
    DependencyMissing
        The engine is not installed.
    ModelError
        The engine cannot read the network, its shapes contradict the card, or OpenVINO computes
        something else than ONNX Runtime on a small picture.

    Notes
    -----
    One runner may be shared by threads. It cannot be sent to another process; build it there.
    """

    def __init__(
        self,
        model: ModelFile,
        engine: Engine = "onnx",
        threads: int | None = None,
        precision: Precision = "float32",
    ) -> None:
        if engine not in ENGINES:
            raise InputError(f"no engine is called {engine}", hint=nearest(engine, list(ENGINES)))
        if precision not in PRECISIONS:
            raise InputError(
                f"no precision is called {precision}", hint=nearest(precision, list(PRECISIONS))
            )
        if precision == "bf16" and engine != "openvino":
            raise InputError(
                f"bf16 needs the engine openvino, not {engine}",
                hint="take engine openvino (pip install 'herscope[fast]'), or float32",
            )
        if threads is not None and threads < 1:
            raise InputError(f"{threads} threads cannot compute (at least 1)", hint="leave it out")
        self.model = model
        self.engine: Engine = engine
        self.precision: Precision = precision
        self.threads = cpu_count() if threads is None else threads
        load = _load_onnx if engine == "onnx" else _load_openvino
        runs = read_int8(model) if precision == "int8" else model
        self._loaded = load(runs, self.threads, precision)
        _check_shapes(model, self._loaded)
        if engine != "onnx":
            _check_against_onnx(self)

    def run(self, batch: Floats) -> Floats:
        """Predict a batch.

        Parameters
        ----------
        batch
            float32 (batch, channels, height, width), scaled as the card's ``inputs`` says.

        Returns
        -------
        ndarray
            float32, batch first; for a segmentation (batch, classes, height, width) logits.

        Raises
        ------
        WrongInput
            Another type, number of axes, channels or size than the card allows, an empty batch,
            or values that are not finite.
        ModelError
            The engine fails, or gives something else than one float32 array per picture.
        """
        self._check(batch)
        try:
            found = self._loaded.run(np.ascontiguousarray(batch))
        except Exception as error:  # the engines raise types of their own, down to RuntimeError
            raise ModelError(
                f"model {self.model.card.name} failed on input {batch.shape} with {self.engine}: "
                f"{_line(error)}",
                hint="try another size (many networks want multiples of 32), or the other engine",
            ) from error
        if found.dtype != np.float32 or found.ndim == 0 or len(found) != len(batch):
            raise ModelError(
                f"model {self.model.card.name} gave {found.dtype} {found.shape} for a batch of "
                f"{len(batch)}",
                hint="export it again: one float32 output, the batch first",
            )
        if not np.isfinite(found).all():
            raise ModelError(
                f"model {self.model.card.name} gave values that are not finite for input "
                f"{batch.shape}",
                hint="its training has diverged, or the input is not scaled as the card says",
            )
        return found

    def describe(self) -> dict[str, Any]:
        """Return engine, version, precision and checksum, for the provenance of a result."""
        return {
            "name": self.model.card.name,
            "sha256": self.model.card.int8_sha256
            if self.precision == "int8"
            else self.model.card.sha256,
            "engine": self.engine,
            "engine_version": package_version(ENGINES[self.engine]),
            "precision": self.precision,
        }

    def _check(self, batch: Floats) -> None:
        card, channels = self.model.card, self.model.channels
        size = card.input_size_px
        fault = ""
        if not isinstance(batch, np.ndarray) or batch.dtype != np.float32:
            fault = f"float32, got {getattr(batch, 'dtype', type(batch).__name__)}"
        elif batch.ndim != 4:
            fault = f"(batch, channels, height, width), got {batch.shape}"
        elif batch.shape[1] != channels:
            fault = f"{channels} channel(s) ({card.inputs}), got {batch.shape[1]}"
        elif 0 in batch.shape:
            fault = f"at least one picture of at least one pixel, got {batch.shape}"
        elif size is not None and batch.shape[2:] != (size, size):
            fault = f"{size} x {size} px, got {batch.shape[3]} x {batch.shape[2]}"
        elif not np.isfinite(batch).all():
            fault = "finite values, got NaN or infinity"
        if fault:
            raise WrongInput(
                f"model {card.name} takes {fault}",
                hint=f"its input is {card.normalisation}; herscope models shows the card",
            )


def _load_onnx(model: ModelFile, threads: int, precision: str) -> _Loaded:
    del precision
    try:
        import onnxruntime
    except ImportError as error:
        raise _missing("onnxruntime", "pip install --force-reinstall onnxruntime") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.log_severity_level = 4  # what goes wrong is told by our own error
    try:
        # From the checked bytes, never from the path: the file may change in between.
        session = onnxruntime.InferenceSession(
            model.onnx, options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        raise _unreadable(model, "ONNX Runtime", error) from error
    takes, gives = session.get_inputs(), session.get_outputs()

    def run(batch: Floats) -> NDArray[Any]:
        return session.run(None, {takes[0].name: batch})[0]

    return _Loaded(
        run,
        [[_fixed(side) for side in one.shape] for one in takes],
        [[_fixed(side) for side in one.shape] for one in gives],
        all(one.type == "tensor(float)" for one in (*takes, *gives)),
    )


def _load_openvino(model: ModelFile, threads: int, precision: str) -> _Loaded:
    try:
        import openvino
    except ImportError as error:
        raise _missing("openvino", "pip install 'herscope[fast]', or take engine onnx") from error
    core = openvino.Core()
    if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise InputError(
            "this processor has no bf16 arithmetic", hint="take precision float32 on this machine"
        )
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        # Unset, OpenVINO takes bf16 by itself where the processor has it.
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
    }
    try:
        compiled = core.compile_model(core.read_model(model.onnx), "CPU", settings)
    except Exception as error:
        raise _unreadable(model, "OpenVINO", error) from error

    def run(batch: Floats) -> NDArray[Any]:
        # A request of its own for each call, so that threads may share the runner.
        # Unless asked to share its memory, it gives a copy that outlives the request.
        return compiled.create_infer_request().infer([batch])[compiled.output(0)]

    return _Loaded(
        run,
        [_shape(one.partial_shape) for one in compiled.inputs],
        [_shape(one.partial_shape) for one in compiled.outputs],
        all(
            one.element_type.get_type_name() == "f32"
            for one in (*compiled.inputs, *compiled.outputs)
        ),
    )


def _shape(partial: Any) -> list[int | None]:
    if partial.rank.is_dynamic:
        return []
    return [None if side.is_dynamic else side.get_length() for side in partial]


def _fixed(side: Any) -> int | None:
    return side if isinstance(side, int) else None


def _check_shapes(model: ModelFile, loaded: _Loaded) -> None:
    card = model.card
    fault = ""
    if len(loaded.inputs) != 1 or len(loaded.outputs) != 1:
        fault = f"{len(loaded.inputs)} inputs and {len(loaded.outputs)} outputs, not one each"
    elif not loaded.float32:
        fault = "an input or output that is not float32"
    elif len(loaded.inputs[0]) != 4:
        fault = f"an input of {len(loaded.inputs[0])} axes, not (batch, channels, height, width)"
    elif loaded.inputs[0][1] not in {None, model.channels}:
        fault = f"{loaded.inputs[0][1]} input channel(s); {card.inputs} has {model.channels}"
    elif (
        card.classes is not None
        and len(loaded.outputs[0]) > 1
        and loaded.outputs[0][1] not in {None, len(card.classes)}
    ):
        fault = f"{loaded.outputs[0][1]} output channels; the card has {len(card.classes)} classes"
    if fault:
        raise ModelError(
            f"model {card.name} contradicts its card: the network has {fault}",
            hint="export it again with the right card",
        )


def _check_against_onnx(runner: Runner) -> None:
    """Refuse an engine that computes something else than ONNX Runtime on one small picture.

    OpenVINO does not check every operator's sizes at run time (a Reshape to another number of
    values gives numbers, not an error); ONNX Runtime does. It costs one small prediction a runner.
    """
    card = runner.model.card
    size = card.input_size_px or _PROBE_PX
    rng = np.random.Generator(np.random.PCG64(0))
    probe = rng.random((1, runner.model.channels, size, size), dtype=np.float32)
    same: Precision = "int8" if runner.precision == "int8" else "float32"
    expected = Runner(runner.model, "onnx", runner.threads, same).run(probe)
    found = runner.run(probe)
    limit = {"bf16": TOLERANCE_BF16, "int8": TOLERANCE_INT8}.get(runner.precision, TOLERANCE)
    same_shape = found.shape == expected.shape
    if not same_shape or np.abs(found - expected).max() > limit * np.abs(expected).max():
        raise ModelError(
            f"model {card.name} gives other numbers with {runner.engine} ({runner.precision}) than "
            f"with ONNX Runtime (limit {limit:g} of the largest)",
            hint="take engine onnx, or float32, for this model",
        )


def _missing(package: str, hint: str) -> DependencyMissing:
    return DependencyMissing(f"the package {package} is not installed or does not load", hint=hint)


def _unreadable(model: ModelFile, engine: str, error: Exception) -> ModelError:
    return ModelError(
        f"{engine} cannot read the network of {model.card.name}: {_line(error)}", hint=AGAIN
    )


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else f"{text[:300]} ..."
