"""``herscope doctor``: what is installed, what is missing, what to do."""

from __future__ import annotations

import importlib
import os
import platform
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from herscope.cli.output import COMMON, Common, Outcome

CORE = {
    "cyclopts": "cyclopts", "h5py": "h5py", "imagecodecs": "imagecodecs", "jinja2": "jinja2",
    "matplotlib": "matplotlib", "numba": "numba", "numpy": "numpy",
    "onnxruntime": "onnxruntime",
    "opencv-python-headless": "cv2", "openslide-python": "openslide", "pandas": "pandas",
    "pillow": "PIL", "pyarrow": "pyarrow", "pydantic": "pydantic", "rich": "rich",
    "scikit-image": "skimage", "scipy": "scipy", "shapely": "shapely", "tifffile": "tifffile",
}  # fmt: skip
"""Distribution to module, everything `pip install herscope` brings."""
OPTIONAL = {
    "lifelines": "Cox regression (extra: survival)",
    "nibabel": "CT and masks as NIfTI (extra: radiology)",
    "open_clip_torch": "BiomedCLIP and other CLIP models (extra: foundation)",
    "openvino": "a faster engine for networks (extra: fast)",
    "pydicom": "CT as DICOM (extra: radiology)",
    "timm": "encoders of tiles: UNI, Virchow, H-optimus (extra: foundation)",
    "torch": "training and slide-level models (extra: learn)",
    "transformers": "encoders of tiles: PLIP, CLIP, Phikon (extra: foundation)",
}


@dataclass(frozen=True)
class Check:
    """One line of the report; ``hint`` says what to do when ``status`` is not ok."""

    what: str
    status: Literal["ok", "absent", "broken", "note"]
    found: str
    hint: str = ""


def doctor(*, common: Common = COMMON) -> Outcome:
    """Show what is installed, what is missing and what to do."""
    from rich.table import Table

    from herscope import __version__

    del common
    checks = [
        Check("herscope", "ok", __version__),
        Check("python", "ok", platform.python_version()),
        *(_module(name, module) for name, module in CORE.items()),
        _guarded("openslide library", _openslide),
        _guarded("numba cache", _numba_cache),
        _guarded("temporary folder", _temporary),
        _guarded("processor and memory", _machine),
        *(_optional(name, use) for name, use in OPTIONAL.items()),
    ]
    broken = [check for check in checks if check.status == "broken"]
    table = Table(box=None, pad_edge=False, show_header=False)
    for check in checks:
        table.add_row(
            check.what, check.status, check.found + (f"; {check.hint}" if check.hint else "")
        )
    verdict = (
        f"{len(broken)} core part(s) are broken"
        if broken
        else "everything that scoring needs is there"
    )
    document = {"ok": not broken, "checks": [asdict(check) for check in checks]}
    return Outcome(document, [table, verdict], code=1 if broken else 0)


def _module(name: str, module: str) -> Check:
    from herscope.core.provenance import package_version

    version = package_version(name)
    try:
        importlib.import_module(module)
    except Exception as error:  # noqa: BLE001 - a broken library may raise anything on import
        said = "not installed" if version is None else f"{version}, import fails: {error}"
        return Check(
            name, "broken", " ".join(said.split()), f"pip install --force-reinstall {name}"
        )
    return Check(name, "ok", version or "version unknown")


def _optional(name: str, use: str) -> Check:
    from herscope.core.provenance import package_version

    version = package_version(name)
    if version is None:
        return Check(name, "absent", f"for {use}")
    return Check(name, "ok", f"{version}, for {use}")


def _guarded(what: str, look: Callable[[], Check]) -> Check:
    try:
        return look()
    except Exception as error:  # noqa: BLE001 - the doctor reports, it does not fall ill
        return Check(what, "broken", " ".join(f"{type(error).__name__}: {error}".split()))


def _openslide() -> Check:
    import openslide

    return Check("openslide library", "ok", openslide.__library_version__)


def _numba_cache() -> Check:
    """Whether compiled functions can be kept; without it every start compiles again."""
    configured = os.environ.get("NUMBA_CACHE_DIR")
    here = Path(configured) if configured else Path(__file__).parents[1] / "__pycache__"
    folder = here if here.exists() else here.parent
    if os.access(folder, os.W_OK):
        return Check("numba cache", "ok", "kept beside the package" if not configured else "kept")
    return Check(
        "numba cache", "note", "the package's folder is read-only; numba uses the user's cache",
        "set NUMBA_CACHE_DIR to a folder you may write to if every start is slow",
    )  # fmt: skip


def _temporary() -> Check:
    try:
        with tempfile.TemporaryFile() as stream:
            stream.write(b"herscope")
    except OSError as error:
        said = f"not writable: {error.strerror or error}"
        return Check("temporary folder", "broken", said, "set TMPDIR to a folder you may write to")
    return Check("temporary folder", "ok", "writable")


def _machine() -> Check:
    from herscope.core.provenance import cpu_count, memory_bytes

    memory = memory_bytes()
    said = "memory unknown" if memory is None else f"{memory / 2**30:.1f} GB"
    cores = cpu_count()
    hint = (
        "give --workers 1 for large slides" if memory is not None and memory < cores * 2**30 else ""
    )
    return Check("processor and memory", "note" if hint else "ok", f"{cores} core(s), {said}", hint)
