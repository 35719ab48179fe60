"""What a state has learned, put into the parameters of its circuit."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.core import Tracer

from cerebellum.errors import UsageError
from cerebellum.model import events, fit, fixed, homeostasis
from cerebellum.model.circuit import Circuit, Params, State, initial


def consolidate(circuit: Circuit, state: State) -> Circuit:
    """Copy the weights that plasticity has reached in `state` into the parameters of the circuit.

    Weights are multiplied by their synaptic scaling, and shifts of thresholds are added to the
    thresholds. `state` still holds these factors and shifts, so a run of the consolidated circuit
    starts from a new state, `init(consolidated, key)`: from `state`, they would count twice.

    Raises:
      UsageError: the state was given to a run, or is of another circuit or a batch.
    """
    _check_learned(circuit, state)
    learned = _learned if circuit.wiring.shard is None else jax.vmap(_learned)
    return replace(circuit, params=learned(circuit, state))


def _learned(circuit: Circuit, state: State) -> Params:
    """The parameters of `consolidate`."""
    params, spec = circuit.params, circuit.spec
    weights = {**params.weights, **jax.tree.map(jnp.copy, state.weights)}
    cells = dict(params.cells)
    for name, population, rule in spec.homeostatic():
        value = state.homeostasis[name].value
        if isinstance(rule, homeostasis.Threshold):
            cells[population] = replace(cells[population], v_th=cells[population].v_th + value)
        else:
            weights[name] = _scaled(weights[name], circuit.wiring.fans[name], value)
    return replace(params, weights=weights, cells=cells)


def _check_learned(circuit: Circuit, state: State) -> None:
    """Raise UsageError if a state was given to a run, or what it learned is not of the circuit."""
    if not isinstance(state, State):
        raise UsageError(f"state: {type(state).__name__}; a state that simulate returned")
    if any(
        isinstance(x, Array) and not isinstance(x, Tracer) and x.is_deleted()
        for x in jax.tree.leaves(state)
    ):
        raise UsageError("state: given to a run, which has used it up; the one that it returned")
    key = jax.random.key_data(jax.random.key(0))
    begin = initial if circuit.wiring.shard is None else jax.vmap(initial, (0, None, None))
    wanted = jax.eval_shape(lambda: begin(circuit, key, False))
    for what in ("cells", "weights", "homeostasis"):
        have, want = getattr(state, what), getattr(wanted, what)
        fit.check_names(have, want, f"state.{what}", circuit.spec.name)
        for name in want:
            ours, theirs = _shapes(want[name]), _shapes(have[name])
            if ours != theirs:
                raise UsageError(
                    f"state.{what}: {name} is {theirs}; {ours}, as in {circuit.spec.name}"
                )


def _shapes(tree: Any) -> str:
    """The types and shapes of the arrays of a tree, each once, for a message."""
    each = (f"{x.dtype} {list(x.shape)}" for x in jax.tree.leaves(tree))
    return ", ".join(dict.fromkeys(each))


def _scaled(weights: Array, fan: events.Fan, factor: Array) -> Array:
    """Weights of a projection, each multiplied by the factor [T] of its target."""
    if isinstance(fan, events.FanOut):
        return weights * factor.at[fan.targets].get(mode="fill", fill_value=0)
    rows, width = weights.shape
    missing = fan.beams * width - factor.size
    beam = jnp.pad(factor, (0, missing)).reshape(fan.beams, width)
    scaled = beam[jnp.arange(rows) // -(-rows // fan.beams)] * weights.astype(jnp.float32)
    if weights.dtype == jnp.uint16:
        return jnp.clip(jnp.round(scaled), 0, fixed.LEVELS).astype(jnp.uint16)
    return scaled
