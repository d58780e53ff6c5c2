"""Compartments on real tiles, image by image: nuclei in the right one, and pictures of it.

    python benchmarks/real_compartments.py OUT [--model MODEL ...] [--data DATA] [--figure FILE]
        [--qupath FILE]

Judges the nests and every compartment MODEL (a folder or a bare name) on EndoNuke's nuclei, on its
points, and on QuPath's classes, as ``herscope evaluate points`` does. The nests are also judged
with EndoNuke's pixels taken for 0.5 µm instead of 0.289, to show what a wrong scale does. The
figure has the EndoNuke tiles (CC-BY-4.0) side by side, one row a method; that of ``--qupath`` the
nests of QuPath's picture beside its own classes.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

import real_patches
from herscope.nn.patches.marked import Points, read_marked_patches
from herscope.recipes.evaluate_points import CLASS_OF, NESTS, evaluate_points, make_caller
from real_nuclei import cell, head, line
from real_pictures import mosaic, picture_of_compartments, save

FIGURES = ("right", "tumor_right", "stroma_right")
POOLED = ("right", "tumor_right", "stroma_right", "balanced")


def tables(title: str, document: dict[str, Any]) -> None:
    """Print one row an image and method, and the pool."""
    print(f"\n### {title}\n\n{document['data']['source']}\n")
    print(
        head(["image", "method", "points", "right", "epithelium right", "stroma right", "balanced"])
    )
    models = document["models"]
    for rows in zip(*(model["patches"] for model in models), strict=True):
        for model, row in zip(models, rows, strict=True):
            shown = [cell(row[name]) for name in ("points", *FIGURES)]
            print(line([row["patch"], model["name"], *shown, ""]))
    for model in models:
        shown = []
        for name in POOLED:
            figure = model["figures"][name]
            span = figure["ci95"]
            bounds = f" [{span[0]:.2f}, {span[1]:.2f}]" if span else ""
            shown.append(cell(figure["value"]) + bounds)
        points = str(sum(model["counts"].values()))
        print(line(["**pool**", model["name"], points, *shown]))


def figure(folder: Path, models: list[str], out: Path) -> None:
    """Draw the tiles, one row a method."""
    patches = read_marked_patches(folder)
    rows = []
    for model in models:
        call = make_caller(model, patches, marker="nuclear", engine="onnx", threads=1).call
        row = []
        for i in range(len(patches)):
            patch = patches.load(i)
            called = call(patch, i)
            x, y = np.minimum(patch.points.xy.astype(int), np.array(called.shape)[::-1] - 1).T
            wanted = [CLASS_OF.get(name, -1) for name in patch.points.classes]
            right = [w == c for w, c in zip(wanted, called[y, x].tolist(), strict=True)]
            row.append(picture_of_compartments(patch, called, right))
        rows.append(mosaic(row, 400))
    save(out, np.concatenate(rows, axis=0), small=True)


def qupath_figure(folder: Path, data: Path, out: Path) -> None:
    """Draw the nests of QuPath's picture beside the classes that QuPath drew."""
    patches = read_marked_patches(folder)
    patch = patches.load(0)
    call = make_caller(NESTS, patches, marker="nuclear", engine="onnx", threads=1).call
    no_points = patch._replace(points=Points(patch.points.xy[:0], ()))
    nests = picture_of_compartments(no_points, call(patch, 0), [])
    drawn = real_patches.read_rgb(data / "ihc" / "qupath_docs" / "ki67_export_with_overlay.jpg")
    save(out, mosaic([nests, drawn], 425), small=True)


def main() -> None:
    """Print the tables and draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", action="append", default=[])
    parser.add_argument("--data")
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--qupath", type=Path)
    said = parser.parse_args()
    data = real_patches.data_folder(said.data)
    points, nuclei = real_patches.endonuke(said.out, data)
    models = [NESTS, *said.model]
    tables("EndoNuke, nuclei", evaluate_points(models, nuclei, threads=1))
    tables("EndoNuke, points", evaluate_points(models, points, threads=1))
    classes = real_patches.qupath(said.out, data)
    tables("QuPath's classes", evaluate_points(models, classes))
    half = real_patches.WRONG_ENDONUKE_MPP
    _, wrong = real_patches.endonuke(said.out / "at-0.5", data, half)
    tables("EndoNuke, nuclei, pixels taken for 0.5 µm", evaluate_points([NESTS], wrong))
    if said.figure:
        figure(nuclei, models, said.figure)
    if said.qupath:
        qupath_figure(classes, data, said.qupath)


if __name__ == "__main__":
    main()
