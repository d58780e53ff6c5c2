"""What is watched of a classifier while it is trained: AUC and loss on patients held back."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from herscope.stats.classification.multiclass_auc import Case, average_auc

TIE: Final = 1e-6
"""Weight of the loss beside the AUC: decides between equal AUCs, and only there."""


def validation_figures(
    outputs: NDArray[np.float64], classes: NDArray[np.int64], n_classes: int, *, complete: bool
) -> dict[str, float | None]:
    """Loss, AUC, accuracy, and the score that decides, larger being better.

    Examples
    --------
    >>> outputs = np.array([[2.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    >>> found = validation_figures(outputs, np.array([0, 1, 1]), 2, complete=True)
    >>> round(found["auc"], 3), round(found["accuracy"], 3)
    (1.0, 0.667)
    """
    if outputs.shape[1] == 1:
        table = np.concatenate([-outputs / 2, outputs / 2], axis=1)
    else:
        table = outputs
    likely = log_softmax(table, axis=1)
    loss = float(-likely[np.arange(len(classes)), classes].mean())
    value: float | None = None
    score = -loss
    if complete:
        names = tuple(str(k) for k in range(n_classes))
        value = average_auc(Case(classes, np.exp(likely), names), "macro one-vs-rest")
        score = value - TIE * min(loss, 1e3)
    right = float((table.argmax(axis=1) == classes).mean())
    return {"score": score, "auc": value, "loss": loss, "accuracy": right}
