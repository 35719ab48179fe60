"""LIF with an adaptive threshold (LSNN; Bellec et al. 2018; Norse 1.1.0, `functional/lsnn.py`).

This is what Norse computes, which differs from its docstring: the threshold `b` relaxes to `v_th`
and rises by `beta` at a spike, and the input acts one step late (the old current is used).
"""

import jax.numpy as jnp
from flax import struct
from jax import Array

from cerebellum.model.surrogate import spike


@struct.dataclass(kw_only=True)
class Params:
    """Dimensionless voltages; times in ms."""

    tau_syn: float | Array = 5.0
    tau_m: float | Array = 10.0
    tau_adapt: float | Array = 800_000.0
    """threshold time constant, ms (Norse's default is 800 s)"""
    beta: float | Array = 1.8
    """rise of the threshold at a spike"""
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
    b: Array
    """threshold, [..., n]"""


def init(params: Params, shape: tuple[int, ...], dtype=jnp.float32) -> State:
    """Cells at the leak potential, threshold at `v_th`; `shape` is [..., n]."""
    v = jnp.zeros(shape, dtype) + jnp.asarray(params.v_leak, dtype)
    b = jnp.zeros(shape, dtype) + jnp.asarray(params.v_th, dtype)
    return State(v=v, i=jnp.zeros(shape, dtype), b=b)


def step(params: Params, state: State, input: Array, dt: float) -> tuple[State, Array]:
    """One step; `input` [..., n] is added to the current after it, `dt` in ms; spikes [..., n]."""
    v = state.v + dt / params.tau_m * ((params.v_leak - state.v) + state.i)
    i = state.i - dt / params.tau_syn * state.i
    b = state.b + dt / params.tau_adapt * (params.v_th - state.b)
    z = spike(v - b, "superspike", params.alpha)
    return State(v=(1 - z) * v + z * params.v_reset, i=i + input, b=b + params.beta * z), z
