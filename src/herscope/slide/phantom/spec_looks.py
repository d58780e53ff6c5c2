"""Parameters of a drawn slide for how single nuclei look, and what the scanner does to light.

With the defaults every nucleus is an ordinary one, and no pixel changes.
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from herscope.core.spec import Spec
from herscope.slide.phantom.spec_basic import Share

LOOKS: Final = (
    "ordinary",
    "vesicular",
    "pyknotic",
    "ghost",
    "coarse",
    "mitosis",
    "out of plane",
)
ORDINARY, VESICULAR, PYKNOTIC, GHOST, COARSE, MITOSIS, OUT_OF_PLANE = range(7)
Twist = Annotated[float, Field(ge=-0.3, le=0.3)]
Six = tuple[Share, Share, Share, Share, Share, Share]
SixTwists = tuple[Twist, Twist, Twist, Twist, Twist, Twist]


class LookFields(Spec):
    """Nuclei and scanner; part of :class:`~herscope.slide.phantom.spec.PhantomSpec`."""

    nucleus_looks: Six = Field(
        default=(0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
        description="Shares of nuclei that are vesicular (pale with a dark rim and nucleoli), "
        "pyknotic (small, black), ghosts (pale), coarse, in mitosis (epithelium alone), out of "
        "plane (faint, soft); the rest is ordinary.",
    )
    nucleus_gap_um: float = Field(
        default=0.25,
        ge=-1.5,
        le=3,
        description="Least distance of an epithelial nucleus to its cell's border; below 0 "
        "nuclei touch their neighbours along a straight line.",
    )
    sharpening: float = Field(
        default=0.0, ge=0, le=3, description="Strength of the scanner's unsharp mask."
    )
    sharpening_um: float = Field(
        default=1.0, ge=0.2, le=5, description="Gaussian sigma of that mask."
    )
    gamma: float = Field(
        default=1.0, ge=0.4, le=2.5, description="Power of the transmitted light that is stored."
    )
    color_mix: SixTwists = Field(
        default=(0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
        description="Share of green and blue in red, of red and blue in green, of red and green "
        "in blue; white stays white.",
    )
