"""How many bits a counter of the spikes that reach a cell in a step must have.

A cell gets at most one spike in a step through each of its synapses, which are counted once for
each table of targets, on its device.
"""

import weakref
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array
from jax.core import Tracer

from cerebellum.model.circuit import Circuit
from cerebellum.model.events import FanOut

_COUNTED: dict[int, int] = {}
"""Numbers that were counted, by the identity of the table, as long as it exists."""


def counter_bits(circuit: Circuit) -> tuple[tuple[str, int], ...]:
    """The bits of a counter for each projection with lists, by name."""
    wiring = circuit.wiring
    return tuple(
        (p.name, bits_for(_most(fan.targets, wiring.part.size(p.target))))
        for p in circuit.spec.projections
        if isinstance(fan := wiring.fans[p.name], FanOut)
    )


def bits_for(most: int) -> int:
    """Bits of a counter of up to `most` spikes, a divisor of 32."""
    return next((bits for bits in (4, 8, 16) if most < 1 << bits), 32)


def _most(targets: Array, size: int) -> int:
    """The most synapses of a cell."""
    if isinstance(targets, Tracer | jax.ShapeDtypeStruct):
        # Not known; a cell fires once a step at most.
        return targets.shape[0] * targets.shape[1]
    key = id(targets)
    if key not in _COUNTED:
        _COUNTED[key] = int(_count(targets, size))
        weakref.finalize(targets, _COUNTED.pop, key, None)
    return _COUNTED[key]


@partial(jax.jit, static_argnames="size")
def _count(targets: Array, size: int) -> Array:
    counts = jnp.zeros(size, jnp.int32).at[targets.reshape(-1)].add(1, mode="drop")
    return counts.max(initial=0)
