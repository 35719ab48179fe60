"""Leaky integrate-and-fire with an exponential synaptic current, integrated as in Norse.

Equations (Norse 1.1.0, `functional/lif.py`; forward Euler):
    j  = i + input
    v' = v + dt/tau_m ((v_leak - v) + j)        the jumped current acts in the same step
    i' = j - dt/tau_syn j
    z  = v' > v_th;  v = v_reset where z
"""

import jax.numpy as jnp
from flax import struct
from jax import Array, lax

from cerebellum.model.surrogate import spike


@struct.dataclass(kw_only=True)
class Params:
    """Dimensionless voltages; times in ms. Scalars, or [n] for one value per cell."""

    tau_syn: float | Array = 5.0
    """synaptic time constant, ms"""
    tau_m: float | Array = 10.0
    """membrane time constant, ms"""
    v_leak: float | Array = 0.0
    v_th: float | Array = 1.0
    v_reset: float | Array = 0.0
    alpha: float = struct.field(pytree_node=False, default=100.0)
    """sharpness of the SuperSpike surrogate"""


@struct.dataclass(kw_only=True)
class State:
    v: Array
    """membrane voltage, [..., n]"""
    i: Array
    """synaptic current, [..., n]"""


@struct.dataclass(kw_only=True)
class Recurrent:
    """Weights of a recurrent layer of `n` cells with `m` inputs."""

    w_in: Array
    """[n, m]"""
    w_rec: Array
    """[n, n]"""


def init(params: Params, shape: tuple[int, ...], dtype=jnp.float32) -> State:
    """Cells at rest: `v` at the leak potential, no current. `shape` is [..., n]."""
    v = jnp.zeros(shape, dtype) + jnp.asarray(params.v_leak, dtype)
    return State(v=v, i=jnp.zeros(shape, dtype))


def integrate(params: Params, state: State, input: Array, dt: float) -> tuple[Array, Array]:
    """Voltage before threshold and reset, and the decayed current, both [..., n]."""
    j = state.i + input
    v = state.v + dt / params.tau_m * ((params.v_leak - state.v) + j)
    return v, j - dt / params.tau_syn * j


def step(params: Params, state: State, input: Array, dt: float) -> tuple[State, Array]:
    """One step of feed-forward cells.

    Args:
      input: current added before the step, [..., n].
      dt: ms.

    Returns:
      The state after reset and the spikes (0 or 1 in the dtype of `v`), [..., n].
    """
    v, i = integrate(params, state, input, dt)
    z = spike(v - params.v_th, "superspike", params.alpha)
    return State(v=(1 - z) * v + z * params.v_reset, i=i), z


def recurrent_step(
    params: Params, weights: Recurrent, state: State, z: Array, input: Array, dt: float
) -> tuple[State, Array]:
    """One step of a recurrent layer (`lif_step` of Norse).

    Args:
      z: spikes of the layer in the step before, [..., n].
      input: input spikes, [..., m].
      dt: ms.

    Returns:
      As `step`. The reset is detached from the gradient, as in Norse's recurrent cell.
    """
    current = input @ weights.w_in.T + z @ weights.w_rec.T
    v, i = integrate(params, state, current, dt)
    z = spike(v - params.v_th, "superspike", params.alpha)
    reset = lax.stop_gradient(z)
    return State(v=(1 - reset) * v + reset * params.v_reset, i=i), z
