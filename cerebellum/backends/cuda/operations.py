"""The CUDA kernels as primitives, each next to the reference that it must equal.

No order of threads changes a bit of a sum (fixed.cuh). Lists of one weight and uint16 rows give
what the reference gives, bit for bit; other lists and rows are summed in fixed point.
"""

from collections.abc import Mapping, Sequence
from functools import cache, partial
from typing import Any

import jax.numpy as jnp
from jax import Array

from cerebellum.backends import kernels, loop_free, models
from cerebellum.backends.cuda import calls, delivery_calls
from cerebellum.model import delivery, events, noise, plasticity, primitives
from cerebellum.model.delivery import Delivery
from cerebellum.model.events import Events, Sweep
from cerebellum.model.neurons.protocol import NeuronModel
from cerebellum.model.plasticity import Closing, Synapses
from cerebellum.model.primitives import Primitives
from cerebellum.model.surrogate import Surrogate

OTHERS = loop_free.PRIMITIVES
"""The operations for what has no kernel."""


def integrate(
    platform: str,
    model: NeuronModel,
    params: Any,
    state: Any,
    input: Any,
    dt: float,
    surrogate: Surrogate | None,
) -> tuple[Any, Array, Array]:
    """Integrate current-based, conductance-based and E-GLIF cells by integrate.cuh.

    Voltages differ from those of the reference in the last bits where XLA rounds a product and a
    sum together, or has another exponential function. Cells whose spikes pass gradients, and models
    without a kernel, are integrated by the reference.
    """
    kernel = models.of(model)
    if kernel is None or surrogate is not None:
        return primitives.integrate(model, params, state, input, dt, surrogate)
    variant = kernel.variant(params, state)
    if variant is None or not models.takes(kernel, state, input):
        return primitives.integrate(model, params, state, input, dt, surrogate)

    def call(state: Any, input: Any) -> tuple[Array, ...]:
        constants = models.by_cell(kernel.constants(params, dt))
        driving = jnp.atleast_1d(jnp.asarray(kernel.current(params, input, dt), jnp.float32))
        uniform = jnp.zeros(1)
        if model.DRAWS_NOISE:
            uniform = jnp.broadcast_to(noise.drawn(input.uniform), state.v.shape)
        held = [*kernel.arrays(state), state.refractory]
        return calls.integrate(constants, driving, uniform, held, kernel.number, variant)

    operands = kernel, model, params, state, input, dt
    return kernels.integrate(platform, call, *operands)


def sweep(
    platform: str, sent: Events, fans: tuple, weights: tuple, gains: tuple, sums: tuple
) -> tuple:
    """Deliver the events of one population by deliver.cu."""
    if not all(map(delivery_calls.has_types, fans, weights, gains, sums)):
        return events.sweep(sent, fans, weights, gains, sums)
    operands = sent, fans, weights, gains, sums
    return kernels.by_platform(platform, delivery_calls.sweep, events.sweep, *operands)


def deliver(
    platform: str, deliveries: Sequence[Delivery], arrays: Mapping[str, Array], sweep: Sweep
) -> dict[str, Array]:
    """Make all deliveries of a step by deliver.cu, in a launch of each of its passes."""
    known = all(
        delivery_calls.has_types(fan, weight, gain, arrays[end])
        for each in deliveries
        for fan, weight, gain, end in zip(
            each.fans, each.weights, each.gains, each.ends, strict=True
        )
    )
    if not known:
        return OTHERS.deliver(deliveries, arrays, events.sweep)

    def reference(deliveries: Sequence[Delivery], arrays: Mapping[str, Array]) -> dict[str, Array]:
        return delivery.deliver(deliveries, arrays, events.sweep)

    return kernels.by_platform(
        platform, delivery_calls.deliver, reference, list(deliveries), dict(arrays)
    )


def settle(platform: str, weights: Array, closing: Closing, synapses: Synapses) -> Array:
    """Apply the weight updates of all rows in one launch, by settle.cuh."""
    if weights.dtype not in (jnp.uint16, jnp.float32) or closing.change.dtype != jnp.float32:
        return OTHERS.settle(weights, closing, synapses)
    return kernels.settle(platform, calls.settle, weights, closing, synapses)


def incur(
    platform: str, pending: Array, teaching_spikes: Array, step: Array, rule: Any, dt: float
) -> Array:
    """Add the effect of teaching spikes where there are any, in one launch, by settle.cuh."""
    if not pending.dtype == teaching_spikes.dtype == jnp.float32:
        return OTHERS.incur(pending, teaching_spikes, step, rule, dt)

    def kernel(pending: Array, teaching_spikes: Array, step: Array) -> Array:
        by_row = plasticity.kernel_by_row(pending, step, rule, dt)
        return calls.incur(pending, teaching_spikes, by_row)

    def reference(pending: Array, teaching_spikes: Array, step: Array) -> Array:
        return plasticity.incur(pending, teaching_spikes, step, rule, dt)

    return kernels.by_platform(platform, kernel, reference, pending, teaching_spikes, step)


@cache
def on(platform: str) -> Primitives:
    """The operations whose kernels run in programs for a platform of JAX, by its name."""
    return Primitives(
        integrate=partial(integrate, platform),
        sweep=partial(sweep, platform),
        deliver=partial(deliver, platform),
        incur=partial(incur, platform),
        settle=partial(settle, platform),
        draw=partial(kernels.draw, platform, calls.draw),
        take=partial(kernels.take, platform, calls.take),
    )
