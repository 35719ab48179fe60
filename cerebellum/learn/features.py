"""What a tick stream says, as numbers that need no future: every one from ticks that have come.

A tick comes as differences to the one before (`Tick`), taken in double precision where prices and
times still are; from there all is float32, one pure step a tick. Slow drifts are taken out by
exponentially weighted means and variances that a tick is compared with before it joins them.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array, lax

LAGS = 10
"""returns, and changes of the price, that are remembered"""
HALF_LIFE = 500.0
"""of means and variances, ticks"""
FLOWS = (3.0, 10.0, 50.0)
"""half-lives of signed volume, ticks"""
CLIP = 10.0
"""most standard deviations that count"""


@dataclass(frozen=True, kw_only=True)
class Fields:
    """What a market's ticks bring beside time, price and volume."""

    quote: bool = False
    """bid and ask"""
    sizes: bool = False
    """their sizes"""
    side: bool = False
    """signed volume: who was the aggressor"""
    calendar: bool = False
    """whether the time of day counts"""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the features, in order."""
        lags = range(LAGS)
        return (
            *(f"return_{k}" for k in lags),
            *(f"change_{k}" for k in lags),
            *("since_change", "between_changes", "change_time"),
            *(f"interval_{k}" for k in range(4)),
            "volume",
            *(("spread", "spread_step") if self.quote else ()),
            *(("imbalance", "imbalance_step") if self.sizes else ()),
            *(("signed_volume", *(f"flow_{h:g}" for h in FLOWS)) if self.side else ()),
            *(("day_sin", "day_cos") if self.calendar else ()),
        )


@struct.dataclass(kw_only=True)
class Tick:
    """A tick beside the one before it; float32, each [...]."""

    log_return: Array
    """natural logarithm of the price over the one before"""
    interval: Array
    """ms since the one before"""
    volume: Array
    spread: Array
    """ask less bid, as a share of the price"""
    imbalance: Array
    """bid size less ask size over their sum"""
    signed_volume: Array
    """positive where the buyer was the aggressor"""
    day: Array
    """time of day, 0 to 1"""


@struct.dataclass(kw_only=True)
class Moments:
    """Exponentially weighted mean and variance."""

    mean: Array
    variance: Array
    seen: Array
    """ticks, float32: while they are few, each counts as in a plain mean"""


@struct.dataclass(kw_only=True)
class State:
    """What is remembered of a market."""

    returns: Array
    """in standard deviations, the newest first, [LAGS]"""
    changes: Array
    """those that were not zero, [LAGS]"""
    intervals: Array
    """logarithm of 1 + ms, newest first, [4]"""
    since: Array
    """ticks since the price changed"""
    between: Array
    """ticks from the last change but one to the last"""
    change_time: Array
    """ms since the last change but one, at the last"""
    elapsed: Array
    """ms since the last change"""
    spread: Array
    imbalance: Array
    flows: Array
    """[FLOWS]"""
    moments: dict[str, Moments]


_NORMALISED = ("return", "interval", "change_time", "volume", "spread", "signed_volume")


def init() -> State:
    """Nothing seen yet."""
    zero = jnp.float32(0)
    one = Moments(mean=zero, variance=jnp.float32(1), seen=zero)
    return State(
        returns=jnp.zeros(LAGS, jnp.float32),
        changes=jnp.zeros(LAGS, jnp.float32),
        intervals=jnp.zeros(4, jnp.float32),
        since=zero,
        between=zero,
        change_time=zero,
        elapsed=zero,
        spread=zero,
        imbalance=zero,
        flows=jnp.zeros(len(FLOWS), jnp.float32),
        moments=dict.fromkeys(_NORMALISED, one),
    )


def _observe(moments: Moments, x: Array, centred: bool = True) -> tuple[Moments, Array]:
    """A value in standard deviations of those before it, and the moments with it."""
    known = moments.seen > 0
    mean = jnp.where(known, moments.mean, x) if centred else jnp.float32(0)
    spread = jnp.sqrt(moments.variance)
    z = jnp.where(known & (spread > 0), (x - mean) / jnp.where(spread > 0, spread, 1.0), 0.0)
    rate = jnp.maximum(1 - 0.5 ** (1 / HALF_LIFE), 1 / (moments.seen + 1))
    away = x - mean
    updated = Moments(
        mean=mean + rate * away if centred else mean,
        variance=jnp.where(known, moments.variance, 0.0) * (1 - rate) + rate * away * away,
        seen=moments.seen + 1,
    )
    return updated, jnp.clip(z, -CLIP, CLIP)


def step(state: State, tick: Tick, fields: Fields) -> tuple[State, Array]:
    """One tick: the state with it, and the features as of it, float32 [F]."""
    moments = dict(state.moments)
    # Returns come in units of 1e-9 and up: scaled, so that their squares are normal numbers.
    moments["return"], z = _observe(moments["return"], tick.log_return * 1e6, centred=False)
    changed = tick.log_return != 0
    z = jnp.where(changed & (z == 0), jnp.sign(tick.log_return), z)
    pushed = jnp.concatenate([z[None], state.returns[:-1]])
    changes = jnp.concatenate([z[None], state.changes[:-1]])
    elapsed, since = state.elapsed + tick.interval, state.since + 1
    log_interval = jnp.log1p(tick.interval)
    moments["interval"], interval = _observe(moments["interval"], log_interval)
    change_time = jnp.where(changed, jnp.log1p(elapsed), state.change_time)
    after, _ = _observe(moments["change_time"], change_time)
    moments["change_time"] = jax.tree.map(
        lambda new, old: jnp.where(changed, new, old), after, moments["change_time"]
    )
    moments["volume"], volume = _observe(moments["volume"], _log_volume(tick.volume))
    moments["spread"], spread = _observe(moments["spread"], tick.spread * 1e4)
    signed = jnp.sign(tick.signed_volume) * _log_volume(jnp.abs(tick.signed_volume))
    moments["signed_volume"], signed = _observe(moments["signed_volume"], signed, centred=False)
    rates = 1 - 0.5 ** (1 / jnp.asarray(FLOWS))
    stepped = State(
        returns=pushed,
        changes=jnp.where(changed, changes, state.changes),
        intervals=jnp.concatenate([interval[None], state.intervals[:-1]]),
        since=jnp.where(changed, 0.0, since),
        between=jnp.where(changed, since, state.between),
        change_time=change_time,
        elapsed=jnp.where(changed, 0.0, elapsed),
        spread=spread,
        imbalance=tick.imbalance,
        flows=state.flows + rates * (signed - state.flows),
        moments=moments,
    )
    timing = [jnp.log1p(stepped.since), jnp.log1p(stepped.between), change_time]
    found = [pushed, stepped.changes, jnp.stack(timing), stepped.intervals, volume[None]]
    if fields.quote:
        found.append(jnp.stack([spread, spread - state.spread]))
    if fields.sizes:
        found.append(jnp.stack([tick.imbalance, tick.imbalance - state.imbalance]))
    if fields.side:
        found += [signed[None], stepped.flows]
    if fields.calendar:
        angle = 2 * jnp.pi * tick.day
        found.append(jnp.stack([jnp.sin(angle), jnp.cos(angle)]))
    return stepped, jnp.concatenate(found).astype(jnp.float32)


def _log_volume(volume: Array) -> Array:
    return jnp.log1p(volume * 1e3)


@partial(jax.jit, static_argnames="fields")
def run(state: State, ticks: Tick, fields: Fields) -> tuple[State, Array]:
    """Ticks [T] in a row: the state after them, and features [T, F]."""
    return lax.scan(lambda state, tick: step(state, tick, fields), state, ticks)
