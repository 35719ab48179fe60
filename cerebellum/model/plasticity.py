"""Learning at parallel-fibre synapses, taught by climbing fibres.

    a parallel-fibre spike at t     w += a_plus
    a climbing-fibre spike at s     w -= a_minus k(s - t) for every t with 0 <= s - t < window
    k(x) = exp(-x / tau), or any kernel as long as the window

Times are those of arrival at the target. A synapse's change for one of its spikes is settled in
one visit, when the window after it has closed: all the climbing-fibre spikes that it can pair
with have come by then. So no eligibility is stored at a synapse, no column of weights is ever
walked (docs/weights.md has the measurements), and what waits is one ring of debts for each
target: row r holds the sum of k over the climbing-fibre spikes so far for a parallel-fibre
spike that arrived at step r modulo the window. Weights lag by that window, and by no more.

Dimensions: D steps of the window, G beams, R targets to a beam, N source cells.
"""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from cerebellum.model import events, fixed, synapses
from cerebellum.model.fence import fence


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Depression of parallel fibres that fired before a climbing fibre, potentiation of all."""

    teacher: str
    """name of the projection whose arrivals teach; it ends on the same population"""
    a_plus: float = 0.0
    """gain of a weight at each spike, in the unit of the weight"""
    a_minus: float = 0.0
    """loss for each climbing-fibre spike in the window, at k = 1, in the unit of the weight"""
    tau: float = 50.0
    """time constant of k, ms"""
    window: float = 200.0
    """ms"""


def window_steps(rule: Rule, dt: float) -> int:
    """D."""
    return max(1, round(rule.window / dt))


def kernel(rule: Rule, dt: float) -> np.ndarray:
    """k at 0, dt, 2 dt ... ms: float32 [D]."""
    return np.exp(-np.arange(window_steps(rule, dt)) * dt / rule.tau).astype(np.float32)


def incur(debts: Array, taught: Array, step: Array, rule: Rule, dt: float) -> Array:
    """The debts after climbing-fibre spikes.

    Args:
      debts: float32 [D, G R].
      taught: spikes that arrive at each target in this step, float32 [T].
      step: int32 scalar.
    """
    depth, width = debts.shape
    age = jnp.remainder(step - jnp.arange(depth), depth)
    decay = jnp.asarray(kernel(rule, dt))[age]
    words = events.pack(taught)
    levels, total = events.tally(words), events.count(words)
    lanes = jnp.arange(8, dtype=jnp.int32)

    def body(carry):
        start, debts = carry
        cell = events.select(words, levels, start + lanes)
        cell = jnp.where(start + lanes < total, cell, width + lanes)
        value = decay[:, None] * taught[jnp.minimum(cell, taught.size - 1)][None]
        return start + 8, debts.at[:, cell].add(value, mode="drop", unique_indices=True)

    return lax.while_loop(lambda carry: carry[0] < total, body, (jnp.int32(0), debts))[1]


def settle(
    weights: Array,
    debts: Array,
    words: Array,
    step: Array,
    seed: Array,
    mask_seed: Array,
    fan: events.AllToAll,
    rule: Rule,
    share: float,
    w_max: float,
) -> tuple[Array, Array]:
    """Weights and debts after the spikes whose window closes in this step.

    Args:
      weights: uint16 or float32 [N, R].
      debts: float32 [D, G R], with the climbing-fibre spikes of this step.
      words: the spikes that arrived D - 1 steps ago, uint32 [W].
      step: int32 scalar.
      seed: uint32 scalar for the rounding of uint16, another one in every step.
      mask_seed: uint32 scalar of `fixed.exists`, where `share` is below one.
    """
    depth, width = debts.shape[0], weights.shape[1]
    row = jnp.remainder(step + 1, depth)
    # Read behind a fence, cleared with what was read: so XLA sees the order and copies nothing.
    owed = fence(lax.dynamic_index_in_dim(debts, row, 0, keepdims=False))
    debts = lax.dynamic_update_index_in_dim(debts, owed * 0, row, 0)
    change = (rule.a_plus - rule.a_minus * owed).reshape(fan.beams, width)
    edges = jnp.asarray(events.beam_edges(weights.shape[0], fan.beams))
    block = events.block_size(width)
    lanes = jnp.arange(block, dtype=jnp.int32)

    def visit(weights, beam, cell, real):
        rows, delta = weights[cell], change[beam][None]
        if share < 1:
            delta = jnp.where(fixed.exists(mask_seed, cell, width, share), delta, 0)
        else:
            delta = jnp.broadcast_to(delta, rows.shape)
        if weights.dtype == jnp.uint16:
            rows = fixed.add(rows, delta / fan.unit, seed, cell)
        else:
            rows = jnp.clip(rows + delta, 0, w_max)
        cell = jnp.where(real, cell, weights.shape[0] + lanes)
        return weights.at[cell].set(rows, mode="drop", unique_indices=True)

    weights = events.walk_beams(words, events.tally(words), edges, block, visit, weights)
    return weights, debts


def learn(
    weights: Array,
    debts: Array,
    line: Array,
    taught: Array,
    step: Array,
    seed: Array,
    mask_seed: Array,
    fan: events.AllToAll,
    rule: Rule,
    delay: int,
    dt: float,
    share: float,
    w_max: float,
) -> tuple[Array, Array]:
    """One step of a rule: new debts, then the spikes whose window closes.

    Args:
      line: delay line of the source, before this step is written: at least delay + D - 1 deep.
      taught: as in `incur`.
      seed: uint32 scalar, of this run and projection.
      delay: of the projection, steps.

    Returns:
      weights, debts.
    """
    debts = incur(debts, taught, step, rule, dt)
    closing = synapses.due(line, step, delay + debts.shape[0] - 1)
    words = closing if closing.dtype == jnp.uint32 else events.pack(closing)
    seed = fixed.mix(seed + step.astype(jnp.uint32) * jnp.uint32(0x9E3779B1))
    return settle(weights, debts, words, step, seed, mask_seed, fan, rule, share, w_max)
