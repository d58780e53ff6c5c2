"""Shapley values of a few players, exactly, from the worth of every coalition.

Shapley (Contributions to the Theory of Games II, 1953): a player's mean gain over all orders in
which players can join. As a contribution to a prediction: Lundberg and Lee, NeurIPS 2017. With
seven players there are 128 coalitions, so nothing is sampled. No torch here.
"""

from __future__ import annotations

from math import factorial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from herscope.core.errors import InputError

MOST_PLAYERS: Final = 12
"""4096 coalitions; the parts of a patient are seven."""


def coalitions(players: int) -> NDArray[np.bool_]:
    """Return (2^players, players) who takes part; row number = sum of 2^player, so 0 is nobody.

    Raises
    ------
    InputError
        A negative number of players or more than twelve.

    Examples
    --------
    >>> coalitions(2).astype(int).tolist()
    [[0, 0], [1, 0], [0, 1], [1, 1]]
    """
    if not 0 <= players <= MOST_PLAYERS:
        raise InputError(
            f"{players} players (0 to {MOST_PLAYERS})", hint="join some: 2^players values are made"
        )
    numbers = np.arange(2**players)
    return (numbers[:, None] >> np.arange(players)[None, :] & 1).astype(np.bool_)


def shapley_values(worth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divide what all together are worth among the players.

    Parameters
    ----------
    worth
        (..., 2^players) in the order of :func:`coalitions`.

    Returns
    -------
    ndarray
        (..., players); sums to worth of all minus worth of nobody.

    Raises
    ------
    InputError
        The last axis is no power of two.

    Examples
    --------
    Gloves: player 0 has a left one, 1 and 2 a right one each; a pair is worth 1.

    >>> pair = np.array([0, 0, 0, 1, 0, 1, 0, 1.0])
    >>> shapley_values(pair).round(4).tolist()
    [0.6667, 0.1667, 0.1667]
    """
    size = worth.shape[-1]
    players = size.bit_length() - 1
    if size != 2**players:
        raise InputError(f"{size} coalitions are no power of two", hint="give every coalition once")
    inside = coalitions(players)
    joined = inside.sum(axis=1)
    found = np.zeros((*worth.shape[:-1], players))
    for player in range(players):
        before = np.flatnonzero(~inside[:, player])
        weights = np.array(
            [factorial(s) * factorial(players - s - 1) for s in joined[before].tolist()]
        ) / factorial(players)
        gain = worth[..., before + 2**player] - worth[..., before]
        found[..., player] = (gain * weights).sum(axis=-1)
    return found
