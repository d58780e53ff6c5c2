"""Nuclei on real tiles, image by image: tables in Markdown and pictures of what was missed.

    python benchmarks/real_nuclei.py OUT [--model MODEL ...] [--data DATA] [--figure FILE]

Writes the patch folders of ``real_patches.py`` to OUT, judges the classical method and every MODEL
(a folder or a bare name) on them as ``herscope evaluate nuclei`` does, prints the tables, and draws
every tile to OUT/pictures. FILE gets the EndoNuke tiles side by side, one row a method: the only
ones whose licence (CC-BY-4.0) lets them stand in the documentation.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

import real_patches
from herscope.nn.patches.marked import MarkedPatches
from herscope.nn.patches.nuclei import NucleusPatches
from herscope.recipes.evaluate_nuclei import evaluate_nuclei, read_judged
from herscope.recipes.nucleus_finders import CLASSICAL, make_finder
from real_pictures import mosaic, picture_of_instances, picture_of_points, save

FOLDERS = ("deepliif", "monuseg", "monuseg-masks", "endonuke")
COLUMNS = {
    "instances": ("true", "found", "tp", "f1", "aji", "aji_plus", "pq", "dice"),
    "foreground": ("dice", "iou", "accuracy"),
    "points": ("true", "found", "tp", "f1"),
}
POOLED = {
    "instances": ("f1", "precision", "recall", "f1_50_to_90", "aji", "aji_plus", "pq", "dice"),
    "foreground": ("dice", "iou", "accuracy"),
    "points": ("f1", "precision", "recall", "recall_epithelium", "recall_stroma"),
}
HEADS = {"tp": "matched", "f1": "F1", "aji": "AJI", "aji_plus": "AJI+", "pq": "PQ", "iou": "IoU"}


def cell(value: float | None) -> str:
    """Show a number as tables do."""
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.2f}"


def line(cells: list[str]) -> str:
    """Make a row of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def head(words: list[str]) -> str:
    """Make the head of a Markdown table."""
    named = [HEADS.get(word, word.replace("_", " ")) for word in words]
    return f"{line(named)}\n|{'---|' * len(words)}"


def tables(folder: Path, document: dict[str, Any]) -> None:
    """Print a table of the images and one of the pool."""
    truth, models = document["truth"], document["models"]
    print(f"\n### {folder.name}\n\n{document['data']['source']}\n")
    print(head(["image", "method", *COLUMNS[truth]]))
    for rows in zip(*(model["patches"] for model in models), strict=True):
        for model, row in zip(models, rows, strict=True):
            print(line([row["patch"], model["name"], *(cell(row[c]) for c in COLUMNS[truth])]))
    print()
    print(head(["pooled", *POOLED[truth]]))
    pools = [(model["name"], model["figures"]) for model in models]
    pools += [(f"{d['model']} less {d['less']}", d["figures"]) for d in document["differences"]]
    for name, figures in pools:
        shown = []
        for measure in POOLED[truth]:
            figure = figures.get(measure, {"value": None, "ci95": None})
            span = figure["ci95"]
            bounds = f" [{span[0]:.2f}, {span[1]:.2f}]" if span else ""
            shown.append(cell(figure["value"]) + bounds)
        print(line([name, *shown]))


def pictures(folder: Path, models: list[str], out: Path) -> list[list[np.ndarray]]:
    """Draw every tile that has more than a mask; one list a method."""
    patches = read_judged(folder)
    if isinstance(patches, MarkedPatches) and patches.kind == "foreground":
        return []
    drawn: list[list[np.ndarray]] = []
    for model in models:
        finder, _ = make_finder(model, patches, marker="nuclear", engine="onnx", threads=1)
        row = []
        for i, stem in enumerate(patches.stems):
            if isinstance(patches, NucleusPatches):
                patch = patches.load(i)
                found = finder.find(i, patch.rgb)
                picture = picture_of_instances(patch.rgb, patch.instances, found)
            else:
                marked = patches.load(i)
                found = finder.find(i, marked.rgb)
                picture = picture_of_points(marked, found, float(patches.mpp))
            save(out / f"{folder.name}-{stem}-{finder.name}.png", picture)
            row.append(picture)
        drawn.append(row)
    return drawn


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", action="append", default=[])
    parser.add_argument("--data")
    parser.add_argument("--figure", type=Path)
    return parser.parse_args()


def main() -> None:
    """Print the tables and draw the pictures."""
    said = options()
    data = real_patches.data_folder(said.data)
    for make in (real_patches.deepliif, real_patches.monuseg, real_patches.monuseg_masks):
        make(said.out, data)
    real_patches.endonuke(said.out, data)
    models = [CLASSICAL, *said.model]
    for name in FOLDERS:
        folder = said.out / name
        tables(folder, evaluate_nuclei(models, folder, threads=1))
        drawn = pictures(folder, models, said.out / "pictures")
        if name == "endonuke" and said.figure:
            save(
                said.figure, np.concatenate([mosaic(row, 400) for row in drawn], axis=0), small=True
            )


if __name__ == "__main__":
    main()
