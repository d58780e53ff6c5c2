"""Features to mean 0 and standard deviation 1, by the statistics of the training slides alone.

SlideGraph's code takes mean and deviation over the whole data set, test slides included. Here they
are buffers of the network, set once from the slides it is trained on and stored with its weights,
so a test slide can have no part in them. Features whose range over the training slides is at most
1e-4 are set to zero (Lu et al. 2022 leave them out).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from herscope.core.errors import InputError, WrongInput

SMALLEST_RANGE: Final = 1e-4
"""Lu et al. 2022."""


class Standardise(nn.Module):
    """(rows, features) -> (rows, features); changes nothing before its statistics are set.

    Parameters
    ----------
    features
        How many.
    """

    mean: Tensor
    factor: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.features = features
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("factor", torch.ones(features))

    def fit_statistics(self, tables: Iterable[NDArray[np.float32]]) -> None:
        """Set mean and deviation from tables of features, every row counting the same.

        Parameters
        ----------
        tables
            (rows, features) each; of training slides only.

        Raises
        ------
        InputError
            No row.
        WrongInput
            Another number of features.

        Examples
        --------
        >>> layer = Standardise(2)
        >>> layer.fit_statistics([np.array([[1, 7], [3, 7]], np.float32)])
        >>> layer(torch.tensor([[3.0, 9.0]])).tolist()
        [[1.0, 0.0]]
        """
        rows = 0
        mean, squares = np.zeros(self.features), np.zeros(self.features)
        low, high = np.full(self.features, np.inf), np.full(self.features, -np.inf)
        for table in tables:
            values = np.asarray(table, np.float64)
            check_size(values.shape[1], self.features)
            if not len(values):
                continue
            # Chan, Golub, LeVeque 1983: joins two parts without losing digits.
            own = values.mean(axis=0)
            gap, both = own - mean, rows + len(values)
            squares += ((values - own) ** 2).sum(axis=0) + gap**2 * rows * len(values) / both
            mean += gap * len(values) / both
            rows = both
            low, high = np.minimum(low, values.min(axis=0)), np.maximum(high, values.max(axis=0))
        if rows == 0:
            raise InputError("no tile to take the mean and deviation of features from")
        varies = high - low > SMALLEST_RANGE
        factor = np.zeros(self.features)
        factor[varies] = 1 / np.sqrt(squares[varies] / rows)
        self.mean.copy_(torch.from_numpy(mean).to(self.mean.dtype))
        self.factor.copy_(torch.from_numpy(factor).to(self.factor.dtype))

    def forward(self, rows: Tensor) -> Tensor:
        """(rows, features) -> the same."""
        check_size(rows.shape[1], self.features)
        return (rows - self.mean) * self.factor


def check_size(found: int, needed: int) -> None:
    """Refuse features of another size.

    Raises
    ------
    WrongInput
        They are not as many as the model was made for.
    """
    if found != needed:
        raise WrongInput(
            f"a tile has {found} features, the model takes {needed}",
            hint="use the features of the encoder that the model was trained with",
        )
