"""Colour normalisation of tiles, for networks only. Never measure on a normalised picture.

Normalisation moves the very optical density (OD) that scores count, by design: use it in front of a
network that was trained on one laboratory's colours, and nowhere else.

* :class:`ReinhardTarget`: mean and standard deviation in CIELAB (Reinhard et al., IEEE Comput Graph
  Appl 2001;21(5):34, equations 10 and 11; they use the l-alpha-beta space, here CIELAB as histology
  tools do), over tissue pixels only, so that the share of glass in a tile changes nothing.
* :class:`MacenkoTarget`: two stain vectors from the plane of the two largest singular vectors of OD
  at the 1st and 99th percentile of the angle, amounts scaled to the target's 99th percentile
  (Macenko et al., ISBI 2009;1107).

* :class:`WhiteBalance`: each channel scaled so that its 99th percentile becomes 255, in front of
  one of them; the response paper names it beside Reinhard without a formula, so this one is ours.

The first two leave a tile as it is when it has too little tissue or only one colour; ``measure``
returns None for such a tile. Pass ``source``, measured on the slide, where tiles must agree.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import EmptyTissue, InputError
from herscope.stain.vectors import Triple

Rgb = NDArray[np.uint8]

TISSUE_OD: Final = 0.06
"""Mean OD against 255 above which a pixel is tissue to Reinhard; glass of 240 has 0.026."""
MIN_TISSUE_PIXELS: Final = 100
MACENKO_MIN_OD: Final = 0.15
"""Macenko 2009, beta: every channel below it is transparent."""
MACENKO_PERCENTILE: Final = 1.0
"""Macenko 2009, alpha."""
MIN_STAIN_ANGLE_DEG: Final = 5.0
MAX_GAIN: Final = 5.0
"""Of a standard deviation, an amount or a channel; more would turn noise into structure."""
WHITE_PERCENTILE: Final = 99.0
"""Of each channel: the brightest hundredth may be clipped to white."""


@dataclass(frozen=True, slots=True)
class WhiteBalance:
    """The values of red, green and blue that become 255.

    Examples
    --------
    >>> picture = np.tile(np.array([[[240, 230, 220], [120, 115, 110]]], np.uint8), (20, 20, 1))
    >>> balance = WhiteBalance.measure(picture)
    >>> balance.apply(picture)[0, :2].tolist()
    [[255, 255, 255], [128, 128, 128]]
    """

    white: Triple

    @classmethod
    def measure(cls, rgb: Rgb) -> Self | None:
        """Measure a picture; None when a channel is so dark that it would be scaled over 5 times.

        Raises
        ------
        InputError
            It is not (h, w, 3) uint8.
        """
        _check(rgb)
        white = np.percentile(rgb.reshape(-1, 3), WHITE_PERCENTILE, axis=0)
        return None if white.min() * MAX_GAIN < 255.0 else cls(_triple(white))

    def apply(self, rgb: Rgb) -> Rgb:
        """Scale every channel; (h, w, 3) uint8, a copy.

        Raises
        ------
        InputError
            It is not (h, w, 3) uint8.
        """
        _check(rgb)
        levels = np.arange(256)[:, None] * (255.0 / np.array(self.white))
        table = np.minimum(np.rint(levels), 255.0).astype(np.uint8)  # (256, 3)
        return np.stack([table[:, channel][rgb[..., channel]] for channel in range(3)], axis=-1)


@dataclass(frozen=True, slots=True)
class ReinhardTarget:
    """Mean and standard deviation of tissue in CIELAB.

    Examples
    --------
    >>> tile = np.tile(np.array([[[150, 90, 140], [190, 150, 200]]], np.uint8), (20, 20, 1))
    >>> target = ReinhardTarget.fit(tile)
    >>> bool(np.abs(target.apply(tile).astype(int) - tile).max() <= 1)
    True
    """

    mean: Triple
    sd: Triple

    @classmethod
    def measure(cls, rgb: Rgb) -> Self | None:
        """Measure a picture; None when it has fewer than 100 tissue pixels."""
        _check(rgb)
        lab = _to_lab(rgb)[_tissue(rgb)]
        if len(lab) < MIN_TISSUE_PIXELS:
            return None
        mean, sd = lab.mean(axis=0, dtype=np.float64), lab.std(axis=0, dtype=np.float64)
        return cls(mean=_triple(mean), sd=_triple(sd))

    @classmethod
    def fit(cls, rgb: Rgb) -> Self:
        """Measure a target picture.

        Raises
        ------
        EmptyTissue
            It has fewer than 100 tissue pixels, or a single colour.
        InputError
            It is not (h, w, 3) uint8.
        """
        target = cls.measure(rgb)
        if target is None or max(target.sd) < 0.5:
            raise EmptyTissue(
                f"the target of normalisation ({rgb.shape[1]} x {rgb.shape[0]} px) has too little "
                "tissue or a single colour",
                hint="choose a stained tile of the laboratory the network was trained on",
            )
        return target

    def apply(self, rgb: Rgb, source: ReinhardTarget | None = None) -> Rgb:
        """Move the tissue of a tile to the target's colours; glass stays.

        Parameters
        ----------
        rgb
            (h, w, 3) uint8.
        source
            Statistics of the tile's slide; measured on the tile itself when absent.

        Returns
        -------
        rgb
            (h, w, 3) uint8, a copy; unchanged when the tile cannot be measured.
        """
        source = source or self.measure(rgb)
        if source is None:
            return rgb.copy()
        tissue = _tissue(rgb)
        if not tissue.any():
            return rgb.copy()
        # a channel without spread is moved, not stretched
        gain = [
            1.0 if theirs < 0.05 else min(MAX_GAIN, ours / theirs)
            for ours, theirs in zip(self.sd, source.sd, strict=True)
        ]
        lab = _to_lab(rgb)
        lab -= np.asarray(source.mean, np.float32)
        lab *= np.asarray(gain, np.float32)
        lab += np.asarray(self.mean, np.float32)
        lab[..., 0] = np.clip(lab[..., 0], 0, 100)
        moved = np.clip(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), 0.0, 1.0)
        out = rgb.copy()
        out[tissue] = np.rint(moved[tissue] * 255.0).astype(np.uint8)
        return out


@dataclass(frozen=True, slots=True)
class MacenkoTarget:
    """Two stain vectors and the amounts that count as full, after Macenko 2009.

    Parameters
    ----------
    first, second
        Unit OD vectors; the first is the one that absorbs more red (haematoxylin).
    full
        99th percentile of both amounts.

    Examples
    --------
    >>> rng = np.random.default_rng(3)
    >>> amounts = rng.uniform(0, 1, (40, 40, 2))
    >>> od = amounts @ np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]])
    >>> tile = np.rint(255 * 10**-od).astype(np.uint8)
    >>> target = MacenkoTarget.fit(tile)
    >>> round(target.second[1], 1)
    1.0
    """

    first: Triple
    second: Triple
    full: tuple[float, float]

    @classmethod
    def measure(cls, rgb: Rgb) -> Self | None:
        """Measure a picture; None when it is nearly white or has one stain."""
        _check(rgb)
        od = _od(rgb.reshape(-1, 3))
        od = od[(od > MACENKO_MIN_OD).all(axis=1)]
        if len(od) < MIN_TISSUE_PIXELS:
            return None
        _, vectors = np.linalg.eigh(np.einsum("ni,nj->ij", od, od) / len(od))
        basis = vectors[:, [2, 1]].T
        if basis[0].sum() < 0:
            basis[0] = -basis[0]
        angles = np.arctan2(od @ basis[1], od @ basis[0])
        low, high = np.percentile(angles, [MACENKO_PERCENTILE, 100 - MACENKO_PERCENTILE])
        if math.degrees(high - low) < MIN_STAIN_ANGLE_DEG:
            return None
        pair = [math.cos(a) * basis[0] + math.sin(a) * basis[1] for a in (low, high)]
        pair.sort(key=lambda vector: -float(vector[0]))
        amounts = od @ np.linalg.pinv(np.stack(pair))
        full = np.percentile(amounts, 99, axis=0)
        if min(full) <= 0.01:
            return None
        return cls(_triple(pair[0]), _triple(pair[1]), (float(full[0]), float(full[1])))

    @classmethod
    def fit(cls, rgb: Rgb) -> Self:
        """Measure a target picture.

        Raises
        ------
        EmptyTissue
            It is nearly white or has one stain.
        InputError
            It is not (h, w, 3) uint8.
        """
        target = cls.measure(rgb)
        if target is None:
            raise EmptyTissue(
                f"the target of normalisation ({rgb.shape[1]} x {rgb.shape[0]} px) is nearly white "
                "or has one stain",
                hint="choose a tile with both stains of the laboratory the network was trained on",
            )
        return target

    def apply(self, rgb: Rgb, source: MacenkoTarget | None = None) -> Rgb:
        """Give a tile the target's stains and strength.

        Parameters
        ----------
        rgb
            (h, w, 3) uint8.
        source
            Stains of the tile's slide; measured on the tile itself when absent.

        Returns
        -------
        rgb
            (h, w, 3) uint8, a copy; unchanged when the tile cannot be measured.
        """
        _check(rgb)
        source = source or self.measure(rgb)
        if source is None:
            return rgb.copy()
        od = _od(rgb.reshape(-1, 3))
        amounts = od @ np.linalg.pinv(np.array([source.first, source.second]))
        gain = np.minimum(MAX_GAIN, np.array(self.full) / np.array(source.full))
        moved = (amounts * gain) @ np.array([self.first, self.second])
        intensity = np.rint(255.0 * 10.0 ** -np.maximum(moved, 0.0))
        return intensity.astype(np.uint8).reshape(rgb.shape)


def _check(rgb: Rgb) -> None:
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise InputError(
            f"normalisation takes (height, width, 3) uint8, not {rgb.shape} {rgb.dtype}",
            hint="convert to 8-bit RGB first",
        )


def _od(rgb: Rgb) -> NDArray[np.float64]:
    table = -np.log10(np.maximum(np.arange(256), 1) / 255.0)
    return table[rgb]


def _tissue(rgb: Rgb) -> NDArray[np.bool_]:
    return _od(rgb).mean(axis=2) > TISSUE_OD


def _to_lab(rgb: Rgb) -> NDArray[np.float32]:
    return np.asarray(cv2.cvtColor(rgb.astype(np.float32) / np.float32(255), cv2.COLOR_RGB2LAB))


def _triple(values: NDArray[np.floating]) -> Triple:
    return float(values[0]), float(values[1]), float(values[2])
