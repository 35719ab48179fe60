"""The native kernels as primitives, each next to the reference that it must equal."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from cerebellum.backends import kernels, models
from cerebellum.backends.cpu import calls, deferred
from cerebellum.backends.models import Model
from cerebellum.model import events, noise, plasticity, primitives
from cerebellum.model.events import Events, FanOut
from cerebellum.model.neurons import conductance
from cerebellum.model.neurons.protocol import NeuronModel
from cerebellum.model.plasticity import Closing, Synapses
from cerebellum.model.primitives import Primitives
from cerebellum.model.surrogate import Surrogate

PLATFORM = "cpu"


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
    kernel = models.of(model)
    if kernel is None or not _takes(kernel, model, params, state, input):
        return primitives.integrate(model, params, state, input, dt, surrogate)

    def call(state: Any, input: Any) -> tuple[Array, ...]:
        constants = jnp.stack([jnp.asarray(x, jnp.float32) for x in kernel.constants(params, dt)])
        driving = jnp.atleast_1d(jnp.asarray(kernel.current(params, input, dt), jnp.float32))
        if driving.size > 1:
            driving = jnp.broadcast_to(driving, state.v.shape)
        draws = jnp.zeros(1, jnp.uint32)
        if model.DRAWS_NOISE:
            offset = jnp.asarray(input.uniform.cells.offset).astype(jnp.uint32)
            draws = jnp.append(input.uniform.key, offset)
        arrays = [*kernel.arrays(state), state.refractory]
        return calls.integrate(kernel.name, constants, driving, draws, *arrays)

    operands = kernel, model, params, state, input, dt
    return kernels.integrate(PLATFORM, call, *operands)


def _takes(kernel: Model, model: NeuronModel, params: Any, state: Any, input: Any) -> bool:
    """Whether all cells have the same parameters, and there is a kernel for their kind."""
    alike = all(jnp.ndim(value) == 0 for value in jax.tree.leaves(params))
    counted = alike and state.refractory.dtype == jnp.uint8 and models.takes(kernel, state, input)
    if model is conductance and params.integrator != "rk4":
        return False
    # A draw that has been made already is not for eglif.cc, which makes few of them.
    draws = not model.DRAWS_NOISE or isinstance(input.uniform, noise.Draws)
    return counted and draws and kernel.variant(params, state) is not None


def sweep(sent: Events, fans: tuple, weights: tuple, gains: tuple, sums: tuple) -> tuple:
    """Deliver all events in one pass, by push.cc."""
    if not all(x.dtype in _TYPES for x in (*sums, *weights, *gains)):
        return events.sweep(sent, fans, weights, gains, sums)
    return kernels.by_platform(PLATFORM, _sweep, events.sweep, sent, fans, weights, gains, sums)


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
    return kernels.settle(PLATFORM, calls.settle, weights, closing, synapses)


PRIMITIVES = Primitives(
    integrate=integrate,
    sweep=sweep,
    settle=settle,
    draw=partial(kernels.draw, PLATFORM, calls.draw),
    count=partial(kernels.count, PLATFORM, calls.count),
    take=partial(kernels.take, PLATFORM, calls.take),
    deferred=deferred,
)
