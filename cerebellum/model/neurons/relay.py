"""A relay: fires in the step in which it is driven or a spike has arrived.

Mossy fibres, glomeruli and other inputs are relays ("parrot" neurons in NEST).
"""

import jax.numpy as jnp
from flax import struct
from jax import Array

TAKES_SPIKES = True
"""it sends on spikes from outside"""
PASSES_GRADIENTS = False
"""its spikes have none"""
DRAWS_NOISE = False
"""none"""


@struct.dataclass(kw_only=True)
class Params:
    """A relay has none."""


@struct.dataclass(kw_only=True)
class State:
    arrived: Array
    """spikes that arrived at the end of the last step, [..., n]"""


@struct.dataclass(kw_only=True)
class Input:
    spikes: float | Array = 0.0
    """spikes given from outside, 0 or 1, broadcasts to [..., n]"""


def init(params: Params, shape: tuple[int, ...], dtype=jnp.float32) -> State:
    """Nothing under way; `shape` is [..., n]."""
    return State(arrived=jnp.zeros(shape, dtype))


def outside(given: float | Array) -> Input:
    """The input of spikes from outside."""
    return Input(spikes=given)


def spread(params: Params, state: State, drawn: Array) -> State:
    """Relays have nothing to be in step with."""
    return state


def receptors(state: State) -> dict[str, Array]:
    """The array that arriving spikes are added to, [..., n]."""
    return {"spikes": state.arrived}


def with_receptors(state: State, arrived: dict[str, Array]) -> State:
    """The state after arrivals: the inverse of `receptors`."""
    return State(arrived=arrived["spikes"])


def variables(state: State) -> dict[str, Array]:
    """A relay has nothing to record but its spikes."""
    return {}


def unit(variable: str) -> str:
    """A relay has no variables."""
    return ""


def step(params: Params, state: State, input: Input, dt: float) -> tuple[State, Array]:
    """One step: a spike (0 or 1, [..., n]) for every relay that is driven or reached at all."""
    spikes = jnp.asarray(state.arrived + input.spikes > 0, state.arrived.dtype)
    return State(arrived=jnp.zeros_like(state.arrived)), spikes
