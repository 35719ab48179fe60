"""Conductance-based leaky integrate-and-fire, the cell of Model A (Casali et al. 2019, table 2).

    c_m dv/dt = -g_leak (v - e_l) - g_exc (v - e_exc) - g_inh (v - e_inh) + i_e + input
    spike where v >= v_th, then v = v_reset for t_ref; g_leak = c_m / tau_m

Exponential synapses jump by the weight and decay; alpha synapses peak at the weight after
their time constant. Conductances are exact at any dt. The order of a step is that of NEST:
integrate, then apply the refractory clamp or threshold and reset, then add the arrivals of that
time.

There are two integrators of the voltage. "rk4" (classic Runge-Kutta with conductances evaluated
inside the step) reproduces NEST spike for spike at 0.1 ms. "averaged" (exponential Euler with the
conductance averaged exactly over the step) is faster and stable at any dt; it misplaces spikes
only where a synapse is much faster than the membrane that it charges.
"""

from dataclasses import replace

import jax.numpy as jnp
from flax import struct
from jax import Array

from cerebellum.documented import documented
from cerebellum.errors import UsageError
from cerebellum.model.neurons import threshold
from cerebellum.model.neurons.threshold import fire
from cerebellum.model.ordering import materialize_once
from cerebellum.model.surrogate import Surrogate

INTEGRATORS = ("rk4", "averaged")
SYNAPSES = ("exponential", "alpha")


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
    """Scalars, or [n] for one value per cell. The default is the granule cell."""

    c_m: float | Array = 3.0
    """membrane capacitance, pF"""
    tau_m: float | Array = 2.0
    """membrane time constant, ms"""
    e_l: float | Array = -74.0
    """leak reversal potential, mV"""
    v_th: float | Array = -42.0
    """threshold, mV"""
    v_reset: float | Array = -84.0
    """reset voltage, mV"""
    t_ref: float | Array = 1.5
    """refractory period, ms; at most 65,535 steps"""
    i_e: float | Array = 0.0
    """pacemaker current, pA"""
    tau_exc: float | Array = 0.5
    """excitatory synaptic time constant, ms"""
    tau_inh: float | Array = 10.0
    """inhibitory synaptic time constant, ms"""
    e_exc: float | Array = 0.0
    """excitatory reversal potential, mV"""
    e_inh: float | Array = -90.0
    """inhibitory reversal potential, mV"""
    synapse: str = struct.field(pytree_node=False, default="exponential")
    """one of SYNAPSES"""
    integrator: str = struct.field(pytree_node=False, default="averaged")
    """one of INTEGRATORS"""


@struct.dataclass(kw_only=True)
class Synapse:
    """The conductance of one receptor, and for alpha synapses its rise."""

    g: Array
    """conductance, nS, [..., n]"""
    rise: Array | None = None
    """alpha synapses: the weights that drive g up, dg/dt = rise e/tau - g/tau, nS, [..., n]"""


@struct.dataclass(kw_only=True)
class State:
    v: Array
    """membrane voltage, mV, [..., n]"""
    exc: Synapse
    inh: Synapse
    refractory: Array
    """remaining steps of the refractory period, uint8 or uint16, [..., n]"""


@struct.dataclass(kw_only=True)
class Input:
    """The input of cells in a step; each field broadcasts to [..., n]."""

    current: float | Array = 0.0
    """current injected during the step, pA"""
    exc: float | Array = 0.0
    """summed weights of the excitatory spikes that arrive at the end of the step, nS"""
    inh: float | Array = 0.0
    """summed weights of the inhibitory spikes that arrive at the end of the step, nS"""


def init(params: Params, shape: tuple[int, ...], dtype=jnp.float32) -> State:
    """Cells at the leak potential with zero conductances; `shape` is [..., n].

    Raises:
      UsageError: the synapse or the integrator is unknown.
    """
    if params.synapse not in SYNAPSES:
        raise UsageError(f"synapse: {params.synapse!r}; one of {', '.join(SYNAPSES)}")
    if params.integrator not in INTEGRATORS:
        raise UsageError(f"integrator: {params.integrator!r}; one of {', '.join(INTEGRATORS)}")

    def closed() -> Synapse:
        rise = jnp.zeros(shape, dtype) if params.synapse == "alpha" else None
        return Synapse(g=jnp.zeros(shape, dtype), rise=rise)

    return State(
        v=jnp.zeros(shape, dtype) + jnp.asarray(params.e_l, dtype),
        exc=closed(),
        inh=closed(),
        refractory=jnp.zeros(shape, jnp.uint8),
    )


def decay(synapse: Synapse, tau: float | Array, h: float) -> Synapse:
    """The synapse `h` ms later, exactly (Rotter & Diesmann 1999)."""
    e = jnp.exp(-h / tau)
    if synapse.rise is None:
        return Synapse(g=synapse.g * e)
    return Synapse(g=(synapse.g + (jnp.e / tau * h) * synapse.rise) * e, rise=synapse.rise * e)


def mean_conductance(synapse: Synapse, tau: float | Array, h: float) -> Array:
    """The exact mean of the conductance over the next `h` ms, nS, from the integral of g."""
    e = jnp.exp(-h / tau)
    mean = synapse.g * (tau / h * (1 - e))
    if synapse.rise is not None:
        mean = mean + synapse.rise * (jnp.e / h * (tau - (tau + h) * e))
    return mean


def receive(synapse: Synapse, weight: float | Array) -> Synapse:
    """The synapse after spikes of summed `weight` (nS) arrive: g jumps, or starts to rise."""
    if synapse.rise is None:
        return Synapse(g=synapse.g + weight)
    return Synapse(g=synapse.g, rise=synapse.rise + weight)


def outside(drive: float | Array) -> Input:
    """The input for a current from outside, pA."""
    return Input(current=drive)


def spread(params: Params, state: State, uniform: Array) -> State:
    """Initial voltages drawn uniformly between reset and threshold."""
    return replace(state, v=params.v_reset + uniform * (params.v_th - params.v_reset))


def receptors(state: State) -> dict[str, Array]:
    """The arrays to which arriving weights (nS) are added, by receptor, [..., n]."""
    return {
        "exc": state.exc.g if state.exc.rise is None else state.exc.rise,
        "inh": state.inh.g if state.inh.rise is None else state.inh.rise,
    }


def with_receptors(state: State, values: dict[str, Array]) -> State:
    """The state with these arrays after arrivals: the inverse of `receptors`."""

    def updated(synapse: Synapse, value: Array) -> Synapse:
        if synapse.rise is None:
            return Synapse(g=value)
        return Synapse(g=synapse.g, rise=value)

    exc, inh = updated(state.exc, values["exc"]), updated(state.inh, values["inh"])
    return replace(state, exc=exc, inh=inh)


def variables(state: State) -> dict[str, Array]:
    """The recordable variables by name, [..., n]: v in mV, conductances in nS."""
    return {"v": state.v, "g_exc": state.exc.g, "g_inh": state.inh.g}


def unit(variable: str) -> str:
    """The unit of a variable."""
    return "mV" if variable == "v" else "nS"


def _slope(params: Params, exc: Array, inh: Array, current: float | Array):
    """dv/dt = drive - rate v for fixed conductances: (drive in mV/ms, rate in 1/ms)."""
    per_pf = 1.0 / params.c_m
    leak = 1.0 / params.tau_m
    rate = leak + (exc + inh) * per_pf
    charge = params.i_e + current + exc * params.e_exc + inh * params.e_inh
    return leak * params.e_l + charge * per_pf, rate


def _rk4(params: Params, state: State, current, h: float) -> Array:
    """Classic fourth-order Runge-Kutta, with the conductances evaluated inside the step.

    The method would be unstable where the conductances make the membrane faster than two time
    constants per step. There the membrane is slowed to that speed, with the same steady state.
    Elsewhere the factor is exactly one.
    """
    middle_exc = decay(state.exc, params.tau_exc, h / 2)
    middle_inh = decay(state.inh, params.tau_inh, h / 2)
    last_exc = decay(state.exc, params.tau_exc, h)
    last_inh = decay(state.inh, params.tau_inh, h)
    a0, b0 = _slope(params, state.exc.g, state.inh.g, current)
    a1, b1 = _slope(params, middle_exc.g, middle_inh.g, current)
    a2, b2 = _slope(params, last_exc.g, last_inh.g, current)
    slow = jnp.minimum(1.0, 2.0 / (h * jnp.maximum(b0, b2)))
    a0, a1, a2 = a0 * slow, a1 * slow, a2 * slow
    b0, b1, b2 = b0 * slow, b1 * slow, b2 * slow
    v = state.v
    k1 = a0 - b0 * v
    k2 = a1 - b1 * (v + h / 2 * k1)
    k3 = a1 - b1 * (v + h / 2 * k2)
    k4 = a2 - b2 * (v + h * k3)
    return v + h / 6 * (k1 + 2 * (k2 + k3) + k4)


def _averaged(params: Params, state: State, current, h: float) -> Array:
    """Exponential Euler with step-averaged conductances."""
    exc = mean_conductance(state.exc, params.tau_exc, h)
    inh = mean_conductance(state.inh, params.tau_inh, h)
    drive, rate = _slope(params, exc, inh, current)
    v_inf = drive / rate
    return v_inf + (state.v - v_inf) * jnp.exp(-h * rate)


def step(
    params: Params, state: State, input: Input, dt: float, surrogate: Surrogate | None = None
) -> tuple[State, Array]:
    """One step of `dt` ms.

    Returns:
      The state and the spikes (0 or 1 in the dtype of `v`, [..., n]). Voltages and conductances
      have gradients; spikes have gradients if there is a surrogate.
    """
    integrate = _rk4 if params.integrator == "rk4" else _averaged
    v, state = materialize_once((integrate(params, state, input.current, dt), state))
    exc = decay(state.exc, params.tau_exc, dt)
    inh = decay(state.inh, params.tau_inh, dt)
    v, refractory, spikes = fire(params, v, state.refractory, dt, surrogate)
    stepped = State(
        v=v.astype(state.v.dtype),
        exc=receive(exc, input.exc),
        inh=receive(inh, input.inh),
        refractory=refractory,
    )
    return stepped, spikes.astype(state.v.dtype)
