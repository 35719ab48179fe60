"""Estimates of the cost of a step on each of many devices, from a spec alone.

Nothing is allocated. Bytes are those that a step must touch if nothing stays in a cache; operations
are additions and multiplications; messages are the spikes that `shard` exchanges.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cerebellum.model import events, plasticity, registry, widths
from cerebellum.model.anatomy import Path, has_rows, resolve_path
from cerebellum.model.neurons import CIRCUIT_MODELS
from cerebellum.model.part import Part
from cerebellum.model.plasticity import ring_steps
from cerebellum.model.projection import Projection
from cerebellum.model.spec import Spec
from cerebellum.model.target_lists import list_dtype
from cerebellum.sim import memory, shard

LEARNED_OPERATIONS = 4
"""Operations when a pending weight update is applied to a synapse: noise, sum, shift, bound."""


@dataclass(frozen=True)
class Cost:
    """The cost of one shard; all but `resident_bytes` is per step."""

    resident_bytes: int
    """bytes of the circuit and its state"""
    events: float
    """number of spikes that are visited"""
    synaptic_events: float
    """number of synapses through which a spike is delivered"""
    touched_bytes: float
    """bytes that are read or written"""
    operations: float
    """number of floating-point operations"""
    received_bytes: int
    """bytes that the shard receives, from itself too, in one exchange of all shards"""


def cost(spec: Spec, rates_hz: Mapping[str, float], devices: int, path: Path = "auto") -> Cost:
    """The cost of one of `devices` shards of a circuit.

    Args:
      spec: the spec of the whole circuit.
      rates_hz: mean firing rates by population, Hz.

    Raises:
      UsageError: there are fewer beams than devices.
    """
    part = shard.part_of(spec, devices)
    spikes = synapses = touched = operations = 0.0
    resolved_path, dt = resolve_path(spec, path), spec.dt
    for population in spec.populations:
        size = part.size(population.name)
        touched += 2 * memory.cells(population, size)
        if not CIRCUIT_MODELS[population.model].TAKES_SPIKES:
            now = registry.equations({"neuron": [population.model]})
            operations += cell_operations(population.model, population.typical, dt, now) * size
    for projection in spec.projections:
        fired = part.sources(projection) * rates_hz[projection.source] * dt * 1e-3
        width, event_bytes = _fan_out_cost(projection, part, resolved_path)
        spikes += fired
        synapses += fired * width
        touched += fired * event_bytes
        operations += fired * width
        rule = projection.rule
        if isinstance(rule, plasticity.Rule):
            row = spec.beam_size(projection.target)
            teaching_spikes = rates_hz[_teacher(rule, projection, spec)] * dt * 1e-3
            teaching_spikes *= part.size(projection.target)
            depth = sum(ring_steps(rule, dt))
            # The row of weights is written too. Of the pending weight updates, the row of one
            # step is touched, and a column for each teaching spike.
            touched += 2 * fired * event_bytes + 8 * row * part.beams + 8 * depth * teaching_spikes
            operations += fired * row * LEARNED_OPERATIONS + 2 * depth * teaching_spikes
        elif rule is not None:
            # Any other rule may read and write every synapse in every step.
            synapses_here = part.sources(projection) * width
            touched += 8 * synapses_here
            operations += LEARNED_OPERATIONS * synapses_here
    return Cost(
        resident_bytes=sum(memory.arrays(part, resolved_path).values()),
        events=spikes,
        synaptic_events=synapses,
        touched_bytes=touched,
        operations=operations,
        received_bytes=shard.exchanged_bytes(part, resolved_path),
    )


def _teacher(rule: plasticity.Rule, projection: Projection, spec: Spec) -> str:
    """The population whose spikes teach a projection."""
    source_by_name = {each.name: each.source for each in spec.projections}
    return source_by_name.get(rule.teacher, projection.target)


def _fan_out_cost(projection: Projection, part: Part, path: events.Path) -> tuple[float, float]:
    """Mean number of synapses of a source cell in a part, and the bytes that its spike touches."""
    targets = part.size(projection.target)
    if has_rows(projection, part.spec, path):
        width = part.spec.beam_size(projection.target)
        return width, width * (2 if projection.dtype == "uint16" else 4)
    mean = projection.in_degree * targets / part.sources(projection)
    index = np.dtype(list_dtype(targets)).itemsize
    individual = projection.individual
    # All lists are as wide as the longest one. The value of a target is read and written.
    entries = widths.width(projection, part)
    return mean, entries * (index + 4 * individual) + 8 * mean


@cache
def cell_operations(model: str, params: Any, dt: float, equations: Hashable) -> float:
    """Number of floating-point operations in a step of one cell, as XLA counts them.

    Args:
      model: name of its model.
      params: parameters of its population.
      equations: `registry.equations` of the model, because one of that name can be edited.
    """
    size, neuron = 1_024, CIRCUIT_MODELS[model]
    params = jax.tree.map(jnp.float32, params)
    state = neuron.init(params, (size,))
    drawn = {"uniform": jnp.zeros(size)} if neuron.DRAWS_NOISE else {}
    step = jax.jit(
        lambda state: neuron.step(params, state, replace(neuron.outside(0.0), **drawn), dt)
    )
    analysis: Any = step.lower(state).compile().cost_analysis()
    return float(analysis["flops"]) / size
