"""The native kernels as primitives, each next to the reference that it must equal."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from cerebellum.backends.cpu import calls
from cerebellum.model import events, fixed, noise, plasticity, primitives
from cerebellum.model.events import AllToAll, Events, FanOut
from cerebellum.model.neurons import conductance, current, eglif
from cerebellum.model.neurons.protocol import NeuronModel
from cerebellum.model.noise import CellRange, name_number
from cerebellum.model.plasticity import Closing, Synapses
from cerebellum.model.primitives import Primitives
from cerebellum.model.surrogate import Surrogate


def by_platform(native: Callable, reference: Callable, *operands: Any) -> Any:
    """Call `native` in programs for a CPU, and `reference` in programs for other devices."""
    return lax.platform_dependent(*operands, cpu=native, default=reference)


def integrate(
    model: NeuronModel,
    params: Any,
    state: Any,
    input: Any,
    dt: float,
    surrogate: Surrogate | None,
) -> tuple[Any, Array, Array]:
    """Integrate cells with equal parameters natively, where their model has a kernel.

    Others are the reference's. Voltages differ from those of the reference in the last bit where
    XLA rounds a product and a sum together.
    """
    if model is current and _are_alike(params, state):
        stepped, words = step_current(params, state, input, dt)
    elif model is conductance and params.integrator == "rk4" and _are_alike(params, state):
        stepped, words = step_conductance(params, state, input, dt)
    elif model is eglif and _are_alike(params, state) and _is_drawn(state, input):
        stepped, words = step_eglif(params, state, input, dt)
    else:
        return primitives.integrate(model, params, state, input, dt, surrogate)
    return stepped, events.unpack(words, state.v.shape[-1]), words


def _are_alike(params: Any, state: Any) -> bool:
    """Whether all cells have the same parameters, and the state the types of the kernels."""
    same = all(jnp.ndim(value) == 0 for value in jax.tree.leaves(params))
    return same and state.v.dtype == jnp.float32 and state.refractory.dtype == jnp.uint8


def _is_drawn(state: eglif.State, input: eglif.Input) -> bool:
    """Whether eglif.cc can make the draws, and has room for the receptors."""
    return isinstance(input.uniform, noise.Draws) and 1 <= len(state.synapses) <= 4


def step_current(
    params: current.Params, state: current.State, input: current.Input, dt: float
) -> tuple[current.State, Array]:
    """`current.step` for cells with the same parameters whose only input is a current.

    Returns:
      The state and the packed spikes, uint32 [W].
    """
    decay = jnp.exp(-dt / params.tau_m)
    bias = jnp.atleast_1d((1 - decay) * (params.drive + jnp.asarray(input.current)))
    if bias.size > 1:
        bias = jnp.broadcast_to(bias, state.v.shape)
    constants = (
        decay,
        current.propagator(params.tau_m, params.tau_exc, dt),
        current.propagator(params.tau_m, params.tau_inh, dt),
        *(params.v_leak, params.v_th, params.v_reset),
        jnp.exp(-dt / params.tau_exc),
        jnp.exp(-dt / params.tau_inh),
        jnp.round(jnp.asarray(params.t_ref) / dt),
    )

    def native(state: current.State, input: current.Input) -> tuple[current.State, Array]:
        arrays = (state.v, state.exc, state.inh, state.refractory)
        v, exc, inh, refractory, words = calls.current(constants, bias, *arrays)
        return current.State(v=v, exc=exc, inh=inh, refractory=refractory), words

    def reference(state: current.State, input: current.Input) -> tuple[current.State, Array]:
        stepped, spikes = current.step(params, state, input, dt)
        return stepped, events.pack(spikes)

    return by_platform(native, reference, state, input)


def step_conductance(
    params: conductance.Params, state: conductance.State, input: conductance.Input, dt: float
) -> tuple[conductance.State, Array]:
    """`conductance.step` by Runge-Kutta for cells with the same parameters and a current as input.

    Returns:
      The state and the packed spikes, uint32 [W].
    """
    injected = jnp.atleast_1d(params.i_e + jnp.asarray(input.current))
    if injected.size > 1:
        injected = jnp.broadcast_to(injected, state.v.shape)

    def factors(tau: Any, reversal: Any) -> tuple:
        keep = (jnp.exp(-h / tau) for h in (dt / 2, dt))
        return (*keep, jnp.e / tau * (dt / 2), jnp.e / tau * dt, reversal)

    leak = 1.0 / jnp.asarray(params.tau_m)
    constants = (
        *(dt, leak, 1.0 / jnp.asarray(params.c_m), leak * params.e_l),
        *(params.v_th, params.v_reset, jnp.round(jnp.asarray(params.t_ref) / dt)),
        *factors(params.tau_exc, params.e_exc),
        *factors(params.tau_inh, params.e_inh),
    )

    def native(state: conductance.State, injected: Array) -> tuple[conductance.State, Array]:
        exc, inh = state.exc, state.inh
        rises = [synapse.rise for synapse in (exc, inh) if synapse.rise is not None]
        arrays = (state.v, exc.g, inh.g, *rises, state.refractory)
        v, g_exc, g_inh, *rest, refractory, words = calls.conductance(constants, injected, *arrays)
        exc_rise, inh_rise = rest or (None, None)
        stepped = conductance.State(
            v=v,
            exc=conductance.Synapse(g=g_exc, rise=exc_rise),
            inh=conductance.Synapse(g=g_inh, rise=inh_rise),
            refractory=refractory,
        )
        return stepped, words

    def reference(state: conductance.State, injected: Array) -> tuple[conductance.State, Array]:
        stepped, spikes = conductance.step(params, state, input, dt)
        return stepped, events.pack(spikes)

    return by_platform(native, reference, state, injected)


LEAST_DRAW = 2.0**-33
"""The smallest value of `noise.uniform`, and of -log(1 - value)."""


def step_eglif(
    params: eglif.Params, state: eglif.State, input: eglif.Input, dt: float
) -> tuple[eglif.State, Array]:
    """`eglif.step` for cells with the same parameters.

    Args:
      input: its `uniform` is `noise.Draws`.

    Returns:
      The state and the packed spikes, uint32 [W].
    """
    injected = jnp.atleast_1d(params.i_e + jnp.asarray(input.current))
    if injected.size > 1:
        injected = jnp.broadcast_to(injected, state.v.shape)
    hazard = jnp.asarray(params.lambda_0 * dt)
    # A little below the exponent at which the hazard is that of the smallest draw.
    possible = jnp.log(LEAST_DRAW / hazard) - 0.01
    half = jnp.exp(-dt / 2 * params.k_1)
    constants = [
        *(dt, 1.0 / jnp.asarray(params.tau_m), params.e_l, 1.0 / jnp.asarray(params.c_m)),
        *(params.v_min, params.v_reset, params.v_th, 1.0 / jnp.asarray(params.tau_v)),
        *(hazard, possible, params.k_adap, params.k_2, half, jnp.exp(-dt * params.k_1)),
        *(params.a_1, params.a_2, jnp.round(jnp.asarray(params.t_ref) / dt)),
    ]
    for tau, reversal in zip(params.tau_syn, params.e_rev, strict=True):
        keep = jnp.exp(-dt / tau)
        of_g, of_rise = tau / dt * (1 - keep), jnp.e / dt * (tau - (tau + dt) * keep)
        constants += [of_g, of_rise, keep, jnp.e / tau * dt, reversal]

    def native(
        state: eglif.State, injected: Array, draws: noise.Draws
    ) -> tuple[eglif.State, Array]:
        first = jnp.asarray(draws.cells.offset).astype(jnp.uint32)
        conductances = [synapse.g for synapse in state.synapses]
        rises = [synapse.rise for synapse in state.synapses if synapse.rise is not None]
        arrays = (state.v, state.i_adap, state.i_dep, *conductances, *rises, state.refractory)
        key = jnp.append(draws.key, first)
        *after, refractory, words = calls.eglif(tuple(constants), injected, key, *arrays)
        v, i_adap, i_dep, *receptors = after
        pairs = zip(receptors[: len(rises)], receptors[len(rises) :], strict=True)
        stepped = eglif.State(
            v=v,
            i_adap=i_adap,
            i_dep=i_dep,
            synapses=tuple(conductance.Synapse(g=g, rise=rise) for g, rise in pairs),
            refractory=refractory,
        )
        return stepped, words

    def reference(
        state: eglif.State, injected: Array, draws: noise.Draws
    ) -> tuple[eglif.State, Array]:
        drawn = replace(input, uniform=draws.values())
        stepped, spikes = eglif.step(params, state, drawn, dt)
        return stepped, events.pack(spikes)

    return by_platform(native, reference, state, injected, input.uniform)


def sweep(sent: Events, fans: tuple, weights: tuple, gains: tuple, sums: tuple) -> tuple:
    """Deliver all events in one pass, by push.cc."""
    if not all(x.dtype in _TYPES for x in (*sums, *weights, *gains)):
        return events.sweep(sent, fans, weights, gains, sums)
    return by_platform(_sweep, events.sweep, sent, fans, weights, gains, sums)


_TYPES = (jnp.float32, jnp.uint16, jnp.int32)
"""Types that push.cc can add, and to which it can add."""


def _sweep(sent: Events, fans: tuple, weights: tuple, gains: tuple, sums: tuple) -> tuple:
    lists = tuple(_lists(fan) if isinstance(fan, FanOut) else None for fan in fans)
    starts = np.asarray(sent.starts, np.int32)
    return calls.push(sent.words, lists, weights, gains, sums, starts)


def _lists(fan: FanOut) -> calls.Lists:
    if fan.delays is None or fan.row is None:
        return calls.Lists(fan.targets, fan.ascends)
    return calls.Lists(fan.targets, fan.ascends, fan.delays, fan.row, fan.depth)


def settle(weights: Array, closing: Closing, synapses: Synapses) -> Array:
    """Apply the weight updates of all rows in one pass, by settle.cc."""
    if weights.dtype not in (jnp.uint16, jnp.float32):
        return plasticity.settle(weights, closing, synapses)
    return by_platform(_settle, plasticity.settle, weights, closing, synapses)


def _settle(weights: Array, closing: Closing, synapses: Synapses) -> Array:
    fan, change = synapses.fan, closing.change
    if isinstance(fan, AllToAll):
        targets, beams = None, fan.beams
        if weights.dtype == jnp.uint16:
            change = fixed.fine(change / fan.unit)
    else:
        targets, beams = fan.targets, 1
    cell_offset = jnp.asarray(synapses.cell_offset).astype(jnp.uint32)
    words = jnp.concatenate([closing.key, synapses.contacts_key, cell_offset[None]])
    attributes = beams, fixed.threshold(synapses.share), synapses.w_max
    return calls.settle(weights, closing.words, targets, change, words, *attributes)


def draw(key: Array, name: str, step: Array, chance: Array, cells: CellRange) -> Array:
    """Draw the same spikes in one pass, with the derivation of their keys, by draw.cc."""

    def native(key: Array, step: Array, chance: Array) -> Array:
        cell_offset = jnp.asarray(cells.offset).astype(jnp.uint32)
        return calls.draw(key, step, chance, cell_offset, cells.size, name_number(name))

    def reference(key: Array, step: Array, chance: Array) -> Array:
        return primitives.draw(key, name, step, chance, cells)

    return by_platform(native, reference, key, step, chance)


def take(ring: Array, step: Array) -> tuple[Array, Array]:
    """Take a row out of a ring in place, by take.cc."""
    if ring.dtype != jnp.float32:
        return primitives.take(ring, step)

    def native(ring: Array, step: Array) -> tuple[Array, Array]:
        return calls.take(ring, jnp.remainder(step, ring.shape[0]))

    return by_platform(native, primitives.take, ring, step)


PRIMITIVES = Primitives(integrate=integrate, sweep=sweep, settle=settle, draw=draw, take=take)
