"""Causal features of a stream of ticks: each is computed from the ticks so far.

A tick is described by its differences from the one before (`Tick`). These are taken in double
precision, in which prices and times are stored. From there on all is float32, in one pure step a
tick. Exponentially weighted means and variances remove slow drifts. A tick is compared with them
before it is added to them.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array, lax

LAGS = 10
"""Number of past returns, and of past changes of the price, among the features."""
HALF_LIFE = 500.0
"""Half-life of means and variances, ticks."""
FLOWS = (3.0, 10.0, 50.0)
"""Half-lives of the averages of signed volume, ticks."""
CLIP = 10.0
"""Largest deviation from the mean, in standard deviations; larger ones are clipped."""
ABSURD = 60.0
"""Largest deviation that enters means and variances, in standard deviations. A price that is a
hundred times too high would otherwise make all returns of the next thousands of ticks look like
zero. The largest deviation in the reference recordings is 50."""
SETTLED = 50.0
"""Ticks after which means and variances are known well enough to say what is absurd."""


@dataclass(frozen=True, kw_only=True)
class Fields:
    """The columns that a market's ticks have beside time, price and volume."""

    quote: bool = False
    """Bid and ask."""
    sizes: bool = False
    """Sizes of bid and ask."""
    side: bool = False
    """Signed volume, whose sign says who was the aggressor."""
    calendar: bool = False
    """Whether the time of day is a feature."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the features, in order."""
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
    """A tick relative to the one before it; float32, each [...]."""

    log_return: Array
    """Natural logarithm of the ratio of the price to the one before."""
    interval: Array
    """Time since the tick before, ms."""
    volume: Array
    spread: Array
    """Ask less bid, as a share of the price."""
    imbalance: Array
    """Bid size less ask size, divided by their sum."""
    signed_volume: Array
    """Volume, positive where the buyer was the aggressor and negative where the seller was."""
    day: Array
    """Time of day, 0 to 1."""


@struct.dataclass(kw_only=True)
class Moments:
    """Exponentially weighted mean and variance."""

    mean: Array
    variance: Array
    seen: Array
    """Number of ticks, float32. While they are few, the mean is the plain one."""


@struct.dataclass(kw_only=True)
class State:
    """The state of a market's features."""

    returns: Array
    """Returns in standard deviations, the newest first, [LAGS]."""
    changes: Array
    """Returns that were not zero, the newest first, [LAGS]."""
    intervals: Array
    """Normalised logarithms of 1 + interval in ms, the newest first, [4]."""
    since: Array
    """Ticks since the last change of the price."""
    between: Array
    """Ticks between the last two changes."""
    change_time: Array
    """Logarithm of 1 + ms between the last two changes."""
    elapsed: Array
    """Time since the last change, ms."""
    spread: Array
    imbalance: Array
    flows: Array
    """[FLOWS]"""
    moments: dict[str, Moments]


_NORMALISED = ("return", "interval", "change_time", "volume", "spread", "signed_volume")


def init() -> State:
    """The state before the first tick."""
    zero = jnp.float32(0)
    moments = Moments(mean=zero, variance=jnp.float32(1), seen=zero)
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
        moments=dict.fromkeys(_NORMALISED, moments),
    )


def _observe(moments: Moments, x: Array, centred: bool = True) -> tuple[Moments, Array]:
    """The moments after a value, and the value in units of the moments before it."""
    any_before = moments.seen > 0
    mean = jnp.where(any_before, moments.mean, x) if centred else jnp.float32(0)
    spread = jnp.sqrt(moments.variance)
    z = jnp.where(any_before & (spread > 0), (x - mean) / jnp.where(spread > 0, spread, 1.0), 0.0)
    rate = jnp.maximum(1 - 0.5 ** (1 / HALF_LIFE), 1 / (moments.seen + 1))
    limit = jnp.where((moments.seen >= SETTLED) & (spread > 0), ABSURD * spread, jnp.inf)
    deviation = jnp.clip(x - mean, -limit, limit)
    updated = Moments(
        mean=mean + rate * deviation if centred else mean,
        variance=jnp.where(any_before, moments.variance, 0.0) * (1 - rate)
        + rate * deviation * deviation,
        seen=moments.seen + 1,
    )
    return updated, jnp.clip(z, -CLIP, CLIP)


def step(state: State, tick: Tick, fields: Fields) -> tuple[State, Array]:
    """The state after a tick, and the features at it, float32 [F]."""
    moments = dict(state.moments)
    # Returns can be as small as 1e-9. They are scaled so that their squares are normal numbers.
    moments["return"], z = _observe(moments["return"], tick.log_return * 1e6, centred=False)
    changed = tick.log_return != 0
    z = jnp.where(changed & (z == 0), jnp.sign(tick.log_return), z)
    returns = jnp.concatenate([z[None], state.returns[:-1]])
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
        returns=returns,
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
    groups = [returns, stepped.changes, jnp.stack(timing), stepped.intervals, volume[None]]
    if fields.quote:
        groups.append(jnp.stack([spread, spread - state.spread]))
    if fields.sizes:
        groups.append(jnp.stack([tick.imbalance, tick.imbalance - state.imbalance]))
    if fields.side:
        groups += [signed[None], stepped.flows]
    if fields.calendar:
        angle = 2 * jnp.pi * tick.day
        groups.append(jnp.stack([jnp.sin(angle), jnp.cos(angle)]))
    return stepped, jnp.concatenate(groups).astype(jnp.float32)


def _log_volume(volume: Array) -> Array:
    return jnp.log1p(volume * 1e3)


@partial(jax.jit, static_argnames="fields")
def run(state: State, ticks: Tick, fields: Fields) -> tuple[State, Array]:
    """The state after T consecutive ticks, and the features at each, [T, F]."""
    return lax.scan(lambda state, tick: step(state, tick, fields), state, ticks)
