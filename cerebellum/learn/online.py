"""Learning as ticks come: predict, then learn from an outcome when its horizon has passed.

One step for a tick of some markets, the same in an evaluation and in the service. Markets share a
circuit's weights; each has membranes and a readout of its own. What a synapse needs to know of a
tick until its outcome is known, the traces at its end, waits in a ring; then climbing fibres teach
(`climbing`), and the market's readout is corrected by the delta rule.

Dimensions: B markets, R ticks that wait, N nuclear cells, C choices.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array, lax

from cerebellum.learn import climbing, decode, network
from cerebellum.learn.decode import Readout
from cerebellum.learn.network import Carry, Design, Ends, Learner, Net, Seen, Traces
from cerebellum.learn.tasks.ticks import NONE, Data, Part
from cerebellum.model.circuit import Circuit

WAITING = 16
"""R: outcomes come within so many questions"""
CHUNK = 500
GAIN = 0.25
"""of climbing fibres, beside that of training: a learner that goes on changes slowly"""
RATE = 2e-2
"""of the readout"""


@struct.dataclass(kw_only=True)
class Waiting:
    """Questions whose outcome is not known."""

    traces: Traces
    """[B, R, ...]"""
    rates: Array
    """nuclear rates, [B, R, N]"""
    asked: Array
    """questions so far, int32 [B]"""


@struct.dataclass(kw_only=True)
class Market:
    """What is remembered of markets, beside what they share; arrays [B, ...]."""

    readout: Readout
    carry: Carry
    waiting: Waiting | None
    """None: nothing is learned of them"""


@struct.dataclass(kw_only=True)
class Event:
    """What comes with a tick of each market."""

    inputs: Any
    """of `network.sense`, [B, F]"""
    back: Any
    """how many questions ago the one was whose answer is now known; 0: none, int32 [B]"""
    label: Any
    """that answer, int32 [B]"""
    asks: Any
    """whether this tick is a question, bool [B]"""


@struct.dataclass(kw_only=True)
class Gains:
    """How fast it learns."""

    climbing: Any
    """of climbing fibres, see `climbing.teach`"""
    readout: Any
    """a step of a weight for an error of one"""


def begin(net: Net, learner: Learner, count: int = 1, learning: bool = True) -> Market:
    """Markets of which nothing was seen yet."""
    design = net.design
    carry = network.fresh(net, jax.random.key(0), count)
    many = jax.tree.map(lambda x: jnp.repeat(x[None], count, axis=0), learner.readout)
    if not learning:
        return Market(readout=many, carry=replace(carry, traces=None), waiting=None)
    rings = network.no_traces(design, count * WAITING)
    waiting = Waiting(
        traces=jax.tree.map(lambda x: x.reshape(count, WAITING, -1), rings),
        rates=jnp.zeros((count, WAITING, design.nuclei), jnp.float32),
        asked=jnp.zeros(count, jnp.int32),
    )
    return Market(readout=many, carry=carry, waiting=waiting)


def learn(
    net: Net, learner: Learner, markets: Market, events: Event, gains: Gains, key: Array
) -> tuple[Learner, Market]:
    """What is shared, and the markets, after outcomes that are now known."""
    waiting = markets.waiting
    assert waiting is not None
    rows = jnp.arange(waiting.asked.shape[0])
    slot = (waiting.asked - events.back) % WAITING
    counts = (events.back > 0).astype(jnp.float32)
    rates = waiting.rates[rows, slot]
    wrong = climbing.error(jax.vmap(decode.logits)(markets.readout, rates), events.label)
    traces = jax.tree.map(lambda x: x[rows, slot], waiting.traces)
    errors = climbing.by_readout(net, markets.readout, wrong)
    taught = climbing.teach(net, learner, traces, errors, counts, gains.climbing, key)
    readout = jax.vmap(decode.correct)(markets.readout, rates, wrong, gains.readout * counts)
    return taught, replace(markets, readout=readout)


def step(
    net: Net,
    learner: Learner,
    markets: Market,
    events: Event,
    gains: Gains,
    key: Array,
    shared: Mapping[str, Array] = MappingProxyType({}),
    watch: bool = False,
) -> tuple[Learner, Market, Array, Seen | None]:
    """A tick of each market: learn from what it makes known, then say what comes, [B, C].

    Args:
      shared, watch: see `network.unroll`; what is seen has no axis L.
    """
    if markets.waiting is not None:
        learner, markets = learn(net, learner, markets, events, gains, key)
    carry, ends = _respond(net, learner, markets.carry, events.inputs, shared, watch)
    chances = jax.nn.softmax(jax.vmap(decode.logits)(markets.readout, ends.rates))
    waiting = markets.waiting
    if waiting is not None:
        rows = jnp.arange(chances.shape[0])
        slot = jnp.where(events.asks, waiting.asked % WAITING, WAITING)

        def put(ring: Array, now: Array) -> Array:
            return ring.at[rows, slot].set(now, mode="drop")

        waiting = Waiting(
            traces=jax.tree.map(put, waiting.traces, ends.traces),
            rates=put(waiting.rates, ends.rates),
            asked=waiting.asked + events.asks.astype(jnp.int32),
        )
    return learner, replace(markets, carry=carry, waiting=waiting), chances, ends.seen


def _respond(
    net: Net,
    learner: Learner,
    carry: Carry,
    inputs: Array,
    shared: Mapping[str, Array],
    watch: bool,
) -> tuple[Carry, Ends]:
    """The circuits after a tick, and its end; event circuits one by one."""
    circuit = network.with_learned(net.circuit, learner)

    def some(carry: Carry, inputs: Array) -> tuple[Carry, Ends]:
        after, ends = network.unroll(net.design, circuit, carry, inputs[None], 0, shared, watch)
        return after, jax.tree.map(lambda x: x[0], ends)

    if circuit.wiring.path == "dense" or inputs.shape[0] == 1:
        return some(carry, inputs)

    def alone(given: tuple[Carry, Array]) -> Any:
        carry, ends = some(*jax.tree.map(lambda x: x[None], given))
        first = jax.tree.map(lambda x: x[0], (carry, replace(ends, seen=None)))
        return first, jax.tree.map(lambda x: x[..., 0], ends.seen)

    (after, ends), seen = lax.map(alone, (carry, inputs))
    return after, replace(ends, seen=jax.tree.map(lambda x: jnp.moveaxis(x, 0, -1), seen))


@partial(jax.jit, static_argnames="design", donate_argnames=("learner", "market"))
def go(design: Design, circuit: Circuit, learner, market, events: Event, gains: Gains, key, start):
    """Ticks in a row of one market, [T, 1, ...]: what is after them, and what it said, [T, C]."""
    net = Net(design, circuit)

    def tick(held, given):
        index, event = given
        once = jax.random.fold_in(key, index)
        learner, market, chances, _ = step(net, held[0], held[1], event, gains, once)
        return (learner, market), chances[0]

    indices = start + jnp.arange(events.back.shape[0])
    return lax.scan(tick, (learner, market), (indices, events))


def events(data: Data, part: Part) -> Event:
    """The ticks of a part, with the answers that become known at each, NumPy [T, 1, ...]."""
    inside = np.arange(part.start, part.stop)
    asks = data.labels[inside] != NONE
    order = np.cumsum(asks) - asks
    back = np.zeros(len(inside), np.int32)
    label = np.zeros(len(inside), np.int32)
    questions = inside[asks]
    known = data.known[questions]
    good = known < part.stop
    at = known[good] - part.start
    back[at] = order[at] - order[questions[good] - part.start]
    label[at] = data.labels[questions[good]]
    back = np.where(back <= WAITING, back, 0)
    found = Event(inputs=data.ranks[inside], back=back, label=label, asks=asks)
    return jax.tree.map(lambda x: x[:, None], found)


def prequential(
    net: Net, learner: Learner, data: Data, part: Part, *, gain: float, rate: float, seed: int = 0
) -> tuple[Learner, np.ndarray]:
    """Go through a part, learning: the learner after it, and what it said at each tick [T, C]."""
    held = jax.tree.map(jnp.copy, learner), begin(net, learner)
    gains = Gains(climbing=jnp.float32(gain), readout=jnp.float32(rate))
    said, all_events, key = [], events(data, part), jax.random.key(seed)
    for start in range(0, part.stop - part.start, CHUNK):
        some = jax.tree.map(lambda x, s=start: jnp.asarray(x[s : s + CHUNK]), all_events)
        learner, market = held
        held, chances = go(
            net.design, net.circuit, learner, market, some, gains, key, jnp.int32(start)
        )
        said.append(np.asarray(chances))
    after, market = held
    return replace(after, readout=jax.tree.map(lambda x: x[0], market.readout)), np.concatenate(
        said
    )
