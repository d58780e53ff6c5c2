"""Random numbers by address instead of by order, so any part of a slide can be drawn alone.

A number is a hash of (seed, stream, i, j): the finaliser of splitmix64 (Steele, Lea, Flood,
OOPSLA 2014), applied once per word. No state, no order, the same bits in any region.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit

_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
_FIRST: Final = np.uint64(0xBF58476D1CE4E5B9)
_SECOND: Final = np.uint64(0x94D049BB133111EB)
_30: Final = np.uint64(30)
_27: Final = np.uint64(27)
_31: Final = np.uint64(31)
_11: Final = np.uint64(11)


@njit(cache=True)
def mix(word: np.uint64) -> np.uint64:
    """Scramble 64 bits (splitmix64)."""
    z = np.uint64(word) + _GOLDEN
    z = (z ^ (z >> _30)) * _FIRST
    z = (z ^ (z >> _27)) * _SECOND
    return z ^ (z >> _31)


@njit(cache=True)
def address(seed: np.uint64, stream: int, i: int, j: int) -> np.uint64:
    """64 random bits that belong to (seed, stream, i, j)."""
    h = mix(np.uint64(seed) + np.uint64(stream) * _SECOND)
    h = mix(h ^ (np.uint64(i) * _GOLDEN))
    return mix(h ^ (np.uint64(j) * _FIRST))


@njit(cache=True)
def uniform(word: np.uint64, k: int) -> float:
    """Uniform number in [0, 1): the k-th of those that belong to ``word``."""
    return float(mix(np.uint64(word) + np.uint64(k) * _FIRST) >> _11) * 1.1102230246251565e-16


@njit(cache=True)
def bell(word: np.uint64, k: int) -> float:
    """Bell-shaped number, mean 0, SD 1, never beyond 3: twice a sum of three centred uniforms."""
    total = uniform(word, k) + uniform(word, k + 1) + uniform(word, k + 2)
    return 2.0 * (total - 1.5)
