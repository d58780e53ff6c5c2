"""The user's chains as short functions, to call or to copy.

Each command is one of these. They put the layers together and decide nothing of their own; what
they need is imported when they run.
"""

from herscope.recipes.agreement import agree
from herscope.recipes.calibration import calibrate
from herscope.recipes.classification import classify
from herscope.recipes.guidelines import rule
from herscope.recipes.reports import report
from herscope.recipes.scoring import (
    annotations_of,
    demo,
    make_spec,
    score,
    score_slides,
    slide_spec,
)
from herscope.recipes.slides import info, phantom, stains
from herscope.recipes.survival import survive

__all__ = [
    "agree",
    "annotations_of",
    "calibrate",
    "classify",
    "demo",
    "info",
    "make_spec",
    "phantom",
    "report",
    "rule",
    "score",
    "score_slides",
    "slide_spec",
    "stains",
    "survive",
]
