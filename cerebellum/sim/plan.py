"""What a step costs on each of many devices, from a spec alone: nothing is allocated.

Bytes are those that a step must touch if nothing stays in a cache; operations are additions and
multiplications; messages are what `shard` exchanges.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cerebellum.model import events, plasticity
from cerebellum.model.anatomy import Path, has_rows, list_dtype, resolve_path
from cerebellum.model.neurons import CIRCUIT_MODELS, current
from cerebellum.model.part import Part
from cerebellum.model.plasticity import ring_steps
from cerebellum.model.spec import Projection, Spec
from cerebellum.sim import memory, shard

LEARNED_OPERATIONS = 4
"""of a synapse that is settled: noise, sum, shift, bound"""


@dataclass(frozen=True)
class Cost:
    """Of one shard."""

    resident_bytes: int
    """circuit and state"""
    events: float
    """spikes that are looked at, a step"""
    synaptic_events: float
    """synapses that a spike comes through, a step"""
    touched_bytes: float
    """a step"""
    operations: float
    """a step"""
    received_bytes: int
    """a step, its own part included, in one exchange of all shards"""


def cost(spec: Spec, rates_hz: Mapping[str, float], devices: int, path: Path = "auto") -> Cost:
    """What one of `devices` shards of a circuit holds and does.

    Args:
      spec: of the whole circuit.
      rates_hz: by population.

    Raises:
      UsageError: fewer beams than devices.
    """
    part = shard.part_of(spec, devices)
    spikes = synapses = touched = operations = 0.0
    taken, dt = resolve_path(spec, path), spec.dt
    for population in spec.populations:
        size = part.size(population.name)
        held = memory.cells(population, size)
        touched += 2 * held
        if not CIRCUIT_MODELS[population.model].TAKES_SPIKES:
            operations += cell_operations() * size
    for projection in spec.projections:
        fired = part.sources(projection) * rates_hz[projection.source] * dt * 1e-3
        width, own = _width(projection, part, taken)
        spikes += fired
        synapses += fired * width
        touched += fired * own
        operations += fired * width
        rule = projection.rule
        if isinstance(rule, plasticity.Rule):
            row = spec.beam_size(projection.target)
            taught = rates_hz[_teacher(rule, projection, spec)] * dt * 1e-3
            taught *= part.size(projection.target)
            depth = sum(ring_steps(rule, dt))
            # The row is written too; debts: one step's row, and a column for each teaching spike.
            touched += 2 * fired * own + 8 * row * part.beams + 8 * depth * taught
            operations += fired * row * LEARNED_OPERATIONS + 2 * depth * taught
        elif rule is not None:
            # Any other may read and write every synapse in every step.
            synapses_here = part.sources(projection) * width
            touched += 8 * synapses_here
            operations += LEARNED_OPERATIONS * synapses_here
    return Cost(
        resident_bytes=sum(memory.arrays(part, taken).values()),
        events=spikes,
        synaptic_events=synapses,
        touched_bytes=touched,
        operations=operations,
        received_bytes=shard.exchanged_bytes(part, taken),
    )


def _teacher(rule: plasticity.Rule, projection: Projection, spec: Spec) -> str:
    """The population whose spikes teach a projection."""
    by_name = {each.name: each.source for each in spec.projections}
    return by_name.get(rule.teacher, projection.target)


def _width(projection: Projection, part: Part, path: events.Path) -> tuple[float, float]:
    """Synapses of one source cell here, mean, and the bytes that its spike touches."""
    targets = part.size(projection.target)
    if has_rows(projection, part.spec, path):
        width = part.spec.beam_size(projection.target)
        return width, width * (2 if projection.dtype == "uint16" else 4)
    mean = projection.in_degree * targets / part.sources(projection)
    index = np.dtype(list_dtype(targets)).itemsize
    own = projection.plastic or projection.spread > 0
    # Its list as wide as all are; what is added to is read and written.
    places = memory.list_width(projection, part)
    return mean, places * (index + 4 * own) + 8 * mean


@cache
def cell_operations() -> float:
    """Floating-point operations of a "current" cell's step, as XLA counts them."""
    size = 1_024
    params = jax.tree.map(jnp.float32, current.Params())
    state = current.init(params, (size,))
    step = jax.jit(lambda s: current.step(params, s, current.Input(current=jnp.float32(0)), 1.0))
    counted: Any = step.lower(state).compile().cost_analysis()
    return float(counted["flops"]) / size
