"""Convert plastic weights from float32 to fixed point (uint16) and back, with a report."""

import dataclasses

import jax.numpy as jnp
from jax import Array

from cerebellum.errors import UsageError
from cerebellum.model import anatomy, events, fixed
from cerebellum.model import circuit as circuits
from cerebellum.model.circuit import Circuit, State
from cerebellum.model.noise import CellRange
from cerebellum.model.projection import Dtype, Projection
from cerebellum.model.spec import Spec


def convert(circuit: Circuit, state: State, dtype: Dtype) -> tuple[Circuit, State, list[str]]:
    """Convert the rows of plastic weights of a circuit and of its state to another type.

    Returns:
      The circuit, the state, and a line for each projection that was converted.

    Raises:
      UsageError: the weights of a projection cannot have that type.
    """
    spec, report = circuit.spec, []
    initial_weights, weights = dict(circuit.params.weights), dict(state.weights)
    fans = dict(circuit.wiring.fans)
    for projection in circuit.spec.projections:
        name, fan = projection.name, fans[projection.name]
        if name not in weights or projection.dtype == dtype or not isinstance(fan, events.AllToAll):
            continue
        spec = _convert_spec(spec, projection, dtype, circuit.wiring.path)
        w_max = projection.w_max
        assert w_max is not None  # Spec refuses plastic rows without it.
        before = weights[name]
        if dtype == "uint16":
            fans[name] = dataclasses.replace(fan, unit=fixed.unit(w_max))
            weights[name] = fixed.encode(before, w_max)
            initial_weights[name] = fixed.encode(initial_weights[name], w_max)
            report.append(f"{name}: {_describe_rounding(before, weights[name], w_max)}")
        else:
            fans[name] = dataclasses.replace(fan, unit=1.0)
            weights[name] = fixed.decode(before, w_max)
            initial_weights[name] = _initial_weights(circuit, projection)
            report.append(f"{name}: {before.size:,} weights, uint16 to float32, none changed")
    part = dataclasses.replace(circuit.wiring.part, spec=spec)
    wiring = dataclasses.replace(circuit.wiring, fans=fans, part=part)
    params = dataclasses.replace(circuit.params, weights=initial_weights)
    converted = dataclasses.replace(circuit, params=params, wiring=wiring)
    return converted, dataclasses.replace(state, weights=weights), report


def _convert_spec(spec: Spec, projection: Projection, dtype: Dtype, path: events.Path) -> Spec:
    """The spec with another type of the weights of one projection."""
    changed = spec.with_projection(projection.name, dtype=dtype)
    if not anatomy.has_rows(dataclasses.replace(projection, dtype=dtype), changed, path):
        share = spec.share(projection)
        raise UsageError(f"{projection.name}: {share:.0%} of its contacts; {dtype} would be lists")
    return changed


def _initial_weights(circuit: Circuit, projection: Projection) -> Array:
    """The initial weights of uint16 rows as float32 [sources, targets of a beam].

    They are the consolidated weights, where the parameters hold rows; otherwise they are drawn
    around the mean that the parameters hold.
    """
    spec, stored = circuit.spec, circuit.params.weights[projection.name]
    if stored.ndim:
        assert projection.w_max is not None
        return fixed.decode(stored, projection.w_max)
    first = circuits.first_weights(circuit.wiring.seed, projection, spec, stored)
    rows = CellRange(size=spec.population(projection.source).size)
    return fixed.draw(first, rows, spec.beam_size(projection.target))


def _describe_rounding(before: Array, after: Array, w_max: float) -> str:
    """How much the conversion to fixed point changed weights, in words."""
    above = int((before > w_max).sum())
    largest = float(jnp.abs(fixed.decode(after, w_max) - jnp.minimum(before, w_max)).max())
    return (
        f"{before.size:,} weights, float32 to uint16, to the nearest of 65,536 levels up to "
        f"{w_max:g}: by {largest:.2g} at most; {above:,} above that cut"
    )
