"""Online learning: predict at each tick, then learn from an outcome when its horizon has passed.

One call of `step` takes a tick of each of several markets. Evaluation and the service use the same
function. Markets share a circuit's weights; each has its own membranes and readout. The traces and
rates at the end of a tick wait in a ring until its outcome is known. Then climbing fibres teach the
circuit (`climbing`), and the market's readout is corrected by the delta rule.

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

from cerebellum.learn import climbing, decode, feed, losses, network
from cerebellum.learn.decode import Readout
from cerebellum.learn.network import Carry, Design, Ends, Learner, Net, SpikeSummary, Traces
from cerebellum.learn.plan import Plan
from cerebellum.learn.tasks.ticks import NONE, Data, Split
from cerebellum.model import noise
from cerebellum.model.circuit import Circuit

WAITING = 16
"""R: size of the ring. An outcome must come within so many questions."""
CHUNK = 500
"""Ticks to a compiled call."""
GAIN = 0.25
"""Gain of climbing fibres, as a share of that of training: online learning changes slowly."""
RATE = 2e-2
"""Step of the readout."""
RATES = (5e-3, 2e-2, 5e-2, 1e-1)
"""Steps of the readout among which `best_rate` chooses. None is 0, because a rule that has held in
the validation split may still change."""


def gain_of(plan: Plan) -> float:
    """The gain of climbing fibres with which a model learns on.

    After gradients it is 0: what climbing fibres change at random costs a circuit that gradients
    have shaped more than they teach it, and the readout alone learns on.
    """
    return 0.0 if plan.descends else plan.plasticity * GAIN


@struct.dataclass(kw_only=True)
class Waiting:
    """Questions whose outcome is not yet known."""

    traces: Traces
    """[B, R, ...]"""
    rates: Array
    """Filtered nuclear rates, [B, R, N]."""
    asked: Array
    """Number of questions so far, int32 [B]."""


@struct.dataclass(kw_only=True)
class Market:
    """The state of markets, apart from what they share; arrays [B, ...]."""

    readout: Readout
    carry: Carry
    waiting: Waiting | None
    """None where nothing is learned from outcomes."""


@struct.dataclass(kw_only=True)
class Event:
    """A tick of each market, with the answer that it brings."""

    inputs: Any
    """Inputs of `network.sense`, [B, F]."""
    back: Any
    """How many questions ago the question was whose answer is now known, 0 for none, int32 [B]."""
    label: Any
    """That answer, int32 [B]."""
    asks: Any
    """Whether this tick is a question, bool [B]."""


@struct.dataclass(kw_only=True)
class Gains:
    """How fast the circuit and the readouts learn."""

    climbing: Any
    """Gain of climbing fibres; see `climbing.teach`."""
    readout: Any
    """Share of an error that one step of the readout takes away; see `decode.correct`."""


def begin(net: Net, learner: Learner, count: int = 1, learning: bool = True) -> Market:
    """The initial state of `count` markets."""
    design = net.design
    carry = network.fresh(net, jax.random.key(0), count)
    readouts = jax.tree.map(lambda x: jnp.repeat(x[None], count, axis=0), learner.readout)
    if not learning:
        return Market(readout=readouts, carry=replace(carry, traces=None), waiting=None)
    rings = network.no_traces(design, count * WAITING)
    waiting = Waiting(
        traces=jax.tree.map(lambda x: x.reshape(count, WAITING, -1), rings),
        rates=jnp.zeros((count, WAITING, design.nuclei), jnp.float32),
        asked=jnp.zeros(count, jnp.int32),
    )
    return Market(readout=readouts, carry=carry, waiting=waiting)


def learn(
    net: Net, learner: Learner, markets: Market, events: Event, gains: Gains, key: Array
) -> tuple[Learner, Market]:
    """Learn from the outcomes that are now known. Returns the learner and the markets after it."""
    waiting = markets.waiting
    assert waiting is not None
    rows = jnp.arange(waiting.asked.shape[0])
    slot = (waiting.asked - events.back) % WAITING
    counts = (events.back > 0).astype(jnp.float32)
    rates = waiting.rates[rows, slot]
    error = climbing.error(jax.vmap(decode.logits)(markets.readout, rates), events.label)
    traces = jax.tree.map(lambda x: x[rows, slot], waiting.traces)
    errors = climbing.by_readout(net, markets.readout, error)
    learner = climbing.teach(net, learner, traces, errors, counts, gains.climbing, key)
    readout = jax.vmap(decode.correct)(markets.readout, rates, error, gains.readout * counts)
    return learner, replace(markets, readout=readout)


def step(
    net: Net,
    learner: Learner,
    markets: Market,
    events: Event,
    gains: Gains,
    key: Array,
    shared: Mapping[str, Array] = MappingProxyType({}),
    watch: bool = False,
) -> tuple[Learner, Market, Array, SpikeSummary | None]:
    """Take a tick of each market: learn from the answers that it brings, then predict.

    Args:
      shared, watch: see `network.unroll`.

    Returns:
      The learner and the markets after it, the probabilities of the choices [B, C], and a summary
      of the spikes, which has no axis L, or None.
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
    return learner, replace(markets, carry=carry, waiting=waiting), chances, ends.spikes


def _respond(
    net: Net,
    learner: Learner,
    carry: Carry,
    inputs: Array,
    shared: Mapping[str, Array],
    watch: bool,
) -> tuple[Carry, Ends]:
    """Run one tick of the circuits. On the event path the circuits run one after another."""
    circuit = network.with_learned(net.circuit, learner)

    def run_batch(carry: Carry, inputs: Array) -> tuple[Carry, Ends]:
        after, ends = network.unroll(net.design, circuit, carry, inputs[None], 0, shared, watch)
        return after, jax.tree.map(lambda x: x[0], ends)

    if circuit.wiring.path == "dense" or inputs.shape[0] == 1:
        return run_batch(carry, inputs)

    def run_one(operands: tuple[Carry, Array]) -> Any:
        carry, ends = run_batch(*jax.tree.map(lambda x: x[None], operands))
        arrays = jax.tree.map(lambda x: x[0], (carry, replace(ends, spikes=None)))
        # In a summary of spikes the axis of circuits is the last.
        return arrays, jax.tree.map(lambda x: x[..., 0], ends.spikes)

    (after, ends), spikes = lax.map(run_one, (carry, inputs))
    return after, replace(ends, spikes=jax.tree.map(lambda x: jnp.moveaxis(x, 0, -1), spikes))


@partial(jax.jit, static_argnames="design", donate_argnames=("learner", "market"))
def scan_ticks(
    design: Design,
    circuit: Circuit,
    learner: Learner,
    market: Market,
    events: Event,
    gains: Gains,
    key: Array,
    start: Array,
) -> tuple[tuple[Learner, Market], Array]:
    """Take T consecutive ticks of one market, [T, 1, ...].

    Args:
      start: number of the first of these ticks, from which the keys of the steps are derived.

    Returns:
      The learner and the market after the ticks, and the probabilities at each, [T, C].
    """
    net = Net(design, circuit)

    def tick(carry, scanned):
        index, event = scanned
        step_key = jax.random.fold_in(key, index)
        learner, market, chances, _ = step(net, carry[0], carry[1], event, gains, step_key)
        return (learner, market), chances[0]

    indices = start + jnp.arange(events.back.shape[0])
    return lax.scan(tick, (learner, market), (indices, events))


def events(data: Data, split: Split) -> Event:
    """The ticks of a split, each with the answer that becomes known at it, NumPy [T, 1, ...]."""
    inside = np.arange(split.start, split.stop)
    asks = data.labels[inside] != NONE
    order = np.cumsum(asks) - asks
    back = np.zeros(len(inside), np.int32)
    label = np.zeros(len(inside), np.int32)
    questions = inside[asks]
    known = data.known[questions]
    answered = known < split.stop
    at = known[answered] - split.start
    back[at] = order[at] - order[questions[answered] - split.start]
    label[at] = data.labels[questions[answered]]
    back = np.where(back <= WAITING, back, 0)
    by_tick = Event(inputs=data.ranks[inside], back=back, label=label, asks=asks)
    return jax.tree.map(lambda x: x[:, None], by_tick)


def prequential(
    net: Net, learner: Learner, data: Data, split: Split, *, gain: float, rate: float, seed: int = 0
) -> tuple[Learner, np.ndarray]:
    """Predict and learn at every tick of a split.

    Args:
      gain, rate: see `Gains`; of climbing fibres and of the readout.

    Returns:
      The learner after the split, and the probabilities predicted at each tick, [T, C].
    """
    learner, market = jax.tree.map(jnp.copy, learner), begin(net, learner)
    gains = Gains(climbing=jnp.float32(gain), readout=jnp.float32(rate))
    predictions, all_events = [], events(data, split)
    # As a service has it, which says the same.
    key = noise.of_use(jax.random.key(seed), "ticks")
    for start in range(0, split.stop - split.start, CHUNK):
        chunk = jax.tree.map(lambda x, s=start: jnp.asarray(x[s : s + CHUNK]), all_events)
        (learner, market), chances = scan_ticks(
            net.design, net.circuit, learner, market, chunk, gains, key, jnp.int32(start)
        )
        predictions.append(np.asarray(chances))
    readout = jax.tree.map(lambda x: x[0], market.readout)
    return replace(learner, readout=readout), np.concatenate(predictions)


def best_rate(net: Net, learner: Learner, data: Data, split: Split) -> float:
    """The step of `RATES` with which a readout that learns alone has the least loss in a split.

    Without climbing fibres the circuit says the same whatever has been learned, so that it runs
    once for all of them. Choose on the validation split. Where that asks nothing, it is `RATE`.
    """
    asked = data.asked(split)
    if not len(asked):
        return RATE
    rates = jnp.asarray(feed.run(net, learner, data.ranks, split))
    known = data.known[asked] - split.start
    question, label = np.zeros((2, len(rates)), np.int32)
    answered = np.zeros(len(rates), np.float32)
    question[known], label[known], answered[known] = asked - split.start, data.labels[asked], 1
    logits = _relearned(learner.readout, rates, question, label, answered, jnp.asarray(RATES))
    labels = jnp.asarray(data.labels[asked].astype(np.int32))
    told = [losses.cross_entropy(each[asked - split.start], labels).mean() for each in logits]
    return RATES[losses.lowest(jnp.stack(told))]


@jax.jit
def _relearned(
    readout: Readout, rates: Array, question: Array, label: Array, answered: Array, steps: Array
) -> Array:
    """Logits [K, T, C] of readouts that learn with K different steps from ticks [T].

    Args:
      rates: nuclear rates at the end of each tick, [T, N].
      question: the tick whose answer is known from this tick on.
      label: that answer.
      answered: 1 where there is one, 0 elsewhere.
    """

    def tick(readout: Readout, now: Any) -> tuple[Readout, Array]:
        rates_now, asked, label, step = now
        error = climbing.error(decode.logits(readout, rates[asked]), label)
        readout = decode.correct(readout, rates[asked], error, step)
        return readout, decode.logits(readout, rates_now)

    def relearned(step: Array) -> Array:
        return lax.scan(tick, readout, (rates, question, label, step * answered))[1]

    return jax.vmap(relearned)(steps)
