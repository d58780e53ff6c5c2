"""Write a drawn cohort: tables, feature files, CT, masks, lesions, and the truth.

The cohort file is written last, so a folder with one is complete.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from herscope.core.store import make_folder, write_text
from herscope.embed.feature_file import SUFFIX, write_features
from herscope.embed.tile_list import EmbedTileSpec
from herscope.respond.cohort.response import read_recist, response
from herscope.respond.drawn_cohort.body import SPACING_MM, axes_mm, origin_mm
from herscope.respond.drawn_cohort.drawn_lesions import DrawnLesion, draw_scan, plan_lesions
from herscope.respond.drawn_cohort.nifti_writing import write_nifti
from herscope.respond.drawn_cohort.outcome import (
    READERS,
    DrawnOutcome,
    draw_outcome,
    draw_readers,
)
from herscope.respond.drawn_cohort.reports import PATHOLOGY, PATIENT, RADIOLOGY, draw_reports
from herscope.respond.drawn_cohort.spec import DrawnCohortSpec, PatientPlan, plan_patient
from herscope.respond.drawn_cohort.words import (
    BAG_PX,
    MPP,
    WORD_PX,
    DrawnWords,
    draw_words,
    words_card,
)
from herscope.respond.pathology.radiomics_table import SUFFIX as RADIOMICS_SUFFIX
from herscope.respond.pathology.radiomics_table import BagRadiomics, table_beside, write_table
from herscope.respond.radiology.lesion_boxes import COLUMNS

COHORT: Final = "cohort.toml"
OUTCOME: Final = (
    "recist", "pfs_days", "progressed", "os_days", "died", "birth", "diagnosis", "start",
    "progression", "last_seen",
)  # fmt: skip
HEAD: Final = ("patient", "site", *OUTCOME, *PATHOLOGY, *RADIOLOGY, *PATIENT, *READERS)
TRUTH: Final = (
    "patient", "label", "rule_label", "pathology", "radiology", "reports", "bags", "carrying_bags",
    "lesions", "carrying_lesions", "taken_away",
)  # fmt: skip
TEXT: Final = """\
# A drawn cohort: {about}
format = "herscope.cohort/1"
name = "drawn {signal}, {missing}"

[table]
file = "patients.csv"

[patient]
id = "patient"
site = "site"

[outcome]
recist = "recist"
pfs_time = "pfs_days"
pfs_event = "progressed"
os_time = "os_days"
os_event = "died"
readers = ["reader_1", "reader_2"]

[dates]
birth = "birth"
diagnosis = "diagnosis"
start = "start"
progression = "progression"
last_seen = "last_seen"

[tokens]
sets = ["pathology-report", "radiology-report", "patient", "sampling-times"]

[files.bags]
pattern = "features/{{patient}}.h5ad"

[files.ct]
pattern = "ct/{{patient}}.nii.gz"

# Labels of a mask number the lesions; the tables name them and say of what kind they are.
[files.ct_mask]
pattern = "ct/{{patient}}_mask.nii.gz"

[files.lesions]
pattern = "lesions/{{patient}}.csv"
"""
ABOUT: Final = {
    "pathology": "the label sits in some bags of the slides",
    "radiology": "the label sits in density and texture of some lesions",
    "interaction": "slides and CT show a coin each, the label is whether they agree",
    "reports": "words of both reports lean with the label, images show nothing",
    "none": "nothing shows the label",
}


def file_names(spec: DrawnCohortSpec) -> dict[str, set[str]]:
    """Return the files of the cohort by folder.

    >>> sorted(file_names(DrawnCohortSpec(patients=4))["lesions"])[0]
    'drawn-0-0000.csv'
    """
    plans = [plan_patient(spec, number) for number in range(spec.patients)]
    slides = [plan.name for plan in plans if "pathology" not in plan.gone]
    scans = [plan.name for plan in plans if "radiology" not in plan.gone]
    return {
        "features": {f"{name}{end}" for name in slides for end in (SUFFIX, RADIOMICS_SUFFIX)},
        "ct": {f"{name}{end}" for name in scans for end in (".nii.gz", "_mask.nii.gz")},
        "lesions": {f"{name}.csv" for name in scans},
    }


def write_cohort(
    spec: DrawnCohortSpec,
    folder: str | Path,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, int]:
    """Draw a cohort into a folder.

    Parameters
    ----------
    spec
        The cohort.
    folder
        For ``cohort.toml``, ``patients.csv``, ``truth.csv``, ``features/``, ``ct/``, ``lesions/``.
    progress
        Called with patients done and their number.

    Returns
    -------
    dict
        Patients by label (``response``, ``no response``, ``none``) and by modality that is there.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    root = Path(folder)
    (root / COHORT).unlink(missing_ok=True)
    for name in ("features", "ct", "lesions"):
        make_folder(root / name)
    rows: list[Sequence[Any]] = []
    truths: list[Sequence[Any]] = []
    counts: Counter[str] = Counter({"response": 0, "no response": 0, "none": 0})
    for number in range(spec.patients):
        row, truth = _write_patient(spec, plan_patient(spec, number), root)
        rows.append(row)
        truths.append(truth)
        counts[{1: "response", 0: "no response"}.get(truth[2], "none")] += 1
        taken = truth[-1].split(";")
        counts.update({m: int(m not in taken) for m in ("pathology", "radiology")})
        if progress is not None:
            progress(number + 1, spec.patients)
    write_text(root / "truth.csv", csv_text(TRUTH, truths))
    write_text(root / "patients.csv", csv_text(HEAD, rows))
    missing = f"{spec.missing:.0%} of each modality missing" if spec.missing else "all there"
    told = TEXT.format(about=ABOUT[spec.signal], signal=spec.signal, missing=missing)
    write_text(root / COHORT, told)
    return dict(counts)


def csv_text(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table as CSV with the same line ends on every system.

    >>> csv_text(("a", "b"), [(1, "x, y")]).splitlines()
    ['a,b', '1,"x, y"']
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return stream.getvalue()


def _write_patient(
    spec: DrawnCohortSpec, plan: PatientPlan, root: Path
) -> tuple[list[Any], list[Any]]:
    """Write a patient's files; return the row of the table and that of the truth."""
    outcome = draw_outcome(spec, plan)
    words = draw_words(spec, plan)
    anatomy, lesions = plan_lesions(spec, plan)
    if "pathology" not in plan.gone:
        _write_words(spec, words, root / "features")
    if "radiology" not in plan.gone:
        scan = draw_scan(spec, plan, anatomy, lesions)
        at = {"spacing_mm": SPACING_MM, "origin_mm": origin_mm()}
        write_nifti(root / "ct" / f"{plan.name}.nii.gz", scan.hu, **at)
        write_nifti(root / "ct" / f"{plan.name}_mask.nii.gz", scan.labels, **at)
        boxes = _boxes(plan.name, lesions, scan.labels)
        write_text(root / "lesions" / f"{plan.name}.csv", csv_text(COLUMNS, boxes))
    cells, birth = draw_reports(spec, plan, [one.kind for one in lesions], outcome.start)
    row = [plan.name, plan.site, *_outcome_cells(outcome, str(birth)), *cells.values()]
    assert list(cells) == [*PATHOLOGY, *RADIOLOGY, *PATIENT]
    return [*row, *draw_readers(spec, plan)], _truth(plan, outcome, words, lesions)


def _write_words(spec: DrawnCohortSpec, words: DrawnWords, folder: Path) -> None:
    write_features(
        folder / f"{words.bag.slide}{SUFFIX}",
        words.bag,
        card=words_card(),
        tiles=EmbedTileSpec.model_validate({"mpp": MPP, "size_px": WORD_PX}),
        provenance={"drawn": spec.model_dump(mode="json", exclude={"patients"})},
    )
    measured = BagRadiomics(
        words.corners_px,
        float(BAG_PX),
        tuple(f"noise_{k:02d}" for k in range(words.omics.shape[1])),
        words.omics.astype(np.float64),
    )
    beside = table_beside(folder / f"{words.bag.slide}{SUFFIX}")
    write_table(beside, measured, {"drawn": "noise, no radiomics of any picture"})


def _boxes(
    patient: str, lesions: Sequence[DrawnLesion], labels: NDArray[np.uint8]
) -> list[list[Any]]:
    """Rows of a table of boxes: the voxels of each lesion, in mm, LPS."""
    steps = [float(np.ravel(one)[0]) for one in axes_mm()]
    rows: list[list[Any]] = []
    for number, lesion in enumerate(lesions, 1):
        low, high = [], []
        for axis, first, step in zip(np.nonzero(labels == number), steps, SPACING_MM, strict=True):
            # From half a voxel before the first centre to half a voxel behind the last.
            low.append(first + (int(axis.min()) - 0.5) * step)
            high.append(first + (int(axis.max()) + 0.5) * step)
        word = lesion.kind.name.lower().replace("_", " ")
        edges = [f"{edge:g}" for edge in (*low[::-1], *high[::-1])]
        rows.append([patient, f"label {number}", word, "mm", *edges])
    return rows


def _outcome_cells(outcome: DrawnOutcome, birth: str) -> list[Any]:
    return [
        outcome.recist,
        outcome.pfs_days,
        outcome.pfs_event,
        outcome.os_days,
        outcome.os_event,
        birth,
        outcome.diagnosis,
        outcome.start,
        outcome.progression or "",
        outcome.last_seen,
    ]


def _truth(
    plan: PatientPlan, outcome: DrawnOutcome, words: DrawnWords, lesions: Sequence[DrawnLesion]
) -> list[Any]:
    recist = read_recist(outcome.recist) if outcome.recist else None
    made = response(recist, float(outcome.pfs_days), bool(outcome.pfs_event))
    bags = words.corners_px[words.carries].tolist() if plan.pathology else []
    own = [n for n, one in enumerate(lesions, 1) if one.carries and plan.radiology]
    return [
        plan.name,
        plan.label,
        -1 if made.label is None else made.label,
        plan.pathology,
        plan.radiology,
        plan.reports,
        len(words.carries),
        ";".join(f"{x}:{y}" for x, y in bags),
        len(lesions),
        ";".join(map(str, own)),
        ";".join(plan.gone),
    ]
