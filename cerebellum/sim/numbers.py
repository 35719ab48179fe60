"""Numbers of a circuit by name, such as "golgi.v_th" or "golgi_granule.weight".

Sweeps set them to values, and fits look for values. All of them are operands of a program, so that
no other value needs compiling.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cerebellum.errors import UsageError, nearest
from cerebellum.model import circuit as circuits
from cerebellum.model import fit
from cerebellum.model.circuit import Circuit, Params
from cerebellum.model.projection import Projection

GROUPS = ("cells", "weights", "learning_gain", "gap_junctions")
"""The parts of `Params`."""


@dataclass(frozen=True)
class Target:
    """A number of a circuit, and where it is."""

    group: str
    """the part of `Params`, one of `GROUPS`"""
    owner: str
    """the population or the projection"""
    leaf: int = 0
    """of a population, which of its parameters"""


def target(circuit: Circuit, name: str, where: str = "values") -> Target:
    """The number that a name means.

    Args:
      where: the argument that has the name, for messages.

    Raises:
      UsageError: the circuit has no such number, or weights that cannot be scaled.
    """
    params = circuit.params
    known: dict[str, Target] = {}
    for population, cells in params.cells.items():
        for leaf, (field, _) in enumerate(fit.fields(cells)):
            known[f"{population}.{field}"] = Target("cells", population, leaf)
    known |= {f"{p}.weight": Target("weights", p) for p in params.weights}
    known |= {f"{x}.learning_gain": Target("learning_gain", x) for x in params.learning_gain}
    known |= {f"{p}.gap_conductance": Target("gap_junctions", p) for p in params.gap_junctions}
    if name not in known:
        raise UsageError(f"{where}: {name!r}; {nearest(name, list(known), circuit.spec.name)}")
    number = known[name]
    if number.group == "weights":
        weight, array = projection_of(circuit, number).mean_weight, params.weights[number.owner]
        if jnp.ndim(array) and not weight:
            raise UsageError(f"{where}: {name!r}: the spec's weight is 0; one that can be scaled")
        if jnp.ndim(array) and not jnp.any(array):
            raise UsageError(f"{where}: {name!r}: all its weights are 0; some that can be scaled")
    given = number.group == "gap_junctions" and jnp.ndim(params.gap_junctions[number.owner])
    if given and not _conductance(circuit, number):
        raise UsageError(f"{where}: {name!r}: 0 in the spec; one that can be scaled")
    return number


def _conductance(circuit: Circuit, target: Target) -> float:
    """The conductance of the spec's gap junctions, nS."""
    junctions = circuit.spec.population(target.owner).gap_junctions
    assert junctions is not None  # The circuit has such parameters.
    return junctions.conductance


def projection_of(circuit: Circuit, target: Target) -> Projection:
    """The projection whose weight a number is."""
    return next(p for p in circuit.spec.projections if p.name == target.owner)


def array_of(params: Params, target: Target) -> Any:
    """The array of the parameters that has a number: a scalar, or one for each cell or synapse."""
    owner = getattr(params, target.group)[target.owner]
    return jax.tree.leaves(owner)[target.leaf] if target.group == "cells" else owner


def array_for(circuit: Circuit, target: Target, value: float | np.ndarray) -> Any:
    """The array that a number becomes with a value, float32.

    Args:
      value: of cells, one for all or [N]; of a projection, the weight of one contact, by which all
        weights are scaled; of gap junctions, their conductance, in the same way.
    """
    if target.group == "gap_junctions":
        before, mean = np.asarray(array_of(circuit.params, target)), _conductance(circuit, target)
        return before * np.float32(value / mean) if before.ndim else np.float32(value)
    if target.group != "weights":
        return np.float32(value)
    before, projection = array_of(circuit.params, target), projection_of(circuit, target)
    most = projection.w_max
    if most is not None and np.max(value) * projection.contacts > most * (1 + 1e-6):
        raise UsageError(
            f"values: '{target.owner}.weight': {np.max(value):g}; at most w_max {most:g}"
        )
    if np.ndim(before):
        return np.asarray(before) * np.float32(value / projection.mean_weight)
    return np.float32(value * projection.contacts)


def placed(params: Params, targets: Sequence[Target], arrays: Sequence[Any]) -> Params:
    """The parameters with other arrays in the places of some numbers."""
    groups = {g: dict(getattr(params, g)) for g in GROUPS}
    for target, array in zip(targets, arrays, strict=True):
        group = groups[target.group]
        if target.group == "cells":
            leaves, tree = jax.tree.flatten(group[target.owner])
            leaves[target.leaf] = array
            array = jax.tree.unflatten(tree, leaves)
        group[target.owner] = array
    return replace(params, **groups)


def with_values(
    circuit: Circuit, targets: Mapping[str, Target], row: Sequence[float | np.ndarray]
) -> Params:
    """The parameters of a circuit with one combination of values (see `array_for`)."""
    arrays = [array_for(circuit, t, value) for t, value in zip(targets.values(), row, strict=True)]
    return placed(circuit.params, list(targets.values()), arrays)


def check(circuit: Circuit, params: Params) -> None:
    """Raise UsageError if parameters cannot be."""
    spec, wiring = circuit.spec, circuit.wiring
    circuits.check_params(params, wiring)
    longest = circuits.longest_refractory(spec)
    fit.check_values(params.cells, params.weights, longest, spec.dt)
    circuits.check_junctions(params, wiring)
    fit.check_gains(params.learning_gain, circuits.learning(spec), spec.name)
