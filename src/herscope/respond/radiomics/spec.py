"""What is measured and how: every choice that changes a radiomics feature, as one frozen value.

Definitions are those of the Image Biomarker Standardisation Initiative (IBSI): Zwanenburg et al.,
Radiology 2020;295:328, with the reference manual arXiv:1612.07003; filters after part 2, Whybra et
al., Radiology 2024;310:e231319.

The default is our answer to the 736 values a lesion of the response paper, whose list was never
published: 8 pictures (original, 4 of a 2-D wavelet, 3 of a Laplacian of Gaussian) times 92 values
(97 intensity and texture features of IBSI less the 5 in :data:`REDUNDANT`). The length follows from
the Spec; the paper's own list may well differ.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from herscope.core.spec import Spec

Aggregation = Literal["2D_avg", "2D_comb", "2_5D_avg", "2_5D_comb", "3D_avg", "3D_comb"]
FeatureClass = Literal[
    "shape",
    "autocorrelation",
    "local_intensity",
    "statistics",
    "histogram",
    "volume_histogram",
    "cooccurrence",
    "run_length",
    "size_zone",
    "distance_zone",
    "neighbour_difference",
    "neighbour_dependence",
]

ORIGINAL_ONLY: Final = frozenset(
    {"shape", "autocorrelation", "local_intensity", "volume_histogram"}
)
"""Classes that are not computed of filtered pictures: they need calibrated intensities or none."""

REDUNDANT: Final = (
    "stat_range",
    "cm_sum_avg",
    "cm_diff_avg",
    "cm_clust_tend",
    "ngl_dc_perc",
)
"""Left out by default, since each is known from another: maximum less minimum; twice the joint
average; the dissimilarity; the sum variance; always 1."""

Positive = Annotated[float, Field(gt=0)]
Sigma = Annotated[float, Field(gt=0, le=100)]


class RadiomicsSpec(Spec):
    """Choices of a radiomics feature list.

    Lengths are millimetres, also of slides (0.5 µm is 0.0005 mm); intensities are those of the
    image: Hounsfield units of a CT, optical density of a slide.

    Examples
    --------
    >>> RadiomicsSpec().force_2d
    True
    >>> RadiomicsSpec(aggregation=("3D_comb",))
    Traceback (most recent call last):
    pydantic_core._pydantic_core.ValidationError: 1 validation error for RadiomicsSpec
      Value error, force_2d keeps to slices and 3D_comb does not; set force_2d to false, or ...
    """

    classes: tuple[FeatureClass, ...] = Field(
        default=(
            "statistics",
            "cooccurrence",
            "run_length",
            "size_zone",
            "neighbour_dependence",
            "neighbour_difference",
        ),
        min_length=1,
        description="families to compute, in this order; shape is 2-D for a 2-D image",
    )
    aggregation: tuple[Aggregation, ...] = Field(
        default=("2_5D_avg",),
        min_length=1,
        description="how slices and directions of texture matrices are put together; families "
        "without directions take the dimension only",
    )
    force_2d: bool = Field(
        default=True, description="filters, neighbours and texture stay inside slices"
    )
    discretisation: Literal["fixed_bin_size", "fixed_bin_number"] = Field(
        default="fixed_bin_size",
        description="grey levels of the original image; filtered images always take bin_number",
    )
    bin_size: Positive = Field(
        default=25.0, description="width of a grey level, in units of the image (HU)"
    )
    bin_number: int = Field(
        default=32, ge=2, le=512, description="grey levels between minimum and maximum"
    )
    ivh_levels: Literal["integer", "thousand_bins"] = Field(
        default="thousand_bins",
        description="steps of the intensity-volume histogram: whole numbers, or 1000 bins",
    )
    resample_to_mm: tuple[Positive | None, ...] | None = Field(
        default=None,
        description="new voxel spacing (z, y, x) or (y, x); null, or null on an axis, keeps it",
    )
    interpolation: Literal["linear", "nearest"] = Field(
        default="linear", description="of the image; the mask is linear, then mask_threshold"
    )
    mask_threshold: float = Field(
        default=0.5, gt=0, le=1, description="share of a resampled voxel that the mask must cover"
    )
    round_intensities: bool = Field(
        default=False, description="round to whole numbers after resampling, as IBSI does for HU"
    )
    resegment_range: tuple[float | None, float | None] | None = Field(
        default=None,
        description="voxels outside this range of intensities (both ends belong to it) leave the "
        "intensity mask; its lower end is where bins of fixed size begin",
    )
    original: bool = Field(default=True, description="measure the unfiltered image")
    wavelet: Literal["none", "haar", "coif1"] = Field(
        default="coif1", description="stationary wavelet, first level: 4 pictures in 2-D, 8 in 3-D"
    )
    log_sigma_mm: tuple[Sigma, ...] = Field(
        default=(1.0, 2.0, 3.0), description="widths of the Laplacian of Gaussian"
    )
    omit: tuple[str, ...] = Field(
        default=REDUNDANT,
        description="features left out, by name without aggregation; the default five are exact "
        "functions of others",
    )
    least_voxels: int = Field(
        default=1, ge=1, description="fewer voxels in the intensity mask than this are refused"
    )

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        volumetric = [name for name in self.aggregation if name.startswith("3D")]
        if self.force_2d and volumetric:
            raise ValueError(
                f"force_2d keeps to slices and {volumetric[0]} does not; set force_2d to false, "
                "or aggregate over 2D or 2_5D"
            )
        for field in ("classes", "aggregation", "log_sigma_mm"):
            values = getattr(self, field)
            if len(set(values)) < len(values):
                raise ValueError(f"{field} names something twice: {values}")
        if self.resample_to_mm is not None and len(self.resample_to_mm) not in {2, 3}:
            raise ValueError("resample_to_mm takes (z, y, x) or (y, x)")
        low, high = self.resegment_range or (None, None)
        if low is not None and high is not None and low >= high:
            raise ValueError(f"resegment_range runs from {low:g} to {high:g}")
        if not (self.original or self.log_sigma_mm or self.wavelet != "none"):
            raise ValueError("nothing to measure: no original, no wavelet, no log_sigma_mm")
        return self


PATHOLOGY: Final = RadiomicsSpec(
    discretisation="fixed_bin_number", log_sigma_mm=(0.001, 0.002, 0.004), wavelet="haar"
)
"""For tiles of a slide: as the default, with blobs of 1, 2 and 4 µm and 32 grey levels."""
