"""Checks of a rule against the circuit that it is to learn in, when the circuit is built.

What a rule returns is looked at by its shapes alone: nothing is computed.
"""

from collections.abc import Mapping
from typing import Any, get_args

import jax
import jax.numpy as jnp

from cerebellum.errors import UsageError
from cerebellum.model.plasticity.protocol import Axis, Moment, Rule, Sizes, Synapses
from cerebellum.model.plasticity.window import incur, settle


def check(
    name: str,
    rule: Rule,
    weights: jax.ShapeDtypeStruct,
    sizes: Sizes,
    synapses: Synapses,
    line: jax.ShapeDtypeStruct,
    cells: Mapping[str, Any],
) -> None:
    """Check the state, the axes and the result of a rule.

    Args:
      name: name of the projection.
      line: the delay line of its source.
      cells: the recordable variables of its target cells, as shapes.

    Raises:
      UsageError: the axes do not fit the state, or a step would change shapes or types.
    """
    state = jax.eval_shape(lambda: rule.begin(sizes, synapses.dt))
    _check_axes(name, rule.axes(), state, sizes)
    step, by_target = jax.ShapeDtypeStruct((), jnp.int32), _floats(sizes.targets)
    key = jax.ShapeDtypeStruct((2,), jnp.uint32)

    def learn(weights, state, line, arrived, fired, cells, step, key):
        moment = Moment(
            step=step,
            line=line,
            arrived=arrived,
            fired=fired,
            cells=cells,
            teaching_spikes={teacher: fired for teacher in rule.teachers},  # noqa: C420
            gain=jnp.float32(1),
            key=key,
            settle=settle,
            incur=incur,
        )
        return rule.learn(weights, state, moment, synapses)

    operands = weights, state, line, _floats(sizes.sources), by_target, dict(cells), step, key
    try:
        learned = jax.eval_shape(learn, *operands)
    except KeyError as error:
        known = ", ".join(cells)
        raise UsageError(
            f"{name}.rule: {type(rule).__name__}.learn asks for {error}; its target has {known}"
        ) from None
    if _shapes(learned) != _shapes((weights, state)):
        raise UsageError(
            f"{name}.rule: {type(rule).__name__}.learn returns {_shapes(learned)}; of the same "
            f"shapes and types as it was given, {_shapes((weights, state))}"
        )


def _floats(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def _shapes(tree: Any) -> str:
    """The structure, shapes and types of a tree, for a message."""
    return str(jax.tree.map(lambda leaf: f"{leaf.dtype}{list(leaf.shape)}", tree))


def _check_axes(name: str, axes: Any, state: Any, sizes: Sizes) -> None:
    lengths = {"source": sizes.sources, "target": sizes.targets, "row": sizes.row}
    if jax.tree.structure(axes) != jax.tree.structure(state):
        raise UsageError(
            f"{name}.rule.axes: {axes}; a word for each array of the rule's state, {_shapes(state)}"
        )
    for axis, array in zip(jax.tree.leaves(axes), jax.tree.leaves(state), strict=True):
        if axis not in get_args(Axis):
            raise UsageError(f"{name}.rule.axes: {axis!r}; one of {', '.join(get_args(Axis))}")
        ends = array.shape[-2:] if axis == "synapse" else array.shape[-1:]
        wanted = sizes.weights if axis == "synapse" else (lengths.get(axis),)
        if axis != "none" and ends != wanted:
            raise UsageError(
                f"{name}.rule.axes: {axis!r} for an array of {list(array.shape)}; one that ends "
                f"with {list(wanted)}"
            )
