"""Lengths that carry their unit: micrometres, pixels, micrometres per pixel.

A bare float length should feel wrong. ``Mpp`` refuses values no microscope makes, so that a
resolution can never be zero, negative or a dpi figure by accident.
"""

from __future__ import annotations

import math
from typing import Any, NewType, Self

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from herscope.core.errors import InputError

Px = NewType("Px", int)
"""A whole number of pixels of some stated grid."""

FINEST_MPP = 0.02
COARSEST_MPP = 100.0


class Um(float):
    """A length in micrometres.

    Examples
    --------
    >>> Um(4.0).to_px(Mpp(0.5))
    8
    """

    __slots__ = ()

    def to_px(self, mpp: Mpp) -> Px:
        """Nearest whole number of pixels (halves round up) on a grid of ``mpp``."""
        return Px(math.floor(self / mpp + 0.5))

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        del source, handler
        return core_schema.no_info_after_validator_function(cls, core_schema.float_schema())


class Mpp(float):
    """Micrometres per pixel.

    Allowed: 0.02 to 100; outside that range :class:`~herscope.core.errors.InputError`.

    Examples
    --------
    >>> Mpp(0.25) * 4
    1.0
    """

    __slots__ = ()

    def __new__(cls, value: float) -> Self:
        """Check the range; raises :class:`InputError`."""
        number = float(value)
        if not (math.isfinite(number) and FINEST_MPP <= number <= COARSEST_MPP):
            raise InputError(
                f"{number:g} µm/px is not a microscope's resolution "
                f"(allowed: {FINEST_MPP:g} to {COARSEST_MPP:g})",
                hint="a 40x scan has about 0.25 µm/px, a 20x scan about 0.5",
            )
        return super().__new__(cls, number)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        del source, handler
        return core_schema.no_info_after_validator_function(cls, core_schema.float_schema())
