"""The readout of a circuit that has answered a feed: by regression, its loss, its temperature.

Dimensions: n samples, N nuclear cells, C choices, K microzones, k samples of a step.
"""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from cerebellum.errors import FailedError
from cerebellum.learn import decode, losses, parallel, rate_network, start
from cerebellum.learn.decode import Readout
from cerebellum.learn.feed import Feed
from cerebellum.learn.network import Design, Learner, Net
from cerebellum.learn.plan import Plan
from cerebellum.learn.rate_network import RateNetwork


def mean_loss(loss: str, readout: Readout, rates: np.ndarray, labels: np.ndarray) -> float:
    """Mean loss of a readout, the same in all processes, for nuclear rates [n, N].

    Args:
      loss: a name in `losses.LOSSES`.
    """
    logits = decode.logits(readout, jnp.asarray(rates))
    each = losses.LOSSES[loss](logits, jnp.asarray(labels))
    return float(parallel.agreed(jnp.mean(each)))


def fit(net: Net, learner: Learner, feed: Feed, plan: Plan) -> Readout:
    """A readout by softmax regression on the nuclear rates of the training split."""
    return regress(plan, net.design, *feed.rates(net, learner, "train"))


def fit_to_rates(
    net: Net, learner: Learner, feed: Feed, plan: Plan, learned: RateNetwork
) -> tuple[Readout, float]:
    """A readout of a learner that has the weights of a rate network, and its validation loss.

    It answers as the rate network does, or is that of `regress`: whichever has the lower loss on
    the validation split, where both are calibrated.

    Raises:
      FailedError: neither loss is finite.
    """
    rates, labels = feed.rates(net, learner, "train")
    inputs = feed.examples("train")[0][:, -1]
    answers = rate_network.answers(net.design, learned, inputs)
    zones = _zones(net.design, plan.microzones)
    each = [
        rate_network.spiking_readout(wanted, rates[:, cells])
        for wanted, cells in zip(answers, zones, strict=True)
    ]
    regressed = regress(plan, net.design, rates, labels)
    held_out = feed.rates(net, learner, "validation")
    readouts = [
        _without_temperature(calibrated(readout, *held_out))
        for readout in (decode.joined(each, zones), regressed)
    ]
    of_each = [mean_loss(plan.loss, readout, *held_out) for readout in readouts]
    best = losses.lowest(of_each)
    if not np.isfinite(of_each[best]):
        raise FailedError(
            f"readout: the validation loss is {of_each[best]}; training.rate_epochs 0 starts "
            "without a rate network"
        )
    return jax.tree.map(parallel.agreed, readouts[best]), of_each[best]


def _zones(design: Design, count: int) -> list[np.ndarray]:
    """The nuclear cells of each of `count` microzones."""
    return [np.flatnonzero(zone) for zone in design.microzone(design.nuclei, count)]


def _without_temperature(readout: Readout) -> Readout:
    """The readout with the same logits and a temperature of one."""
    return replace(
        readout,
        weights=readout.weights / readout.temperature,
        bias=readout.bias / readout.temperature,
        temperature=jnp.ones_like(readout.temperature),
    )


def regress(plan: Plan, design: Design, rates: np.ndarray, labels: np.ndarray) -> Readout:
    """The readout by regression of the labels on rates [n, N].

    Each microzone is regressed alone, because each is to be right alone.
    """
    device_rates = jnp.asarray(rates)
    zones = _zones(design, plan.microzones)
    readouts: dict[int, Readout] = {}
    # Microzones of the same size are regressed together, which is many times faster.
    for size in sorted({len(cells) for cells in zones}):
        alike = [index for index, cells in enumerate(zones) if len(cells) == size]
        take = partial(_rates_of, device_rates, jnp.asarray([zones[index] for index in alike]))
        found = start.regress(take, labels, design.outputs, rate=1e-2, seed=plan.seed)
        for place, index in enumerate(alike):
            readouts[index] = jax.tree.map(lambda array, place=place: array[place], found)
    return decode.joined([readouts[index] for index in range(len(zones))], zones)


def _rates_of(rates: Array, cells: Array, samples: np.ndarray) -> Array:
    """Rates of some samples, by groups of cells [Z, n]: [k, Z, n]."""
    return rates[jnp.asarray(samples)][:, cells]


def calibrate(feed: Feed, net: Net, learner: Learner) -> Learner:
    """The learner with the temperature of least validation loss (Guo et al. 2017)."""
    rates, labels = feed.rates(net, learner, "validation")
    return replace(learner, readout=calibrated(learner.readout, rates, labels))


def calibrated(readout: Readout, rates: np.ndarray, labels: np.ndarray) -> Readout:
    """The readout with the temperature of least cross entropy on these rates and labels."""
    logits = decode.logits(replace(readout, temperature=jnp.float32(1)), jnp.asarray(rates))

    def loss(log_temperature: Array) -> Array:
        return jnp.mean(
            losses.cross_entropy(logits / jnp.exp(log_temperature), jnp.asarray(labels))
        )

    candidates = jnp.linspace(-1.5, 3.0, 181)
    best = candidates[losses.lowest(jax.lax.map(loss, candidates))]
    return replace(readout, temperature=jnp.exp(best))
