"""Learning from climbing fibres: the error at the end of a tick and the changes that it causes.

Every Purkinje and nuclear cell belongs to the zone of a choice and has a climbing fibre (for
nuclear cells a collateral) from an olivary cell of its own. The olivary cell fires at most once a
tick, with probability

    p = RATE + GAIN (y - q)      cut at 0 and 1

where y is 1 for the choice that was right and 0 for the others, and q is the probability that the
readout gave to the choice. (Where the readout learns too, the olivary cell of a nuclear cell
receives the error weighted by the readout: `by_readout`.) Every synapse with a trace of activity
in that tick changes, whatever has come since:

    parallel fibre to Purkinje cell      w += eta trace (RATE - c)
    mossy fibre to nuclear cell          w += eta trace (c - RATE)

where c is 1 if the climbing fibre fired and 0 otherwise. A climbing-fibre spike depresses synapses
onto the Purkinje cell, which inhibits the nuclei, and potentiates those onto the nuclear cell; its
absence does the opposite. On average this is the delta rule, trace (y - q) (Widrow & Hoff 1960;
for climbing fibres Fujita 1982). The readout remains one of zones.

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
"""Change of that probability for an error of one."""


BIAS_MV = 1.5
"""Change of a nuclear cell's constant current for a gain of one, mV in units of `W_MAX`."""


@struct.dataclass(kw_only=True)
class Errors:
    """The errors that the olivary cell of each cell receives."""

    purkinje: Array
    """[B, n]"""
    nuclei: Array
    """[B, n]"""


def by_zone(net: Net, error: Array) -> Errors:
    """Errors of choices [B, C] as errors of the cells in each choice's zone."""
    design = net.design
    return Errors(
        purkinje=error[:, design.zone(design.purkinje)],
        nuclei=error[:, design.zone(design.nuclei)],
    )


def by_readout(net: Net, readouts: Readout, error: Array) -> Errors:
    """Errors as `by_zone`, but for nuclear cells weighted by the readouts, [B, ...].

    The readout's weights are taken as shares of their largest magnitude.
    """
    weights = readouts.weights
    weighted = jnp.einsum("bc,bnc->bn", error, weights)
    largest = jnp.abs(weights).max(axis=(1, 2))[:, None]
    return Errors(purkinje=by_zone(net, error).purkinje, nuclei=weighted / (largest + 1e-9))


def fire(error: Array, key: Array) -> Array:
    """Climbing-fibre spikes of cells, 0 or 1, drawn from their errors; both [B, n]."""
    probability = jnp.clip(RATE + GAIN * error, 0, 1)
    return (jax.random.uniform(key, probability.shape) < probability).astype(jnp.float32)


def error(logits: Array, labels: Array) -> Array:
    """The labels as one-hot vectors less the predicted probabilities; [B, C] of logits [B, C]."""
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
    """The learner after the climbing-fibre spikes of B ticks.

    Args:
      traces: traces at the end of the ticks, [B, ...].
      errors: errors of the ticks.
      counts: 1 where a tick is learned from, 0 elsewhere, [B].
      gain: largest change for one tick, in units of `W_MAX` initial mean weights. It corresponds
        to `neural.learning_rate` of the circuit's own plasticity.
    """
    nuclear_key, purkinje_key = jax.random.split(key)
    initial_weights = net.circuit.params.weights
    at_purkinje = RATE - fire(errors.purkinje, purkinje_key)
    at_nuclei = fire(errors.nuclei, nuclear_key) - RATE
    weights, drive = dict(learner.weights), dict(learner.drive)
    for name, trace, signal in (
        ("granule_purkinje", traces.granule, at_purkinje),
        ("mossy_fiber_nuclei", traces.mossy, at_nuclei),
    ):
        change = jnp.einsum("b,bs,bt->st", counts, trace, signal)
        unit = network.mean_weight(initial_weights[name])
        weights[name] = weights[name] + gain * network.W_MAX * unit * change
    current_change = jnp.einsum("b,bt->t", counts, at_nuclei)
    drive["nuclei"] = drive["nuclei"] + gain * network.W_MAX * BIAS_MV * current_change
    return network.bounded(net, replace(learner, weights=weights, drive=drive))
