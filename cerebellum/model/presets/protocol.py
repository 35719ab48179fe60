"""The standard stimulus of a preset, and the known firing rates under it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from jax import Array


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """A Poisson background in every input cell, and a burst in some of them."""

    input: str
    """the population that is driven"""
    background_hz: float
    """background rate, Hz"""
    burst_hz: float
    """rate during the burst, Hz"""
    burst_ms: tuple[float, float]
    """start and end of the burst, ms"""
    bursting: float | Callable[[Array], np.ndarray]
    """the input cells that burst: a share of them, or a function from the circuit's key to a mask,
    bool [N]"""
    windows: Mapping[str, tuple[float, float]]
    """time windows whose rates are reported, by name, ms"""
    spread: bool = False
    """whether initial voltages lie between reset and threshold, not all at rest"""
    reference_hz: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """rates that this circuit should have, by window and population, Hz"""
    published_hz: Mapping[str, float] = field(default_factory=dict)
    """published background rates by population, Hz"""
    note: str = ""
    """the sources of these rates, and what is known about their difference"""
