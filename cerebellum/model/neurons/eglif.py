"""Extended generalised leaky integrate-and-fire (Geminiani et al. 2018), the cell of Model B.

    dv/dt      = +(v - e_l) / tau_m + (i_e + input - i_adap + i_dep + i_syn) / c_m
    di_adap/dt = k_adap (v - e_l) - k_2 i_adap
    di_dep/dt  = -k_1 i_dep
    i_syn      = sum over receptors of g (e_rev - v), alpha synapses that peak at the weight
    a spike has the hazard lambda_0 exp((v - v_th) / tau_v), in 1/ms
    at a spike: v = v_reset for t_ref, i_dep = a_1, i_adap = i_adap + a_2

The sign of the first term is that of the published program, `eglif_cond_alpha_multisyn`
(cerebellar-models 0.7), with which the published parameters were fitted: the adaptation current,
not the leak, stabilises the membrane. With the sign of a leak the cells fire at other rates or not
at all.

The order of a step is that of the published program. First v is limited to v_min or more. Then
everything is integrated (v too, from v_reset, while the cell is refractory). Then the refractory
clamp is applied or a spike is drawn, and arrivals are added. Conductances, their mean over a step,
and i_dep are exact; v and i_adap are integrated by classic Runge-Kutta.
"""

from dataclasses import replace

import jax.numpy as jnp
from flax import struct
from jax import Array

from cerebellum.documented import documented
from cerebellum.model.neurons import threshold
from cerebellum.model.neurons.conductance import Synapse, decay, mean_conductance
from cerebellum.model.ordering import materialize_once

TAKES_SPIKES = False
"""Its drive from outside is a current."""
PASSES_GRADIENTS = False
"""Its spikes have no gradient."""
DRAWS_NOISE = True
"""It draws one uniform random number per cell and step, `Input.uniform`."""
LONGEST_REFRACTORY = threshold.LONGEST_REFRACTORY
"""Its refractory steps are counted in uint16 where uint8 is too small."""


@documented
@struct.dataclass(kw_only=True)
class Params:
    """Scalars, or [n] for one value per cell. The default is the granule cell."""

    c_m: float | Array = 7.0
    """membrane capacitance, pF"""
    tau_m: float | Array = 24.15
    """membrane time constant, ms"""
    e_l: float | Array = -62.0
    """resting potential, mV"""
    t_ref: float | Array = 1.5
    """refractory period, ms; at most 65,535 steps"""
    v_reset: float | Array = -70.0
    """reset voltage, mV"""
    v_th: float | Array = -41.0
    """voltage at which the hazard is lambda_0, mV"""
    v_min: float | Array = -150.0
    """lowest voltage, mV"""
    k_adap: float | Array = 0.022
    """nS/ms"""
    k_1: float | Array = 0.311
    """1/ms"""
    k_2: float | Array = 0.041407868
    """1/ms; at least 1 / tau_m, or the cell is unstable"""
    a_1: float | Array = 0.01
    """pA"""
    a_2: float | Array = -0.94
    """pA"""
    i_e: float | Array = -0.888
    """constant current, pA"""
    lambda_0: float | Array = 1.0
    """1/ms"""
    tau_v: float | Array = 0.3
    """mV"""
    e_rev: tuple[float | Array, ...] = (0.0, -80.0)
    """reversal potentials of the receptors r1, r2, ..., mV"""
    tau_syn: tuple[float | Array, ...] = (5.8, 13.61)
    """synaptic time constants of the receptors, ms"""


@struct.dataclass(kw_only=True)
class State:
    v: Array
    """membrane voltage, mV, [..., n]"""
    i_adap: Array
    """adaptation current, pA, [..., n]"""
    i_dep: Array
    """depolarising current, pA, [..., n]"""
    synapses: tuple[Synapse, ...]
    """synapses of the receptors r1, r2, ..."""
    refractory: Array
    """remaining steps of the refractory period, uint8 or uint16, [..., n]"""


@struct.dataclass(kw_only=True)
class Input:
    """The input of cells in a step; each field broadcasts to [..., n]."""

    current: float | Array = 0.0
    """current injected during the step, pA"""
    uniform: float | Array = 0.5
    """Draws from (0, 1): a cell fires if its draw is below its spike probability. With 0.5 for all,
    a cell fires if its spike probability is above one half."""


def init(params: Params, shape: tuple[int, ...], dtype=jnp.float32) -> State:
    """Cells at e_l with no current and zero conductances; `shape` is [..., n]."""

    def zeros() -> Array:
        return jnp.zeros(shape, dtype)

    return State(
        v=zeros() + jnp.asarray(params.e_l, dtype),
        i_adap=zeros(),
        i_dep=zeros(),
        synapses=tuple(Synapse(g=zeros(), rise=zeros()) for _ in params.tau_syn),
        refractory=jnp.zeros(shape, jnp.uint8),
    )


def outside(drive: float | Array) -> Input:
    """The input for a current from outside, pA."""
    return Input(current=drive)


def spread(params: Params, state: State, uniform: Array) -> State:
    """Initial voltages drawn uniformly between reset and threshold."""
    return replace(state, v=params.v_reset + uniform * (params.v_th - params.v_reset))


def receptors(state: State) -> dict[str, Array]:
    """The arrays to which arriving weights (nS) are added, by receptor, [..., n]."""
    return {f"r{i + 1}": s.rise for i, s in enumerate(state.synapses) if s.rise is not None}


def with_receptors(state: State, values: dict[str, Array]) -> State:
    """The state with these arrays after arrivals: the inverse of `receptors`."""
    synapses = (
        Synapse(g=s.g, rise=value) for s, value in zip(state.synapses, values.values(), strict=True)
    )
    return replace(state, synapses=tuple(synapses))


def variables(state: State) -> dict[str, Array]:
    """The recordable variables by name, [..., n]: v in mV, currents in pA, conductances in nS."""
    conductances = {f"g_r{i + 1}": synapse.g for i, synapse in enumerate(state.synapses)}
    return {"v": state.v, "i_adap": state.i_adap, "i_dep": state.i_dep, **conductances}


def unit(variable: str) -> str:
    """The unit of a variable."""
    return {"v": "mV", "i_adap": "pA", "i_dep": "pA"}.get(variable, "nS")


def _integrate(params: Params, state: State, current: float | Array, h: float):
    """v and i_adap after `h` ms, by classic Runge-Kutta with step-averaged conductances."""
    means = [
        mean_conductance(synapse, tau, h)
        for synapse, tau in zip(state.synapses, params.tau_syn, strict=True)
    ]
    g = sum(means[1:], means[0])
    synaptic = sum(mean * e_rev for mean, e_rev in zip(means, params.e_rev, strict=True))
    constant = params.i_e + current + synaptic
    half = jnp.exp(-h / 2 * params.k_1)
    leak, per_pf = 1.0 / params.tau_m, 1.0 / params.c_m

    def slope(v, i_adap, i_dep):
        deviation = v - params.e_l
        charge = constant + i_dep - i_adap - g * v
        return deviation * leak + charge * per_pf, params.k_adap * deviation - params.k_2 * i_adap

    v, w, dep = jnp.maximum(state.v, params.v_min), state.i_adap, state.i_dep
    v1, w1 = slope(v, w, dep)
    v2, w2 = slope(v + h / 2 * v1, w + h / 2 * w1, dep * half)
    v3, w3 = slope(v + h / 2 * v2, w + h / 2 * w2, dep * half)
    v4, w4 = slope(v + h * v3, w + h * w3, dep * half * half)
    return v + h / 6 * (v1 + 2 * (v2 + v3) + v4), w + h / 6 * (w1 + 2 * (w2 + w3) + w4)


def step(params: Params, state: State, input: Input, dt: float) -> tuple[State, Array]:
    """One step of `dt` ms.

    A spike has the probability 1 - exp(-hazard dt), where the hazard is that of the voltage at the
    end of the step.

    Returns:
      The state and the spikes (0 or 1 in the dtype of `v`, [..., n]), without a gradient
      through the threshold.
    """
    integrated, state = materialize_once((_integrate(params, state, input.current, dt), state))
    v, i_adap = integrated
    # An exponentially distributed draw is below the hazard with probability 1 - exp(-hazard dt).
    hazard = (params.lambda_0 * dt) * jnp.exp((v - params.v_th) * (1.0 / params.tau_v))
    silent = state.refractory > 0
    fired = ~silent & (hazard > -jnp.log1p(-jnp.asarray(input.uniform)))
    counted = state.refractory.dtype
    period = jnp.round(jnp.asarray(params.t_ref) / dt).astype(counted)
    remaining = state.refractory - silent.astype(counted)
    stepped = State(
        v=jnp.where(silent | fired, params.v_reset, v).astype(state.v.dtype),
        i_adap=(i_adap + jnp.where(fired, params.a_2, 0.0)).astype(state.v.dtype),
        i_dep=jnp.where(fired, params.a_1, state.i_dep * jnp.exp(-dt * params.k_1)),
        synapses=tuple(
            decay(synapse, tau, dt)
            for synapse, tau in zip(state.synapses, params.tau_syn, strict=True)
        ),
        refractory=jnp.where(fired, period, remaining),
    )
    return stepped, fired.astype(state.v.dtype)
