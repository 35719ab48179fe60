"""First weights of a circuit that is to be trained.

Dimensions: n samples, B samples of a batch, T steps, F features, N cells, C classes.
"""

from collections.abc import Sequence
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
from jax import Array

from cerebellum.errors import UsageError
from cerebellum.model import circuit as circuits
from cerebellum.model import fit, noise
from cerebellum.model.circuit import Circuit
from cerebellum.model.streams import stream


def normal(
    circuit: Circuit,
    key: Array | int,
    projections: Sequence[str] | None = None,
    *,
    mean: float = 0.0,
    sd: float = 1.0,
) -> dict[str, Array]:
    """Normal weights in mV (nS for "conductance" cells), by projection, shaped as in the circuit.

    Contacts that the circuit does not have stay zero.

    Args:
      circuit: on the dense path.
      key: random key, or a seed.
      projections: names; None for all.

    Raises:
      UsageError: a projection is unknown, or a number is not finite.
    """
    _finite(mean=mean, sd=sd)
    drawn = {}
    for name, exists in contacts(circuit, projections).items():
        random = stream(noise.key_of(key), f"first {name}").standard_normal(exists.shape)
        drawn[name] = _weights(exists, mean + sd * random)
    return drawn


def kaiming(
    circuit: Circuit,
    key: Array | int,
    projections: Sequence[str] | None = None,
    *,
    gain: float = 15.0,
) -> dict[str, Array]:
    """As `normal`, with mean 0 and a standard deviation of gain / sqrt(fan-in) (He et al. 2015).

    The fan-in is the mean number of contacts onto a cell. A gain in mV about the distance from rest
    to threshold lets a cell fire when some tenth of its inputs fire together.
    """
    _finite(gain=gain)
    drawn = {}
    for name, exists in contacts(circuit, projections).items():
        target = next(p.target for p in circuit.spec.projections if p.name == name)
        fan_in = max(1.0, int(exists.sum()) / circuit.spec.population(target).size)
        random = stream(noise.key_of(key), f"first {name}").standard_normal(exists.shape)
        drawn[name] = _weights(exists, gain / np.sqrt(fan_in) * random)
    return drawn


def orthogonal(
    circuit: Circuit,
    key: Array | int,
    projections: Sequence[str] | None = None,
    *,
    gain: float = 15.0,
) -> dict[str, Array]:
    """Orthonormal rows or columns, times `gain` (Saxe et al. 2014); of projections kept as rows.

    Contacts that the circuit does not have stay zero, so an incomplete projection is only nearly
    orthogonal.

    Raises:
      UsageError: as `normal`, or a projection is so sparse that it is kept as lists.
    """
    _finite(gain=gain)
    drawn = {}
    for name, exists in contacts(circuit, projections).items():
        projection = next(p for p in circuit.spec.projections if p.name == name)
        ends = [circuit.spec.population(p).size for p in (projection.source, projection.target)]
        if list(exists.shape) != ends:
            raise UsageError(f"orthogonal: {name} is a list of contacts; kaiming, or more contacts")
        random = stream(noise.key_of(key), f"first {name}").standard_normal((max(ends), min(ends)))
        q, r = np.linalg.qr(random)
        # With these signs all orthogonal matrices are equally likely.
        q = q * np.sign(np.diag(r))
        drawn[name] = _weights(exists, gain * (q if ends[0] >= ends[1] else q.T))
    return drawn


def _weights(exists: Array, values: np.ndarray) -> Array:
    """Values as weights, 0 where there is no contact."""
    return jnp.where(exists, jnp.asarray(values, jnp.float32), 0)


def _finite(**numbers: float) -> None:
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not np.isfinite(value):
            raise UsageError(f"{name}: {value!r}; a finite number")


def contacts(circuit: Circuit, projections: Sequence[str] | None) -> dict[str, Array]:
    """Which weights are of contacts that exist, by projection: bool, one for each weight."""
    by_name = {p.name: p for p in circuit.spec.projections}
    if projections is None:
        projections = list(by_name)
    names = [projections] if isinstance(projections, str) else list(projections)
    check_names(names, list(by_name), "projections", circuit)
    found = {}
    for name in names:
        # As if plastic, so that there is one for each contact even where they share one weight.
        individual = replace(by_name[name], plastic=True)
        weights = circuits.each_weight(circuit.params.weights[name], circuit.wiring, individual)
        found[name] = weights != 0
    return found


def check_names(names: Sequence[str], known: Sequence[str], where: str, circuit: Circuit) -> None:
    """Raise UsageError if a name is unknown; not all that are known need to be there."""
    fit.check_names([*names, *known], known, where, circuit.spec.name)
