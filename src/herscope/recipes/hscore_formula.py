"""The formula as an estimator of H-scores: Eq. (1) of AutoIHC over the pixels of a target.

Pixels of the target are counted by the grade of their DAB optical density and
``H = 100 (A1 + 2 A2 + 3 A3) / A`` is made of the counts, by the very functions that make
``h_score_pixel`` of a slide. Where readers gave no H-scores, a network learns these values.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import UndefinedStatistic

if TYPE_CHECKING:
    from herscope.measure.intensity import GradeSpec
    from herscope.nn.hscore_predict import TargetPatch
    from herscope.nn.patches.hscores import HscorePatches


def formula_h_score(patch: TargetPatch, grading: GradeSpec | None = None) -> float:
    """Pixel H-score of one patch's target.

    Parameters
    ----------
    patch
        Picture, target and white point.
    grading
        Cut-offs between the grades; QuPath's 0.2, 0.4, 0.6 when None.

    Raises
    ------
    UndefinedStatistic
        The target has no pixel.

    Examples
    --------
    >>> from herscope.nn.hscore_predict import TargetPatch
    >>> white = np.full((4, 4, 3), 255, np.uint8)
    >>> formula_h_score(TargetPatch(white, np.ones((4, 4), bool), (255.0, 255.0, 255.0)))
    0.0
    """
    from herscope.measure.intensity import GradeSpec, count_pixels, grade_counts
    from herscope.score.summary import h_score
    from herscope.stain.deconvolve import deconvolution_table, deconvolve
    from herscope.stain.vectors import RUIFROK_JOHNSTON

    dab = deconvolve(patch.rgb, deconvolution_table(RUIFROK_JOHNSTON, patch.white)).dab
    codes = np.zeros(dab.shape, np.uint8)
    histogram = count_pixels(dab, patch.target, codes, 1)[0]
    value = h_score(grade_counts(histogram, grading or GradeSpec()))
    if value is None:
        raise UndefinedStatistic("a target without a pixel has no H-score", hint="leave it out")
    return value


def formula_h_scores(
    patches: HscorePatches, grading: GradeSpec | None = None
) -> NDArray[np.float64]:
    """(patches,) pixel H-scores of a folder; see :func:`formula_h_score`."""
    return np.array([formula_h_score(patches.load(i), grading) for i in range(len(patches))])


def with_truth(patches: HscorePatches, grading: GradeSpec | None = None) -> HscorePatches:
    """Return the folder with H-scores: the readers' where there are, else the formula's."""
    if patches.h_scores is not None:
        return patches
    note = "no hscores.csv: the truth is the formula's value of each patch, as in AutoIHC"
    return replace(
        patches, h_scores=formula_h_scores(patches, grading), notes=(*patches.notes, note)
    )
