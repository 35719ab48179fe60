"""Homeostasis: slow rules that keep cells near a target rate, by a running mean r of their spikes.

    running mean             dr/dt = (spikes - r) / tau_rate
    synaptic scaling         ds/dt = s (1 - r / target) / tau;  a synapse of the cell counts s times
    threshold homeostasis    dθ/dt = gain (r - target);  θ is added to the cell's threshold

Scaling is multiplicative (Turrigiano et al. 1998), in the form of van Rossum, Bi & Turrigiano 2000
without its integral. It is one factor per target cell and multiplies the input that arrives, so
that the stored weights need not be visited. Threshold homeostasis follows Desai, Rutherford &
Turrigiano 1999: cells that fire too much become less excitable. The running mean starts at the
target rate, and factor and shift stay within their bounds.
"""

import math
from dataclasses import dataclass

import jax.numpy as jnp
from flax import struct
from jax import Array

from cerebellum.documented import documented


@documented
@dataclass(frozen=True, kw_only=True)
class Scaling:
    """Scaling of all synapses of a plastic projection onto a cell."""

    target: float
    """target rate, Hz"""
    tau: float = 100_000.0
    """time constant of the factor, ms"""
    tau_rate: float = 1_000.0
    """time constant of the running mean, ms"""
    lowest: float = 0.1
    highest: float = 10.0


@documented
@dataclass(frozen=True, kw_only=True)
class Threshold:
    """Homeostasis of the thresholds of a population."""

    target: float
    """target rate, Hz"""
    gain: float = 0.01
    """rise of the threshold in mV per second, for each Hz above the target rate"""
    tau_rate: float = 1_000.0
    """time constant of the running mean, ms"""
    lowest: float = -10.0
    """mV"""
    highest: float = 10.0
    """mV"""


@struct.dataclass(kw_only=True)
class State:
    """The state of a homeostatic rule, for each cell."""

    rate: Array
    """running mean of the firing rate, Hz, [T]"""
    value: Array
    """scaling factor, or shift of the threshold in mV, [T]"""


def begin(rule: Scaling | Threshold, size: int) -> State:
    """The state at the target rate, with a factor of one or no shift."""
    neutral = 1.0 if isinstance(rule, Scaling) else 0.0
    rate = jnp.full(size, rule.target, jnp.float32)
    return State(rate=rate, value=jnp.full(size, neutral, jnp.float32))


def adjust(
    before: State, spikes: Array, rule: Scaling | Threshold, rate: Array, dt: float
) -> State:
    """Advance the state of a rule by one step.

    Args:
      spikes: spikes of the cells in this step, 0 or 1, [T].
      rate: factor on all changes, 0 to learn nothing, scalar.
      dt: time step, ms.
    """
    decay = math.exp(-dt / rule.tau_rate)
    mean = before.rate * decay + spikes * ((1 - decay) * 1e3 / dt)
    if isinstance(rule, Scaling):
        change = before.value * (1 - mean / rule.target) * (dt / rule.tau)
    else:
        change = rule.gain * (mean - rule.target) * (dt * 1e-3)
    value = jnp.clip(before.value + rate * change, rule.lowest, rule.highest)
    return State(rate=mean, value=value)
