"""Bags of features with a planted signal: what a model must find, and what it must not.

Four kinds, each with a truth no hospital can give (:class:`PlantedSpec`, ``signal``):

* ``tiles``: a share of a positive bag's tiles carries a pattern. Every model should find it.
* ``arrangement``: two kinds of tiles in the same number in every bag; in class 1 they lie in
  patches, in class 0 they are mixed. Whatever ignores where tiles lie must stay at chance.
* ``none``: labels are coin flips. Above chance means a leak.
* ``site``: labels follow the site and features know the site, nothing else. Folds that part
  patients and not sites are rewarded for it; folds that keep sites whole are not.

Features are standard normal noise, plus an offset of each slide (as staining and scanning give),
plus patterns along fixed directions; the axes of feature space are turned at random by the seed, so
no pattern sits in one feature. Tissue is one or two wobbly blobs on the lattice of tiles. Numbers
come from one generator a bag, seeded with the set's seed and the bag's number: a bag is the same
whether it is drawn alone or with others.
"""

from __future__ import annotations

import functools
from typing import Final, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from herscope.core.errors import InputError
from herscope.core.spec import Spec
from herscope.embed.bag import FeatureBag, make_bag
from herscope.embed.encoder import EncoderCard
from herscope.embed.planted_places import gathered_kinds, nearest_tiles, tissue_cells

Signal = Literal["tiles", "arrangement", "none", "site"]
SIGNALS: Final = ("tiles", "arrangement", "none", "site")
Floats = NDArray[np.float64]

TILE_PX: Final = 256
MPP: Final = 0.5
"""Tiles of 128 µm, as KAT and its kin take them."""
USUAL_TILES: Final = (200, 400)
ARRANGED_TILES: Final = (600, 1200)
"""An arrangement needs room for several patches."""
USUAL_SITES: Final = 4
CONFOUNDED_SITES: Final = 5
"""One a fold of the usual five: within one site no score can tell the classes apart, whereas two
sites of different prevalence in a test fold are ordered by chance, all their patients at once."""
PREVALENCE: Final = (0.9, 0.1)
"""Share of class 1 in sites of even and odd number, signal ``site``."""
SLIDE_OFFSET: Final = 0.1
"""SD of a slide's own offset in every feature; the noise of a tile has SD 1."""
KIND_DISTANCE: Final = 4.0
"""Between the two kinds of tiles, in SD of the noise: seen in every tile."""
TEST_SHARE: Final = 6
"""Every sixth bag, the last ones, is for testing: 60 of 360."""


class PlantedSpec(Spec):
    """What to plant.

    Examples
    --------
    >>> PlantedSpec(signal="arrangement").tile_range
    (600, 1200)
    """

    signal: Signal = Field(default="tiles", description="What carries the label; see the module.")
    bags: int = Field(default=360, ge=4, le=100_000, description="Bags in the set.")
    tiles: tuple[int, int] | None = Field(
        default=None,
        description="Fewest and most tiles of a bag; absent: 200 to 400, arrangement 600 to 1200.",
    )
    features: int = Field(default=32, ge=8, le=4096, description="Numbers a tile.")
    classes: int = Field(
        default=2, ge=2, le=4, description="Classes; more than 2 with signal 'tiles' alone."
    )
    share: float = Field(
        default=0.1,
        gt=0,
        le=1,
        description="Witness share: mean share of a positive bag's tiles that carry the pattern.",
    )
    strength: float = Field(
        default=5.0,
        ge=0,
        le=50,
        description="Length of that pattern, or of a site's shift, in SD of the tiles' noise.",
    )
    gathered: bool = Field(
        default=False, description="Witness tiles lie together in one focus; signal 'tiles'."
    )
    patch_tiles: int = Field(
        default=12, ge=2, le=60, description="Edge of a gathered patch in tiles; 'arrangement'."
    )
    sites: int | None = Field(
        default=None, ge=1, le=32, description="Sites; absent: 4, and 5 for signal 'site'."
    )
    seed: int = Field(default=0, ge=0, lt=2**31, description="Seed of every random choice.")

    @property
    def tile_range(self) -> tuple[int, int]:
        """Fewest and most tiles of a bag."""
        return self.tiles or (ARRANGED_TILES if self.signal == "arrangement" else USUAL_TILES)

    @property
    def site_count(self) -> int:
        """How many sites there are."""
        return self.sites or (CONFOUNDED_SITES if self.signal == "site" else USUAL_SITES)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        low, high = self.tile_range
        if not 4 <= low <= high <= 100_000:
            raise InputError(f"bags of {low} to {high} tiles", hint="4 to 100000, the fewer first")
        if self.classes > 2 and self.signal != "tiles":
            raise InputError(
                f"{self.classes} classes with signal {self.signal!r}",
                hint="more than two classes are planted in single tiles only: signal 'tiles'",
            )
        if self.signal == "site" and self.site_count < 2:
            raise InputError("one site cannot confound anything", hint="give two sites or more")
        if self.signal == "site" and self.site_count > self.features:
            raise InputError(
                f"{self.site_count} sites in {self.features} features",
                hint="each site needs a direction of its own: fewer sites or more features",
            )
        return self


def planted_bag(spec: PlantedSpec, number: int) -> tuple[FeatureBag, str, str, NDArray[np.bool_]]:
    """Draw one bag of a set.

    Parameters
    ----------
    spec
        The set.
    number
        From 0 to ``spec.bags`` - 1.

    Returns
    -------
    tuple
        The bag; its label, ``"0"`` to ``"3"``; its site; and (tiles,) whether a tile carries the
        signal: witnesses for ``tiles``, one of the two kinds for ``arrangement``, else none.

    Raises
    ------
    InputError
        No such bag.

    Examples
    --------
    >>> bag, label, site, truth = planted_bag(PlantedSpec(), 0)
    >>> bag.size, len(bag) == len(truth), 200 <= len(bag) <= 400
    (32, True, True)
    """
    if not 0 <= number < spec.bags:
        raise InputError(f"bag {number} of a set of {spec.bags}", hint="they count from 0")
    label, site = label_and_site(spec, number)
    rng = _generator(spec, 1, number)
    low, high = spec.tile_range
    count = int(rng.integers(low, high + 1))
    cells = tissue_cells(rng, count)
    features = rng.standard_normal((count, spec.features))
    features += SLIDE_OFFSET * rng.standard_normal(spec.features)
    axes = _axes(spec)
    truth = np.zeros(count, np.bool_)
    if spec.signal == "tiles" and label > 0:
        share = spec.share * float(rng.uniform(0.5, 1.5))
        witnesses = min(max(round(share * count), 1), count)
        if spec.gathered:
            truth[nearest_tiles(cells, int(rng.integers(count)), witnesses)] = True
        else:
            truth[rng.permutation(count)[:witnesses]] = True
        features[truth] += spec.strength * axes[label - 1]
    elif spec.signal == "arrangement":
        # Drawn in both classes, so that a bag of either takes the same numbers from the generator.
        patches = gathered_kinds(rng, cells, spec.patch_tiles)
        mixed = rng.permutation(patches)
        truth = patches if label else mixed
        features += np.where(truth, 0.5, -0.5)[:, None] * KIND_DISTANCE * axes[0]
    elif spec.signal == "site":
        features += spec.strength * axes[site]
    margin, card = 2, planted_card(spec)
    corners = (cells[:, ::-1] + margin) * TILE_PX
    height, width = ((cells.max(axis=0) + 1 + 2 * margin) * TILE_PX).tolist()
    bag = make_bag(
        bag_name(spec, number),
        features.astype(np.float32),
        corners,
        tile_px=TILE_PX,
        mpp=MPP,
        encoder=card.name,
        encoder_id=card.fingerprint(),
        width_px=width,
        height_px=height,
        notes=("planted by herscope: drawn numbers, no tissue",),
    )
    return bag, str(label), f"site-{site + 1}", truth


def planted_card(spec: PlantedSpec) -> EncoderCard:
    """Return the card of what takes an encoder's place; sets of another seed have other axes.

    >>> planted_card(PlantedSpec()).features
    32
    """
    return EncoderCard(
        name="planted",
        summary="Drawn numbers with a planted signal; no image was looked at.",
        features=spec.features,
        input_px=TILE_PX,
        resize="none: nothing is looked at",
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        licence="Apache-2.0",
        source=f"herscope.embed.planted_bags, signal {spec.signal}, seed {spec.seed}",
    )


def bag_name(spec: PlantedSpec, number: int) -> str:
    """Return the name of a bag's slide.

    >>> bag_name(PlantedSpec(), 7)
    'tiles-00007'
    """
    return f"{spec.signal}-{number:05d}"


def label_and_site(spec: PlantedSpec, number: int) -> tuple[int, int]:
    """Class and site of a bag, from 0.

    Every class meets every site equally often, in random order; with signal ``none`` the label is
    a coin flip, with ``site`` a coin as biased as the site's prevalence.

    Examples
    --------
    >>> spec = PlantedSpec(bags=16)
    >>> [sum(label_and_site(spec, n)[0] for n in range(16)), label_and_site(spec, 3)[1] < 4]
    [8, True]
    """
    sites = spec.site_count
    pairs = spec.classes * sites
    order = _generator(spec, 2, number // pairs).permutation(pairs)
    label, site = divmod(int(order[number % pairs]), sites)
    if spec.signal == "none":
        label = int(_generator(spec, 3, number).random() < 0.5)
    elif spec.signal == "site":
        label = int(_generator(spec, 3, number).random() < PREVALENCE[site % 2])
    return label, site


def split_of(spec: PlantedSpec, number: int) -> Literal["train", "test"]:
    """Return the side of a bag: the last sixth of the set is for testing.

    >>> [split_of(PlantedSpec(bags=12), n) for n in (0, 9, 10)]
    ['train', 'train', 'test']
    """
    return "test" if number >= spec.bags - spec.bags // TEST_SHARE else "train"


@functools.lru_cache(maxsize=8)
def _axes(spec: PlantedSpec) -> Floats:
    """(features, features) orthonormal directions of the set."""
    drawn = _generator(spec, 4, 0).standard_normal((spec.features, spec.features))
    # Gram-Schmidt twice, written out: a library's factorisation differs between machines.
    axes = np.zeros_like(drawn)
    for k, row in enumerate(drawn[: max(spec.site_count, 4)]):
        left = row
        for _ in range(2):
            left = left - (axes[:k] * (axes[:k] * left).sum(axis=1)[:, None]).sum(axis=0)
        axes[k] = left / np.sqrt((left * left).sum())
    return axes


def _generator(spec: PlantedSpec, stream: int, number: int) -> np.random.Generator:
    # the kind of signal is part of the seed: two sets of one seed share nothing
    kind = SIGNALS.index(spec.signal)
    return np.random.Generator(np.random.PCG64([spec.seed, kind, stream, number]))
