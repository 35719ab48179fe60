"""Preset circuits: each is a function that returns a Spec, together with a standard stimulus."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from jax import Array

from cerebellum.errors import UsageError
from cerebellum.model import noise
from cerebellum.model.presets import casali_space, eglif_space
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

_POSITIONS = {
    casali_space.place: casali_space.positions,
    eglif_space.place: eglif_space.positions,
}
"""The functions that draw positions, by those that place cells."""


def positions(spec: Spec, key: Array | int) -> dict[str, np.ndarray]:
    """The positions of the cells of a preset that is laid out in space: um, [cells, 3].

    Populations whose contacts do not depend on positions have none.

    Args:
      key: the key, or seed, with which the circuit is built.

    Raises:
      UsageError: the circuit of this spec is not laid out in space.
    """
    draw = _POSITIONS.get(getattr(spec.place, "func", None))
    if draw is None:
        raise UsageError(
            f"positions: {spec.name} is not laid out in space; mouse_eglif(), mouse(wiring='space')"
        )
    return draw(noise.key_of(key), spec.place.keywords["sizes"])  # pyright: ignore


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
    "positions",
]
