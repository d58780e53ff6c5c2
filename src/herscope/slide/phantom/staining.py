"""How strongly each cell is stained: grade, density, membrane pattern, haematoxylin.

Grades are drawn by hash against the asked shares; the density is the grade's mean plus a
bell-shaped deviation cut at 3 SD, so with the default numbers it stays inside its grade's cuts.
Membrane patterns follow the words of the HER2 guidelines: complete, incomplete (broken into arcs),
basolateral (U-shaped, as in gastric glands; Rueschoff et al., Virchows Arch 2010;457:299).
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from herscope.slide.phantom.counters import bell, uniform
from herscope.slide.phantom.layout import Cells
from herscope.slide.phantom.shapes import EPITHELIAL, GLANDULAR
from herscope.slide.phantom.spec import PhantomSpec

SECTORS: Final = 32
NO_PATTERN, COMPLETE, INCOMPLETE, BASOLATERAL = 0, 1, 2, 3
_LOOK_HEMATOXYLIN: Final = np.array([1.0, 0.85, 1.9, 0.42, 1.1, 2.0, 0.5])
"""Haematoxylin of a nucleus by its look, ordinary 1: vesicular, pyknotic, ghost, coarse, mitosis,
out of plane."""
_LOOK_DAB: Final = np.array([1.0, 1.0, 1.15, 0.5, 1.0, 1.0, 0.55])
PATTERNS: Final = ("none", "complete", "incomplete", "basolateral")


class Staining(NamedTuple):
    """What is drawn into each cell, as columns of equal length."""

    dab: NDArray[np.float64]  # wanted density of the marker's compartment
    hematoxylin: NDArray[np.float64]
    pattern: NDArray[np.int64]
    sector: NDArray[np.float64]  # (n, 32) wanted density of the membrane by direction

    def take(self, which: NDArray[np.bool_]) -> Staining:
        """Rows where ``which`` is true."""
        kept: Any = [column[which] for column in self]
        return Staining(*kept)


def stain_cells(
    spec: PhantomSpec, cells: Cells, cluster_quantiles: NDArray[np.float64]
) -> Staining:
    """Choose the staining of cells; each depends on the cell alone.

    Parameters
    ----------
    spec
        The slide.
    cells
        Cells of any rectangle.
    cluster_quantiles
        Quantiles of the field in which neighbours are alike, over the slide.
    """
    tumor = (cells.kind == EPITHELIAL) | (cells.kind == GLANDULAR)
    chance = _uniforms(cells.key, 20)
    if spec.grade_clustering > 0:
        chance = _alike(chance, cells.cluster, cluster_quantiles, spec.grade_clustering)
    grade = np.where(
        tumor,
        _drawn(spec.tumor_grade_fractions, chance),
        _drawn(spec.stroma_grade_fractions, chance),
    )
    mean, sd = np.asarray(spec.grade_od)[grade], np.asarray(spec.grade_od_sd)[grade]
    dab = np.maximum(mean + sd * _bells(cells.key, 21), 0.0)
    # lymphocytes are the darkest
    strength = np.asarray([1.0, spec.stroma_hematoxylin, 1.35, 1.0, 1.1])[cells.kind]
    spread = np.exp(spec.hematoxylin_sd * _bells(cells.key, 24) - 0.5 * spec.hematoxylin_sd**2)
    hematoxylin = spec.hematoxylin_od * strength * spread
    if spec.blue_unevenness:
        hematoxylin *= np.exp(spec.blue_unevenness * cells.slow)
    if any(spec.nucleus_looks):
        hematoxylin *= _LOOK_HEMATOXYLIN[cells.look]
        if spec.stain == "nuclear":
            dab *= _LOOK_DAB[cells.look]
    if spec.stain == "he":
        dab = np.zeros_like(dab)
    pattern, sector = _membranes(
        cells.key,
        grade,
        dab,
        spec.grade_od[0],
        (spec.membrane_complete, spec.membrane_incomplete),
        spec.membrane_incomplete_coverage,
    )
    return Staining(dab, hematoxylin, pattern, sector)


def _drawn(shares: tuple[float, ...], chance: NDArray[np.float64]) -> NDArray[np.int64]:
    edges = np.cumsum(shares)[:3]
    return np.searchsorted(edges, chance, side="right").astype(np.int64)


def _alike(
    chance: NDArray[np.float64],
    cluster: NDArray[np.float64],
    quantiles: NDArray[np.float64],
    weight: float,
) -> NDArray[np.float64]:
    """Mix a cell's own chance with its surroundings' by a Gaussian copula: stays uniform."""
    from scipy.special import ndtr, ndtri

    here = np.interp(cluster, quantiles, np.linspace(0.0, 1.0, quantiles.size))
    own, near = (ndtri(np.clip(u, 1e-4, 1 - 1e-4)) for u in (chance, here))
    mixed: NDArray[np.float64] = ndtr(math.sqrt(1 - weight) * own + math.sqrt(weight) * near)
    return mixed


@njit(cache=True)
def _uniforms(key: NDArray[np.uint64], k: int) -> NDArray[np.float64]:
    out = np.empty(key.size)
    for n in range(key.size):
        out[n] = uniform(key[n], k)
    return out


@njit(cache=True)
def _bells(key: NDArray[np.uint64], k: int) -> NDArray[np.float64]:
    out = np.empty(key.size)
    for n in range(key.size):
        out[n] = bell(key[n], k)
    return out


@njit(cache=True)
def _membranes(
    key: NDArray[np.uint64],
    grade: NDArray[np.int64],
    dab: NDArray[np.float64],
    bare: float,
    shares: tuple[float, float],
    coverage: tuple[float, float],
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Pattern and density of each of the 32 directions."""
    pattern = np.zeros(key.size, np.int64)
    sector = np.empty((key.size, 32))
    wave = np.empty(32)
    for n in range(key.size):
        word = key[n]
        for s in range(32):
            wave[s] = 0.0
            for m in range(1, 4):
                phase = 6.283185307179586 * (m * s / 32.0 + uniform(word, 40 + m))
                wave[s] += (0.4 + uniform(word, 44 + m)) * math.cos(phase) / m
        if grade[n] == 0:
            for s in range(32):
                sector[n, s] = dab[n]
            continue
        choice = uniform(word, 30)
        covered = 32
        pattern[n] = 1
        if choice >= shares[0] + shares[1]:
            pattern[n] = 3
            covered = 20 + int(4 * uniform(word, 31))
            turn = uniform(word, 32)
            for s in range(32):
                wave[s] = math.cos(6.283185307179586 * (s / 32.0 - turn))
        elif choice >= shares[0]:
            pattern[n] = 2
            share = coverage[0] + (coverage[1] - coverage[0]) * uniform(word, 31)
            covered = int(32 * share + 0.5)
        order = np.argsort(wave)
        for r in range(32):
            s = order[r]
            uneven = 1 + 0.06 * math.cos(6.283185307179586 * (s / 16.0 + uniform(word, 33)))
            sector[n, s] = dab[n] * uneven if r >= 32 - covered else min(bare, dab[n])
    return pattern, sector
