"""Features of a drawn slide: words of 64 px in bags of 448 px, some of which carry the signal.

A word's vector is its bag's (standard normal) and its own noise (standard normal), so words of one
bag are alike, as they are on tissue. A bag that carries the signal is shifted by ``strength`` along
one direction in which all features take part; it is the same for every seed, since an external
cohort must speak the same language. Radiomics of a bag are noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from herscope.embed.bag import FeatureBag, make_bag
from herscope.embed.encoder import EncoderCard
from herscope.embed.planted_places import tissue_cells
from herscope.respond.drawn_cohort.spec import DrawnCohortSpec, PatientPlan, carriers, generator

WORD_PX: Final = 64
WORDS_A_SIDE: Final = 7
BAG_PX: Final = WORD_PX * WORDS_A_SIDE
MPP: Final = 0.5
FEATURES: Final = 24
OMICS: Final = 12
BAGS: Final = (4, 8)
FEWEST_WORDS: Final = 30
MARGIN_BAGS: Final = 1


@dataclass(frozen=True, slots=True, eq=False)
class DrawnWords:
    """A slide's words.

    Attributes
    ----------
    bag
        The feature file's content.
    corners_px
        (bags, 2) upper left corner of each bag of words, level 0.
    carries
        (bags,) which carry the signal.
    omics
        (bags, 12) radiomics, noise.
    """

    bag: FeatureBag
    corners_px: NDArray[np.int64]
    carries: NDArray[np.bool_]
    omics: NDArray[np.float32]


def words_card() -> EncoderCard:
    """Return the card of what takes an encoder's place.

    >>> words_card().features
    24
    """
    return EncoderCard(
        name="drawn-words",
        summary="Drawn numbers; no image was looked at.",
        features=FEATURES,
        input_px=WORD_PX,
        resize="none: nothing is looked at",
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        licence="Apache-2.0",
        source="herscope.respond.drawn_cohort",
    )


def direction() -> NDArray[np.float64]:
    """Return the unit vector along which the signal lies, (24,)."""
    return np.where(np.arange(FEATURES) % 2 == 0, 1.0, -1.0) / np.sqrt(FEATURES)


def draw_words(spec: DrawnCohortSpec, plan: PatientPlan) -> DrawnWords:
    """Draw the slide of a patient.

    Examples
    --------
    >>> from herscope.respond.drawn_cohort.spec import plan_patient
    >>> spec = DrawnCohortSpec()
    >>> drawn = draw_words(spec, plan_patient(spec, 0))
    >>> drawn.bag.size, drawn.bag.tile_px, 4 <= len(drawn.carries) <= 8
    (24, 64.0, True)
    """
    rng = generator(spec, "words", plan.number)
    count = int(rng.integers(BAGS[0], BAGS[1] + 1))
    cells = tissue_cells(rng, count)[:, ::-1]
    carries = carriers(rng, count)
    corners = (cells + MARGIN_BAGS) * BAG_PX
    inside = np.stack(np.divmod(np.arange(WORDS_A_SIDE**2), WORDS_A_SIDE)[::-1], axis=1) * WORD_PX
    features, places = [], []
    for number in range(count):
        middle = rng.standard_normal(FEATURES)
        middle += carries[number] * plan.pathology * spec.strength * direction()
        words = int(rng.integers(FEWEST_WORDS, WORDS_A_SIDE**2 + 1))
        kept = np.sort(rng.permutation(WORDS_A_SIDE**2)[:words])
        features.append(middle + rng.standard_normal((words, FEATURES)))
        places.append(corners[number] + inside[kept])
    width, height = ((cells.max(axis=0) + 1 + 2 * MARGIN_BAGS) * BAG_PX).tolist()
    card = words_card()
    bag = make_bag(
        plan.name,
        np.concatenate(features).astype(np.float32),
        np.concatenate(places),
        tile_px=WORD_PX,
        mpp=MPP,
        encoder=card.name,
        encoder_id=card.fingerprint(),
        width_px=width,
        height_px=height,
        notes=("drawn by herscope: numbers with a known truth, no tissue",),
    )
    omics = generator(spec, "radiomics", plan.number).standard_normal((count, OMICS))
    return DrawnWords(bag, corners, carries, omics.astype(np.float32))
