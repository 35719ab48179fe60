"""How the weights of a circuit are distributed, for people who want to see them."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from cerebellum.model import events, fixed
from cerebellum.model.circuit import Circuit, State

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
BINS = 40


def distributions(circuit: Circuit, state: State) -> Iterator[dict[str, Any]]:
    """How the weights of each projection are distributed, nS or mV; one dictionary each."""
    spec = circuit.spec
    for projection in spec.projections:
        name, fan = projection.name, circuit.wiring.fans[projection.name]
        held = np.asarray(state.weights.get(name, circuit.params.weights[name]))
        unit = fan.unit if isinstance(fan, events.AllToAll) and held.dtype == np.uint16 else 1.0
        if held.ndim and isinstance(fan, events.FanOut):
            held = held[np.asarray(fan.targets) < spec.population(projection.target).size]
        elif held.ndim and spec.share(projection) < 1:
            held = held[held > 0]
        count = (
            held.size
            if held.ndim
            else round(projection.in_degree * spec.population(projection.target).size)
        )
        bound = fixed.LEVELS if held.dtype == np.uint16 else projection.w_max
        yield {
            "projection": name,
            "synapses": int(count),
            "dtype": held.dtype.name,
            "plastic": projection.plastic,
            "w_max": projection.w_max,
            **_distribution(held, bound, unit),
        }


def _distribution(held: np.ndarray, bound: float | None, unit: float) -> dict[str, Any]:
    """What there is to say of weights in units of `unit`.

    Of fixed point by how often each level occurs: the rows may be gigabytes.
    """
    values, times = held.reshape(-1), None
    if held.dtype == np.uint16:
        times = sum(
            (np.bincount(part.reshape(-1), minlength=fixed.LEVELS + 1) for part in _parts(held)),
            np.zeros(fixed.LEVELS + 1, np.int64),
        )
        values = np.flatnonzero(times)
        times = times[values]
    if not values.size:
        names = ("mean", "sd", "min", "max")
        none = {"at_zero": 0.0, "at_bound": 0.0, "quantiles": {}}
        return {**dict.fromkeys(names), **none, "histogram": {"edges": [], "counts": []}}
    mean = np.average(values, weights=times)
    spread = np.average((values - mean) ** 2, weights=times)
    # Of counted levels each quantile is a level that there is; otherwise between two.
    how = {"weights": times, "method": "inverted_cdf"} if times is not None else {}
    quantiles = np.quantile(values, QUANTILES, **how) * unit
    counts, edges = np.histogram(values, BINS, weights=times)
    share = partial(np.average, weights=times)
    return {
        "mean": float(mean) * unit,
        "sd": float(np.sqrt(spread)) * unit,
        "min": float(values.min()) * unit,
        "max": float(values.max()) * unit,
        "at_zero": float(share(values == 0)),
        "at_bound": float(share(values >= bound)) if bound else 0.0,
        "quantiles": {str(q): float(x) for q, x in zip(QUANTILES, quantiles, strict=True)},
        "histogram": {"edges": (edges * unit).tolist(), "counts": counts.tolist()},
    }


def _parts(rows: np.ndarray) -> Iterator[np.ndarray]:
    """Rows in parts of about 16 million weights."""
    each = max(1, 2**24 * len(rows) // max(1, rows.size))
    return (rows[start : start + each] for start in range(0, len(rows), each))
