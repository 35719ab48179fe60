"""Exponential integrate-and-fire (Norse 1.1.0, `functional/lif_ex.py`).

LIF with a spike-initiation current, taken at the voltage before the step:
    v' = v + dt/tau_m ((v_leak - v) + delta_t exp((v - v_th)/delta_t) + j)
"""

import jax.numpy as jnp
from flax import struct
from jax import Array

from cerebellum.model.surrogate import spike


@struct.dataclass(kw_only=True)
class Params:
    """Dimensionless voltages; times in ms."""

    delta_t: float | Array = 0.5
    """sharpness of spike initiation, in units of v; must not be zero"""
    tau_syn: float | Array = 5.0
    tau_m: float | Array = 10.0
    v_leak: float | Array = 0.0
    v_th: float | Array = 1.0
    v_reset: float | Array = 0.0
    alpha: float = struct.field(pytree_node=False, default=100.0)


@struct.dataclass(kw_only=True)
class State:
    v: Array
    """membrane voltage, [..., n]"""
    i: Array
    """synaptic current, [..., n]"""


def init(params: Params, shape: tuple[int, ...], dtype=jnp.float32) -> State:
    """Cells at the leak potential, no current; `shape` is [..., n]."""
    v = jnp.zeros(shape, dtype) + jnp.asarray(params.v_leak, dtype)
    return State(v=v, i=jnp.zeros(shape, dtype))


def step(params: Params, state: State, input: Array, dt: float) -> tuple[State, Array]:
    """One step; `input` [..., n] is the current added before it, `dt` in ms; spikes [..., n]."""
    j = state.i + input
    initiation = params.delta_t * jnp.exp((state.v - params.v_th) / params.delta_t)
    v = state.v + dt / params.tau_m * ((params.v_leak - state.v) + initiation + j)
    z = spike(v - params.v_th, "superspike", params.alpha)
    return State(v=(1 - z) * v + z * params.v_reset, i=j - dt / params.tau_syn * j), z
