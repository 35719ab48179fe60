"""A run of a batch through a circuit, which can be differentiated.

Dimensions: n samples, B samples of a batch, T steps, F features, N cells, C classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array, lax

from cerebellum.errors import UsageError
from cerebellum.learn.arrays.weights import check_names, contacts
from cerebellum.model import circuit as circuits
from cerebellum.model import noise
from cerebellum.model.circuit import Circuit, Params
from cerebellum.model.neurons import CIRCUIT_MODELS
from cerebellum.model.step import step


@struct.dataclass(kw_only=True)
class Run:
    """What a batch of runs did; step k of a run is index k."""

    spikes: dict[str, Array]
    """spikes by recorded population, 0 or 1, [B, T, N]"""
    traces: dict[str, Array]
    """variables by "variable:population", as they are after each step, [B, T, N]"""


def run(
    circuit: Circuit,
    params: Params | Mapping[str, Array],
    inputs: Mapping[str, Any],
    *,
    record: Sequence[str] | None = None,
    traces: Sequence[str] = (),
    key: Array | int | None = None,
) -> Run:
    """Run a circuit from rest for every sample of a batch, within `jax.jit`; gradients pass.

    Args:
      circuit: built with `path="dense"` from a spec with a surrogate.
      params: parameters, or weights by projection that replace some of the circuit's. A contact
        that the circuit does not have stays zero.
      inputs: by population, [B, T, N] or [B, T, 1]: spikes for relays, currents for cells.
      record: populations whose spikes are returned; None for all that have no input.
      traces: variables to return, such as "v:hidden".
      key: random key of what draws noise, or a seed; None for seed 0. The same noise for every
        sample.

    Raises:
      UsageError: the circuit passes no gradients, or names, shapes or data types do not fit.
    """
    spec, wiring = circuit.spec, circuit.wiring
    if wiring.path != "dense":
        raise UsageError(
            f"path: {wiring.path!r}, which has no gradients; cb.build(.., path='dense')"
        )
    if spec.surrogate is None:
        raise UsageError(
            "surrogate: None, so that spikes pass no gradients; a Surrogate in the Spec"
        )
    driven = _inputs(circuit, inputs)
    names = [p.name for p in spec.populations]
    watched = [n for n in names if n not in driven] if record is None else list(record)
    check_names(watched, names, "record", circuit)
    followed = [_variable(circuit, trace) for trace in traces]
    full = _params(circuit, params)
    key = noise.key_of(0 if key is None else key)
    # Within the gradient, because a state starts from parameters of cells.
    begun = circuits.init(replace(circuit, params=full), key)

    def sample(drive: dict[str, Array]) -> Run:
        def body(state: Any, now: dict[str, Array]):
            state, activity = step(full, wiring, state, now)
            spikes = {name: activity.spikes[name] for name in watched}
            seen = {
                trace: CIRCUIT_MODELS[spec.population(name).model].variables(state.cells[name])[
                    kind
                ]
                for trace, (kind, name) in zip(traces, followed, strict=True)
            }
            return state, Run(spikes=spikes, traces=seen)

        return lax.scan(body, begun, drive)[1]

    return jax.vmap(sample)(driven)


def _inputs(circuit: Circuit, inputs: Mapping[str, Any]) -> dict[str, Array]:
    """The inputs of a batch as float32, checked against the circuit."""
    names = [p.name for p in circuit.spec.populations]
    check_names(list(inputs), names, "inputs", circuit)
    if not inputs:
        raise UsageError("inputs: none; at least one population, [batch, time, cells]")
    found, first = {}, None
    for name, values in inputs.items():
        array, size = jnp.asarray(values), circuit.spec.population(name).size
        if array.dtype == jnp.uint32 or array.dtype.kind not in "biuf":
            raise UsageError(f"inputs {name!r}: {array.dtype}; spikes or currents as float32")
        if array.ndim != 3 or array.shape[2] not in (1, size) or 0 in array.shape:
            raise UsageError(f"inputs {name!r}: {list(array.shape)}; [batch, time, {size}]")
        first = array.shape[:2] if first is None else first
        if array.shape[:2] != first:
            raise UsageError(
                f"inputs {name!r}: {list(array.shape)}; {first[0]} samples of {first[1]} steps, as "
                "the others"
            )
        found[name] = array.astype(jnp.float32)
    return found


def _variable(circuit: Circuit, trace: str) -> tuple[str, str]:
    """Variable and population of a name such as "v:hidden"."""
    kind, _, name = trace.partition(":")
    population = circuit.spec.population(name)
    model = CIRCUIT_MODELS[population.model]
    known = list(model.variables(model.init(population.typical, (1,))))
    if kind not in known:
        raise UsageError(f"traces {trace!r}: {name} has {', '.join(known) or 'no variables'}")
    return kind, name


def _params(circuit: Circuit, params: Params | Mapping[str, Array]) -> Params:
    """Parameters with the given weights; contacts that do not exist have none."""
    before = circuit.params.weights
    if isinstance(params, Params):
        base, given = params, {n: w for n, w in params.weights.items() if w is not before.get(n)}
    else:
        base, given = circuit.params, dict(params)
    for name, exists in contacts(circuit, list(given)).items():
        shape = jnp.shape(given[name])
        if shape not in ((), exists.shape):
            raise UsageError(f"params: {name}: {list(shape)}; {list(exists.shape)}")
        given[name] = jnp.where(exists, given[name], 0)
    return replace(base, weights={**base.weights, **given})
