"""Adaptive exponential integrate-and-fire (Norse 1.1.0, `functional/lif_adex.py`).

    v' = v + dt/tau_m ((v_leak - v) + delta_t exp((v - v_th)/delta_t) + j - a)
    a' = a + dt/tau_ada (coupling (v - v_leak) - a);  a += jump at a spike
Both right-hand sides take the voltage and adaptation before the step.
"""

import jax.numpy as jnp
from flax import struct
from jax import Array

from cerebellum.model.surrogate import spike


@struct.dataclass(kw_only=True)
class Params:
    """Dimensionless voltages; times in ms."""

    coupling: float | Array = 4.0
    """subthreshold adaptation (Norse `adaptation_current`)"""
    jump: float | Array = 0.02
    """adaptation added by a spike (Norse `adaptation_spike`)"""
    tau_ada: float | Array = 500.0
    """adaptation time constant, ms"""
    delta_t: float | Array = 0.5
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
    a: Array
    """adaptation current, [..., n]"""


def init(params: Params, shape: tuple[int, ...], dtype=jnp.float32) -> State:
    """Cells at the leak potential, no current or adaptation; `shape` is [..., n]."""
    v = jnp.zeros(shape, dtype) + jnp.asarray(params.v_leak, dtype)
    return State(v=v, i=jnp.zeros(shape, dtype), a=jnp.zeros(shape, dtype))


def step(params: Params, state: State, input: Array, dt: float) -> tuple[State, Array]:
    """One step; `input` [..., n] is the current added before it, `dt` in ms; spikes [..., n]."""
    j = state.i + input
    initiation = params.delta_t * jnp.exp((state.v - params.v_th) / params.delta_t)
    drift = (params.v_leak - state.v) + initiation + j - state.a
    v = state.v + dt / params.tau_m * drift
    a = state.a + dt / params.tau_ada * (params.coupling * (state.v - params.v_leak) - state.a)
    z = spike(v - params.v_th, "superspike", params.alpha)
    return State(
        v=(1 - z) * v + z * params.v_reset,
        i=j - dt / params.tau_syn * j,
        a=a + z * params.jump,
    ), z
