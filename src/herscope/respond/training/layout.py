"""What every patient of a cohort looks like; patients that differ are refused by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from herscope.core.errors import InputError
from herscope.respond.fusion.fusion_spec import picture_features
from herscope.respond.fusion.patients import BRANCHES, BranchLayout, Layout
from herscope.respond.training.raw import RawPatient

KINDS: Final = 5
"""Lymph node, stomach, liver, peritoneum, other."""


def layout_of(patients: Sequence[RawPatient], picture_network: str) -> Layout:
    """Return the layout that these patients share.

    Parameters
    ----------
    patients
        A whole cohort.
    picture_network
        What reads pictures of lesions; see :class:`FusionSpec`.

    Raises
    ------
    InputError
        Nothing is known of anybody, or features of two encoders are mixed.
    """
    first = patients[0]
    branches: dict[str, BranchLayout] = {}
    slides = [one for one in patients if one.pathology is not None]
    reported = {name: any(one.reports[name].present.any() for one in patients) for name in BRANCHES}
    if slides:
        _same(slides)
    if slides or reported["pathology"]:
        bags = slides[0].pathology if slides else None
        branches["pathology"] = BranchLayout(
            bags.words.shape[2] if bags else 1,
            max((_width(one.pathology.omics) for one in slides if one.pathology), default=0),
            first.reports["pathology"].sizes,
        )
    scans = [one.radiology for one in patients if one.radiology is not None]
    if scans or reported["radiology"]:
        edge = scans[0].pictures_hu.shape[-1] if scans else 0
        branches["radiology"] = BranchLayout(
            picture_features(picture_network) if scans else 1,
            max((_width(one.omics) for one in scans), default=0),
            first.reports["radiology"].sizes,
            KINDS if scans else 0,
            edge,
        )
    if not branches and not any(one.tokens.present.any() for one in patients):
        raise InputError(
            "nothing is known of any patient: no slide, no CT, no token",
            hint="name columns in [tokens.columns] and files in [files] of the cohort file",
        )
    return Layout(branches, first.tokens.sizes)


def _width(omics: object) -> int:
    shape = getattr(omics, "shape", (0, 0))
    return int(shape[1])


def _same(slides: Sequence[RawPatient]) -> None:
    first = slides[0]
    for one in slides[1:]:
        mine, theirs = one.pathology, first.pathology
        if mine is None or theirs is None or mine.encoder_id == theirs.encoder_id:
            continue
        raise InputError(
            f"patient {one.name}: bags of {mine.encoder} ({mine.encoder_id}), patient {first.name} "
            f"has {theirs.encoder} ({theirs.encoder_id})",
            hint="embed all slides with the same encoder, weights, tile and normalisation",
        )
