"""Preset circuits: each is a function that returns a Spec, together with a standard stimulus."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from cerebellum.model.presets.beams import PROTOCOL as BEAMS
from cerebellum.model.presets.beams import Sizes, beams
from cerebellum.model.presets.casali import PROTOCOL as CASALI
from cerebellum.model.presets.casali import mouse
from cerebellum.model.presets.eglif import PROTOCOLS as EGLIF
from cerebellum.model.presets.eglif import mouse_eglif
from cerebellum.model.presets.eglif_granular import (
    TEMPORAL_BASIS,
    BrushCells,
    DiverseTerminals,
    GranularLayer,
    SlowGolgi,
)
from cerebellum.model.presets.potjans import microcircuit
from cerebellum.model.presets.protocol import Protocol
from cerebellum.model.spec import Spec


@dataclass(frozen=True)
class Preset:
    """A circuit and its standard stimulus."""

    spec: Callable[..., Spec]
    """function that returns the spec"""
    protocol: Protocol
    """standard stimulus and known rates"""


PRESETS = {
    "beams": Preset(beams, BEAMS),
    "mouse": Preset(mouse, CASALI),
    "mouse-eglif": Preset(partial(mouse_eglif, "vitro"), EGLIF["vitro"]),
    "mouse-eglif-awake": Preset(partial(mouse_eglif, "awake"), EGLIF["awake"]),
}
"""Presets by the name that the command line uses."""

__all__ = [
    "PRESETS",
    "TEMPORAL_BASIS",
    "BrushCells",
    "DiverseTerminals",
    "GranularLayer",
    "Preset",
    "Protocol",
    "Sizes",
    "SlowGolgi",
    "beams",
    "microcircuit",
    "mouse",
    "mouse_eglif",
]
