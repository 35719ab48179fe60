"""Online learning: predict at each tick, then learn from an outcome when its horizon has passed.

One call of `step` takes a tick of each of several markets. Evaluation and the service use the same
function. Markets share a circuit's weights; each has its own membranes and readout. The traces and
rates at the end of a tick wait in a ring until its outcome is known. Then the market's readout is
corrected by the delta rule, and the circuit learns: down a local gradient (`local_gradient`) if
gradients were part of its training, otherwise by climbing fibres (`climbing`).

Dimensions: B markets, R ticks that wait, N nuclear cells, C choices.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array, lax

from cerebellum.learn import climbing, decode, local_gradient, losses, network
from cerebellum.learn.decode import Readout
from cerebellum.learn.network import Carry, Design, Ends, Learner, Net, SpikeSummary, Traces
from cerebellum.learn.plan import Plan
from cerebellum.learn.tasks.ticks import NONE, Data, Split
from cerebellum.model import noise
from cerebellum.model.circuit import Circuit
from cerebellum.model.ordering import one_by_one

WAITING = 16
"""R: size of the ring. An outcome must come within so many questions."""
CHUNK = 500
"""Ticks to a compiled call."""
GAIN = 0.25
"""Gain of climbing fibres, as a share of that of training: online learning changes slowly."""
RATE = 2e-2
"""Step of the readout of a model that climbing fibres taught."""
FOLLOWS = 1e-2
"""Step of the readout that follows outcomes beside one that stays."""
TRUST = 0.5
"""Initial share of the former in an answer."""
EVIDENCE = 0.1
"""How much an outcome counts for that share. It is small because outcomes may overlap: of those ten
ticks ahead, each shares nine of its ticks with the next."""
SWITCH = 1e-3
"""Share of the trust that is divided evenly at each outcome, so that a readout which was wrong for
long is soon heard when it is right."""
LEAST_CHANCE = 1e-7
"""Least probability with which `best` reckons, as `score` does."""
LOCAL = 2e-4
"""Step of the local gradient where nothing can be chosen."""
LOCALS = (None, 2e-4, 5e-4)
"""Steps of the local gradient among which `best` chooses."""


@struct.dataclass(kw_only=True)
class Waiting:
    """Questions whose outcome is not yet known."""

    traces: Traces
    """[B, R, ...]"""
    rates: Array
    """Filtered nuclear rates, [B, R, N]."""
    asked: Array
    """Number of questions so far, int32 [B]."""
    follows: Array | None = None
    """Logits with which the readout that follows answered, [B, R, C]; None where it is alone."""


@struct.dataclass(kw_only=True)
class Market:
    """The state of markets, apart from what they share; arrays [B, ...]."""

    readout: Readout
    carry: Carry
    waiting: Waiting | None
    """None where nothing is learned from outcomes."""
    trust: Array | None = None
    """Share of `readout` in the answer, [B]. The rest is that of the learner's, which stays. None
    where `readout` answers alone."""


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

    climbing: Any = None
    """Gain of climbing fibres; see `climbing.teach`. None where they do not teach."""
    readout: Any
    """Share of an error that one step of the readout takes away; see `decode.correct`."""
    local: Any = None
    """Step of the local gradient; see `local_gradient.teach`. None where none is taken."""


def mixes(plan: Plan) -> bool:
    """Whether the readout that gradients taught stays, and answers beside one that follows."""
    return plan.descends


def gains_of(plan: Plan) -> Gains:
    """How a model learns on where nothing can be chosen by what it predicts.

    After gradients climbing fibres do not teach: what they change at random costs a circuit that
    gradients have shaped more than they teach it.
    """
    if plan.descends:
        return Gains(readout=jnp.float32(FOLLOWS), local=jnp.float32(LOCAL))
    return Gains(climbing=jnp.float32(plan.plasticity * GAIN), readout=jnp.float32(RATE))


def begin(
    net: Net, learner: Learner, count: int = 1, *, learning: bool = True, mixing: bool = False
) -> Market:
    """The initial state of `count` markets.

    Args:
      learning: whether they learn from outcomes.
      mixing: whether the learner's readout stays and answers beside the one that learns.
    """
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
        follows=jnp.zeros((count, WAITING, design.outputs), jnp.float32) if mixing else None,
    )
    trust = jnp.full(count, TRUST, jnp.float32) if mixing else None
    return Market(readout=readouts, carry=carry, waiting=waiting, trust=trust)


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
    own, stays = _logits(learner, markets, rates)
    error = climbing.error(own, events.label)
    traces = jax.tree.map(lambda x: x[rows, slot], waiting.traces)
    if gains.climbing is not None:
        errors = climbing.by_readout(net, markets.readout, error)
        learner = climbing.teach(net, learner, traces, errors, counts, gains.climbing, key)
    trust = markets.trust
    if trust is not None and waiting.follows is not None:
        # As it answered then: meanwhile it has learned from outcomes that overlap with this one.
        follows = waiting.follows[rows, slot]
        trust = _trusted(trust, follows, stays, events.label, counts)
    readout = jax.vmap(decode.correct)(markets.readout, rates, error, gains.readout * counts)
    if gains.local is not None:
        # The circuit learns for the readout that stays, which all markets share.
        told = climbing.error(stays, events.label) * counts[:, None]
        learner = local_gradient.teach(net, learner, traces, rates, told, gains.local)
    return learner, replace(markets, readout=readout, trust=trust)


def _trusted(trust: Array, follows: Array, stays: Array, label: Array, counts: Array) -> Array:
    """The trust [B] in a readout that follows, after outcomes.

    It is the posterior probability that this one is the better of two, each of which may become
    the better one at any time (Herbster & Warmuth 1998).

    Args:
      follows, stays: logits of both readouts, [B, C].
      label: int [B].
      counts: 1 where there is an outcome, 0 elsewhere, [B].
    """
    gain = losses.cross_entropy(stays, label) - losses.cross_entropy(follows, label)
    posterior = jax.nn.sigmoid(jnp.log(trust) - jnp.log1p(-trust) + EVIDENCE * gain)
    return jnp.where(counts > 0, (1 - SWITCH) * posterior + SWITCH / 2, trust)


def _logits(learner: Learner, markets: Market, rates: Array) -> tuple[Array, Array]:
    """Logits of the markets' own readouts, and of the learner's, from nuclear rates [B, N].

    Returns:
      Both [B, C].
    """

    def both(operands: tuple[Readout, Array]) -> tuple[Array, Array]:
        readout, rates = operands
        return decode.logits(readout, rates), decode.logits(learner.readout, rates)

    return _for_each(both, (markets.readout, rates))


def _answers(learner: Learner, markets: Market, rates: Array) -> tuple[Array, Array]:
    """Logits with which the markets' readouts answer, and the probabilities of the choices.

    Args:
      rates: filtered nuclear rates, [B, N].

    Returns:
      Both [B, C].
    """

    def answer(operands: tuple[Readout, Array | None, Array]) -> tuple[Array, Array]:
        readout, trust, rates = operands
        logits = decode.logits(readout, rates)
        chances = jax.nn.softmax(logits)
        if trust is None:
            return logits, chances
        stays = jax.nn.softmax(decode.logits(learner.readout, rates))
        return logits, trust * chances + (1 - trust) * stays

    return _for_each(answer, (markets.readout, markets.trust, rates))


def _for_each(function: Callable[[Any], Any], operands: Any) -> Any:
    """What a function gives for each market, [B, ...]; on a CPU the same beside others as alone."""
    one_after_another = partial(one_by_one, function)
    return lax.platform_dependent(operands, cpu=one_after_another, default=jax.vmap(function))


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
    logits, chances = _answers(learner, markets, ends.rates)
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
            follows=None if waiting.follows is None else put(waiting.follows, logits),
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
    """Run one tick of the circuits.

    On the event path, and on a CPU always, they run one after another: products of matrices round
    otherwise for several rows than for one, and a market is to be answered beside others as alone.
    """
    circuit = network.with_learned(net.circuit, learner)

    def run_batch(carry: Carry, inputs: Array) -> tuple[Carry, Ends]:
        after, ends = network.unroll(net.design, circuit, carry, inputs[None], 0, shared, watch)
        return after, jax.tree.map(lambda x: x[0], ends)

    def run_one(operands: tuple[Carry, Array]) -> Any:
        carry, ends = run_batch(*jax.tree.map(lambda x: x[None], operands))
        arrays = jax.tree.map(lambda x: x[0], (carry, replace(ends, spikes=None)))
        # In a summary of spikes the axis of circuits is the last.
        return arrays, jax.tree.map(lambda x: x[..., 0], ends.spikes)

    def run_each(carry: Carry, inputs: Array) -> tuple[Carry, Ends]:
        (after, ends), spikes = one_by_one(run_one, (carry, inputs))
        return after, replace(ends, spikes=jax.tree.map(lambda x: jnp.moveaxis(x, 0, -1), spikes))

    if circuit.wiring.path != "dense":
        return run_each(carry, inputs)
    return lax.platform_dependent(carry, inputs, cpu=run_each, default=run_batch)


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
    """The ticks of a split, each with the answer that becomes known at it, NumPy [T, 1, ...].

    Raises:
      ValueError: an answer comes when its question no longer waits.
    """
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
    if back.max(initial=0) > WAITING:
        raise ValueError(
            f"data: the answer at tick {split.start + back.argmax()} is that of {back.max()} "
            f"questions before; at most {WAITING} questions wait"
        )
    by_tick = Event(inputs=data.ranks[inside], back=back, label=label, asks=asks)
    return jax.tree.map(lambda x: x[:, None], by_tick)


def prequential(
    net: Net,
    learner: Learner,
    data: Data,
    split: Split,
    gains: Gains,
    *,
    mixing: bool = False,
    seed: int = 0,
) -> tuple[Learner, np.ndarray]:
    """Predict and learn at every tick of a split.

    Args:
      mixing: see `begin`.

    Returns:
      The learner after the split, and the probabilities predicted at each tick, [T, C].
    """
    learner, market = jax.tree.map(jnp.copy, learner), begin(net, learner, mixing=mixing)
    predictions, all_events = [], events(data, split)
    # As a service has it, which says the same.
    key = noise.of_use(jax.random.key(seed), "ticks")
    for start in range(0, split.stop - split.start, CHUNK):
        chunk = jax.tree.map(lambda x, s=start: jnp.asarray(x[s : s + CHUNK]), all_events)
        (learner, market), chances = scan_ticks(
            net.design, net.circuit, learner, market, chunk, gains, key, jnp.int32(start)
        )
        predictions.append(np.asarray(chances))
    if not mixing:
        learner = replace(learner, readout=jax.tree.map(lambda x: x[0], market.readout))
    return learner, np.concatenate(predictions)


def best(net: Net, learner: Learner, data: Data, split: Split, plan: Plan) -> tuple[Gains, Learner]:
    """The gains with which a model predicts best while it learns on in a split, and the learner
    after it. Choose on the validation split: what follows it may go on from that learner.

    Of a model that gradients taught, the step of the local gradient is chosen, by the least loss.
    """
    gains = gains_of(plan)
    if not plan.descends:
        return gains, prequential(net, learner, data, split, gains)[0]
    asked = data.asked(split)
    labels, rows = jnp.asarray(data.labels[asked].astype(np.int32)), asked - split.start
    found, told = [], []
    for step in LOCALS:
        tried = replace(gains, local=None if step is None else jnp.float32(step))
        after, chances = prequential(net, learner, data, split, tried, mixing=True)
        found.append((tried, after))
        logits = jnp.log(jnp.maximum(jnp.asarray(chances[rows]), LEAST_CHANCE))
        told.append(losses.cross_entropy(logits, labels).mean())
    return found[losses.lowest(jnp.stack(told))]
