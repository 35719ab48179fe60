"""A neuron model that is not part of the package: quadratic integrate-and-fire.

c dv/dt = k (v - v_rest) (v - v_th) + current + exc - inh
"""

from dataclasses import replace

import jax.numpy as jnp
from flax import struct

from cerebellum.model.neurons.threshold import fire

TAKES_SPIKES = False
PASSES_GRADIENTS = True
DRAWS_NOISE = True


@struct.dataclass(kw_only=True)
class Params:
    c: float = 20.0
    k: float = 0.5
    v_rest: float = -60.0
    v_th: float = -45.0
    v_reset: float = -65.0
    t_ref: float = 2.0
    tau: float = 5.0
    noise: float = 5.0


@struct.dataclass(kw_only=True)
class State:
    v: jnp.ndarray
    exc: jnp.ndarray
    refractory: jnp.ndarray


@struct.dataclass(kw_only=True)
class Input:
    current: float = 0.0
    uniform: float = 0.5


def init(params, shape, dtype=jnp.float32):
    return State(
        v=jnp.full(shape, params.v_rest, dtype),
        exc=jnp.zeros(shape, dtype),
        refractory=jnp.zeros(shape, jnp.uint8),
    )


def step(params, state, input, dt, surrogate=None):
    pull = params.k * (state.v - params.v_rest) * (state.v - params.v_th)
    noise = params.noise * (input.uniform - 0.5)
    v = state.v + dt / params.c * (pull + input.current + state.exc + noise)
    v, refractory, spikes = fire(params, v, state.refractory, dt, surrogate)
    exc = state.exc * jnp.exp(-dt / params.tau)
    return State(v=v, exc=exc, refractory=refractory), spikes


def outside(drive):
    return Input(current=drive)


def spread(params, state, uniform):
    return replace(state, v=params.v_reset + uniform * (params.v_th - params.v_reset))


def receptors(state):
    return {"exc": state.exc}


def with_receptors(state, values):
    return replace(state, exc=values["exc"])


def variables(state):
    return {"v": state.v, "i_exc": state.exc}


def unit(variable):
    return "mV" if variable == "v" else "pA"
