"""A circuit with its state, and whatever trains it, as one checkpoint and back."""

import dataclasses
import hashlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import cerebellum as cb
from cerebellum import store
from cerebellum.errors import UsageError
from cerebellum.model import anatomy, events
from cerebellum.model.circuit import Circuit, Params, State, Wiring
from cerebellum.model.spec import Spec
from cerebellum.store import Checkpoint, describe


def tree(circuit: Circuit, state: State, **more: Any) -> dict[str, Any]:
    """The arrays that `store.write` and `Store.save` are given; wiring only if it was not drawn.

    Args:
      more: other trees, by name: an optimiser's state, a random key.
    """
    wiring = {} if circuit.wiring.drawn else {"wiring": circuit.wiring}
    return {"params": circuit.params, "state": state, **wiring, **more}


def about(circuit: Circuit) -> dict[str, Any]:
    """What is kept beside the arrays, JSON: the spec, and a digest of wiring that was drawn.

    The same for as long as a circuit is trained: to be made once, not at every save.
    """
    return {
        "spec": describe.to_json(circuit.spec),
        "path": circuit.wiring.path,
        "seed": np.asarray(circuit.wiring.seed).tolist(),
        "wiring": digest(circuit.wiring) if circuit.wiring.drawn else None,
    }


def digest(wiring: Wiring) -> str:
    """SHA-256 of who contacts whom."""
    found = hashlib.sha256()
    for name, array in sorted(store.flatten(wiring.fans).items()):
        array = np.ascontiguousarray(array)
        found.update(f"{name} {array.dtype} {array.shape}".encode())
        found.update(array.data)
    return found.hexdigest()


def restore(checkpoint: Checkpoint) -> tuple[Circuit, State]:
    """The circuit and the state of a checkpoint, bit for bit.

    Raises:
      UsageError: it is not a circuit's, or this version would draw another wiring.
    """
    spec = spec_of(checkpoint)
    key = jax.random.wrap_key_data(jnp.asarray(checkpoint.about["seed"], jnp.uint32))
    # Older versions wrote it into the spec.
    path = checkpoint.about.get("path", checkpoint.about["spec"].get("path", "auto"))
    if checkpoint.about["wiring"] is None:
        circuit = _given(checkpoint, spec, path)
    else:
        circuit = cb.build(spec, key, path=path)
        if digest(circuit.wiring) != checkpoint.about["wiring"]:
            wrote = checkpoint.about["versions"]
            raise UsageError(
                f"{checkpoint.path}: its seed gives another wiring here; written with "
                f"cerebellar-norse {wrote['cerebellar-norse']}, numpy {wrote['numpy']}"
            )
    params = store.unflatten(_consolidated(circuit, checkpoint), checkpoint.arrays, "params")
    circuit = dataclasses.replace(circuit, params=jax.tree.map(jnp.asarray, params))
    template = jax.eval_shape(lambda: cb.init(circuit, jax.random.key(0)))
    state = store.unflatten(template, checkpoint.arrays, "state")
    return circuit, jax.tree.map(jnp.asarray, state)


def spec_of(checkpoint: Checkpoint) -> Spec:
    """The spec of a checkpoint's circuit.

    Raises:
      UsageError: it has none.
    """
    if "spec" not in checkpoint.about:
        raise UsageError(f"{checkpoint.path}: no circuit in it; a checkpoint of a model")
    return describe.from_json(checkpoint.about["spec"])


def _consolidated(circuit: Circuit, checkpoint: Checkpoint) -> Params:
    """The circuit's parameters in the shapes that they may have come to have.

    Rows for the mean of rows, and a value for every cell where all had one.
    """
    spec, weights = circuit.spec, dict[str, Any](circuit.params.weights)
    for projection in spec.projections:
        name = projection.name
        given = checkpoint.arrays.get(f"params/weights/{name}")
        if projection.dtype == "uint16" and given is not None and given.ndim:
            rows = spec.population(projection.source).size, spec.beam_size(projection.target)
            weights[name] = jax.ShapeDtypeStruct(rows, np.uint16)
    params = dataclasses.replace(circuit.params, weights=weights)
    names, tree_of = list(store.flatten(params)), jax.tree.structure(params)
    leaves = []
    for name, leaf in zip(names, jax.tree.leaves(params), strict=True):
        given = checkpoint.arrays.get(f"params/{name}")
        kind, _, rest = name.partition("/")
        size = spec.population(rest.split("/")[0]).size if kind == "cells" else None
        if given is not None and size is not None and given.shape == (size,):
            leaf = jax.ShapeDtypeStruct(given.shape, given.dtype)
        leaves.append(leaf)
    return jax.tree.unflatten(tree_of, leaves)


def _given(checkpoint: Checkpoint, spec: Spec, path: anatomy.Path) -> Circuit:
    """A circuit whose wiring is in the checkpoint, its parameters as they were first drawn."""
    bare = dataclasses.replace(spec, place=None)
    circuit = cb.build(bare, jax.random.key(0), path=path)
    fans: dict[str, events.Fan] = {}
    for name, fan in circuit.wiring.fans.items():
        if isinstance(fan, events.FanOut):
            lists = checkpoint.arrays[f"wiring/fans/{name}/targets"]
            fan = events.FanOut(targets=jnp.asarray(lists), ascends=fan.ascends)
        fans[name] = fan
    seed = jnp.asarray(checkpoint.arrays["wiring/seed"])
    wiring = dataclasses.replace(circuit.wiring, fans=fans, seed=seed, drawn=False)
    weights = {
        name: jnp.asarray(checkpoint.arrays[f"params/weights/{name}"])
        for name in circuit.params.weights
    }
    params = dataclasses.replace(circuit.params, weights=weights)
    return dataclasses.replace(circuit, params=params, wiring=wiring)
