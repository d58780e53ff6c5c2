"""What is wanted of a file of masks."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from herscope.core.errors import InputError
from herscope.core.spec import Spec


class MaskSpec(Spec):
    """Which labels of a mask file are read, and how."""

    labels: tuple[int | str, ...] | None = Field(
        default=None,
        description="Numbers or names of the segments, ROIs or labels that are wanted; all if "
        "absent",
    )
    fraction_threshold: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="Share from which a voxel of a fractional DICOM SEG counts; such files are "
        "refused if absent",
    )
    resample: bool = Field(
        default=False,
        description="Move a NIfTI mask that lies on another grid, by nearest neighbour",
    )


def wanted_labels(spec: MaskSpec, names: Mapping[int, str], source: str) -> list[int]:
    """Return the numbers of the labels that are wanted, ascending.

    Raises
    ------
    InputError
        One of them is not in the file; the message lists what is.

    Examples
    --------
    >>> wanted_labels(MaskSpec(labels=("Liver", 3)), {1: "liver", 2: "node", 3: "node 2"}, "a.dcm")
    [1, 3]
    """
    if spec.labels is None:
        return sorted(names)
    by_name: dict[str, list[int]] = {}
    for number, text in names.items():
        by_name.setdefault(text.casefold(), []).append(number)
    found = set()
    for one in spec.labels:
        numbers = (
            [one] if isinstance(one, int) and one in names else by_name.get(str(one).casefold(), [])
        )
        if len(numbers) != 1:
            listed = ", ".join(f"{number} ({names[number]})" for number in sorted(names))
            what = "no label" if not numbers else f"{len(numbers)} labels"
            raise InputError(
                f"{source} has {what} {one}; it has {listed or 'none'}",
                hint="give one of these by its number",
            )
        found.add(numbers[0])
    return sorted(found)
