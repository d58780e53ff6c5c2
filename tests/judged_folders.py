"""Patches drawn for tests of judging: dark discs on a pale ground, whose truth is known exactly."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
from PIL import Image

GROUND, NUCLEUS = (236, 232, 240), (70, 60, 130)


def discs(side, places, radius):
    """(side, side) int32: disc k + 1 at (x, y) of places[k]."""
    yy, xx = np.mgrid[:side, :side] + 0.5
    labels = np.zeros((side, side), np.int32)
    for k, (x, y) in enumerate(places):
        labels[(xx - x) ** 2 + (yy - y) ** 2 <= radius**2] = k + 1
    return labels


def picture(labels, seed=0):
    """Dark where there is a disc, with a little noise."""
    rgb = np.where(labels[..., None] > 0, NUCLEUS, GROUND).astype(np.int64)
    rgb += np.random.Generator(np.random.PCG64(seed)).integers(-3, 4, rgb.shape)
    return np.clip(rgb, 0, 255).astype(np.uint8)


def lattice(side, step):
    """Places on a square grid."""
    return [(x, y) for y in range(step, side - step // 2, step) for x in range(step, side, step)]


def write(root: Path, images, labels, *, mpp=0.5, groups=None, points=None):
    """Write a patch folder; ``labels`` are {folder: {stem: array}}."""
    for kind, found in {"images": images, **labels}.items():
        (root / kind).mkdir(parents=True)
        for stem, pixels in found.items():
            Image.fromarray(pixels).save(root / kind / f"{stem}.png")
    about = {"schema": "herscope.patches/1", "mpp": mpp, "white_point": list(GROUND)}
    (root / "patches.json").write_text(json.dumps(about))
    rows = [(stem, (groups or {}).get(stem, stem)) for stem in images]
    table(root / "groups.csv", ("patch", "group"), rows)
    if points is not None:
        table(root / "points.csv", ("patch", "x_px", "y_px", "class"), points)
    return root


def table(path, head, rows):
    with path.open("w", newline="") as text:
        csv.writer(text).writerows([head, *rows])


def one_convolution(weights, bias) -> bytes:
    """ONNX of a 1x1 convolution over rgb: (classes, 3) weights."""
    import onnx

    held = [
        onnx.numpy_helper.from_array(np.array(weights, np.float32)[..., None, None], "w"),
        onnx.numpy_helper.from_array(np.array(bias, np.float32), "b"),
    ]
    helper = onnx.helper
    graph = helper.make_graph(
        [helper.make_node("Conv", ["pixels", "w", "b"], ["maps"])],
        "g",
        [helper.make_tensor_value_info("pixels", 1, ["batch", 3, "height", "width"])],
        [helper.make_tensor_value_info("maps", 1, ["batch", len(bias), "height", "width"])],
        held,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return model.SerializeToString()
