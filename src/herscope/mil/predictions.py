"""What a MIL model said of each slide: probabilities, how its members disagree, how unusual it is.

The probability of a class is the mean over the members of the ensemble; the spread beside it is the
members' standard deviation (divisor m - 1), which says how far training again would move the
number. It is no interval for the truth: members share their training slides. A patient with several
slides gets the mean of the slides' probabilities, as no slide is known to be the better one.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from herscope.core.errors import InputError, NotComputed, SchemaError
from herscope.core.store import make_folder, write_parquet, write_text

SCHEMA: Final = "herscope.mil-predictions/1"
METADATA_KEY: Final = b"herscope"
SUM_TOLERANCE: Final = 1e-3
"""Probabilities of float32 softmax sum to 1 far better than this."""
AGAIN: Final = "make it again with herscope mil predict"
PARQUET_NAME, CSV_NAME = "predictions.parquet", "predictions.csv"


@dataclass(frozen=True, slots=True)
class Outlier:
    """How far a slide's features lie from those the model was trained on.

    Attributes
    ----------
    distance
        In the unit that ``said`` names.
    percentile
        0 to 100: share of the training slides that lie nearer.
    limit
        Distance beyond which a slide counts as outside.
    outside
        Whether this one does.
    said
        One sentence for a person.
    """

    distance: float
    percentile: float
    limit: float
    outside: bool
    said: str


@dataclass(frozen=True, slots=True, eq=False)
class SlidePrediction:
    """One slide's prediction; made by :func:`slide_prediction`.

    Attributes
    ----------
    slide, patient
        Names.
    truth
        Its label; None where unknown.
    fold
        The fold in which it was tested; None outside cross-validation.
    probabilities
        Class to mean of the members, 0 to 1, in the order of the classes.
    spread
        Class to standard deviation over members (divisor m - 1); None with one member.
    members
        (members, classes) probabilities.
    predicted
        The class of largest probability.
    tiles
        Tiles that were read.
    outlier
        How unusual its features are; None where the model does not know.
    """

    slide: str
    patient: str
    truth: str | None
    fold: int | None
    probabilities: dict[str, float]
    spread: dict[str, float | None]
    members: NDArray[np.float64] = field(repr=False)
    predicted: str
    tiles: int
    outlier: Outlier | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in order."""
        return tuple(self.probabilities)

    @property
    def right(self) -> bool | None:
        """Whether the predicted class is the true one; None without a truth."""
        return None if self.truth is None else self.truth == self.predicted


def slide_prediction(
    slide: str,
    members: ArrayLike,
    classes: Sequence[str],
    *,
    patient: str | None = None,
    truth: str | None = None,
    fold: int | None = None,
    tiles: int,
    outlier: Outlier | None = None,
) -> SlidePrediction:
    """Turn the members' probabilities into a prediction.

    Parameters
    ----------
    slide, patient
        Names; the patient is the slide when absent.
    members
        (members, classes) probabilities, rows summing to 1.
    classes
        Names in the order of the columns.
    truth, fold, tiles, outlier
        As in :class:`SlidePrediction`.

    Raises
    ------
    InputError
        Shapes that do not belong together, values that are no probabilities, or a truth that is
        none of the classes.

    Examples
    --------
    >>> found = slide_prediction("a", [[0.2, 0.8], [0.4, 0.6]], ["neg", "pos"], tiles=9)
    >>> found.predicted, round(found.probabilities["pos"], 3), round(found.spread["pos"], 3)
    ('pos', 0.7, 0.141)
    """
    table = np.atleast_2d(np.asarray(members, np.float64))
    if table.ndim != 2 or not len(table) or table.shape[1] != len(classes) or len(classes) < 2:
        raise InputError(
            f"slide {slide}: probabilities of shape {table.shape} for {len(classes)} classes",
            hint="one row a member of the ensemble, one column a class, at least two classes",
        )
    if not (np.isfinite(table).all() and (table >= 0).all() and (table <= 1 + SUM_TOLERANCE).all()):
        raise InputError(
            f"slide {slide}: the model gave values that are no probabilities",
            hint="train it again: its weights may have diverged",
        )
    off = np.abs(table.sum(axis=1) - 1).max()
    if off > SUM_TOLERANCE:
        raise InputError(
            f"slide {slide}: a member's probabilities miss 1 in sum by {off:.3g} "
            f"(allowed: {SUM_TOLERANCE:g})",
            hint="pass probabilities, after the softmax",
        )
    if truth is not None and truth not in classes:
        raise InputError(
            f"slide {slide}: its label {truth!r} is none of {', '.join(classes)}",
            hint="use the task the model was trained for",
        )
    mean = table.mean(axis=0)
    sd = table.std(axis=0, ddof=1).tolist() if len(table) > 1 else [None] * len(classes)
    return SlidePrediction(
        slide=slide,
        patient=patient or slide,
        truth=truth,
        fold=fold,
        probabilities=dict(zip(classes, mean.tolist(), strict=True)),
        spread=dict(zip(classes, sd, strict=True)),
        members=table,
        predicted=classes[_largest(mean)],
        tiles=int(tiles),
        outlier=outlier,
    )


def _largest(mean: NDArray[np.float64]) -> int:
    """Place of the largest, as ``herscope classify`` decides: the second of two equal ones."""
    return int(mean[1] >= mean[0]) if mean.size == 2 else int(mean.argmax())


def by_patient(predictions: Sequence[SlidePrediction]) -> list[SlidePrediction]:
    """Join the slides of each patient: mean of their probabilities, member by member.

    Patients stand in the order of their first slide. ``slide`` becomes the names joined by ``+``,
    ``tiles`` the sum, ``outlier`` that of the most unusual slide. Where slides were judged by
    ensembles of different size, the mean probabilities are joined as if of one member.

    Raises
    ------
    InputError
        Slides of one patient with different labels, folds or classes.

    Examples
    --------
    >>> a = slide_prediction("a", [[0.2, 0.8]], ["neg", "pos"], patient="p", tiles=3)
    >>> b = slide_prediction("b", [[0.6, 0.4]], ["neg", "pos"], patient="p", tiles=4)
    >>> [one] = by_patient([a, b])
    >>> one.slide, one.tiles, round(one.probabilities["pos"], 3)
    ('a + b', 7, 0.6)
    """
    groups: dict[str, list[SlidePrediction]] = {}
    for one in predictions:
        groups.setdefault(one.patient, []).append(one)
    return [group[0] if len(group) == 1 else _joined(group) for group in groups.values()]


def _joined(group: list[SlidePrediction]) -> SlidePrediction:
    first = group[0]
    for what in ("truth", "fold", "classes"):
        if len(values := {str(getattr(one, what)) for one in group}) > 1:
            raise InputError(
                f"patient {first.patient} has slides that differ in {what}: "
                f"{' and '.join(sorted(values))}",
                hint="judge slides instead of patients, or correct the labels",
            )
    if len({len(one.members) for one in group}) == 1:
        members = np.mean([one.members for one in group], axis=0)
    else:
        members = np.mean([one.members.mean(axis=0) for one in group], axis=0)
    known = [one.outlier for one in group if one.outlier is not None]
    return slide_prediction(
        " + ".join(one.slide for one in group),
        members,
        first.classes,
        patient=first.patient,
        truth=first.truth,
        fold=first.fold,
        tiles=sum(one.tiles for one in group),
        outlier=max(known, key=lambda one: one.percentile, default=None),
    )


def write_predictions(
    folder: str | Path, predictions: Sequence[SlidePrediction], classes: Sequence[str]
) -> None:
    """Write ``predictions.csv`` and ``predictions.parquet``.

    Both have ``slide``, ``patient``, ``fold``, ``truth``, ``predicted``, ``prob_<class>``,
    ``sd_<class>``, ``tiles`` and ``outlier_percentile``; what is unknown is empty. The Parquet file
    also has the probabilities of every member and the rest of the outlier note.

    Raises
    ------
    InputError
        A prediction of other classes.
    OutputError
        A file cannot be written.
    """
    import pyarrow as pa

    home, names = make_folder(Path(folder)), tuple(classes)
    for one in predictions:
        if one.classes != names:
            raise InputError(
                f"slide {one.slide} was predicted for {', '.join(one.classes)}, the table is of "
                f"{', '.join(names)}",
                hint="write predictions of one model into one table",
            )
    rows = [_row(one) for one in predictions]
    plain: dict[str, Any] = {"slide": pa.string(), "patient": pa.string(), "fold": pa.int64()}
    plain |= {"truth": pa.string(), "predicted": pa.string()}
    plain |= {f"prob_{name}": pa.float64() for name in names}
    plain |= {f"sd_{name}": pa.float64() for name in names}
    plain |= {"tiles": pa.int64(), "outlier_percentile": pa.float64()}
    more = {"outlier_distance": pa.float64(), "outlier_limit": pa.float64()}
    more |= {"outlier_outside": pa.bool_(), "outlier_said": pa.string()}
    more |= {"members": pa.list_(pa.list_(pa.float64()))}
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(plain), restval="", extrasaction="ignore",
                            lineterminator="\n")  # fmt: skip
    writer.writeheader()
    writer.writerows({k: v for k, v in row.items() if v is not None} for row in rows)
    write_text(home / CSV_NAME, out.getvalue())
    said = json.dumps({"schema": SCHEMA, "classes": list(names)}, ensure_ascii=False)
    schema = pa.schema(list((plain | more).items()), metadata={METADATA_KEY: said.encode()})
    write_parquet(home / PARQUET_NAME, pa.Table.from_pylist(rows, schema=schema))


def _row(one: SlidePrediction) -> dict[str, Any]:
    row: dict[str, Any] = {
        "slide": one.slide,
        "patient": one.patient,
        "fold": one.fold,
        "truth": one.truth,
        "predicted": one.predicted,
        **{f"prob_{name}": value for name, value in one.probabilities.items()},
        **{f"sd_{name}": value for name, value in one.spread.items()},
        "tiles": one.tiles,
        "members": one.members.tolist(),
    }
    if one.outlier is not None:
        row |= {f"outlier_{k}": getattr(one.outlier, k) for k in Outlier.__slots__}
    return row


def read_predictions(folder: str | Path) -> tuple[list[SlidePrediction], tuple[str, ...]]:
    """Read ``predictions.parquet`` of a folder; returns the predictions and the classes.

    Raises
    ------
    NotComputed
        There is none.
    SchemaError
        It is damaged, or another program's.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = Path(folder) / PARQUET_NAME
    if not path.is_file():
        raise NotComputed(f"{path} is missing: nothing was predicted here", hint=AGAIN)
    try:
        table = pq.read_table(path)
        told = json.loads((table.schema.metadata or {}).get(METADATA_KEY, b"{}"))
        if told.get("schema") != SCHEMA:
            raise SchemaError(f"{path} is no table of {SCHEMA}", hint=AGAIN)
        classes = tuple(str(name) for name in told["classes"])
        return [_of_row(row, classes) for row in table.to_pylist()], classes
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, AttributeError) as bad:
        if isinstance(bad, SchemaError):
            raise
        raise SchemaError(
            f"{path} cannot be read: {' '.join(str(bad).split())[:200]}", hint=AGAIN
        ) from bad


def _of_row(row: dict[str, Any], classes: tuple[str, ...]) -> SlidePrediction:
    outlier = None
    if row["outlier_percentile"] is not None:
        outlier = Outlier(**{name: row[f"outlier_{name}"] for name in Outlier.__slots__})
    return slide_prediction(
        row["slide"],
        row["members"],
        classes,
        patient=row["patient"],
        truth=row["truth"],
        fold=row["fold"],
        tiles=row["tiles"],
        outlier=outlier,
    )
