"""Tasks: what is asked of a circuit, and how an answer is judged. Two condition by climbing fibres.

    cb.tasks.eyeblink.condition    delay eyeblink conditioning
    cb.tasks.vor.adapt             adaptation of the vestibulo-ocular reflex

Both are loaded when they are first used.
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cerebellum.learn.tasks import eyeblink, vor

__all__ = ["eyeblink", "vor"]


def __getattr__(name: str) -> ModuleType:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f"{__name__}.{name}")
