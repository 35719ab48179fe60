"""A step down the gradient of one outcome's loss, from what is known at the end of its tick.

A nuclear cell is taken for a rectified unit of its mossy fibres, as in `rate_network`. The error of
the answer reaches each cell in proportion to the weights with which the readout hears it, and a
cell that has just fired hands it on to its synapses. So a synapse changes by three factors that
meet there (Fremaux & Gerstner 2016; for the gradient of spiking networks Bellec et al. 2020):

    error of cell n              e_n = fired_n sum over c of readout_nc (y_c - q_c)
    mossy fibre m to cell n      w_mn += step unit trace_m e_n
    constant current of cell n   += step CURRENT e_n

where y is 1 for the choice that was right and 0 for the others, and q is the probability that it
was given. Traces and readout weights are taken in units of their root mean squares, so that `step`
is a share of a mean weight, as a learning rate of training is. Nothing is drawn, nothing runs
backwards in time, and nothing is kept but the traces and rates at the ends of the ticks whose
outcomes are not yet known.

Dimensions: B ticks, M mossy fibres, N nuclear cells, C choices.
"""

from dataclasses import replace

import jax.numpy as jnp
from jax import Array

from cerebellum.learn import network
from cerebellum.learn.network import Learner, Net, Traces

FIRED = 0.5
"""Filtered rate above which a cell has just fired: a lone spike decays to it in 0.7 time
constants."""
CURRENT = 1.5
"""Unit of a change of a cell's constant current, mV: about that of a fibre with the mean weight."""
LEAST = 1e-6
"""Least root mean square by which is divided."""


def teach(
    net: Net,
    learner: Learner,
    traces: Traces,
    rates: Array,
    error: Array,
    step: Array,
) -> Learner:
    """The learner after the outcomes of B ticks. Its readout stays.

    Args:
      traces: traces at the ends of the ticks, [B, ...].
      rates: filtered rates of nuclear cells there, [B, N].
      error: errors of the choices, [B, C], which are 0 where a tick teaches nothing; see
        `climbing.error`.
      step: size of the changes, as a share of the mean initial weight.
    """
    name = "mossy_fiber_nuclei"
    initial_weights = net.circuit.params.weights[name]
    heard = error @ (learner.readout.weights / _size(learner.readout.weights)).T
    errors = jnp.where(rates > FIRED, heard, 0)
    mossy = traces.mossy / _size(traces.mossy, axis=1)[:, None]
    change = network.mean_weight(initial_weights) * (mossy.T @ errors)
    weights = learner.weights[name] + step * change
    weights = jnp.clip(weights, 0, network.bound(net.design, initial_weights))
    drive = learner.drive["nuclei"] + step * CURRENT * jnp.sum(errors, axis=0)
    return replace(
        learner,
        weights={**learner.weights, name: weights},
        drive={**learner.drive, "nuclei": drive},
    )


def _size(values: Array, axis: int | None = None) -> Array:
    """Root mean square over an axis or all, not zero."""
    return jnp.maximum(jnp.sqrt(jnp.mean(jnp.square(values), axis=axis)), LEAST)
