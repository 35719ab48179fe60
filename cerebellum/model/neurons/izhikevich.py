"""Izhikevich's two-variable cell (Izhikevich 2003, 2004; Norse 1.1.0, `functional/izhikevich.py`).

    v' = v + h (sq v^2 + mn v + bias - u + input)
    u' = u + h a (b v - u)                         with the voltage before the step
    spike where v' > v_th: v = c, u += d
with h = dt * rate: Norse advances the model by a quarter of a millisecond per millisecond (tau_inv
= 250 per s).
"""

import jax.numpy as jnp
from flax import struct
from jax import Array

from cerebellum.model.surrogate import spike


@struct.dataclass(kw_only=True)
class Params:
    """v in mV, u and input in mV/ms; `rate` is the speed of the dynamics, per ms."""

    a: float | Array = 0.02
    b: float | Array = 0.2
    c: float | Array = -65.0
    d: float | Array = 6.0
    sq: float | Array = 0.04
    mn: float | Array = 5.0
    bias: float | Array = 140.0
    v_th: float | Array = 30.0
    rate: float | Array = 0.25
    v_init: float | Array = -70.0
    alpha: float = struct.field(pytree_node=False, default=100.0)


PRESETS: dict[str, Params] = {
    "tonic_spiking": Params(),
    "phasic_spiking": Params(b=0.25, v_init=-64.0),
    "tonic_bursting": Params(c=-50.0, d=2.0),
    "phasic_bursting": Params(b=0.25, c=-55.0, d=0.05, v_init=-64.0, rate=0.2),
    "mixed_mode": Params(c=-55.0, d=4.0),
    "spike_frequency_adaptation": Params(a=0.01, d=8.0),
    "class_1": Params(b=-0.1, c=-55.0, mn=4.1, bias=108.0, v_init=-60.0),
    "class_2": Params(a=0.2, b=0.26, d=0.0, v_init=-64.0),
    "depolarising_after_potential": Params(a=1.0, c=-60.0, d=-21.0, rate=0.1),
    "rebound_spike": Params(a=0.03, b=0.25, c=-60.0, d=4.0, v_init=-64.0, rate=0.2),
    "rebound_burst": Params(a=0.03, b=0.25, c=-52.0, d=0.0, v_init=-64.0, rate=0.2),
    "resonator": Params(a=0.1, b=0.26, c=-60.0, d=-1.0, v_init=-62.0),
}
"""Firing patterns by name (Izhikevich 2004, fig. 1; values as in Norse)."""


@struct.dataclass(kw_only=True)
class State:
    v: Array
    """membrane voltage, mV, [..., n]"""
    u: Array
    """recovery variable, mV/ms, [..., n]"""


def _rounded(x: Array) -> Array:
    """Return `x`, rounded before it is added to anything.

    XLA contracts a product and a sum to one fused multiply-add, which changes the last bit. The
    difference grows along the quadratic upstroke of a spike until the voltage differs from Norse's
    in the fourth digit. The comparison prevents the compiler from contracting.
    """
    return jnp.maximum(x, jnp.finfo(x.dtype).min)


def init(params: Params, shape: tuple[int, ...], dtype=jnp.float32) -> State:
    """Cells at `v_init` with u = b v; `shape` is [..., n]."""
    v = jnp.zeros(shape, dtype) + jnp.asarray(params.v_init, dtype)
    return State(v=v, u=params.b * v)


def step(params: Params, state: State, input: Array, dt: float) -> tuple[State, Array]:
    """One step; `input` in mV/ms, [..., n], `dt` in ms; spikes [..., n]."""
    h = params.rate * dt
    quadratic = _rounded(params.sq * _rounded(jnp.square(state.v)))
    drift = quadratic + _rounded(params.mn * state.v) + params.bias - state.u + input
    v = state.v + _rounded(h * drift)
    u = state.u + _rounded(h * params.a * (_rounded(params.b * state.v) - state.u))
    z = spike(v - params.v_th, "superspike", params.alpha)
    return State(v=_rounded((1 - z) * v) + _rounded(z * params.c), u=u + _rounded(z * params.d)), z
