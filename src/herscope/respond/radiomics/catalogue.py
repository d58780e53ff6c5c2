"""Names and units of every feature that a Spec asks for, in the order in which they come.

Names are IBSI's tags (``morph_volume``, ``cm_contrast_3D_avg``); those of a filtered picture follow
its name and a full stop (``log_2mm.stat_mean``). Shape in 2-D, which IBSI does not define, is
``morph2d_``.
"""

from __future__ import annotations

from typing import Final

from herscope.core.errors import InputError
from herscope.core.registry import nearest
from herscope.respond.radiomics import cooccurrence, emphasis, neighbour_difference
from herscope.respond.radiomics.filters import picture_names
from herscope.respond.radiomics.gathering import dimension
from herscope.respond.radiomics.intensity import HISTOGRAM, STATISTICS, VOLUME_HISTOGRAM
from herscope.respond.radiomics.shape import SHAPE
from herscope.respond.radiomics.shape2d import SHAPE_2D
from herscope.respond.radiomics.spec import ORIGINAL_ONLY, RadiomicsSpec

WITHOUT_TEXTURE: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "shape": ("morph", SHAPE),
    "autocorrelation": ("morph", ("moran_i", "geary_c")),
    "local_intensity": ("loc", ("peak_loc", "peak_glob")),
    "statistics": ("stat", STATISTICS),
    "histogram": ("ih", HISTOGRAM),
    "volume_histogram": ("ivh", VOLUME_HISTOGRAM),
}
BY_DIRECTION: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "cooccurrence": ("cm", cooccurrence.NAMES),
    "run_length": ("rlm", emphasis.NAMES["rlm"]),
}
BY_DIMENSION: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "size_zone": ("szm", emphasis.NAMES["szm"]),
    "distance_zone": ("dzm", emphasis.NAMES["dzm"]),
    "neighbour_difference": ("ngt", neighbour_difference.NAMES),
    "neighbour_dependence": ("ngl", emphasis.NAMES["ngl"]),
}

_LENGTHS: Final = ("com", "diam", "pca_maj_axis", "pca_min_axis", "pca_least_axis", "perimeter")
_UNITS: Final[dict[str, str]] = {
    **{f"morph_{name}": "mm" for name in _LENGTHS},
    **{f"morph2d_{name}": "mm" for name in _LENGTHS},
    "morph_volume": "mm³",
    "morph_vol_approx": "mm³",
    "morph_area_mesh": "mm²",
    "morph_av": "1/mm",
    "morph_integ_int": "image mm³",
    "morph2d_area_mesh": "mm²",
    "morph2d_area_approx": "mm²",
    "morph2d_perimeter_area": "1/mm",
    "morph2d_integ_int": "image mm²",
    **{f"stat_{name}": "1" for name in ("skew", "kurt", "cov", "qcod")},
    "stat_var": "image²",
    "stat_energy": "image²",
    **{f"ih_{name}": "1" for name in ("skew", "kurt", "cov", "qcod", "uniformity")},
    "ih_var": "level²",
    "ih_entropy": "bit",
    "ih_max_grad": "voxels/level",
    "ih_min_grad": "voxels/level",
    **{f"ivh_{name}": "1" for name in ("v10", "v90", "diff_v10_v90")},
    "ivh_i10": "image",
    "ivh_i90": "image",
    "ivh_diff_i10_i90": "image",
    **{f"cm_{name}": "level" for name in ("joint_avg", "diff_avg", "sum_avg", "dissimilarity")},
    **{
        f"cm_{name}": "level²"
        for name in ("joint_var", "diff_var", "sum_var", "contrast", "auto_corr", "clust_tend")
    },
    "cm_clust_shade": "level³",
    "cm_clust_prom": "level⁴",
    **{f"cm_{name}": "bit" for name in ("joint_entr", "diff_entr", "sum_entr")},
}
_FAMILY_UNITS: Final = {"stat": "image", "ih": "level", "loc": "image"}


def feature_names(spec: RadiomicsSpec, *, dimensions: int = 3) -> list[str]:
    """Return the features a Spec gives, in order.

    Parameters
    ----------
    spec
        What to measure.
    dimensions
        Of the image, 2 or 3.

    Raises
    ------
    InputError
        A name in ``omit`` that is no feature; the nearest one is named.

    Examples
    --------
    The default gives as many as the response paper had for a lesion:

    >>> len(feature_names(RadiomicsSpec()))
    736
    >>> feature_names(RadiomicsSpec())[-1]
    'log_3mm.ngt_strength_2_5D'
    """
    check_omitted(spec)
    flat = spec.force_2d or dimensions == 2
    return [
        f"{picture}.{name}" if picture else name
        for picture in picture_names(spec, flat=flat)
        for name in _of_picture(spec, dimensions, filtered=bool(picture))
    ]


def check_omitted(spec: RadiomicsSpec) -> None:
    """Refuse a name in ``omit`` that no feature has."""
    known = [
        f"{family}_{name}"
        for table in (WITHOUT_TEXTURE, BY_DIRECTION, BY_DIMENSION)
        for family, names in table.values()
        for name in names
    ] + [f"morph2d_{name}" for name in SHAPE_2D]
    for name in spec.omit:
        if name not in known:
            raise InputError(
                f"omit names {name}, which is no feature",
                hint=nearest(name, known).split(";")[0] + "; names are without aggregation",
            )


def feature_unit(name: str) -> str:
    """Return the unit of a feature; ``image`` is the unit of the image, ``1`` a pure number.

    Intensities of a Laplacian of Gaussian are per mm² besides.

    Examples
    --------
    >>> feature_unit("morph_volume"), feature_unit("log_2mm.cm_contrast_2_5D_avg")
    ('mm³', 'level²')
    """
    bare = plain_name(name)
    family = bare.split("_", 1)[0]
    unit = _UNITS.get(bare, _FAMILY_UNITS.get(family, "1"))
    if family in {"rlm", "szm", "dzm", "ngl"} and bare.endswith("gl_var"):
        return "level²"
    return unit


def plain_name(name: str) -> str:
    """Return a feature's name without picture and aggregation.

    >>> plain_name("wavelet_haar_HL.cm_contrast_2_5D_avg")
    'cm_contrast'
    """
    bare = name.rsplit(".", 1)[-1]
    for ending in ("_2_5D_avg", "_2_5D_comb", "_2D_avg", "_2D_comb", "_3D_avg", "_3D_comb"):
        bare = bare.removesuffix(ending)
    for ending in ("_2_5D", "_2D", "_3D"):
        bare = bare.removesuffix(ending)
    return bare


def dimensions_of(spec: RadiomicsSpec) -> list[str]:
    """Return the dimensions of the aggregations, each once, in their order."""
    return list(dict.fromkeys(dimension(name) for name in spec.aggregation))


def _of_picture(spec: RadiomicsSpec, dimensions: int, *, filtered: bool) -> list[str]:
    out: list[str] = []
    family: str
    names: tuple[str, ...]
    for chosen in spec.classes:
        if filtered and chosen in ORIGINAL_ONLY:
            continue
        if chosen == "shape" and dimensions == 2:
            family, names, endings = "morph2d", SHAPE_2D, [""]
        elif chosen in WITHOUT_TEXTURE:
            (family, names), endings = WITHOUT_TEXTURE[chosen], [""]
        elif chosen in BY_DIRECTION:
            (family, names) = BY_DIRECTION[chosen]
            endings = [f"_{ending}" for ending in spec.aggregation]
        else:
            (family, names) = BY_DIMENSION[chosen]
            endings = [f"_{ending}" for ending in dimensions_of(spec)]
        out += [
            f"{family}_{name}{ending}"
            for ending in endings
            for name in names
            if f"{family}_{name}" not in spec.omit
        ]
    return out
