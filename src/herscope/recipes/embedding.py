"""Embed slides: a folder of feature files from files, folders or patterns of slides.

Finished slides are kept, unfinished ones go on where they stopped, shards and cooperating
processes share the folder, and a slide that fails does not stop the others.

What the folder holds is told in :mod:`herscope.recipes.embedding_folder`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from herscope.core import provenance
from herscope.core.errors import InputError
from herscope.core.registry import nearest
from herscope.core.store import make_folder, write_json
from herscope.recipes.embedding_folder import (
    FeatureFolder,
    Job,
    document_of,
    failure_message,
    file_facts,
    is_done,
    keep_failure,
    rebuild,
    refuse_stale,
    speed_of,
)
from herscope.run.interrupt import Interruption
from herscope.run.jobs import Shard
from herscope.run.progress import Progress, Quiet

if TYPE_CHECKING:
    from herscope.embed.encoder import Encoder
    from herscope.embed.extraction import Embedded, EmbedSpec
    from herscope.run.lock import Lock

ALSO: Final = {"trident": ".h5", "clam": ".h5", "stamp": ".h5"}
"""Formats that are written beside ours, each into a folder of its own name."""


def embed_spec(
    *,
    mpp: str | float | None = None,
    override_mpp: float | None = None,
    normalise: Literal["none", "reinhard", "macenko"] = "none",
    normalise_to: str | Path | None = None,
    **tiles: Any,
) -> EmbedSpec:
    """Put the parameters of ``herscope embed`` together.

    Parameters
    ----------
    mpp, override_mpp
        µm/px of slides that state none (or the path of a CSV), and of slides that state it wrong.
    normalise, normalise_to
        Stain normalisation and its target picture.
    **tiles
        Fields of :class:`herscope.embed.tile_list.EmbedTileSpec`, with ``tile_mpp`` for its
        ``mpp``.
    """
    from herscope.core.study import with_values
    from herscope.embed.extraction import EmbedSpec
    from herscope.embed.normalising import normalise_spec
    from herscope.recipes.scoring import slide_spec

    spec = EmbedSpec(
        slide=slide_spec(mpp=mpp, override_mpp=override_mpp),
        normalise=normalise_spec(normalise, normalise_to),
    )
    given = {name.removeprefix("tile_"): value for name, value in tiles.items()}
    changes = {f"tiles.{name}": value for name, value in given.items() if value is not None}
    return with_values(spec, changes, where="embed") if changes else spec


def embed_slides(
    slides: Sequence[str | Path],
    out: str | Path,
    spec: EmbedSpec | None = None,
    *,
    encoder: str | Path | Encoder = "colour-texture",
    weights: str | Path | None = None,
    device: str = "auto",
    precision: str = "float32",
    batch: int | None = None,
    threads: int | None = None,
    shard: str = "1/1",
    force: bool = False,
    also: Sequence[str] = (),
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Turn slides into feature files; finished ones are kept.

    Parameters
    ----------
    slides
        Files, folders or glob patterns.
    out
        Folder of the features.
    spec
        Parameters, as :func:`embed_spec` puts them together; the defaults when absent.
    encoder, weights, device, precision
        An encoder, or what :func:`herscope.embed.encoders.open_encoder` opens.
    batch
        Tiles given to the encoder at once.
    threads
        Threads that read tiles.
    shard
        ``i/n``: every n-th slide, beginning with the i-th.
    force
        Embed again what is there, also with other parameters.
    also
        ``trident``, ``clam``, ``stamp``: write these files as well.
    progress
        Where to tell how far it is.

    Returns
    -------
    dict
        The document of the command: encoder, slides with their tiles and speed, failures.

    Raises
    ------
    StaleResult
        The folder holds features of another encoder or other parameters.
    InputError, ModelError, OutputError
        Impossible parameters, no such encoder, a folder that cannot be written.
    """
    from herscope.embed.extraction import BATCH, EmbedSpec, check_work
    from herscope.slide.find import find_slides, slide_names

    spec, folder, told = spec or EmbedSpec(), FeatureFolder(Path(out)), progress or Quiet()
    part, batch = Shard.parse(shard), BATCH if batch is None else batch
    check_work(batch, 1 if threads is None else threads, spec.tiles.size_px)
    _check_also(also)
    names = slide_names(find_slides(slides))
    opened = _encoder(encoder, weights, device, precision)
    folder.create()
    jobs = _jobs(names, folder.root, opened, spec)
    if not force:
        refuse_stale(folder.root, jobs, opened, spec)
    mine = set(part.of([job.name for job in jobs]))
    jobs = [job for job in jobs if job.name in mine]
    due = [job for job in jobs if force or not is_done(job)]
    told.start(len(due), len(jobs) - len(due))
    status = {job.name: "done" for job in jobs}
    with Interruption() as interruption:
        try:
            for job in jobs:
                if job in due:
                    work = _Work(folder, opened, batch, threads, interruption, told)
                    status[job.name] = work.run(job)
                    told.slide(job.name, status[job.name], failure_message(folder, job.name))
                if status[job.name] == "done":
                    _write_also(folder.root, job, also, again=job in due)
                interruption.check()
        finally:
            told.close()
            rebuild(folder, opened, spec)
    return document_of(folder, jobs, status, opened, spec)


@dataclass
class _Work:
    """What every slide of a call is embedded with."""

    folder: FeatureFolder
    encoder: Encoder
    batch: int
    threads: int | None
    interruption: Interruption
    told: Progress

    def run(self, job: Job) -> str:
        """Embed a slide; returns done, failed or busy."""
        lock = self.folder.lock(job.name)
        if not lock.acquire():
            return "busy"
        try:
            made = self._embed(job, lock)
        except Exception as error:  # noqa: BLE001 - one slide must not stop the others
            keep_failure(self.folder, job, error)
            return "failed"
        else:
            write_json(self.folder.state(job.name), {"status": "done", **speed_of(made)})
            return "done"
        finally:
            lock.release()

    def _embed(self, job: Job, lock: Lock) -> Embedded:
        from herscope.embed.extraction import embed_slide, save_embedded
        from herscope.embed.feature_parts import Parts
        from herscope.slide.opened import open_slide

        def told(done: int, total: int) -> None:
            self.told.tiles(job.name, done, total)
            lock.beat()
            self.interruption.check()

        facts = file_facts(job.path)
        parts = self.folder.parts(job.name)
        made = embed_slide(
            job.path,
            self.encoder,
            job.spec,
            name=job.name,
            batch=self.batch,
            threads=self.threads,
            parts=parts,
            fingerprint=f"{job.fingerprint}-{facts['mtime_ns']:x}-{facts['size_bytes']:x}",
            told=told,
        )
        with open_slide(job.path, job.spec.slide) as slide:
            facts["sha256"] = slide.sha256()
            scale = {"mpp": float(slide.info.mpp), "mpp_source": slide.info.mpp_source}
        versions = provenance.collect()
        about = {
            "fingerprint": job.fingerprint,
            "spec": job.spec.model_dump(mode="json"),
            "file": facts,
            **scale,
            "batch": self.batch,
            "herscope": versions["herscope"],
            "packages": versions["packages"],
        }
        save_embedded(job.file, made, self.encoder, job.spec, about)
        Parts(parts, job.fingerprint).drop()
        return made


def _encoder(
    encoder: str | Path | Encoder, weights: str | Path | None, device: str, precision: str
) -> Encoder:
    from herscope.embed.encoders import open_encoder

    if isinstance(encoder, (str, Path)):
        return open_encoder(encoder, weights=weights, device=device, precision=precision)
    return encoder


def _jobs(names: Mapping[Path, str], root: Path, encoder: Encoder, spec: EmbedSpec) -> list[Job]:
    from herscope.embed.extraction import features_fingerprint
    from herscope.embed.feature_file import SUFFIX

    card = encoder.card
    jobs = [
        Job(
            name=name,
            path=path,
            file=root / f"{name}{SUFFIX}",
            spec=spec.for_slide(path),
            fingerprint=features_fingerprint(card, spec, path),
        )
        for path, name in names.items()
    ]
    return sorted(jobs, key=lambda job: job.name)


def _check_also(also: Sequence[str]) -> None:
    for name in also:
        if name not in ALSO:
            raise InputError(
                f"--also {name}: no such format of feature files", hint=nearest(name, [*ALSO])
            )


def _write_also(root: Path, job: Job, also: Sequence[str], *, again: bool) -> None:
    """Write a finished slide's features in the formats of other systems."""
    from herscope.embed.feature_file import read_features

    bag = None
    for name in also:
        target = make_folder(root / name) / f"{job.name}{ALSO[name]}"
        if target.is_file() and not again:
            continue
        from herscope.embed.foreign_writing import write_foreign

        bag = read_features(job.file) if bag is None else bag
        write_foreign(bag, name, target)
