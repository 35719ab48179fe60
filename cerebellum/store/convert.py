"""Weights of another type: float32 to fixed point and back, saying what was done."""

import dataclasses

import jax.numpy as jnp
from jax import Array

from cerebellum.errors import UsageError
from cerebellum.model import anatomy, events, fixed
from cerebellum.model.circuit import Circuit, State
from cerebellum.model.spec import Dtype, Projection, Spec


def convert(circuit: Circuit, state: State, dtype: Dtype) -> tuple[Circuit, State, list[str]]:
    """A circuit and its state with rows of plastic weights of another type.

    Returns:
      Both, and a line for each projection that says what was done to it.

    Raises:
      UsageError: a projection that cannot be of that type.
    """
    spec, said = circuit.spec, []
    first, now = dict(circuit.params.weights), dict(state.weights)
    fans = dict(circuit.wiring.fans)
    for projection in circuit.spec.projections:
        name, fan = projection.name, fans[projection.name]
        if name not in now or projection.dtype == dtype or not isinstance(fan, events.AllToAll):
            continue
        spec = _spec(spec, projection, dtype, circuit.wiring.path)
        w_max = projection.w_max
        assert w_max is not None  # or the spec would have been refused
        before = now[name]
        if dtype == "uint16":
            fans[name] = dataclasses.replace(fan, unit=fixed.unit(w_max))
            now[name], first[name] = (fixed.encode(each, w_max) for each in (before, first[name]))
            said.append(f"{name}: {_rounded(before, now[name], w_max)}")
        else:
            fans[name] = dataclasses.replace(fan, unit=1.0)
            now[name] = fixed.decode(before, w_max)
            first[name] = _first(circuit, projection)
            said.append(f"{name}: {before.size:,} weights, uint16 to float32, none changed")
    part = dataclasses.replace(circuit.wiring.part, spec=spec)
    wiring = dataclasses.replace(circuit.wiring, fans=fans, part=part)
    params = dataclasses.replace(circuit.params, weights=first)
    converted = dataclasses.replace(circuit, params=params, wiring=wiring)
    return converted, dataclasses.replace(state, weights=now), said


def _spec(spec: Spec, projection: Projection, dtype: Dtype, path: events.Path) -> Spec:
    changed = spec.with_projection(projection.name, dtype=dtype)
    if not anatomy.has_rows(dataclasses.replace(projection, dtype=dtype), changed, path):
        share = spec.share(projection)
        raise UsageError(f"{projection.name}: {share:.0%} of its contacts; {dtype} would be lists")
    return changed


def _first(circuit: Circuit, projection: Projection) -> Array:
    """First weights of uint16 rows as float32: those that were drawn, or those consolidated."""
    spec, given = circuit.spec, circuit.params.weights[projection.name]
    if given.ndim:
        assert projection.w_max is not None
        return fixed.decode(given, projection.w_max)
    return fixed.draw_all(
        fixed.seed(circuit.wiring.seed, projection.name),
        given,
        fixed.CellRange(size=spec.population(projection.source).size),
        spec.beam_size(projection.target),
        projection.spread,
        spec.share(projection),
    )


def _rounded(before: Array, after: Array, w_max: float) -> str:
    above = int((before > w_max).sum())
    most = float(jnp.abs(fixed.decode(after, w_max) - jnp.minimum(before, w_max)).max())
    return (
        f"{before.size:,} weights, float32 to uint16, to the nearest of 65,536 levels up to "
        f"{w_max:g}: by {most:.2g} at most; {above:,} above that cut"
    )
