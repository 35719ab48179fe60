"""What a step records on the device.

A `Recorder` is the static part, which belongs to the compiled program. Which cells it records are
numbers that the program gets as an array, so that other cells need no other program.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from cerebellum.model import events
from cerebellum.model.circuit import Activity, State, Wiring
from cerebellum.model.neurons import CIRCUIT_MODELS

SPIKES = ("counts", "raster")
WEIGHTS = "weights"


@dataclass(frozen=True)
class Recorder:
    """One quantity of some cells or synapses, as the compiled program records it: hashable."""

    kind: str
    """"counts", "raster", "weights", or the name of a variable such as "v" """
    owner: str
    """the population, or for weights the projection"""
    choice: str
    """which are recorded: "all", a "range" or a "list" of them, or their "sum" """
    room: int
    """number of entries that are recorded, at least that of the cells or synapses"""
    every: int = 1
    """steps from one sample to the next; the sample is of the last of them"""

    @property
    def label(self) -> str:
        return f"{self.kind}:{self.owner}"

    @property
    def traced(self) -> bool:
        """Whether it records a number for each cell and sample, rather than spikes."""
        return self.kind not in SPIKES


def observe(
    recorders: tuple[Recorder, ...],
    wiring: Wiring,
    state: State,
    activity: Activity,
    chosen: Mapping[str, Array],
) -> tuple[dict[str, Array], tuple[Array, ...]]:
    """The records of one step: spikes by population (int32 scalars), and one array per recorder.

    Args:
      chosen: `Watch.index` by label, of the recorders that do not record all cells.
    """
    totals = {name: events.count(words) for name, words in activity.words.items()}
    values = []
    for r in recorders:
        if r.kind == WEIGHTS:
            values.append(_weights(state.weights[r.owner], r, chosen))
        elif r.traced:
            model = CIRCUIT_MODELS[wiring.spec.population(r.owner).model]
            variable = model.variables(state.cells[r.owner])[r.kind]
            values.append(_cells(jnp.asarray(variable, jnp.float32), r, chosen))
        elif r.choice == "all":
            values.append(activity.words[r.owner])
        else:
            values.append(events.pack(_cells(activity.spikes[r.owner], r, chosen)))
    return totals, tuple(values)


def _cells(values: Array, r: Recorder, chosen: Mapping[str, Array]) -> Array:
    """The recorded cells of a population from `values`, [N]: [room].

    Entries beyond the recorded cells are meaningless.
    """
    if r.choice == "all":
        return values
    if r.choice == "range":
        return lax.dynamic_slice(values, (chosen[r.label][0],), (r.room,))
    return values[chosen[r.label]]


def _weights(values: Array, r: Recorder, chosen: Mapping[str, Array]) -> Array:
    """The recorded weights, [room], or their sum, [1], in the unit in which they are stored."""
    if r.choice == "sum":
        # By row first, because a float32 sum of millions of numbers would lose digits.
        return values.astype(jnp.float32).sum(axis=1).sum(keepdims=True)
    row, column = chosen[r.label].T
    return values[row, column].astype(jnp.float32)


def pack(fired: np.ndarray) -> np.ndarray:
    """`events.pack` in NumPy: bool [..., N] to uint32 [..., W]."""
    n = fired.shape[-1]
    words = -(-n // events.BITS)
    padding = [(0, 0)] * (fired.ndim - 1) + [(0, words * events.BITS - n)]
    octets = np.packbits(np.pad(fired, padding), axis=-1, bitorder="little")
    return octets.view("<u4").astype(np.uint32)


def unpack(words: np.ndarray, n: int) -> np.ndarray:
    """`events.unpack` in NumPy: uint32 [..., W] to bool [..., n]."""
    octets = np.ascontiguousarray(words.astype("<u4")).view(np.uint8)
    return np.unpackbits(octets, axis=-1, count=n, bitorder="little").astype(bool)
