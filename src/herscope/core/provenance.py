"""What made a result: package versions and the machine, without anything that names a person.

No host names, user names or paths are collected, so a result folder can be handed on as it is.
"""

from __future__ import annotations

import os
import platform
import sys
from typing import Any

from herscope import __version__

RESULT_PACKAGES = (
    "numpy",
    "scipy",
    "scikit-image",
    "opencv-python-headless",
    "numba",
    "imagecodecs",
    "tifffile",
    "openslide-python",
    "openslide-bin",
    "pillow",
    "pandas",
    "pyarrow",
    "shapely",
    "pydantic",
)
"""Packages whose version can change a pixel, a number or a file."""


def package_version(name: str) -> str | None:
    """Return the installed version of a distribution, or ``None`` when it is absent."""
    from importlib import metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def cpu_count() -> int:
    """Cores this process may use: its affinity where the system has one, at least 1.

    Examples
    --------
    >>> cpu_count() >= 1
    True
    """
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return max(1, os.cpu_count() or 1)


def memory_bytes() -> int | None:
    """Physical memory of the machine, or ``None`` where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def collect() -> dict[str, Any]:
    """Return versions and machine as a JSON-ready dictionary.

    Examples
    --------
    >>> sorted(collect())
    ['herscope', 'machine', 'packages', 'python']
    """
    return {
        "herscope": __version__,
        "python": platform.python_version(),
        "packages": {name: package_version(name) for name in RESULT_PACKAGES},
        "machine": {
            "system": platform.system(),
            "architecture": platform.machine(),
            "cores": cpu_count(),
            "memory_bytes": memory_bytes(),
            "byte_order": sys.byteorder,
        },
    }
