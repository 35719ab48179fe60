"""Tasks: what is asked of a circuit, and how an answer is judged. Two condition by climbing fibres.

    cb.tasks.eyeblink.condition    delay eyeblink conditioning
    cb.tasks.eyeblink_response     what counts as a conditioned response, and when it comes
    cb.tasks.vor.adapt             adaptation of the vestibulo-ocular reflex
    cb.tasks.vor_consolidation     its move from the flocculus to the nuclei

They are loaded when they are first used.
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cerebellum.learn.tasks import eyeblink, eyeblink_response, vor, vor_consolidation

__all__ = ["eyeblink", "eyeblink_response", "vor", "vor_consolidation"]


def __getattr__(name: str) -> ModuleType:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f"{__name__}.{name}")
