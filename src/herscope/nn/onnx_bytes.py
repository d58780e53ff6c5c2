"""What an ONNX file is made of, read from its bytes without any library.

The checksum of a model covers one file. ONNX lets a tensor say "my values are in that other file",
and both ONNX Runtime and OpenVINO follow such a name from the working directory when a model comes
from memory: the same checked bytes would then give other results in another folder. So a model with
outside values is refused, and to see it we walk the file.

The format is Protocol Buffers: a message is a row of fields, each a key (number and wire type) and
a value, and a nested message is a value with a length. Field numbers are those of ``onnx.proto3``
(ONNX 1.x; they never change once given). Unknown fields are stepped over.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

# Message -> field number -> message of that field; only the ways that lead to a tensor.
_NESTED: Final[dict[str, dict[int, str]]] = {
    "Model": {7: "Graph", 20: "Training", 25: "Function"},
    "Training": {1: "Graph", 2: "Graph"},
    "Function": {7: "Node", 11: "Attribute"},
    "Graph": {1: "Node", 5: "Tensor", 15: "Sparse"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "Sparse", 23: "Sparse"},
    "Sparse": {1: "Tensor", 2: "Tensor"},
    "Tensor": {},
}
_TENSOR_EXTERNAL_DATA, _TENSOR_DATA_LOCATION = 13, 14
_MODEL_GRAPH: Final = 7
_MODEL_METADATA, _ENTRY_KEY, _ENTRY_VALUE = 14, 1, 2
_LARGEST_NUMBER: Final = 2**29 - 1  # what Protocol Buffers allow
_DEEPEST: Final = 64
"""Graphs inside graphs (loops, branches); beyond this a file is made to harm."""


class _Field(NamedTuple):
    number: int
    start: int  # of a nested message; -1 for a plain value
    end: int
    value: int


class NotOnnx(Exception):
    """The bytes are no ONNX model; the text says why."""


def has_outside_values(data: bytes) -> bool:
    """Whether any tensor of an ONNX model takes its values from another file.

    Parameters
    ----------
    data
        The whole file.

    Raises
    ------
    NotOnnx
        The bytes are cut off, are no Protocol Buffers message, or hold no graph.

    Examples
    --------
    >>> has_outside_values(b"")
    Traceback (most recent call last):
    herscope.nn.onnx_bytes.NotOnnx: it holds no graph
    """
    waiting = [("Model", 0, len(data), 0)]
    graphs = 0
    outside = False
    while waiting:
        message, start, end, depth = waiting.pop()
        if depth > _DEEPEST:
            raise NotOnnx(f"messages are nested deeper than {_DEEPEST}")
        nested = _NESTED[message]
        for field in _fields(data, start, end):
            if message == "Model" and field.number == _MODEL_GRAPH:
                graphs += 1
            if field.number in nested:
                if field.start < 0:
                    raise NotOnnx(f"field {field.number} of {message} is no message")
                waiting.append((nested[field.number], field.start, field.end, depth + 1))
            elif message == "Tensor":
                outside |= field.number == _TENSOR_EXTERNAL_DATA
                outside |= field.number == _TENSOR_DATA_LOCATION and field.value != 0
    if graphs != 1:
        raise NotOnnx("it holds no graph" if graphs == 0 else f"it holds {graphs} graphs")
    return outside


def metadata(data: bytes) -> dict[str, str]:
    """Return the metadata of an ONNX model: names and values its maker wrote into it.

    Parameters
    ----------
    data
        The whole file.

    Raises
    ------
    NotOnnx
        The bytes are cut off or are no Protocol Buffers message.

    Examples
    --------
    >>> metadata(bytes([0x72, 8, 0x0A, 1]) + b"a" + bytes([0x12, 3]) + b"xyz")
    {'a': 'xyz'}
    """
    found: dict[str, str] = {}
    for entry in _fields(data, 0, len(data)):
        if entry.number != _MODEL_METADATA or entry.start < 0:
            continue
        parts = {part.number: part for part in _fields(data, entry.start, entry.end)}
        texts = [
            data[parts[k].start : parts[k].end].decode("utf-8", "replace")
            if k in parts and parts[k].start >= 0
            else ""
            for k in (_ENTRY_KEY, _ENTRY_VALUE)
        ]
        found[texts[0]] = texts[1]
    return found


def _fields(data: bytes, start: int, end: int) -> Iterator[_Field]:
    at = start
    while at < end:
        key, at = _varint(data, at, end)
        number, wire = key >> 3, key & 7
        if not 0 < number <= _LARGEST_NUMBER:
            raise NotOnnx(f"field number {number} at byte {at}")
        if wire == _VARINT:
            value, at = _varint(data, at, end)
            yield _Field(number, -1, at, value)
            continue
        if wire == _BYTES:
            size, at = _varint(data, at, end)
        elif wire in {_FIXED64, _FIXED32}:
            size = 8 if wire == _FIXED64 else 4
        else:
            raise NotOnnx(f"wire type {wire} at byte {at}")
        if at + size > end:
            raise NotOnnx(f"cut off: a field at byte {at} needs {size} bytes, {end - at} are left")
        yield _Field(number, at if wire == _BYTES else -1, at + size, 0)
        at += size


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            raise NotOnnx(f"cut off at byte {at}")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise NotOnnx(f"a number at byte {at} is longer than ten bytes")
