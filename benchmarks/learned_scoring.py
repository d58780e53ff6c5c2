"""Score a phantom with nuclei by a network: seconds, memory, ratio to classical, and when what.

``python benchmarks/learned_scoring.py [--side-um N] [--slide FILE] [--nuclei MODEL] [--workers N]
[--timeline FILE.png]`` draws a square phantom (or takes a slide) and scores it by the classical
method and by the network with each engine that is installed. Without ``--nuclei`` the network is a
U-Net of width 0.25 with random weights: its time is that of a trained one, its nuclei mean nothing.
``--gigapixel FOLDER`` takes the slide that ``benchmarks/gigapixel.py --folder FOLDER`` draws.

The timeline shows, for each worker, when it read, when its network computed and when it decoded and
measured. Reading for the network goes on in a thread of its own beside it and is not drawn.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from gigapixel import watch
from herscope.core.registry import ModelCard
from herscope.recipes.scoring import make_spec
from herscope.run import scoring
from herscope.run.many import score_many

CLASSICAL = "classical"
KINDS = {
    "read": ("read",),
    "network": ("network",),
    "decode": ("decode", "nuclei"),
    "measure": ("deconvolve", "interiors", "cells", "measure", "membrane", "outlines"),
}
COLOURS = {"plan": "#999999", "read": "#5b8db8", "network": "#c4672d", "decode": "#7a9a3a"} | {
    "measure": "#6b5b95",
    "finish": "#333333",
}
SEEN: list[dict[str, Any]] = []
"""Laps of the blocks; filled in this process, where slides are finished."""


def random_model(folder: Path) -> Path:
    """Write a U-Net of width 0.25 with fresh weights."""
    from herscope.nn.export import export
    from herscope.nn.networks.registry import make_network

    card = ModelCard(
        name="random",
        task="nuclei",
        summary="A U-Net with random weights, to be timed.",
        input_mpp_finest=0.4,
        input_mpp_coarsest=0.6,
        normalisation="red, green and blue divided by 255",
        licence="Apache-2.0",
        source="benchmarks/learned_scoring.py",
        training_data="nothing",
        inputs="rgb",
        classes=["nucleus", "distance"],
    )
    export(make_network("unet", channels=3, classes=2, width=0.25), 3, folder, card)
    return folder


def finish(plan: Any, results: list[Any], timings_s: dict[str, float], folder: Path) -> None:
    """Finish a slide and keep when its blocks did what."""
    SEEN.extend(
        {"process": one.process, "began_s": one.began_s, "laps": dict(one.timings_s)}
        for one in results
    )
    began = time.perf_counter()
    scoring.finish(plan, results, timings_s, folder)
    SEEN.append({"process": 0, "began_s": began, "laps": {"finish": time.perf_counter() - began}})


def child(options: argparse.Namespace) -> None:
    """Score once and write what was seen."""
    if options.method == CLASSICAL:
        spec = make_spec(marker=options.marker)
    else:
        engine, _, precision = options.method.partition(" ")
        spec = make_spec(
            marker=options.marker, nuclei=options.nuclei, engine=engine, precision=precision
        )
    stages = replace(scoring.SCORING, finish=finish)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as out:
        run = score_many(
            {options.slide: "slide"},
            out,
            spec,
            stages,
            spec_for=scoring.spec_for,
            workers=options.workers,
        )
        if run.failures:
            sys.exit(str(run.failures))
        result = json.loads((Path(out) / "slides" / "slide" / "result.json").read_text())
    seconds = time.perf_counter() - start
    found = result["compartments"]["all"]
    document = {
        "seconds": seconds,
        "start_s": start,
        "cells": found["cells"],
        "h_score": found["h_score"]["value"],
        "plan_s": result["provenance"]["timings_s"]["plan"],
        "blocks": SEEN,
    }
    options.child.write_text(json.dumps(document))


def measure(method: str, options: argparse.Namespace, nuclei: Path, home: Path) -> dict[str, Any]:
    """Score in a process of its own, with the largest memory it and its workers had."""
    file = home / "seen.json"
    words = [sys.executable, __file__, "--child", str(file), "--method", method]
    words += ["--slide", str(options.slide), "--nuclei", str(nuclei)]
    words += ["--workers", str(options.workers), "--marker", options.marker]
    peak, stop = [0.0], threading.Event()
    with subprocess.Popen(words) as process:
        thread = threading.Thread(target=watch, args=(psutil.Process(process.pid), peak, stop))
        thread.start()
        code = process.wait()
    stop.set()
    thread.join()
    if code:
        sys.exit(f"scoring with {method} ended with exit code {code}")
    return json.loads(file.read_text()) | {"peak_mb": peak[0]}


def draw_timeline(found: dict[str, dict[str, Any]], file: Path) -> None:
    """Draw a panel for each method, a bar for each process."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.patches import Patch

    figure, panels = plt.subplots(
        len(found), 1, figsize=(10, 0.6 + 1.5 * len(found)), sharex=True, squeeze=False
    )
    for axes, (method, seen) in zip(panels[:, 0], found.items(), strict=True):
        workers = sorted({block["process"] for block in seen["blocks"]} - {0})
        rows = {process: row for row, process in enumerate([0, *workers])}
        bars: dict[tuple[int, str], list[tuple[float, float]]] = {}
        bars[0, "plan"] = [(0.0, seen["plan_s"])]
        for block in seen["blocks"]:
            at = block["began_s"] - seen["start_s"]
            for lap, seconds in block["laps"].items():
                kind = next((kind for kind, laps in KINDS.items() if lap in laps), lap)
                bars.setdefault((rows[block["process"]], kind), []).append((at, seconds))
                at += seconds
        for (row, kind), spans in bars.items():
            axes.broken_barh(spans, (row - 0.4, 0.8), color=COLOURS[kind], linewidth=0)
        axes.set_yticks(
            list(rows.values()), ["main", *(f"worker {k + 1}" for k in range(len(workers)))]
        )
        axes.invert_yaxis()
        axes.set_title(f"{method}: {seen['seconds']:.1f} s", loc="left", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    panels[-1, 0].set_xlabel("seconds")
    handles = [Patch(color=colour, label=kind) for kind, colour in COLOURS.items()]
    figure.legend(handles=handles, loc="upper right", ncols=6, frameon=False, fontsize=8)
    figure.tight_layout(rect=(0, 0, 1, 0.96))
    figure.savefig(file, dpi=120)


def methods() -> list[str]:
    """Return what can be compared here."""
    known = [CLASSICAL, "onnx float32"]
    try:
        import openvino
    except ImportError:
        return known
    with_bf16 = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return [*known, "openvino float32", *(["openvino bf16"] if with_bf16 else [])]


def main() -> None:
    """Draw, score, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side-um", type=float, default=1600.0)
    parser.add_argument("--slide", type=Path)
    parser.add_argument("--gigapixel", type=Path)
    parser.add_argument("--nuclei", type=str)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--marker", default="nuclear")
    parser.add_argument("--methods", nargs="*")
    parser.add_argument("--timeline", type=Path)
    parser.add_argument("--method", help=argparse.SUPPRESS)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        child(options)
        return
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        if options.gigapixel is not None:
            options.slide = options.gigapixel / "giga.tiff"
        if options.slide is None:
            from herscope.slide.phantom.spec import PhantomSpec
            from herscope.slide.phantom.write import draw_phantom

            options.slide = home / "phantom.tif"
            side = options.side_um
            draw_phantom(PhantomSpec(width_um=side, height_um=side, seed=1), options.slide)
        nuclei = random_model(home / "random") if options.nuclei is None else options.nuclei
        found = {}
        print(f"{'method':20s} {'s':>8s} {'ratio':>6s} {'MB':>8s} {'cells':>10s} {'H':>7s}")
        for method in options.methods or methods():
            seen = measure(method, options, nuclei, home)
            found[method] = seen
            ratio = seen["seconds"] / next(iter(found.values()))["seconds"]
            score = "none" if seen["h_score"] is None else f"{seen['h_score']:.2f}"
            print(
                f"{method:20s} {seen['seconds']:8.2f} {ratio:6.2f} {seen['peak_mb']:8.0f} "
                f"{seen['cells']:10,d} {score:>7s}",
                flush=True,
            )
            laps: dict[str, float] = {}
            for block in seen["blocks"]:
                for lap, seconds in block["laps"].items():
                    laps[lap] = laps.get(lap, 0.0) + seconds
            told = ", ".join(f"{lap} {seconds:.1f}" for lap, seconds in laps.items())
            print(f"  of all processes, s: {told}", flush=True)
        if options.timeline is not None:
            draw_timeline(found, options.timeline)
            print(f"timeline: {options.timeline}")


if __name__ == "__main__":
    main()
