"""Learning from climbing fibres: an error at the end of a tick, and what it does to synapses.

Every Purkinje and nuclear cell belongs to the zone of a choice and has a climbing fibre (a
collateral, for the nuclei) from an olivary cell of its own, which fires at most once a tick, with
probability

    p = RATE + GAIN (y - q)      cut at 0 and 1

y being 1 for the choice that was right, q the probability that the nuclei gave it. (Where the
readout learns too, a nuclear cell's olivary cell is told what the readout makes of it:
`by_readout`.) At every synapse that was active in that tick, whatever has come since,

    parallel fibre to Purkinje cell      w += eta trace (RATE - c)
    mossy fibre to nuclear cell          w += eta trace (c - RATE)

with c = 1 where the climbing fibre fired: depression at the Purkinje cell, which inhibits the
nuclei, and potentiation at the nuclear cell, balanced by the opposite in its absence. On average
that is the delta rule, trace (y - q) (Widrow & Hoff 1960; for climbing fibres Fujita 1982). The
readout stays what it was: zones.

Dimensions: B samples, C choices, n cells.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from cerebellum.learn import network
from cerebellum.learn.decode import Readout
from cerebellum.learn.network import Learner, Net, Traces

RATE = 0.5
"""Probability of a climbing-fibre spike in a tick without an error."""
GAIN = 0.5


BIAS_MV = 1.5
"""Nuclear constant current that a whole gain would move a cell by, mV."""


@struct.dataclass(kw_only=True)
class Errors:
    """What the olivary cell of each cell is told."""

    purkinje: Array
    """[B, n]"""
    nuclei: Array
    """[B, n]"""


def by_zone(net: Net, wrong: Array) -> Errors:
    """Errors [B, C] as the cells of each choice's zone are told them."""
    design = net.design
    return Errors(
        purkinje=wrong[:, design.zone(design.purkinje)],
        nuclei=wrong[:, design.zone(design.nuclei)],
    )


def by_readout(net: Net, readouts: Readout, wrong: Array) -> Errors:
    """The same where nuclear cells mean what readouts, [B, ...], say: shares of their largest
    weight."""
    weights = readouts.weights
    own = jnp.einsum("bc,bnc->bn", wrong, weights)
    largest = jnp.abs(weights).max(axis=(1, 2))[:, None]
    return Errors(purkinje=by_zone(net, wrong).purkinje, nuclei=own / (largest + 1e-9))


def fire(error: Array, key: Array) -> Array:
    """Climbing-fibre spikes of cells, 0 or 1, from their errors, both [B, n]."""
    chance = jnp.clip(RATE + GAIN * error, 0, 1)
    return (jax.random.uniform(key, chance.shape) < chance).astype(jnp.float32)


def error(logits: Array, labels: Array) -> Array:
    """What was right less what the nuclei said, as logits [B, C]: [B, C]."""
    chances = jax.nn.softmax(logits)
    return jax.nn.one_hot(labels, chances.shape[-1]) - chances


def teach(
    net: Net,
    learner: Learner,
    traces: Traces,
    errors: Errors,
    counts: Array,
    gain: Array,
    key: Array,
) -> Learner:
    """What is learned of some ticks.

    Args:
      traces: of the ticks, [B, ...].
      errors: of each.
      counts: 1 where a tick is learned from, else 0, [B].
      gain: largest change for one tick, as a share of a weight's bound: what
        `neural.learning_rate` is to the circuit's own plasticity.
    """
    nuclear, purkinje = jax.random.split(key)
    first = net.circuit.params.weights
    taught = RATE - fire(errors.purkinje, purkinje)
    told = fire(errors.nuclei, nuclear) - RATE
    weights, drive = dict(learner.weights), dict(learner.drive)
    for name, trace, given in (
        ("granule_purkinje", traces.granule, taught),
        ("mossy_fiber_nuclei", traces.mossy, told),
    ):
        change = jnp.einsum("b,bs,bt->st", counts, trace, given)
        weights[name] = weights[name] + gain * network.bound(first[name]) * change
    moved = jnp.einsum("b,bt->t", counts, told)
    drive["nuclei"] = drive["nuclei"] + gain * network.W_MAX * BIAS_MV * moved
    return network.bounded(net, replace(learner, weights=weights, drive=drive))
