"""A relay: it fires in a step in which it is driven or a spike has arrived.

Mossy fibres, glomeruli and other inputs are relays ("parrot" neurons in NEST).
"""

import jax.numpy as jnp
from flax import struct
from jax import Array

from cerebellum.documented import documented

TAKES_SPIKES = True
"""Its drive from outside is spikes, which it repeats."""
PASSES_GRADIENTS = False
"""Its spikes have no gradient."""
DRAWS_NOISE = False
"""It draws no random numbers."""


@documented
@struct.dataclass(kw_only=True)
class Params:
    """A relay has no parameters."""


@struct.dataclass(kw_only=True)
class State:
    arrived: Array
    """spikes that arrived at the end of the last step, [..., n]"""


@struct.dataclass(kw_only=True)
class Input:
    spikes: float | Array = 0.0
    """spikes from outside, 0 or 1; broadcasts to [..., n]"""


def init(params: Params, shape: tuple[int, ...], dtype=jnp.float32) -> State:
    """Relays without arrived spikes; `shape` is [..., n]."""
    return State(arrived=jnp.zeros(shape, dtype))


def outside(drive: float | Array) -> Input:
    """The input for spikes from outside."""
    return Input(spikes=drive)


def spread(params: Params, state: State, uniform: Array) -> State:
    """The state itself, because relays have no voltage to vary."""
    return state


def receptors(state: State) -> dict[str, Array]:
    """The array to which arriving spikes are added, [..., n]."""
    return {"spikes": state.arrived}


def with_receptors(state: State, values: dict[str, Array]) -> State:
    """The state with these arrays after arrivals: the inverse of `receptors`."""
    return State(arrived=values["spikes"])


def variables(state: State) -> dict[str, Array]:
    """No variables: only the spikes of a relay can be recorded."""
    return {}


def unit(variable: str) -> str:
    """No unit, because a relay has no variables."""
    return ""


def step(params: Params, state: State, input: Input, dt: float) -> tuple[State, Array]:
    """One step: every relay that is driven or has received a spike fires (0 or 1, [..., n])."""
    spikes = jnp.asarray(state.arrived + input.spikes > 0, state.arrived.dtype)
    return State(arrived=jnp.zeros_like(state.arrived)), spikes
