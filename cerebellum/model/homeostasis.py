"""Homeostasis: slow rules that hold cells near a rate, each by a running mean r of its own spikes.

    running mean             dr/dt = (spikes - r) / tau_rate
    synaptic scaling         ds/dt = s (1 - r / target) / tau;  a synapse of the cell counts s times
    threshold homeostasis    dθ/dt = gain (r - target);  θ is added to the cell's threshold

Scaling is multiplicative (Turrigiano et al. 1998), in the form of van Rossum, Bi & Turrigiano 2000
without its integral. It is one factor a target, applied to what arrives, so no weight is walked
for it. Thresholds follow Desai, Rutherford & Turrigiano 1999: cells that fire too much become less
excitable. Both start from the wanted rate, and factor and shift keep to their bounds.
"""

import math
from dataclasses import dataclass

import jax.numpy as jnp
from flax import struct
from jax import Array


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """Of all plastic synapses of a projection onto a cell."""

    target: float
    """rate to be held, Hz"""
    tau: float = 100_000.0
    """time constant of the factor, ms"""
    tau_rate: float = 1_000.0
    """time constant of the running mean, ms"""
    lowest: float = 0.1
    highest: float = 10.0


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """Of a population's cells."""

    target: float
    """rate to be held, Hz"""
    gain: float = 0.01
    """mV a second for each Hz too much"""
    tau_rate: float = 1_000.0
    """time constant of the running mean, ms"""
    lowest: float = -10.0
    """mV"""
    highest: float = 10.0
    """mV"""


@struct.dataclass(kw_only=True)
class Watch:
    """What a rule keeps for each cell."""

    rate: Array
    """running mean, Hz, [T]"""
    value: Array
    """scaling factor, or shift of the threshold in mV, [T]"""


def begin(rule: Scaling | Threshold, size: int) -> Watch:
    """At the wanted rate, with factor one or no shift."""
    neutral = 1.0 if isinstance(rule, Scaling) else 0.0
    rate = jnp.full(size, rule.target, jnp.float32)
    return Watch(rate=rate, value=jnp.full(size, neutral, jnp.float32))


def adjust(watch: Watch, spikes: Array, rule: Scaling | Threshold, rate: Array, dt: float) -> Watch:
    """One step.

    Args:
      spikes: of the cells in this step, 0 or 1, [T].
      rate: factor of all changes, 0 to learn nothing, scalar.
      dt: ms.
    """
    kept = math.exp(-dt / rule.tau_rate)
    mean = watch.rate * kept + spikes * ((1 - kept) * 1e3 / dt)
    if isinstance(rule, Scaling):
        change = watch.value * (1 - mean / rule.target) * (dt / rule.tau)
    else:
        change = rule.gain * (mean - rule.target) * (dt * 1e-3)
    value = jnp.clip(watch.value + rate * change, rule.lowest, rule.highest)
    return Watch(rate=mean, value=value)
