"""Delivery of spikes when they arrive, for circuits whose rings of arrivals do not fit the cache.

The reference adds a spike to the rings when it is emitted, at places far apart. Here the synapses
of a source are kept a second time, in one list by delay. Within a chunk the sources that fired in
the last steps are remembered, and each step adds the slices of their lists that arrive in it. Each
target sums in the same order, so the result is the same bit for bit. At the end of a chunk what is
still to arrive goes into the rings, so a state is that of the reference. See arrive.cc.
"""

import weakref
from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array

from cerebellum.model import collect
from cerebellum.model.circuit import Circuit, Ring, State, Wiring, ring_of, rings
from cerebellum.model.events import FanOut

LEAST_BYTES = 4 * 2**20
"""Rings that are smaller than this together stay in the cache."""
LEAST_SLICE = 1
"""Synapses to a slice, on average, from which on it is used: a spike looks for a slice in each step
of the longest delay, which must not be more than it has to add."""
LEAST_STEPS = 25
"""Steps to a chunk from which on it is used: at the end of each, all rings are written."""
EDGES = 64
"""Threads can divide the slots into so many shares with equal numbers of synapses."""


@struct.dataclass(kw_only=True)
class Merged:
    """The lists of all projections into rings, merged. N sources, D the longest delay in steps."""

    starts: Array
    """where the synapses of a source with a delay of 1, 2, ... D steps begin, and where the last
    end, uint32 [N, D + 1]"""
    slots: Array
    """the target of each synapse, numbered through all rings, uint32 [synapses]"""
    weights: Array
    """float32 [synapses]"""
    edges: Array
    """the first slot of each share of the synapses, and the number of slots, int32 [EDGES + 1]"""


@struct.dataclass(kw_only=True)
class Sent:
    """The spikes of a chunk that are not in the rings yet."""

    since: Array
    """the first step of the chunk, int32 scalar"""
    fired: Array
    """sources that fired in step s, in row s mod D, uint32 [D, N]; only the first are valid"""
    counts: Array
    """how many of a row are valid, int32 [D]"""


def merged(circuit: Circuit, steps: int) -> Merged | None:
    """The merged lists of a circuit, made once for the same arrays; None where they do not help.

    Lists and weights are compared by identity: arrays of JAX never change.

    Args:
      steps: to a chunk.
    """
    arrays = _operands(circuit) if steps >= LEAST_STEPS else None
    if arrays is None:
        return None
    key, held = id(arrays[0]), tuple(rings(circuit.wiring).items())
    known = _KNOWN.get(key)
    if known is not None and known.of(arrays, held):
        return known.lists
    made = _merge(circuit, arrays)
    if made is not None:
        _KNOWN[key] = _Known([weakref.ref(x) for x in arrays], held, made)
        weakref.finalize(arrays[0], _KNOWN.pop, key, None)
    return made


class _Known(NamedTuple):
    """Merged lists, with what they were made of."""

    arrays: list[weakref.ref]
    rings: tuple[tuple[str, Ring], ...]
    lists: Merged

    def of(self, arrays: list[Array], held: tuple[tuple[str, Ring], ...]) -> bool:
        same = len(arrays) == len(self.arrays) and held == self.rings
        return same and all(ref() is x for ref, x in zip(self.arrays, arrays, strict=True))


_KNOWN: dict[int, _Known] = {}
"""Merged lists by the identity of the first array that they were made of, while that exists."""


def _operands(circuit: Circuit) -> list[Array] | None:
    """Targets, delays and weights of each projection into a ring; None where they change, differ in
    kind, or are not worth it."""
    wiring = circuit.wiring
    if wiring.shard is not None or wiring.path != "event":
        return None
    sizes = [ring.depth * wiring.part.size(ring.target) for ring in rings(wiring).values()]
    if not sizes or 4 * sum(sizes) < LEAST_BYTES:
        return None
    arrays: list[Array] = []
    for group in collect.ring_bundles(wiring):
        for p in group:
            fan, weight = wiring.fans[p.name], circuit.params.weights[p.name]
            changes = p.plastic or p.short_term is not None
            if changes or not isinstance(fan, FanOut) or fan.delays is None or not fan.ascends:
                return None
            # An array of NumPy may change, and would have to be merged again in every run.
            if not isinstance(weight, Array) or weight.dtype != jnp.float32:
                return None
            arrays += [fan.targets, fan.delays, weight]
    return arrays


def _merge(circuit: Circuit, arrays: list[Array]) -> Merged | None:
    wiring, offsets = circuit.wiring, _slots(circuit.wiring)
    depth = max(ring.depth for ring in rings(wiring).values())
    groups, first, slot, sizes, order = collect.ring_bundles(wiring), [], [], [], []
    triples = iter([arrays[k : k + 3] for k in range(0, len(arrays), 3)])
    synapses = sources = 0
    for group in groups:
        own = sorted(
            ((offsets[ring_of(p)], wiring.part.size(p.target), next(triples)) for p in group),
            key=lambda each: each[0],
        )
        for offset, size, triple in own:
            first.append(sources)
            slot.append(offset)
            sizes.append(size)
            order += triple
            synapses += int(np.count_nonzero(np.asarray(triple[0]) < size))
        sources += wiring.part.sources(group[0])
    if synapses >= 2**32 or synapses < LEAST_SLICE * sources * depth:
        return None
    slots = sum(wiring.part.size(ring.target) for ring in rings(wiring).values())
    starts, targets, weights, loads = _call_merge(
        order, (sources, depth + 1), synapses, slots, (first, slot, sizes)
    )
    before = np.append(0, np.cumsum(np.asarray(loads), dtype=np.int64))
    shares = np.searchsorted(before, np.arange(EDGES + 1) * synapses // EDGES)
    shares[0], shares[-1] = 0, slots
    return Merged(
        starts=starts, slots=targets, weights=weights, edges=jnp.asarray(shares, jnp.int32)
    )


def _call_merge(
    operands: list[Array],
    starts: tuple[int, int],
    synapses: int,
    slots: int,
    places: tuple[list[int], list[int], list[int]],
) -> tuple[Array, Array, Array, Array]:
    """The merged lists. See merge.cc.

    Args:
      starts: shape of the starts.
      places: first source, first slot and number of targets of each projection.
    """
    results = (
        jax.ShapeDtypeStruct(starts, jnp.uint32),
        jax.ShapeDtypeStruct((synapses,), jnp.uint32),
        jax.ShapeDtypeStruct((synapses,), jnp.float32),
        jax.ShapeDtypeStruct((slots,), jnp.uint32),
    )
    call = jax.ffi.ffi_call("cerebellum_merge", results)
    first, slot, sizes = (np.array(x, np.int64) for x in places)
    return jax.jit(lambda *x: call(*x, first=first, slot=slot, sizes=sizes))(*operands)


def _slots(wiring: Wiring) -> dict[str, int]:
    """The first slot of each ring."""
    offsets, slot = {}, 0
    for name, ring in rings(wiring).items():
        offsets[name] = slot
        slot += wiring.part.size(ring.target)
    return offsets


def begin(wiring: Wiring, state: State) -> State:
    """The state at the beginning of a chunk: what is on its way is in the rings."""
    lists: Merged = wiring.merged
    sources, depth = lists.starts.shape[0], lists.starts.shape[1] - 1
    sent = Sent(
        since=state.step,
        fired=jnp.zeros((depth, sources), jnp.uint32),
        counts=jnp.zeros(depth, jnp.int32),
    )
    return replace(state, sent=sent)


def arrive(
    wiring: Wiring, state: State, emitted: dict[str, Array]
) -> tuple[dict[str, Array], State]:
    """What arrives in a step by ring, [T], and the state with the spikes of this step sent.

    Args:
      emitted: the packed spikes of this step by population.
    """
    # JAX sorts the names of a state; slots are numbered in the order of the rings.
    names, groups = list(rings(wiring)), collect.ring_bundles(wiring)
    sizes = [state.arrivals[name].shape[1] for name in names]
    sent: Sent = state.sent
    row = jax.ShapeDtypeStruct((sum(sizes),), jnp.float32)
    held = [sent.fired, sent.counts, *(state.arrivals[name] for name in names)]
    first, results = 5, [row, *(jax.ShapeDtypeStruct(x.shape, x.dtype) for x in held)]
    call = jax.ffi.ffi_call(
        "cerebellum_arrive",
        results,
        input_output_aliases={first + k: 1 + k for k in range(len(held))},
    )
    row, fired, counts, *after = call(
        *_lists(wiring, state),
        *held,
        *(emitted[group[0].source] for group in groups),
        rings=np.int64(len(names)),
        cells=np.array([wiring.part.sources(group[0]) for group in groups], np.int64),
    )
    ends = np.cumsum(sizes)
    parts = zip(names, ends - sizes, ends, strict=True)
    taken = {name: row[first:last] for name, first, last in parts}
    return taken, replace(
        state,
        arrivals=dict(zip(names, after, strict=True)),
        sent=replace(sent, fired=fired, counts=counts),
    )


def end(wiring: Wiring, state: State) -> State:
    """The state at the end of a chunk: all that is on its way is in the rings."""
    sent: Sent = state.sent
    names = list(rings(wiring))
    held = [state.arrivals[name] for name in names]
    results = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in held]
    call = jax.ffi.ffi_call(
        "cerebellum_land", results, input_output_aliases={7 + k: k for k in range(len(held))}
    )
    after = call(*_lists(wiring, state), sent.fired, sent.counts, *held)
    return replace(state, arrivals=dict(zip(names, after, strict=True)), sent=None)


def _lists(wiring: Wiring, state: State) -> list[Array]:
    """The first operands of both kernels."""
    lists: Merged = wiring.merged
    steps = jnp.stack([state.step, state.sent.since]).astype(jnp.int32)
    return [steps, lists.starts, lists.slots, lists.weights, lists.edges]
