"""Spare cells: units of a rate network that are hardly ever active become copies of others.

A rectified unit that is below zero in every tick learns nothing and says nothing. Spikes are
coarse: what one unit says in fractions, one cell can only say in a few spikes to a tick. So the
nuclear cells that would stand for silent units stand for active ones instead, and these share their
readout. Copies get different mean rates, so that they do not all fire in the same steps.

Dimensions: n ticks, M mossy fibres, N nuclear cells, C choices.
"""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
from jax import Array

from cerebellum.learn import rate_network
from cerebellum.learn.network import Design
from cerebellum.learn.rate_network import RateNetwork

SILENT = 0.005
"""Share of the ticks in which a unit is active, at or below which it is silent. What it may say in
these is lost."""
TICKS = 4_096
"""Ticks in which that is looked for."""
SPREAD = 0.4
"""Standard deviation of the natural logarithm of the mean rates of copies."""


def used(
    design: Design, learned: RateNetwork, inputs: np.ndarray, seed: int
) -> tuple[RateNetwork, np.ndarray]:
    """The network with copies in place of its silent units. It answers as before, but for what
    silent units say in a few ticks.

    In each microzone the active units are copied in the order of what they say, until no silent
    unit is left. Where all are silent, they stay.

    Args:
      inputs: inputs of ticks, [n, ...]; see `network.sense`.
      seed: of the mean rates of copies.

    Returns:
      The network, and factors on the mean rate of each cell, float32 [N]: 1 for one without copies.
    """
    some = jnp.asarray(inputs[:: max(1, len(inputs) // TICKS)])
    rates = np.asarray(rate_network.rates(design, learned, some))
    said = np.abs(np.asarray(learned.readout)).max(axis=1) * rates.std(axis=0)
    original = _originals(design, len(learned.bias), np.mean(rates > 0, axis=0) > SILENT, said)
    copies = np.bincount(original, minlength=design.nuclei)[original]
    drawn = np.random.default_rng(seed).standard_normal(design.nuclei)
    factors = np.exp(SPREAD * drawn * (copies > 1)).astype(np.float32)
    shared: Array = learned.readout[original] / copies[:, None]
    copied = replace(
        learned,
        weights=learned.weights[:, original],
        current=learned.current[original],
        readout=shared,
    )
    return copied, factors


def _originals(design: Design, microzones: int, active: np.ndarray, said: np.ndarray) -> np.ndarray:
    """The unit that each cell stands for, int [N].

    Args:
      active: whether a unit is active, bool [N].
      said: how much its readout varies from tick to tick, [N].
    """
    original = np.arange(design.nuclei)
    for zone in design.microzone(design.nuclei, microzones):
        copied = np.flatnonzero(zone & active)
        silent = np.flatnonzero(zone & ~active)
        if len(copied):
            in_order = copied[np.argsort(-said[copied], kind="stable")]
            original[silent] = np.resize(in_order, len(silent))
    return original
