"""Learning from pairs of presynaptic and teaching spikes within a window.

Teaching spikes are those of climbing fibres, of Purkinje cells or of the target cell itself.

    a presynaptic spike at t         w += per_spike
    a teaching spike at s            w += per_pair k(s - t) for every t with -back <= s - t < window

Times are those of arrival at the target. All published rules here have this form and differ in the
kernel k; `parallel_fibre_purkinje` and the other functions return them. The change of a synapse for
one of its spikes is applied once, when the window after the spike has closed: by then all teaching
spikes that it can pair with have arrived. So no synapse stores an eligibility, and no column of
weights is ever visited (docs/weights.md has the measurements). Pending weight updates, called
`pending` in the code, are one ring buffer per target: row r holds the sum of k over the teaching
spikes so far, for a presynaptic spike that arrives at step r modulo the ring's length. Weights lag
by the window and no more; they are clipped to their bounds whenever they are written.

Dimensions: D steps of the ring, G beams, R targets per beam, N source cells, F fan-out.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from cerebellum.documented import documented
from cerebellum.errors import UsageError
from cerebellum.model import delays, events, fixed, noise, registry
from cerebellum.model.ordering import materialize_once
from cerebellum.model.plasticity.protocol import Closing, Moment, Sizes, Synapses

LATENCY_MS = 1.0
"""The published kernels start this long before the teaching spike (CerebNEST)."""


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


@documented
@dataclass(frozen=True)
class Window:
    """The weight of a pair of spikes as a function of the time between them."""

    shape: Callable[[np.ndarray, float], np.ndarray]
    """k, a function of the lag from a presynaptic spike to a teaching spike (ms) and of `tau`
    (ms)"""
    closed: bool = False
    """whether a teaching spike at the exact end of a rule's window counts"""


WINDOWS: dict[str, Window] = {
    "exponential": Window(_exponential),
    "sine": Window(_sine, closed=True),
    "alpha": Window(_alpha, closed=True),
    "cosine": Window(_cosine, closed=True),
    "pair": Window(_pair),
}
"""Windows by the name that a rule refers to; `cerebellum.register("window", name, Window(...))`
adds one."""


def _wrong(thing: object) -> str | None:
    return None if isinstance(thing, Window) else f"{type(thing).__name__}; a plasticity.Window"


registry.table("window", WINDOWS, _wrong)


@documented
@dataclass(frozen=True, kw_only=True)
class Rule:
    """Learning from presynaptic spikes, and from pairs of presynaptic and teaching spikes."""

    teacher: str
    """the source of teaching spikes: a projection onto the same target, or the target population
    itself"""
    per_spike: float = 0.0
    """change of a weight at each presynaptic spike, in the unit of the weight"""
    per_pair: float = 0.0
    """change for each teaching spike in the window, at k = 1, in the unit of the weight"""
    kernel: str = "exponential"
    """a name in `WINDOWS`"""
    tau: float = 50.0
    """time constant of k, ms"""
    window: float = 200.0
    """how long after a presynaptic spike a teaching spike still counts, ms"""
    back: float = 0.0
    """how long before a presynaptic spike a teaching spike already counts, ms"""

    KEEPS_BOUNDS: ClassVar[bool] = True

    @property
    def teachers(self) -> tuple[str, ...]:
        return (self.teacher,)

    def history(self, dt: float) -> int:
        return ring_steps(self, dt)[0] - 1

    def problem(self, projection: Any) -> str | None:
        if self.kernel not in WINDOWS:
            return f"kernel: {self.kernel!r}; one of {', '.join(WINDOWS)}"
        for key in ("per_spike", "per_pair"):
            if not math.isfinite(getattr(self, key)):
                return f"{key}: {getattr(self, key)}; a finite number"
        for key in ("tau", "window"):
            if not 0 < getattr(self, key) < math.inf:
                return f"{key}: {getattr(self, key)} ms; above zero"
        if not 0 <= self.back < math.inf:
            return f"back: {self.back} ms; zero or more"
        if projection.dtype == "uint16":
            key = max(("per_spike", "per_pair"), key=lambda key: abs(getattr(self, key)))
            most, w_max = getattr(self, key), projection.w_max
            if abs(most) / fixed.unit(w_max) > 16_384:
                return f"{key}: {most}; at most a quarter of w_max {w_max}"
        return None

    def axes(self) -> str:
        return "row"

    def begin(self, sizes: Sizes, dt: float) -> Array:
        """An empty ring of pending weight updates, float32 [D, G R]."""
        return jnp.zeros((sum(ring_steps(self, dt)), sizes.row), jnp.float32)

    def learn(
        self, weights: Array, state: Array, moment: Moment, synapses: Synapses
    ) -> tuple[Array, Array]:
        """Add the updates from new teaching spikes, then apply those whose window closes.

        Args:
          weights: uint16 or float32 [N, R], or float32 [N, F] for lists.
          state: the ring of pending weight updates, float32 [D, G R].
        """
        dt, step = synapses.dt, moment.step
        pending = moment.incur(state, moment.teaching_spikes[self.teacher], step, self, dt)
        spikes = delays.due(moment.line, step, synapses.delay + self.history(dt))
        words = spikes if spikes.dtype == jnp.uint32 else events.pack(spikes)
        change, pending = owed(pending, step, moment.gain, synapses)
        closing = Closing(words=words, change=change, key=moment.key)
        return moment.settle(weights, closing, synapses), pending


def parallel_fibre_purkinje(teacher: str, a_plus: float, a_minus: float) -> Rule:
    """Potentiation by each parallel-fibre spike, depression by climbing-fibre spikes after it.

    The kernel peaks for parallel-fibre spikes 100 ms before the climbing-fibre spike (CerebNEST,
    `stdp_connection_sinexp.h`).

    Args:
      teacher: the projection of the climbing fibres.
      a_plus, a_minus: amplitudes in the unit of the weight; a_minus is negative, as published.
    """
    return Rule(
        teacher=teacher, per_spike=a_plus, per_pair=a_minus, kernel="sine", window=200 + LATENCY_MS
    )


def parallel_fibre_interneuron(teacher: str, a_plus: float, a_minus: float) -> Rule:
    """Depression by each parallel-fibre spike, potentiation by climbing-fibre spikes after it.

    The kernel peaks for parallel-fibre spikes 50 ms before the climbing-fibre spike (CerebNEST,
    `stdp_connection_alpha.h`).
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

    Weights therefore grow where Purkinje cells pause (CerebNEST, `stdp_connection_cosexp.h`). Of
    the Purkinje spikes before a mossy-fibre spike, that code counts the last one only. Here all
    count, because with many Purkinje cells to a nuclear cell the last one hardly shows their rate.
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
    """Additive pair-based STDP of all pairs within five time constants.

    A source spike before a target spike strengthens the synapse by at most `a`; the other order
    weakens it by as much (NEST's `stdp_synapse` with mu 0 and alpha 1, which CerebNEST uses from
    Purkinje cells to nuclei).

    Args:
      target: name of the projection's target population.
    """
    return Rule(teacher=target, per_pair=a, kernel="pair", tau=tau, window=5 * tau, back=5 * tau)


def ring_steps(rule: Rule, dt: float) -> tuple[int, int]:
    """Steps of a rule's window from a presynaptic spike on (at least one), and steps before it.

    They hold the lags that are multiples of `dt` and lie in the window, wherever it ends. The ring
    of pending weight updates is as deep as both together.
    """
    within, before = rule.window / dt, int(np.floor(rule.back / dt + 1e-6))
    if WINDOWS[rule.kernel].closed:
        return int(np.floor(within + 1e-6)) + 1, before
    return max(1, int(np.ceil(within - 1e-6))), before


def kernel(rule: Rule, dt: float) -> np.ndarray:
    """k at the lags -back, -back + dt, ... (ms) up to the end of the window: float32 [D]."""
    ahead, back = ring_steps(rule, dt)
    lag = np.arange(-back, ahead) * dt
    values = np.asarray(WINDOWS[rule.kernel].shape(lag, rule.tau))
    if values.shape != lag.shape or not np.isfinite(values).all():
        raise UsageError(
            f"window {rule.kernel!r}: values {list(values.shape)} for {lag.size} lags, "
            f"{int(np.isfinite(values).sum())} of them finite; a finite one for each lag"
        )
    return values.astype(np.float32)


def kernel_by_row(pending: Array, step: Array, rule: Rule, dt: float) -> Array:
    """What one teaching spike of a step adds to each row of the pending weight updates, [D]."""
    depth, back = pending.shape[0], ring_steps(rule, dt)[1]
    lag_index = jnp.remainder(step + back - jnp.arange(depth), depth)
    return jnp.asarray(kernel(rule, dt))[lag_index]


def incur(pending: Array, teaching_spikes: Array, step: Array, rule: Rule, dt: float) -> Array:
    """Add the effect of teaching spikes to the pending weight updates.

    Args:
      pending: the pending weight updates, float32 [D, G R].
      teaching_spikes: teaching spikes that arrive at each target in this step, float32 [T].
      step: int32 scalar.
    """
    width = pending.shape[1]
    by_row = kernel_by_row(pending, step, rule, dt)
    words = events.pack(teaching_spikes)
    levels, total = events.tally(words), events.count(words)
    lanes = jnp.arange(8, dtype=jnp.int32)

    def body(carry):
        start, pending = carry
        cell = events.select(words, levels, start + lanes)
        cell = jnp.where(start + lanes < total, cell, width + lanes)
        last = teaching_spikes.size - 1
        value = by_row[:, None] * teaching_spikes[jnp.minimum(cell, last)][None]
        return start + 8, pending.at[:, cell].add(value, mode="drop", unique_indices=True)

    return lax.while_loop(lambda carry: carry[0] < total, body, (jnp.int32(0), pending))[1]


def owed(pending: Array, step: Array, gain: Array, synapses: Synapses) -> tuple[Array, Array]:
    """Take out the weight updates of presynaptic spikes whose window closes in this step.

    Args:
      pending: the pending weight updates, which include the teaching spikes of this step, float32
        [D, G R].
      step: int32 scalar.
      gain: factor on all changes, 0 to learn nothing, scalar.

    Returns:
      The change of the weight of such a synapse onto each target, float32 [G R], and the remaining
      pending weight updates.
    """
    rule = synapses.rule
    row = jnp.remainder(step + 1 - ring_steps(rule, synapses.dt)[0], pending.shape[0])
    # The row is materialized, and cleared by its own product with zero. So XLA sees that the read
    # comes before the write, and it does not copy the ring.
    due = materialize_once(lax.dynamic_index_in_dim(pending, row, 0, keepdims=False))
    pending = lax.dynamic_update_index_in_dim(pending, due * 0, row, 0)
    return gain * (rule.per_spike + rule.per_pair * due), pending


def settle(weights: Array, closing: Closing, synapses: Synapses) -> Array:
    """Apply the updates to the weights of the spikes whose window closes, block by block.

    Args:
      weights: uint16 or float32 [N, R], or float32 [N, F] for lists.
      closing: the spikes whose window closes, and the changes.
    """
    cells, width = weights.shape
    block, fan = events.block_size(width), synapses.fan
    lanes = jnp.arange(block, dtype=jnp.int32)
    update = updating(closing, synapses, width)

    def visit(weights, beam, cell, real):
        rows = update(weights, beam[None], cell)
        cell = jnp.where(real, cell, cells + lanes)
        return weights.at[cell].set(rows, mode="drop", unique_indices=True)

    beams = fan.beams if isinstance(fan, events.AllToAll) else 1
    edges = jnp.asarray(events.beam_edges(cells, beams))
    words = closing.words
    return events.walk_beams(words, events.tally(words), edges, block, visit, weights)


def updating(
    closing: Closing, synapses: Synapses, width: int
) -> Callable[[Array, Array, Array], Array]:
    """The function that updates the weights of some source cells, whose window closes.

    Args:
      width: number of weights of a cell.

    Returns:
      A function of all weights, the beams [K] or [1] of the cells, and the cells [K]; it returns
      their new weights, [K, width].
    """
    fan, share, w_max = synapses.fan, synapses.share, synapses.w_max
    change, key = closing.change, closing.key
    columns = noise.columns(key, width)
    cell_offset = jnp.asarray(synapses.cell_offset).astype(jnp.uint32)

    def update_rows(fan: events.AllToAll, weights: Array, beam: Array, cell: Array) -> Array:
        rows, delta = weights[cell], change.reshape(-1, width)[beam]
        if share < 1:
            number = cell_offset + cell.astype(jnp.uint32)
            exists = fixed.exists(synapses.contacts_key, number, width, share)
            delta = jnp.where(exists, delta, 0)
        else:
            delta = jnp.broadcast_to(delta, rows.shape)
        if weights.dtype == jnp.uint16:
            dither = fixed.dither(key, cell_offset + cell.astype(jnp.uint32), columns)
            return fixed.add(rows, delta / fan.unit, dither)
        return jnp.clip(rows + delta, 0, w_max)

    def update_lists(fan: events.FanOut, weights: Array, _: Array, cell: Array) -> Array:
        delta = change.at[fan.targets[cell]].get(mode="fill", fill_value=0)
        return jnp.clip(weights[cell] + delta, 0, w_max)

    if isinstance(fan, events.AllToAll):
        return partial(update_rows, fan)
    return partial(update_lists, fan)
