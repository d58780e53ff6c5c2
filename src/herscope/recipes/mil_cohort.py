"""Slides with labels and samples, and how their patients are split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from herscope.core.errors import HerscopeError, OutputError
from herscope.core.spec import Spec
from herscope.mil.preparing import Reading
from herscope.mil.training_spec import MilSpec

if TYPE_CHECKING:
    from herscope.mil.fold_plan import FoldPlan
    from herscope.mil.label_table import LabelTable
    from herscope.mil.preparing import Prepared
    from herscope.mil.slide_matching import Matched


class LabelSpec(Spec):
    """Which columns of the label table are what, and what is asked of them."""

    task: Literal["classes", "her2-four", "her2-positive", "her2-low-vs-0"] = Field(
        default="classes", description="What is asked: labels as they are, or a HER2 question."
    )
    slide_column: str | None = Field(default=None, description="Column with the slide's name.")
    patient_column: str | None = Field(default=None, description="Column with the patient.")
    label_column: str | None = Field(default=None, description="Column with the label, or IHC.")
    ish_column: str | None = Field(default=None, description="Column with the ISH or FISH result.")
    site_column: str | None = Field(default=None, description="Column with the hospital.")
    split_column: str | None = Field(default=None, description="Column with train or test.")
    patient_labels: Literal["one", "slide"] = Field(
        default="one", description="Whether slides of one patient may have labels of their own."
    )
    drop_missing: bool = Field(
        default=False, description="Leave out, and count, rows whose label cannot be read."
    )

    def read(self, path: str | Path, *, least_classes: int = 2) -> LabelTable:
        """Read a label table."""
        from herscope.mil.labels import read_labels

        return read_labels(path, **self.model_dump(), least_classes=least_classes)


@dataclass(frozen=True)
class Cohort:
    """Slides with labels and samples, and how their patients are split."""

    matched: Matched
    ready: tuple[Prepared, ...]
    plan: FoldPlan

    @property
    def patients(self) -> list[str]:
        """Patient of each slide."""
        return [one.patient for one in self.matched.slides]

    @property
    def codes(self) -> tuple[int, ...]:
        """Class of each slide, from 0."""
        return tuple(self.matched.classes.index(one.label) for one in self.matched.slides)


def prepare_cohort(
    table: LabelTable,
    features: Path,
    model: str,
    model_spec: Spec,
    spec: MilSpec,
    work: Path,
    reading: Reading,
    *,
    workers: int,
) -> Cohort:
    """Match labels with feature files, plan the folds, make every sample.

    Raises
    ------
    InputError, SchemaError, LeakyFolds, WrongInput
        Labels or features cannot be used, or do not belong together.
    """
    from herscope.embed.open_features import find_features
    from herscope.mil.fold_plan import Patient, plan_folds
    from herscope.mil.preparing import one_encoder, prepare_or_tell, unusable
    from herscope.mil.slide_matching import match
    from herscope.recipes.in_processes import in_pool, tell

    matched = match(table, find_features(features))
    if spec.folds > 1 and spec.folds_by == "patient":
        table.check_folds(spec.folds)
    slides = matched.slides
    plan = plan_folds([Patient(s.patient, s.label, s.site, s.split) for s in slides], spec)
    for note in matched.notes:
        tell(f"note: {note}")
    tell(f"{len(slides)} slides of {len({s.patient for s in slides})} patients; preparing")
    calls = [(s.slide, s.path, model, model_spec, work / "samples", reading) for s in slides]
    found = in_pool(prepare_or_tell, calls, workers=min(workers, len(calls)))
    for error in found:
        if isinstance(error, OutputError):  # the disk, not the features
            raise error
    bad = {s.slide: e for s, e in zip(slides, found, strict=True) if isinstance(e, HerscopeError)}
    if bad:
        raise unusable(bad)
    one_encoder(found)
    return Cohort(matched, tuple(found), plan)
