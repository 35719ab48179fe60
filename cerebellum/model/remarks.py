"""What is valid about a circuit but probably not intended: a build logs it, a line each."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from cerebellum.model import values
from cerebellum.model.neurons import CIRCUIT_MODELS
from cerebellum.model.population import Population
from cerebellum.model.projection import Projection
from cerebellum.model.spec import Spec
from cerebellum.model.values import Distribution

FAR = 0.05
"""Rounding a refractory period to steps is remarked on from this share of the period on."""
TIME_CONSTANTS = ("tau_m", "tau_exc", "tau_inh")
"""Parameters that are such, ms. Others are called so, too, that are not: tau_v of E-GLIF."""


def of_circuit(spec: Spec, given: Collection[str], cells: Mapping[str, Any]) -> list[str]:
    """Remarks about a circuit.

    Args:
      given: names of the projections whose edges are given, and not drawn.
      cells: parameters of the cells of each population, scalars or [N].
    """
    empty = [_without_synapses(p) for p in spec.projections if p.name not in given]
    relays = [_onto_relays(p, spec) for p in spec.projections]
    resets = [_above_threshold(p, cells[p.name]) for p in spec.populations]
    times = [look(p, spec.dt) for p in spec.populations for look in (_off_grid, _shorter)]
    return [remark for remark in (*empty, *relays, *resets, *times) if remark]


def _without_synapses(projection: Projection) -> str | None:
    if projection.in_degree or projection.connect is not None:
        return None
    return f"{projection.name}: no synapses; they need an in_degree, connect=, or edges"


def _onto_relays(projection: Projection, spec: Spec) -> str | None:
    """A relay fires whatever the weight of what arrives, if it is above zero."""
    target = spec.population(projection.target)
    changes = projection.individual or projection.short_term is not None
    if not (changes and CIRCUIT_MODELS[target.model].TAKES_SPIKES):
        return None
    return (
        f"{projection.name}: weights above zero act alike; {target.name} has relays, which repeat "
        "every spike that arrives"
    )


def _above_threshold(population: Population, params: Any) -> str | None:
    """Cells that are reset at or above their threshold fire in every step that they may."""
    where = getattr(CIRCUIT_MODELS[population.model], "FIRES_AT", None)
    if where is None or not hasattr(params, "v_reset"):
        return None
    reset, threshold = np.broadcast_arrays(
        np.asarray(params.v_reset), np.asarray(getattr(params, where))
    )
    wrong = reset >= threshold
    if not wrong.any():
        return None
    whose = "v_reset" if reset.ndim == 0 else f"v_reset of {wrong.sum()} of {reset.size} cells"
    first = f"{reset[wrong].flat[0]:g}, not below {where} of {threshold[wrong].flat[0]:g}"
    return f"{population.name}.{whose}: {first}: they fire again at once"


def _off_grid(population: Population, dt: float) -> str | None:
    """Refractory periods are whole steps; those that a distribution draws are rounded anyway."""
    period = getattr(population.params, "t_ref", 0.0)
    if isinstance(period, Distribution):
        return None
    each = np.asarray(period, np.float64)
    taken = np.round(each / dt) * dt
    off = np.abs(taken - each) > FAR * each
    if not off.any():
        return None
    first, becomes = each[off].flat[0], taken[off].flat[0]
    whose = "t_ref" if each.ndim == 0 else f"t_ref of {off.sum()} of {each.size} cells"
    return f"{population.name}.{whose}: {first:g} ms, taken as {becomes:g} in steps of {dt:g} ms"


def _shorter(population: Population, dt: float) -> str | None:
    """Time constants of membranes and receptors that are shorter than a step."""
    params = values.fields(population.params)
    given = {name: params[name] for name in TIME_CONSTANTS if name in params}
    constants = {name: value for name, value in given.items() if values.typical(value) < dt}
    if not constants:
        return None
    listed = ", ".join(f"{name} {values.typical(x):g} ms" for name, x in constants.items())
    return f"{population.name}: {listed}: shorter than the step of {dt:g} ms (Spec.dt)"
