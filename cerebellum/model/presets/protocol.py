"""The standard stimulus of a preset, and the rates that are known for it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from jax import Array


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Poisson background in every input cell, and a burst in some of them."""

    input: str
    """the population that is driven"""
    background_hz: float
    burst_hz: float
    burst_ms: tuple[float, float]
    bursting: float | Callable[[Array], np.ndarray]
    """which input cells burst: a share of them, or a function of the circuit's key: bool [N]"""
    windows: Mapping[str, tuple[float, float]]
    """spans whose rates are reported, ms"""
    spread: bool = False
    """first voltages between reset and threshold, not all at rest"""
    reference_hz: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """by window and population, rates that this circuit should show, Hz"""
    published_hz: Mapping[str, float] = field(default_factory=dict)
    """by population, published background rates, Hz"""
    note: str = ""
    """where the two come from, and what is known about their difference"""
