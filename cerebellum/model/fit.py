"""Whether arrays fit the circuit that they are given to: their names, shapes and values.

Names and shapes are known while a program is traced, so every step checks them at no cost. Values
are looked at once, before a run.
"""

from collections.abc import Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cerebellum.errors import UsageError, nearest
from cerebellum.model import events
from cerebellum.model.part import Part


def check_names(given: Collection[str], known: Collection[str], where: str, whose: str) -> None:
    """Raise UsageError if names are given that a circuit does not have, or some are missing.

    Args:
      where: what the names are of, such as "params.weights".
      whose: the name of the circuit.
    """
    for name in given:
        if name not in known:
            raise UsageError(f"{where}: {name!r}; {nearest(name, known, whose)}")
    for name in known:
        if name not in given:
            raise UsageError(f"{where}: without {name!r}, which {whose} has")


def check_cells(params: dict[str, Any], part: Part) -> None:
    """Raise UsageError if parameters of cells are not of the circuit, or not one value a cell."""
    populations = [population.name for population in part.spec.populations]
    check_names(params, populations, "params.cells", part.spec.name)
    for name in populations:
        size = part.size(name)
        for field, value in fields(params[name]):
            shape = np.shape(value)
            if shape and shape != (size,):
                where = f"params.cells: {field} of {name}"
                raise UsageError(f"{where}: {list(shape)}; one value, or [{size}]")


def check_weights(
    weights: dict[str, Any],
    shapes: dict[str, tuple[int, ...]],
    whose: str,
    where: str = "params.weights",
) -> None:
    """Raise UsageError if weights are not of the circuit's projections, or not one a synapse.

    Args:
      shapes: the shape of the weights of each projection.
      whose: the name of the circuit.
      where: what the weights are of: synapses, or gap junctions.
    """
    check_names(weights, shapes, where, whose)
    for name, shape in shapes.items():
        given = np.shape(weights[name])
        if given and given != shape:
            raise UsageError(
                f"{where}: {name}: {list(given)}; one value, or {list(shape)} as built"
            )


def check_drive(drive: Mapping[str, Any], part: Part) -> None:
    """Raise UsageError if the drive of a step is of no population, or not one value a cell.

    `step` itself knows the receptors, which keys such as "golgi.r1" name.
    """
    for key, value in drive.items():
        name, dot, _ = key.partition(".")
        size = part.spec.population(name).size if part.count == 1 else part.size(name)
        shape, kind = np.shape(value), jnp.result_type(value)
        if dot:
            if shape not in ((), (1,), (size,)) or kind == jnp.uint32:
                raise UsageError(
                    f"drive {key!r}: {kind} {list(shape)}; summed weights, one value or [{size}]"
                )
            continue
        words = -(-size // events.BITS)
        fits = ((words,),) if kind == jnp.uint32 else ((), (1,), (size,))
        if shape not in fits:
            raise UsageError(
                f"drive {key!r}: {kind} {list(shape)}; one value, [{size}], or packed spikes, "
                f"uint32 [{words}]"
            )


def check_values(
    params: dict[str, Any], weights: dict[str, Any], longest: Mapping[str, int], dt: float
) -> None:
    """Check the values of parameters and weights before a run.

    Args:
      longest: most steps of `dt` (ms) of a refractory period, by population.

    Raises:
      UsageError: one is not finite, a time constant or a capacitance is not above zero, or a
        refractory period is negative or longer than that.
    """
    for name, cells in params.items():
        for field, value in fields(cells):
            low, high = _range(value)
            where, unit = f"params.cells: {field} of {name}", ""
            if not (np.isfinite(low) and np.isfinite(high)):
                wrong, right = (high if np.isfinite(low) else low), "finite"
            elif is_positive(field) and low <= 0:
                wrong, right = low, "above zero"
            elif field == "t_ref" and low < 0:
                wrong, right, unit = low, "zero or more", " ms"
            elif field == "t_ref" and high / dt > longest[name]:
                wrong, unit = high, " ms"
                right = f"at most {longest[name]} steps of {dt:g} ms"
            else:
                continue
            raise UsageError(f"{where}: {wrong:g}{unit}; {right}")
    for name, value in weights.items():
        low, high = _range(value)
        if not (np.isfinite(low) and np.isfinite(high)):
            raise UsageError(f"weights of {name}: one is not finite; finite, zero or more")
        if low < 0:
            raise UsageError(f"weights of {name}: {low:g}; zero or more, receptors have the sign")


def check_gains(gains: Mapping[str, Any], known: Collection[str], whose: str) -> None:
    """Raise UsageError if gains of learning are not of what learns, or not one number each."""
    check_names(gains, known, "params.learning_gain", whose)
    for name, value in gains.items():
        low, high = _range(value)
        if np.shape(value) not in ((), (1,)) or not 0 <= low <= high < np.inf:
            shown = f"{low:g}" if np.shape(value) in ((), (1,)) else f"{list(np.shape(value))}"
            raise UsageError(f"params.learning_gain: {name}: {shown}; one number, zero or more")


def check_state(cells: Mapping[str, Any], weights: Mapping[str, Any], dtypes: Mapping) -> None:
    """Check the values of a state before a run.

    Args:
      dtypes: data type of each plastic projection's weights.

    Raises:
      UsageError: a variable of a cell is not finite, or weights have another data type.
    """
    for variable in not_finite(cells):
        raise UsageError(f"state: {variable} is not finite; finite numbers")
    for name, dtype in dtypes.items():
        if jnp.result_type(weights[name]) != dtype:
            given = jnp.result_type(weights[name])
            raise UsageError(f"state: weights of {name} are {given}; {dtype}")


def not_finite(cells: Mapping[str, Any]) -> list[str]:
    """Variables of cells of which one is NaN or infinite, such as "golgi.v"."""
    return [
        f"{name}.{field}"
        for name, variables in cells.items()
        for field, value in fields(variables)
        if not np.isfinite(_range(value)).all()
    ]


def is_positive(field: str) -> bool:
    """Whether a parameter of cells is above zero by its name: a time constant, a capacitance."""
    return field.startswith("tau") or field == "c_m"


def fields(cells: Any) -> list[tuple[str, Any]]:
    """The parameters of a population, each with its name."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(cells)
    return [(jax.tree_util.keystr(path, simple=True, separator="."), leaf) for path, leaf in leaves]


def _range(value: Any) -> tuple[float, float]:
    """The least and the largest of some numbers; NaN if one of them is NaN, or is none.

    The arrays may lie on several devices. Weights in fixed point, of which there may be billions,
    are in range whatever they are.
    """
    kind = jnp.result_type(value)
    if kind == jnp.uint16:
        return 0.0, 0.0
    if not jnp.issubdtype(kind, jnp.number) or kind.kind == "c":
        return np.nan, np.nan
    shards = getattr(value, "addressable_shards", None)
    pieces = [value] if shards is None else [shard.data for shard in shards]
    ends = []
    for piece in pieces:
        if np.size(piece):
            # NumPy looks at the memory of a CPU where it is, without a program to compile.
            on_cpu = shards is None or next(iter(piece.devices())).platform == "cpu"
            numbers = np.asarray(piece) if on_cpu else piece
            ends += [float(numbers.min()), float(numbers.max())]
    return (min(ends), max(ends)) if not np.isnan(ends).any() else (np.nan, np.nan)
