"""Learning as ticks come: predict, then learn from an outcome when its horizon has passed.

One step for a tick, the same in an evaluation and in the service. What a synapse needs to know
of a tick until its outcome is known, the traces at its end, waits in a ring; then climbing fibres
teach (`climbing`), and the readout is corrected by the delta rule.

Dimensions: R ticks that wait, N nuclear cells, C choices.
"""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array, lax

from cerebellum.learn import climbing, decode, network
from cerebellum.learn.network import Carry, Design, Learner, Net, Traces
from cerebellum.learn.tasks.ticks import NONE, Data, Part
from cerebellum.model.circuit import Circuit

WAITING = 16
"""R: outcomes come within so many questions"""
CHUNK = 500


@struct.dataclass(kw_only=True)
class Online:
    """A learner that goes with a market."""

    learner: Learner
    carry: Carry
    """of one circuit"""
    traces: Traces
    """of ticks that wait, [R, ...]"""
    rates: Array
    """nuclear rates at their ends, [R, N]"""
    asked: Array
    """questions so far, int32"""
    ticks: Array
    """int32"""


@struct.dataclass(kw_only=True)
class Event:
    """What comes with a tick."""

    inputs: Any
    """of `network.sense`, [F]"""
    back: Any
    """how many questions ago the one was whose answer is now known; 0: none"""
    label: Any
    """that answer"""
    asks: Any
    """whether this tick is a question, bool"""


def begin(net: Net, learner: Learner) -> Online:
    """Nothing seen yet."""
    design = net.design
    return Online(
        learner=jax.tree.map(jnp.copy, learner),
        carry=network.fresh(net, jax.random.key(0), 1),
        traces=network.no_traces(design, WAITING),
        rates=jnp.zeros((WAITING, design.nuclei), jnp.float32),
        asked=jnp.int32(0),
        ticks=jnp.int32(0),
    )


def learn(net: Net, held: Online, event: Event, gain: Array, rate: Array, key: Array) -> Online:
    """The learner after an outcome that is now known, if there is one.

    Args:
      gain: of climbing fibres, see `climbing.teach`.
      rate: of the readout, a step of a weight for an error of one.
    """
    slot = (held.asked - event.back) % WAITING
    counts = (event.back > 0).astype(jnp.float32)[None]
    rates = held.rates[slot][None]
    wrong = climbing.error(held.learner, rates, event.label[None])
    traces = jax.tree.map(lambda x: x[slot][None], held.traces)
    once = jax.random.fold_in(key, held.ticks)
    errors = climbing.by_readout(net, held.learner, wrong)
    taught = climbing.teach(net, held.learner, traces, errors, counts, gain, once)
    readout = decode.correct(taught.readout, rates[0], wrong[0], rate * counts[0])
    return replace(held, learner=replace(taught, readout=readout))


def step(
    net: Net, held: Online, event: Event, gain: Array, rate: Array, key: Array
) -> tuple[Online, Array]:
    """One tick: learn from what it makes known, then say what comes, [C]."""
    held = learn(net, held, event, gain, rate, key)
    params, wiring = network.taught(net.circuit, held.learner), net.circuit.wiring
    given = event.inputs[None, None]
    carry, (rates, traces) = network.unroll(net.design, params, wiring, held.carry, given, 0)
    slot = jnp.where(event.asks, held.asked % WAITING, WAITING)
    kept = jax.tree.map(
        lambda ring, now: ring.at[slot].set(now[0, 0], mode="drop"), held.traces, traces
    )
    after = replace(
        held,
        carry=carry,
        traces=kept,
        rates=held.rates.at[slot].set(rates[0, 0], mode="drop"),
        asked=held.asked + event.asks.astype(jnp.int32),
        ticks=held.ticks + 1,
    )
    return after, jax.nn.softmax(decode.logits(held.learner.readout, rates[0, 0]))


@partial(jax.jit, static_argnames="design", donate_argnames="held")
def go(design: Design, circuit: Circuit, held: Online, events: Event, gain, rate, key):
    """Ticks in a row, [T, ...]: the learner after them, and what it said at each, [T, C]."""
    net = Net(design, circuit)
    return lax.scan(lambda held, event: step(net, held, event, gain, rate, key), held, events)


def events(data: Data, part: Part) -> Event:
    """The ticks of a part, with the answers that become known at each, NumPy [T]."""
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
    return Event(inputs=data.ranks[inside], back=back, label=label, asks=asks)


def prequential(
    net: Net, learner: Learner, data: Data, part: Part, *, gain: float, rate: float, seed: int = 0
) -> tuple[Online, np.ndarray]:
    """Go through a part, learning: the learner after it, and what it said at each tick [T, C]."""
    held, said = begin(net, learner), []
    all_events = events(data, part)
    key = jax.random.key(seed)
    for start in range(0, part.stop - part.start, CHUNK):
        some = jax.tree.map(lambda x, s=start: jnp.asarray(x[s : s + CHUNK]), all_events)
        gains = jnp.float32(gain), jnp.float32(rate)
        held, chances = go(net.design, net.circuit, held, some, *gains, key)
        said.append(np.asarray(chances))
    return held, np.concatenate(said)
