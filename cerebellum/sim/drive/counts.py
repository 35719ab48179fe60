"""Poisson counts at receptors: how many spikes of a source reach a cell in a step.

A count is the number of k whose chance P(count > k) is above one 64-bit draw. Chances of constant
rates come from a table, computed in float64 and rounded to float32, of which no bit is lost where
they are compared: so each is right to 6e-8 of itself, and counts are the same on every device. What
is beyond the table has a chance below 2**-64. Large counts are sums of draws of smaller ones.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array
from scipy import special

LARGEST_MEAN = 16.0
"""Largest mean of one draw from a table."""
NEGLIGIBLE = 2.0**-64
WIDTHS = 24, 40, 64
"""Numbers of chances in a table, of which the first that suffices is taken."""
LARGEST_MEAN_OF_FUNCTION, WIDTH_OF_FUNCTION = 4.0, 32
"""Largest mean of one draw of a `RateFunction`, and the number of chances that are computed."""


@struct.dataclass
class Counts:
    """Poisson counts at constant rates that change at given steps."""

    PER_CELL = ("index", "weight")

    tails: Array
    """the chance that a draw is above k, for each k and each rate, float32 [K, rates]"""
    index: Array
    """which of the rates applies to each cell, int32 [rows, N] or [rows, 1]"""
    starts: Array
    """the step from which on each row applies, int32 [rows]"""
    weight: Array
    """weight of each spike, float32 [N] or [1]"""
    draws: int = struct.field(pytree_node=False)
    """how many draws a count is the sum of"""


def counts_of(rates: Any, starts: Array, weight: np.ndarray, dt: float) -> Counts:
    """The counts of a source in steps of `dt` ms.

    Args:
      rates: Hz, [rows, N] or [rows, 1].
      starts: the step from which on each row applies, int32 [rows].
      weight: float32 [N] or [1].
    """
    means, index = np.unique(np.asarray(rates, np.float64) * dt * 1e-3, return_inverse=True)
    # Powers of two, so that few programs serve all rates.
    draws = 1 << max(0, int(np.ceil(np.log2(means[-1] / LARGEST_MEAN)))) if means[-1] else 1
    means = means / draws
    width = next(width for width in WIDTHS if special.pdtrc(width, means[-1]) < NEGLIGIBLE)
    tails = special.pdtrc(np.arange(width)[:, None], means)
    tails = np.where(means > 0, tails, 0).astype(np.float32)
    return Counts(
        tails=jnp.asarray(tails),
        index=jnp.asarray(index.reshape(np.shape(rates)), jnp.int32),
        starts=starts,
        weight=jnp.asarray(weight, jnp.float32),
        draws=draws,
    )


def tails_of(mean: Array) -> tuple[Array, Array]:
    """The chances P(count > k) of means that are known in the step alone, and the number of draws.

    They are sums of positive terms, smallest first, so that each is right to about 1e-6 of itself.

    Args:
      mean: float32 [N] or [1], for the whole population.

    Returns:
      float32 [K, N] or [K, 1] for one draw, and the number of draws, int32.
    """
    draws = jnp.maximum(1, jnp.ceil(jnp.max(mean) / LARGEST_MEAN_OF_FUNCTION)).astype(jnp.int32)
    mean = mean / draws.astype(jnp.float32)
    terms = [jnp.exp(-mean)]
    for k in range(1, WIDTH_OF_FUNCTION + 1):
        terms.append(terms[-1] * mean / k)
    tails = [terms[-1]]
    for term in terms[-2:0:-1]:
        tails.append(tails[-1] + term)
    return jnp.stack(tails[::-1]), draws
