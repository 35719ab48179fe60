"""Learning at synapses that a teacher watches: climbing fibres, Purkinje cells, the cell itself.

    a presynaptic spike at t         w += per_spike
    a teaching spike at s            w += per_pair k(s - t) for every t with -back <= s - t < window

Times are those of arrival at the target. Every published rule here is one of these, with its own
kernel k: the functions `parallel_fibre_purkinje` and so on give them. A synapse's change for one
of its spikes is settled in one visit, when the window after it has closed: all the teaching
spikes that it can pair with have come by then. So no eligibility is stored at a synapse, no
column of weights is ever walked (docs/weights.md has the measurements), and what waits is one
ring of debts for each target: row r holds the sum of k over the teaching spikes so far for a
presynaptic spike that arrives at step r modulo the ring. Weights lag by that window, and by no
more; they are cut at their bounds at each visit.

Dimensions: D steps of the ring, G beams, R targets to a beam, N source cells, F fan-out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from cerebellum.model import events, fixed, synapses
from cerebellum.model.fence import fence
from cerebellum.native import calls

LATENCY_MS = 1.0
"""The published kernels count from this long before the teaching spike (CerebNEST)."""


def _exponential(lag: np.ndarray, tau: float) -> np.ndarray:
    return np.where(lag >= 0, np.exp(-lag / tau), 0.0)


def _sine(lag: np.ndarray, tau: float) -> np.ndarray:
    s = LATENCY_MS - lag
    bump = np.exp(-(s - 150) / 1000) * np.sin(2 * 3.1415 * (s - 150) / 1000) ** 20 / 1.2848
    return np.where((s >= -200) & (s < 0), bump, 0.0)


def _alpha(lag: np.ndarray, tau: float) -> np.ndarray:
    s = LATENCY_MS - lag
    return np.where((s >= -200) & (s < 0), np.e * (-s / tau) * np.exp(s / tau), 0.0)


def _cosine(lag: np.ndarray, tau: float) -> np.ndarray:
    s = LATENCY_MS - lag
    near = np.abs(s) <= 10 + 1e-9
    return np.where(near, np.exp(-np.abs(s) / tau) * np.cos(s / 1000) ** 2, 0.0)


def _pair(lag: np.ndarray, tau: float) -> np.ndarray:
    return np.where(lag > 0, 1.0, np.where(lag < 0, -1.0, 0.0)) * np.exp(-np.abs(lag) / tau)


KERNELS: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "exponential": _exponential,
    "sine": _sine,
    "alpha": _alpha,
    "cosine": _cosine,
    "pair": _pair,
}
"""k of the lag from a presynaptic spike to a teaching one (ms), and of `tau` (ms)."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What a synapse learns from its own spikes, and from pairs of them with teaching ones."""

    teacher: str
    """a projection whose arrivals at the same target teach; or the target: its own spikes do"""
    per_spike: float = 0.0
    """change of a weight at each presynaptic spike, in the unit of the weight"""
    per_pair: float = 0.0
    """change for each teaching spike in the window, at k = 1, in the unit of the weight"""
    kernel: str = "exponential"
    """a name in `KERNELS`"""
    tau: float = 50.0
    """time constant of k, ms"""
    window: float = 200.0
    """how long after a presynaptic spike a teaching one still counts, ms"""
    back: float = 0.0
    """how long before it, ms"""


def parallel_fibre_purkinje(teacher: str, a_plus: float, a_minus: float) -> Rule:
    """Potentiation by each parallel-fibre spike, depression before a climbing-fibre spike.

    The kernel peaks 100 ms before that spike (CerebNEST, `stdp_connection_sinexp.h`).

    Args:
      teacher: the climbing fibres' projection.
      a_plus, a_minus: in the unit of the weight; a_minus is negative, as published.
    """
    return Rule(
        teacher=teacher, per_spike=a_plus, per_pair=a_minus, kernel="sine", window=200 + LATENCY_MS
    )


def parallel_fibre_interneuron(teacher: str, a_plus: float, a_minus: float) -> Rule:
    """Depression by each parallel-fibre spike, potentiation before a climbing-fibre spike.

    The kernel peaks 50 ms before that spike (CerebNEST, `stdp_connection_alpha.h`).
    """
    return Rule(
        teacher=teacher,
        per_spike=a_minus,
        per_pair=a_plus,
        kernel="alpha",
        tau=50.0,
        window=200 + LATENCY_MS,
    )


def mossy_fibre_nuclei(teacher: str, a_plus: float, a_minus: float) -> Rule:
    """Potentiation by each mossy-fibre spike, depression by Purkinje spikes within 10 ms of it.

    So weights grow where Purkinje cells pause (CerebNEST, `stdp_connection_cosexp.h`).
    """
    return Rule(
        teacher=teacher,
        per_spike=a_plus,
        per_pair=a_minus,
        kernel="cosine",
        tau=2.5,
        window=10 + LATENCY_MS,
        back=10 - LATENCY_MS,
    )


def pair_stdp(target: str, a: float, tau: float = 30.0) -> Rule:
    """Additive pair-based STDP with one time constant, all pairs within five of them.

    Source before target strengthens by `a` at most, the other order weakens as much (NEST's
    `stdp_synapse` with mu 0 and alpha 1, which CerebNEST uses from Purkinje cells to nuclei).

    Args:
      target: name of the projection's target population.
    """
    return Rule(teacher=target, per_pair=a, kernel="pair", tau=tau, window=5 * tau, back=5 * tau)


def ring_steps(rule: Rule, dt: float) -> tuple[int, int]:
    """Steps of a rule's window from a presynaptic spike on, at least one, and before it.

    The ring of debts is as deep as both together.
    """
    return max(1, int(np.ceil(rule.window / dt - 1e-6)) + _closed(rule)), round(rule.back / dt)


def _closed(rule: Rule) -> bool:
    """Whether a teaching spike at the very end of the window counts."""
    return rule.kernel in ("sine", "alpha", "cosine")


def kernel(rule: Rule, dt: float) -> np.ndarray:
    """k at the lags -back, -back + dt, ... to the end of the window, ms: float32 [D]."""
    ahead, back = ring_steps(rule, dt)
    lag = np.arange(-back, ahead) * dt
    return KERNELS[rule.kernel](lag, rule.tau).astype(np.float32)


def incur(debts: Array, taught: Array, step: Array, rule: Rule, dt: float) -> Array:
    """The debts after teaching spikes.

    Args:
      debts: float32 [D, G R].
      taught: spikes that arrive at each target in this step, float32 [T].
      step: int32 scalar.
    """
    depth, width = debts.shape
    back = ring_steps(rule, dt)[1]
    place = jnp.remainder(step + back - jnp.arange(depth), depth)
    decay = jnp.asarray(kernel(rule, dt))[place]
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
    fan: events.Fan,
    rule: Rule,
    rate: Array,
    dt: float,
    share: float,
    w_max: float,
    native: bool = False,
    first: Array | int = 0,
) -> tuple[Array, Array]:
    """Weights and debts after the spikes whose window closes in this step.

    Args:
      weights: uint16 or float32 [N, R], or float32 [N, F] beside lists.
      debts: float32 [D, G R], with the teaching spikes of this step.
      words: the spikes that arrived when the window opened, uint32 [W].
      step: int32 scalar.
      seed: uint32 scalar for the rounding of uint16, another one in every step.
      mask_seed: uint32 scalar of `fixed.exists`, where `share` of a row's contacts is below one.
      rate: factor of all changes, 0 to learn nothing, scalar.
      w_max: bound of the weights; the other one is 0.
      native: by `cerebellum.native` on CPU: the same result in one pass.
      first: number of the first source cell, where these are a shard's.
    """
    depth = debts.shape[0]
    row = jnp.remainder(step + 1 - ring_steps(rule, dt)[0], depth)
    # Read behind a fence, cleared with what was read: so XLA sees the order and copies nothing.
    owed = fence(lax.dynamic_index_in_dim(debts, row, 0, keepdims=False))
    debts = lax.dynamic_update_index_in_dim(debts, owed * 0, row, 0)
    change = rate * (rule.per_spike + rule.per_pair * owed)
    exact = weights.dtype in (jnp.uint16, jnp.float32)
    how = native and exact, partial(_native, share, w_max), partial(_walk, share, w_max)
    first = jnp.asarray(first).astype(jnp.uint32)
    return calls.either(*how, weights, words, change, seed, mask_seed, first, fan), debts


def _walk(share: float, w_max: float, weights, words, change, seed, mask_seed, first, fan) -> Array:
    """The weights after the spikes `words`, in blocks of them; arguments as in `settle`.

    Args:
      change: what each target owes a synapse, float32 [G R], or [T] beside lists.
    """
    cells, width = weights.shape
    block = events.block_size(width)
    lanes = jnp.arange(block, dtype=jnp.int32)

    def write(weights, cell, real, rows):
        cell = jnp.where(real, cell, cells + lanes)
        return weights.at[cell].set(rows, mode="drop", unique_indices=True)

    def visit_row(fan, weights, beam, cell, real):
        rows, delta = weights[cell], change.reshape(-1, width)[beam][None]
        if share < 1:
            exists = fixed.exists(mask_seed, first + cell.astype(jnp.uint32), width, share)
            delta = jnp.where(exists, delta, 0)
        else:
            delta = jnp.broadcast_to(delta, rows.shape)
        if weights.dtype == jnp.uint16:
            rows = fixed.add(rows, delta / fan.unit, seed, first + cell.astype(jnp.uint32))
        else:
            rows = jnp.clip(rows + delta, 0, w_max)
        return write(weights, cell, real, rows)

    def visit_list(fan, weights, _, cell, real):
        delta = change.at[fan.targets[cell]].get(mode="fill", fill_value=0)
        rows = jnp.clip(weights[cell] + delta, 0, w_max)
        return write(weights, cell, real, rows)

    if isinstance(fan, events.AllToAll):
        beams, visit = fan.beams, partial(visit_row, fan)
    else:
        beams, visit = 1, partial(visit_list, fan)
    edges = jnp.asarray(events.beam_edges(cells, beams))
    return events.walk_beams(words, events.tally(words), edges, block, visit, weights)


def _native(
    share: float, w_max: float, weights, words, change, seed, mask_seed, first, fan
) -> Array:
    """The same in one pass."""
    rows = isinstance(fan, events.AllToAll)
    if weights.dtype == jnp.uint16:
        change = fixed.fine(change / fan.unit)
    targets, beams = (None, fan.beams) if rows else (fan.targets, 1)
    noise = jnp.stack([seed, fixed.contacts(mask_seed), first])
    how = beams, fixed.threshold(share), w_max
    return calls.settle(weights, words, targets, change, noise, *how)


def learn(
    weights: Array,
    debts: Array,
    line: Array,
    taught: Array,
    step: Array,
    seed: Array,
    mask_seed: Array,
    fan: events.Fan,
    rule: Rule,
    rate: Array,
    delay: int,
    dt: float,
    share: float,
    w_max: float,
    native: bool = False,
    first: Array | int = 0,
) -> tuple[Array, Array]:
    """One step of a rule: new debts, then the spikes whose window closes.

    Args:
      line: delay line of the source, before this step is written: at least `delay` and the
        window less one step deep.
      taught: as in `incur`.
      seed: uint32 scalar, of this run and projection.
      delay: of the projection, steps.
      first: as in `settle`.

    Returns:
      weights, debts.
    """
    debts = incur(debts, taught, step, rule, dt)
    closing = synapses.due(line, step, delay + ring_steps(rule, dt)[0] - 1)
    words = closing if closing.dtype == jnp.uint32 else events.pack(closing)
    seed = fixed.mix(seed + step.astype(jnp.uint32) * jnp.uint32(0x9E3779B1))
    options = rule, rate, dt, share, w_max, native, first
    return settle(weights, debts, words, step, seed, mask_seed, fan, *options)
