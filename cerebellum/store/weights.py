"""The distributions of a circuit's weights, to be printed or plotted."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from cerebellum.model import events, fixed
from cerebellum.model.circuit import Circuit, State

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
BINS = 40


def distributions(circuit: Circuit, state: State) -> Iterator[dict[str, Any]]:
    """The distribution of the weights of each projection, nS or mV; a dictionary each."""
    spec = circuit.spec
    for projection in spec.projections:
        name, fan = projection.name, circuit.wiring.fans[projection.name]
        weights = np.asarray(state.weights.get(name, circuit.params.weights[name]))
        unit = fan.unit if isinstance(fan, events.AllToAll) and weights.dtype == np.uint16 else 1.0
        if weights.ndim and isinstance(fan, events.FanOut):
            weights = weights[np.asarray(fan.targets) < spec.population(projection.target).size]
        elif weights.ndim and spec.share(projection) < 1:
            weights = weights[weights > 0]
        count = (
            weights.size
            if weights.ndim
            else round(projection.in_degree * spec.population(projection.target).size)
        )
        bound = fixed.LEVELS if weights.dtype == np.uint16 else projection.w_max
        yield {
            "projection": name,
            "synapses": int(count),
            "dtype": weights.dtype.name,
            "plastic": projection.plastic,
            "w_max": projection.w_max,
            **_distribution(weights, bound, unit),
        }


def _distribution(weights: np.ndarray, bound: float | None, unit: float) -> dict[str, Any]:
    """The statistics of weights that are stored in units of `unit`.

    Fixed-point weights are first counted by level, because the rows may be gigabytes.
    """
    values, counts_by_value = weights.reshape(-1), None
    if weights.dtype == np.uint16:
        levels = fixed.LEVELS + 1
        counts_by_level = sum(
            (np.bincount(block.reshape(-1), minlength=levels) for block in _blocks(weights)),
            np.zeros(levels, np.int64),
        )
        values = np.flatnonzero(counts_by_level)
        counts_by_value = counts_by_level[values]
    if not values.size:
        names = ("mean", "sd", "min", "max")
        none = {"at_zero": 0.0, "at_bound": 0.0, "quantiles": {}}
        return {**dict.fromkeys(names), **none, "histogram": {"edges": [], "counts": []}}
    average = partial(np.average, weights=counts_by_value)
    mean = average(values)
    variance = average((values - mean) ** 2)
    # A quantile of counted levels is one of the levels; otherwise it is interpolated.
    options: dict[str, Any] = {}
    if counts_by_value is not None:
        options = {"weights": counts_by_value, "method": "inverted_cdf"}
    quantiles = np.quantile(values, QUANTILES, **options) * unit
    counts, edges = np.histogram(values, BINS, weights=counts_by_value)
    return {
        "mean": float(mean) * unit,
        "sd": float(np.sqrt(variance)) * unit,
        "min": float(values.min()) * unit,
        "max": float(values.max()) * unit,
        "at_zero": float(average(values == 0)),
        "at_bound": float(average(values >= bound)) if bound else 0.0,
        "quantiles": {str(q): float(x) for q, x in zip(QUANTILES, quantiles, strict=True)},
        "histogram": {"edges": (edges * unit).tolist(), "counts": counts.tolist()},
    }


def _blocks(rows: np.ndarray) -> Iterator[np.ndarray]:
    """The rows in blocks of about 16 million weights."""
    size = max(1, 2**24 * len(rows) // max(1, rows.size))
    return (rows[start : start + size] for start in range(0, len(rows), size))
