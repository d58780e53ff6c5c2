"""Score a gigapixel phantom end to end: seconds, peak memory, and where the time goes.

``python benchmarks/gigapixel.py [--folder DIR] [--workers N]`` draws 8 x 8 mm at 0.25 µm/px (32,000
x 32,000 px, tissue over half; kept in DIR for the next time) and scores it with compartments
through the command that users type. Ratios are against decoding the JPEG tiles of the level that is
read.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import imagecodecs
import psutil
import tifffile

from herscope.slide.phantom.presets import GIGAPIXEL
from herscope.slide.phantom.write import draw_phantom

PAPER_S = 120
PAPER_MB = 2000


def decode_seconds(path: Path, level: int = 1) -> float:
    """Time to decode every JPEG tile of a level once, one thread."""
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[level]
        handle = tiff.filehandle
        start = time.perf_counter()
        for offset, size in zip(page.dataoffsets, page.databytecounts, strict=True):
            handle.seek(offset)
            imagecodecs.jpeg8_decode(handle.read(size), tables=page.jpegtables)
        return time.perf_counter() - start


def watch(process: psutil.Process, peak: list[float], stop: threading.Event) -> None:
    """Keep the largest sum of resident memory over the process and its children."""
    while not stop.is_set():
        try:
            family = [process, *process.children(recursive=True)]
            # Unique memory, so that what workers share is not counted twice.
            peak[0] = max(peak[0], sum(p.memory_full_info().uss for p in family) / 1e6)
        except psutil.Error:
            pass
        stop.wait(0.2)


def main() -> None:
    """Draw, score, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir()) / "herscope-giga"
    )
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    slide = options.folder / "giga.tiff"
    if not (options.folder / "giga.truth.json").exists():
        print("drawing the phantom ...", flush=True)
        draw_phantom(GIGAPIXEL, slide).write(options.folder, "giga")
    truth = json.loads((options.folder / "giga.truth.json").read_text())
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "herscope", "score", str(slide), "--out", out]
        command += ["--compartments", str(options.folder / "giga.annotations.geojson")]
        command += ["--workers", str(options.workers), "--marker", "nuclear"]
        peak, stop = [0.0], threading.Event()
        start = time.perf_counter()
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as child:
            thread = threading.Thread(target=watch, args=(psutil.Process(child.pid), peak, stop))
            thread.start()
            code = child.wait()
        seconds = time.perf_counter() - start
        stop.set()
        thread.join()
        if code:
            sys.exit(f"herscope score ended with exit code {code}")
        result = json.loads((Path(out) / "slides" / "giga" / "result.json").read_text())
    floor = decode_seconds(slide)
    tumor = result["compartments"]["tumor"]
    drawn = truth["compartments"]["tumor"]
    cells = result["compartments"]["all"]["cells"]
    rows = [
        ("decode floor, 0.5 µm/px level, s", floor, ""),
        (f"end to end, {options.workers} workers, s", seconds, f"{seconds / floor:.1f} x decode"),
        ("against the paper's 120 s", seconds / PAPER_S, ""),
        ("peak memory, all processes, MB", peak[0], f"{peak[0] / PAPER_MB:.2f} of {PAPER_MB}"),
        ("cells", cells, f"{cells / seconds:,.0f} a second"),
        ("tumour H-score", tumor["h_score"]["value"], f"truth {drawn['h_score']:.1f}"),
        (
            "tumour positive, %",
            tumor["positive_percent"]["value"],
            f"truth {drawn['positive_percent']:.1f}",
        ),
    ]
    for name, value, remark in rows:
        print(f"{name:36s} {value:10,.2f}  {remark}")
    for name, lap in sorted(result["provenance"]["timings_s"].items(), key=lambda item: -item[1]):
        print(f"  {name:12s} {lap:8.1f} s of all processors")


if __name__ == "__main__":
    main()
