"""Current-based leaky integrate-and-fire, integrated exactly (Rotter & Diesmann 1999).

    tau_m dv/dt = -(v - v_leak) + exc - inh + drive
    exc and inh jump by the weight of a spike and decay with tau_exc, tau_inh
    spike where v >= v_th, then v = v_reset for t_ref

The equations are linear between spikes, so a step multiplies by propagators and is right at any
dt. Currents are given as the voltage that they would hold (resistance times current): mV. The
cell of the common benchmark network and of the large circuits.
"""

from dataclasses import replace

import jax.numpy as jnp
from flax import struct
from jax import Array

from cerebellum.model.ordering import materialize_once
from cerebellum.model.neurons.threshold import fire
from cerebellum.model.surrogate import Surrogate

TAKES_SPIKES = False
"""a current reaches it from outside"""
PASSES_GRADIENTS = True
"""its spikes do, through a surrogate that `step` takes"""
DRAWS_NOISE = False
"""none"""


@struct.dataclass(kw_only=True)
class Params:
    """Scalars, or [n] for one value a cell. The default is the benchmark's granule cell."""

    tau_m: float | Array = 8.0
    """membrane time constant, ms"""
    v_leak: float | Array = 0.0
    """resting voltage, mV"""
    v_th: float | Array = 15.0
    """threshold, mV"""
    v_reset: float | Array = 0.0
    """reset voltage, mV"""
    t_ref: float | Array = 2.0
    """refractory period, ms; at most 255 steps"""
    drive: float | Array = 0.0
    """constant current, mV"""
    tau_exc: float | Array = 3.0
    """excitatory synaptic time constant, ms"""
    tau_inh: float | Array = 10.0
    """inhibitory synaptic time constant, ms"""


@struct.dataclass(kw_only=True)
class State:
    v: Array
    """membrane voltage, mV, [..., n]"""
    exc: Array
    """excitatory current, mV, [..., n]"""
    inh: Array
    """inhibitory current, mV, positive, [..., n]"""
    refractory: Array
    """steps left of the refractory period, uint8, [..., n]"""


@struct.dataclass(kw_only=True)
class Input:
    """What reaches cells in a step; each broadcasts to [..., n]."""

    current: float | Array = 0.0
    """constant during the step, mV"""
    exc: float | Array = 0.0
    """weights of the excitatory spikes that arrive at the end of the step, summed, mV"""
    inh: float | Array = 0.0
    """the same for inhibition, mV, positive"""


def init(params: Params, shape: tuple[int, ...], dtype=jnp.float32) -> State:
    """Cells at the leak potential with no current; `shape` is [..., n]."""
    return State(
        v=jnp.zeros(shape, dtype) + jnp.asarray(params.v_leak, dtype),
        exc=jnp.zeros(shape, dtype),
        inh=jnp.zeros(shape, dtype),
        refractory=jnp.zeros(shape, jnp.uint8),
    )


def outside(given: float | Array) -> Input:
    """The input of a current from outside, mV."""
    return Input(current=given)


def spread(params: Params, state: State, drawn: Array) -> State:
    """First voltages evenly between reset and threshold."""
    return replace(state, v=params.v_reset + drawn * (params.v_th - params.v_reset))


def receptors(state: State) -> dict[str, Array]:
    """The arrays that arriving weights (mV) are added to, by receptor, [..., n]."""
    return {"exc": state.exc, "inh": state.inh}


def with_receptors(state: State, arrived: dict[str, Array]) -> State:
    """The state after arrivals: the inverse of `receptors`."""
    return replace(state, exc=arrived["exc"], inh=arrived["inh"])


def variables(state: State) -> dict[str, Array]:
    """What can be recorded, by name, [..., n], all in mV."""
    return {"v": state.v, "i_exc": state.exc, "i_inh": state.inh}


def unit(variable: str) -> str:
    """The unit of a variable."""
    return "mV"


def propagator(tau_m: float | Array, tau_s: float | Array, h: float) -> Array:
    """Voltage after `h` ms that a synaptic current of 1 mV leaves (Rotter & Diesmann 1999).

    The solution has a removable singularity where the time constants are equal.
    """
    rate = 1.0 / jnp.asarray(tau_m) - 1.0 / jnp.asarray(tau_s)
    equal = jnp.abs(rate * h) < 1e-4
    grown = jnp.expm1(jnp.where(equal, 1.0, rate * h)) / jnp.where(equal, 1.0, rate)
    return jnp.exp(-h / tau_m) / tau_m * jnp.where(equal, h * (1 + rate * h / 2), grown)


def step(
    params: Params, state: State, input: Input, dt: float, surrogate: Surrogate | None = None
) -> tuple[State, Array]:
    """One step of `dt` ms: integrate, then threshold and reset, then add arrivals.

    Returns:
      The state and the spikes (0 or 1 in the dtype of `v`, [..., n]), with a gradient
      through the threshold where a surrogate is given.
    """
    held = jnp.exp(-dt / params.tau_m)
    v = (
        held * (state.v - params.v_leak)
        + propagator(params.tau_m, params.tau_exc, dt) * state.exc
        - propagator(params.tau_m, params.tau_inh, dt) * state.inh
        + (1 - held) * (params.drive + input.current)
        + params.v_leak
    )
    v, state = materialize_once((v, state))
    v, refractory, spikes = fire(params, v, state.refractory, dt, surrogate)
    stepped = State(
        v=v.astype(state.v.dtype),
        exc=state.exc * jnp.exp(-dt / params.tau_exc) + input.exc,
        inh=state.inh * jnp.exp(-dt / params.tau_inh) + input.inh,
        refractory=refractory,
    )
    return stepped, spikes.astype(state.v.dtype)
