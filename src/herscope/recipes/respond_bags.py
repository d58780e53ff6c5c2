"""From slides to what the response model reads of pathology: words, regions, radiomics of bags.

OUT/<slide>.h5ad (features of words, by :func:`herscope.recipes.embedding.embed_slides`),
<slide>.regions.geojson where an expert outlined what counts, <slide>.bags.parquet with the
radiomics of every bag, and bags.json. Everything but the features is made again when what it was
made from has changed; features that would change are refused without ``force``, as by embed.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from herscope.core.errors import HerscopeError, InputError, OutputError, SchemaError
from herscope.core.store import read_json, write_json
from herscope.recipes.embedding import embed_slides, embed_spec
from herscope.run.progress import Progress, Quiet
from herscope.run.state import file_sha256

if TYPE_CHECKING:
    from herscope.embed.bag import FeatureBag
    from herscope.embed.extraction import EmbedSpec
    from herscope.respond.pathology.bag_spec import BagSpec
    from herscope.respond.pathology.lattice import SlideBags
    from herscope.respond.pathology.radiomics_table import BagRadiomics
    from herscope.respond.radiomics.spec import RadiomicsSpec
    from herscope.tissue.regions import Region

SCHEMA: Final = "herscope.bags/1"
DOCUMENT: Final = "bags.json"
WORD_PX, BAG_PX, TILE_MPP = 64, 448, 0.5


def word_spec(
    *,
    word_px: int = WORD_PX,
    tile_mpp: float = TILE_MPP,
    min_tissue: float = 0.1,
    mpp: str | float | None = None,
    override_mpp: float | None = None,
    normalise: Literal["none", "reinhard", "macenko"] = "reinhard",
    normalise_to: str | Path | None = None,
    white_balance: bool | None = None,
) -> EmbedSpec:
    """Say how words are cut and coloured; the defaults are the response paper's as far as known.

    Parameters
    ----------
    word_px, tile_mpp
        Edge of a word in working pixels, and their size in µm.
    min_tissue
        Words with less tissue are left out.
    mpp, override_mpp
        As for ``herscope embed``.
    normalise, normalise_to
        Stain normalisation and its target picture.
    white_balance
        In front of it; absent: wherever there is a normalisation.

    Raises
    ------
    InputError
        A white balance or a target without a normalisation, or impossible sizes.
    """
    from herscope.embed.normalising import normalise_spec

    balanced = normalise != "none" if white_balance is None else white_balance
    colours = normalise_spec(normalise, normalise_to, white_balance=balanced)
    spec = embed_spec(
        mpp=mpp,
        override_mpp=override_mpp,
        tile_mpp=tile_mpp,
        size_px=word_px,
        min_tissue=min_tissue,
    )
    return spec.model_copy(update={"normalise": colours})


def embed_bags(
    slides: Sequence[str | Path],
    out: str | Path,
    spec: EmbedSpec | None = None,
    *,
    bags: BagSpec | None = None,
    radiomics: RadiomicsSpec | None = None,
    regions: str | Path | None = None,
    region_classes: Sequence[str] = (),
    force: bool = False,
    measuring: Progress | None = None,
    **embedding: Any,
) -> dict[str, Any]:
    """Turn slides into words, and measure the radiomics of their bags; what is done is kept.

    Parameters
    ----------
    slides
        Files, folders or glob patterns.
    out
        Folder of the features.
    spec
        How words are cut, as :func:`word_spec` puts it together; its defaults when absent.
    bags
        How words become bags; ``radiomics=False`` measures nothing, ``max_bags`` are measured of
        each slide.
    radiomics
        What is measured; the 736 values of
        :data:`herscope.respond.radiomics.spec.PATHOLOGY` when absent.
    regions
        GeoJSON of one slide, or a folder with one called as each slide.
    region_classes
        Classes that count; Tumor and Region* when absent. Ignore* is always left out.
    force
        Make everything again, also with other parameters.
    measuring
        Where to tell how far the radiomics are.
    **embedding
        Of :func:`herscope.recipes.embedding.embed_slides`: encoder, weights, device, and so on.

    Returns
    -------
    dict
        The document of the command: that of embed, and of each slide its bags.

    Raises
    ------
    As :func:`herscope.recipes.embedding.embed_slides`; besides, InputError when one annotation is
    given for several slides.
    """
    from herscope.respond.pathology.bag_spec import BagSpec
    from herscope.respond.pathology.word_regions import USUAL_CLASSES
    from herscope.respond.radiomics.spec import PATHOLOGY
    from herscope.slide.find import find_slides, slide_names

    spec = word_spec() if spec is None else spec
    bags, told = bags or BagSpec(), measuring or Quiet()
    paths = find_slides(slides)
    failures: dict[str, Any] = {}
    drawn: dict[Path, list[Region]] | None = None
    if regions is not None:
        classes = tuple(region_classes) or USUAL_CLASSES
        drawn, failures = _annotated(Path(regions), slide_names(paths), classes)
        paths = list(drawn)
    names = {name: path for path, name in slide_names(paths).items()}
    embedded = embed_slides(paths, out, spec, force=force, **embedding)
    failures |= embedded["failures"]
    work = _Work(spec, bags, radiomics or PATHOLOGY, drawn, _own_regions(Path(out)), force, told)
    found: dict[str, Any] = {name: {"status": "failed"} for name in failures}
    due = [name for name, slide in embedded["slides"].items() if slide["features"]]
    told.start(len(due), 0)
    try:
        for name, slide in embedded["slides"].items():
            found[name] = {**slide, "words": slide.get("tiles")}
            if name not in due:
                continue
            try:
                found[name] |= work.run(name, names[name], Path(slide["features"]))
            except Exception as error:  # noqa: BLE001 - one slide must not stop the others
                failures[name] = _failure(error)
                found[name]["status"] = "failed"
            told.slide(name, found[name]["status"], failures.get(name, {}).get("message", ""))
    finally:
        told.close()
    document = {
        **embedded,
        "schema": SCHEMA,
        "bags": bags.model_dump(mode="json"),
        "radiomics": (radiomics or PATHOLOGY).model_dump(mode="json") if bags.radiomics else None,
        "slides": found,
        "failures": failures,
    }
    _keep(Path(out), document)
    return document


@dataclass(frozen=True)
class _Work:
    """What every slide's bags are made with."""

    spec: EmbedSpec
    bags: BagSpec
    radiomics: RadiomicsSpec
    drawn: dict[Path, list[Region]] | None
    own_regions: frozenset[str]
    force: bool
    told: Progress

    def run(self, name: str, slide: Path, features: Path) -> dict[str, Any]:
        """Restrict, gather and measure one slide; returns what is told of it."""
        from herscope.embed.tile_list import spread
        from herscope.respond.pathology.bags import slide_bags

        regions = self._restrict(slide, features)
        found, bags = slide_bags(features, self.bags)
        told: dict[str, Any] = {
            "words": len(found),
            "bags": len(bags),
            "bag_um": None if found.mpp is None else round(bags.edge_px * found.mpp, 3),
            "notes": [*found.notes, *bags.notes],
            "regions_sha256": regions,
            "measured": None,
            "bags_per_s": None,
        }
        if self.bags.max_bags:
            bags = bags.take(spread(bags.cells, self.bags.max_bags))
        return told | self._measure(name, slide, features, found, bags, told["notes"])

    def _restrict(self, slide: Path, features: Path) -> str | None:
        """Put the regions that count beside the features, or take away those of an earlier call.

        Returns the SHA-256 of what was put there. A file that no call of ours has put there is
        somebody's work: without --regions it counts and is left alone, with it it is refused.
        """
        from herscope.respond.pathology.word_regions import regions_beside
        from herscope.tissue.geojson import write_regions

        beside = regions_beside(features)
        theirs = beside.is_file() and file_sha256(beside) not in self.own_regions
        if self.drawn is None:
            if not theirs:
                beside.unlink(missing_ok=True)
            return None
        if theirs and not self.force:
            raise OutputError(
                f"{beside} was not written by this command, and --regions would replace it",
                hint="move it away, leave --regions out so that it counts, or give --force",
            )
        write_regions(beside, self.drawn[slide])
        return file_sha256(beside)

    def _measure(
        self,
        name: str,
        slide: Path,
        features: Path,
        found: FeatureBag,
        bags: SlideBags,
        notes: list[str],
    ) -> dict[str, Any]:
        """Measure the bags, unless they are measured already."""
        from herscope.embed.tile_list import embed_grid
        from herscope.respond.pathology.bag_radiomics import measure_bags
        from herscope.respond.pathology.radiomics_table import table_beside, write_table
        from herscope.slide.opened import open_slide

        fingerprint = self._fingerprint(slide, features, found, bags)
        path = table_beside(features)
        stored = _stored(path)
        if stored is not None and stored.fingerprint == fingerprint and not self.force:
            return {"measured": len(bags), "notes": [*notes, *stored.notes]}
        path.unlink(missing_ok=True)  # of other words or other bags: never to be read again
        if not self.bags.radiomics:
            return {}
        mine = self.spec.for_slide(slide)
        start = time.perf_counter()
        with open_slide(slide, mine.slide) as opened:
            grid, _ = embed_grid(opened, mine.tiles)
            made = measure_bags(
                opened,
                grid,
                found,
                bags,
                self.radiomics,
                fingerprint=fingerprint,
                told=lambda done, total: self.told.tiles(name, done, total),
            )
        about = {"radiomics": self.radiomics.model_dump(mode="json"), "mpp": float(grid.mpp)}
        write_table(path, made, about)
        rate = len(bags) / (time.perf_counter() - start)
        return {
            "measured": len(bags),
            "bags_per_s": round(rate, 2),
            "notes": [*notes, *made.notes],
        }

    def _fingerprint(self, slide: Path, features: Path, found: FeatureBag, bags: SlideBags) -> str:
        """Tell apart what decides the figures: pixels, places of words and bags, what is measured.

        Bags and words stand in it as they are, so that regions and thresholds need no mention.
        """
        import hashlib

        from herscope.embed.feature_file import read_header
        from herscope.respond.pathology.bag_radiomics import VERSION

        digest = hashlib.sha256()
        for array in (found.xy_px, bags.xy_px, bags.words):
            digest.update(str(array.shape).encode() + array.tobytes())
        file = read_header(features)["provenance"]["file"]
        opened = self.spec.for_slide(slide).slide.fingerprint()
        tile = f"{self.spec.tiles.mpp!r} {found.tile_px!r} {bags.edge_px!r} {VERSION}"
        return self.radiomics.fingerprint(file["sha256"], opened, tile, digest.hexdigest())


def _annotated(
    given: Path, names: Mapping[Path, str], classes: Sequence[str]
) -> tuple[dict[Path, list[Region]], dict[str, Any]]:
    """Return the regions of each slide, and why some slides have none: they are not embedded."""
    from herscope.respond.pathology.word_regions import annotation_of, chosen_regions

    if given.is_file() and len(names) > 1:
        raise InputError(
            f"{given.name} is the annotation of one slide, {len(names)} slides were given",
            hint="give a folder with a GeoJSON called as each slide",
        )
    if not given.exists():
        raise InputError(f"there are no regions at {given}", hint="a GeoJSON, or a folder of them")
    found: dict[Path, list[Region]] = {}
    failures: dict[str, Any] = {}
    first: HerscopeError | None = None
    for slide, name in names.items():
        try:
            file = given if given.is_file() else annotation_of(given, slide, name)
            found[slide] = chosen_regions(file, classes)
        except HerscopeError as error:
            first = first or error
            failures[name] = _failure(error)
    if not found and first is not None:
        raise first
    return found, failures


def _own_regions(out: Path) -> frozenset[str]:
    """Return the SHA-256 of regions that an earlier call has put beside features."""
    file = out / DOCUMENT
    slides = read_json(file).get("slides", {}) if file.is_file() else {}
    found = {slide.get("regions_sha256") for slide in slides.values()}
    return frozenset(one for one in found if one)


def _stored(path: Path) -> BagRadiomics | None:
    """Return the table that is there; None when there is none of use."""
    from herscope.respond.pathology.radiomics_table import read_table

    try:
        return read_table(path) if path.is_file() else None
    except SchemaError:
        return None


def _failure(error: Exception) -> dict[str, str]:
    known = isinstance(error, HerscopeError)
    return {
        "error": type(error).__name__,
        "message": str(error) if known else f"internal error: {type(error).__name__}: {error}",
        "hint": error.hint if isinstance(error, HerscopeError) else "report what --debug shows",
        "stage": "bags",
    }


def _keep(root: Path, document: dict[str, Any]) -> None:
    """Write bags.json, with slides of earlier calls, and add to embed's failures.json."""
    path = root / DOCUMENT
    try:
        earlier = read_json(path)["slides"] if path.is_file() else {}
    except (SchemaError, KeyError, TypeError):
        earlier = {}
    there = {name: told for name, told in earlier.items() if (root / f"{name}.h5ad").is_file()}
    kept = {key: value for key, value in document.items() if key != "folder"}
    write_json(path, {**kept, "slides": {**there, **document["slides"]}})
    told = read_json(root / "failures.json")
    write_json(root / "failures.json", {**told, **document["failures"]})
