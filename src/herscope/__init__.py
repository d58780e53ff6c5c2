"""From a stained slide to a number you can defend.

>>> import herscope as hs
>>> hs.__version__.count(".")
2

Nothing heavy is imported until it is used: ``open_slide``, ``score`` and ``ScoreSpec`` are looked
up on first access.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from herscope.recipes import score
    from herscope.score.spec import ScoreSpec
    from herscope.slide.opened import open_slide

__version__ = "0.1.0"

__all__ = ["ScoreSpec", "__version__", "open_slide", "score"]

_HOMES = {"open_slide": "herscope.slide.opened", "ScoreSpec": "herscope.score.spec"}


class _CallableLayer(ModuleType):
    """The layer ``herscope.score``, which is also the function ``herscope.score(...)``.

    The layer and the verb have one name. Importing the layer binds it as an attribute of the
    package, so the module itself is made callable: both ``hs.score(slide)`` and
    ``import herscope.score.spec`` work, in any order.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return importlib.import_module("herscope.recipes").score(*args, **kwargs)


class _Package(ModuleType):
    def __setattr__(self, name: str, value: object) -> None:
        if name == "score" and isinstance(value, ModuleType):
            value.__class__ = _CallableLayer
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name == "score":
        return importlib.import_module("herscope.score")
    raise AttributeError(f"module 'herscope' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
