"""Current-based leaky integrate-and-fire, integrated exactly (Rotter & Diesmann 1999).

    tau_m dv/dt = -(v - v_leak) + exc - inh + drive
    exc and inh jump by the weight of a spike and decay with tau_exc, tau_inh
    spike where v >= v_th, then v = v_reset for t_ref

The equations are linear between spikes, so a step multiplies by propagators and is exact at any
dt. Currents are expressed in mV, as the voltage that they would maintain (resistance times
current). This is the cell of the common benchmark network and of the large circuits.
"""

from dataclasses import replace

import jax.numpy as jnp
from flax import struct
from jax import Array

from cerebellum.documented import documented
from cerebellum.model.neurons import threshold
from cerebellum.model.neurons.threshold import fire
from cerebellum.model.ordering import materialize_once
from cerebellum.model.surrogate import Surrogate

TAKES_SPIKES = False
"""Its drive from outside is a current."""
PASSES_GRADIENTS = True
"""Its spikes pass gradients through a surrogate, an argument of `step`."""
FIRES_AT = "v_th"
"""The parameter at which v fires, after which it is v_reset."""
DRAWS_NOISE = False
"""It draws no random numbers."""
LONGEST_REFRACTORY = threshold.LONGEST_REFRACTORY
"""Its refractory steps are counted in uint16 where uint8 is too small."""


@documented
@struct.dataclass(kw_only=True)
class Params:
    """Scalars, or [n] for one value per cell. The default is the benchmark's granule cell."""

    tau_m: float | Array = 8.0
    """membrane time constant, ms"""
    v_leak: float | Array = 0.0
    """resting voltage, mV"""
    v_th: float | Array = 15.0
    """threshold, mV"""
    v_reset: float | Array = 0.0
    """reset voltage, mV"""
    t_ref: float | Array = 2.0
    """refractory period, ms; at most 65,535 steps"""
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
    """remaining steps of the refractory period, uint8 or uint16, [..., n]"""


@struct.dataclass(kw_only=True)
class Input:
    """The input of cells in a step; each field broadcasts to [..., n]."""

    current: float | Array = 0.0
    """current, constant during the step, mV"""
    exc: float | Array = 0.0
    """summed weights of the excitatory spikes that arrive at the end of the step, mV"""
    inh: float | Array = 0.0
    """summed weights of the inhibitory spikes that arrive at the end of the step, mV, positive"""


def init(params: Params, shape: tuple[int, ...], dtype=jnp.float32) -> State:
    """Cells at the leak potential with no current; `shape` is [..., n]."""
    return State(
        v=jnp.zeros(shape, dtype) + jnp.asarray(params.v_leak, dtype),
        exc=jnp.zeros(shape, dtype),
        inh=jnp.zeros(shape, dtype),
        refractory=jnp.zeros(shape, jnp.uint8),
    )


def outside(drive: float | Array) -> Input:
    """The input for a current from outside, mV."""
    return Input(current=drive)


def spread(params: Params, state: State, uniform: Array) -> State:
    """Initial voltages drawn uniformly between reset and threshold."""
    return replace(state, v=params.v_reset + uniform * (params.v_th - params.v_reset))


def receptors(state: State) -> dict[str, Array]:
    """The arrays to which arriving weights (mV) are added, by receptor, [..., n]."""
    return {"exc": state.exc, "inh": state.inh}


def with_receptors(state: State, values: dict[str, Array]) -> State:
    """The state with these arrays after arrivals: the inverse of `receptors`."""
    return replace(state, exc=values["exc"], inh=values["inh"])


def variables(state: State) -> dict[str, Array]:
    """The recordable variables by name, [..., n], all in mV."""
    return {"v": state.v, "i_exc": state.exc, "i_inh": state.inh}


def unit(variable: str) -> str:
    """The unit of a variable."""
    return "mV"


def propagator(tau_m: float | Array, tau_s: float | Array, h: float) -> Array:
    """The voltage `h` ms after a synaptic current of 1 mV (Rotter & Diesmann 1999).

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
      The state and the spikes (0 or 1 in the dtype of `v`, [..., n]), with a gradient through the
      threshold if there is a surrogate.
    """
    decay = jnp.exp(-dt / params.tau_m)
    v = (
        decay * (state.v - params.v_leak)
        + propagator(params.tau_m, params.tau_exc, dt) * state.exc
        - propagator(params.tau_m, params.tau_inh, dt) * state.inh
        + (1 - decay) * (params.drive + input.current)
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
