"""Circuits and states as short tables, for people who look at one in a notebook.

Only single numbers are copied to the host.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from cerebellum.model import values

ROWS = 34
"""Rows of two tables together that are shown: longer ones are cut, so that all fit on a screen."""

UNITS = {"current": "mV", "conductance": "nS", "eglif": "nS"}
"""Units of weights by the model of the target; a model that is registered knows its own."""


def of_circuit(circuit: Any) -> str:
    """A circuit: its populations, its projections, its time step and how it runs."""
    spec, wiring = circuit.spec, circuit.wiring
    cells = sum(p.size for p in spec.populations)
    title = f"Circuit {spec.name}: {cells:,} cells, dt {spec.dt:g} ms, path {wiring.path}, "
    title += f"backend {circuit.backend}"
    if wiring.part.shards is not None:
        title += f", in {wiring.part.shards} shards"
    populations = [
        (p.name, f"{p.size:,}", p.model, _silent(wiring.alive.get(p.name), p.size))
        for p in spec.populations
    ]
    units = {p.name: UNITS.get(p.model, "") for p in spec.populations}
    projections = [
        (
            p.name,
            p.receptor,
            _synapses(wiring.fans[p.name], p, spec),
            f"{_mean_weight(wiring.fans[p.name], circuit.params.weights[p.name])} "
            f"{units[p.target]}".rstrip(),
            _delay(p),
            _learns(p),
        )
        for p in spec.projections
    ]
    for name, partners in wiring.partners.items():
        if _here(partners):
            pairs, conductance = f"{_pairs(partners):,}", _conductance(circuit, name)
            projections.append((f"{name} (gap junctions)", "", pairs, conductance, "", ""))
    head = ("projection", "receptor", "synapses", "weight, mean", "delay", "plastic")
    above = _table(("population", "cells", "model", ""), populations, ROWS // 2)
    return "\n".join([title, *above, *_table(head, projections, ROWS - len(above))])


def of_state(state: Any) -> str:
    """A state: its time, its cells, and its weights that learn."""
    leaves = jax.tree.leaves(state)
    if any(isinstance(leaf, Tracer) for leaf in leaves):
        return "State, traced"
    if any(isinstance(leaf, jax.Array) and leaf.is_deleted() for leaf in leaves):
        return "State, given to a run, which has used it up: go on with the one that it returned"
    title = "State"
    if np.size(state.step):
        step = int(np.ravel(_host(state.step))[0])
        title += f" after {step:,} steps"
        if state.timing is not None:
            title += f", {step * state.timing.dt:g} ms"
    if state.timing is not None:
        title += f", dt {state.timing.dt:g} ms, path {state.timing.path}"
    if np.ndim(state.step):
        title += f", arrays with leading axes {list(np.shape(state.step))}"
    cells = []
    for name, record in state.cells.items():
        fields = vars(record) if hasattr(record, "__dict__") else {}
        shapes = [leaf.shape[-1] for leaf in jax.tree.leaves(record)]
        cells.append((name, f"{shapes[0]:,}" if shapes else "", ", ".join(fields)))
    weights = [
        (name, "x".join(f"{n:,}" for n in x.shape), str(x.dtype), _number(x))
        for name, x in state.weights.items()
    ]
    above = _table(("population", "cells", "variables"), cells, ROWS // 2)
    lines = [title, *above]
    if weights:
        head = ("weights that learn", "shape", "type", "mean of all places")
        lines += _table(head, weights, ROWS - len(above))
    return "\n".join(lines)


def _table(head: Sequence[str], rows: list[tuple[str, ...]], most: int) -> list[str]:
    """Lines of a table of at most `most` rows; of a longer one, the end is left out."""
    if len(rows) > most:
        rows = [*rows[: most - 1], (f"... {len(rows) - most + 1} more",)]
    whole: list[Sequence[str]] = [head, *rows]
    widths = [max(len(row[i]) for row in whole if i < len(row)) for i in range(len(head))]
    return [
        "  "
        + "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=False)).rstrip()
        for row in whole
    ]


def _host(x: Any) -> np.ndarray:
    """The part of an array that this process has, on the host."""
    shards = getattr(x, "addressable_shards", None)
    return np.asarray(x if shards is None else shards[0].data)


def _here(x: Any) -> bool:
    """Whether this process has all numbers of an array: it is not traced, nor on other machines."""
    return not isinstance(x, Tracer) and getattr(x, "is_fully_addressable", True)


def _number(x: Any) -> str:
    """The mean of an array as text."""
    if not _here(x):
        return "not here"
    # Row by row: a sum of billions of numbers in float32 loses them.
    rows = jnp.mean(x, -1) if np.ndim(x) else x
    return f"{float(jnp.mean(rows)):.4g}" if np.size(x) else "none"


def _silent(alive: Any, size: int) -> str:
    if alive is None or not _here(alive):
        return ""
    silent = size - int(jnp.sum(jax.lax.population_count(alive)))
    return f"{silent:,} silenced" if silent else ""


def _synapses(fan: Any, projection: Any, spec: Any) -> str:
    targets = getattr(fan, "targets", None)
    if targets is None or not _here(targets):
        return f"about {round(projection.in_degree * spec.population(projection.target).size):,}"
    return f"{_used(targets):,}"


def _used(targets: Any) -> int:
    """Number of entries of target lists that are in use."""
    by_source = jnp.sum(targets != jnp.iinfo(targets.dtype).max, axis=-1, dtype=jnp.int32)
    return int(np.asarray(by_source, np.int64).sum())


def _pairs(partners: Any) -> int:
    """Number of gap junctions."""
    held = np.asarray(partners)
    return int((held != np.arange(held.shape[-1])).sum()) // 2


def _conductance(circuit: Any, name: str) -> str:
    """The conductance of the gap junctions of a population, as its spec says."""
    population = circuit.spec.population(name)
    unit = "" if population.model == "current" else " nS"
    return f"{population.gap_junctions.conductance:g}{unit}"


def _mean_weight(fan: Any, weights: Any) -> str:
    """The mean weight of the synapses that exist."""
    if not np.ndim(weights) or not _here(weights):
        return _number(weights)
    targets = getattr(fan, "targets", None)
    exists = weights != 0 if targets is None else targets != jnp.iinfo(targets.dtype).max
    if targets is not None and np.shape(weights) != np.shape(targets):
        return _number(weights)
    number = float(jnp.sum(jnp.mean(exists, -1)))
    total = float(jnp.sum(jnp.mean(jnp.where(exists, weights, 0), -1)))
    return f"{total / number:.4g}" if number else "none"


def _delay(projection: Any) -> str:
    """The delay, or what the delays of the synapses are drawn about."""
    about = "about " if isinstance(projection.delay, values.Distribution) else ""
    return f"{about}{values.typical(projection.delay):g} ms"


def _learns(projection: Any) -> str:
    if not projection.plastic:
        return ""
    if projection.rule is None:
        return "yes"
    kernel = getattr(projection.rule, "kernel", None)
    return (
        f"{type(projection.rule).__name__}({kernel!r})"
        if kernel
        else type(projection.rule).__name__
    )
