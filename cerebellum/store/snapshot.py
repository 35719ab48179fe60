"""Save a circuit with its state, and whatever trains it, as a checkpoint, and restore it."""

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from cerebellum.errors import UsageError
from cerebellum.model import anatomy, events, registry, target_lists
from cerebellum.model.circuit import Circuit, Params, State, Wiring, init
from cerebellum.model.connect import RULES, Connect
from cerebellum.model.edges import Edges
from cerebellum.model.spec import Spec
from cerebellum.store import describe, equations, names, old_draws
from cerebellum.store.checkpoint import Checkpoint, flatten, unflatten


def tree(circuit: Circuit, state: State, **more: Any) -> dict[str, Any]:
    """The tree of arrays for `checkpoint.write` and `Store.save`.

    Of a wiring that was drawn from a seed, only which cells emit spikes is included.

    Args:
      more: other trees by name, such as an optimiser's state or a random key.
    """
    wiring: Any = {"alive": circuit.wiring.alive} if circuit.wiring.drawn else circuit.wiring
    wiring = {"wiring": wiring}
    return {"params": circuit.params, "state": state, **wiring, **more}


def about(circuit: Circuit) -> dict[str, Any]:
    """The JSON values to store with the arrays: the spec, a digest of wiring that was drawn, and
    what registered models and rules compute (see `equations`).

    They do not change while a circuit is trained: compute them once, not at every save.
    """
    return {
        "spec": describe.to_json(circuit.spec),
        "path": circuit.wiring.path,
        "seed": np.asarray(circuit.wiring.seed).tolist(),
        "wiring": digest(circuit.wiring) if circuit.wiring.drawn else None,
        "equations": equations.probes(circuit.spec),
        "noise": old_draws.VERSION,
        "names": names.VERSION,
    }


def digest(wiring: Wiring) -> str:
    """The SHA-256 of all connections, gap junctions included."""
    sha256 = hashlib.sha256()
    partners = {f"partners/{name}": array for name, array in wiring.partners.items()}
    for name, array in sorted({**flatten(wiring.fans), **partners}.items()):
        array = np.ascontiguousarray(array)
        sha256.update(f"{name} {array.dtype} {array.shape}".encode())
        sha256.update(array.data)
    return sha256.hexdigest()


@contextmanager
def numbers_of(checkpoint: Checkpoint) -> Iterator[None]:
    """While the block uses the numbers of a checkpoint's description.

    Raises:
      UsageError: one of them is too large to be what it stands for.
    """
    try:
        yield
    except OverflowError as error:
        raise UsageError(
            f"{checkpoint.path}: a number in its description is too large ({error}); a checkpoint "
            "as it was written"
        ) from None


def restore(checkpoint: Checkpoint, *, edited: bool = False) -> tuple[Circuit, State]:
    """Restore the circuit and the state of a checkpoint, bit for bit.

    Args:
      edited: whether registered models, rules and windows may have been edited since.

    Raises:
      UsageError: the checkpoint has no circuit, this version would draw another wiring, or a
        registered model, rule or window computes something else than when the checkpoint was saved.
    """
    with numbers_of(checkpoint):
        return _restore(checkpoint, edited)


def _restore(checkpoint: Checkpoint, edited: bool) -> tuple[Circuit, State]:
    spec = spec_of(checkpoint)
    translated = names.translated(checkpoint.arrays, checkpoint.about)
    checkpoint = dataclasses.replace(checkpoint, arrays=translated)
    if not edited and "equations" in checkpoint.about:
        changed = equations.changed(checkpoint.about["equations"], spec)
        if changed:
            raise UsageError(
                f"{checkpoint.path}: {', '.join(changed)}: computes something else than when it "
                "was saved; register it as it was, or restore with edited=True"
            )
    key = jax.random.wrap_key_data(jnp.asarray(checkpoint.about["seed"], jnp.uint32))
    # Older versions wrote the path into the spec.
    path = checkpoint.about.get("path", checkpoint.about["spec"].get("path", "auto"))
    if checkpoint.about["wiring"] is None:
        circuit = _with_saved_wiring(checkpoint, spec, path)
    else:
        circuit = anatomy.build(spec, key, path=path)
        same = digest(circuit.wiring) == checkpoint.about["wiring"]
        if not same:
            # Older versions built lists without the room that other seeds need.
            circuit = target_lists.with_narrow_lists(circuit)
            same = digest(circuit.wiring) == checkpoint.about["wiring"]
        if not same:
            versions = checkpoint.about["versions"]
            rules = [p.name for p in spec.projections if _is_of_user(p.connect)]
            cause = (
                f"with the rule of connection of {', '.join(rules)} as it was, and "
                if rules
                else ""
            )
            raise UsageError(
                f"{checkpoint.path}: its seed gives another wiring here; written {cause}with "
                f"cerebellar-norse {versions['cerebellar-norse']}, numpy {versions['numpy']}"
            )
    alive = {
        name: jax.device_put(checkpoint.arrays.get(f"wiring/alive/{name}", words))
        for name, words in circuit.wiring.alive.items()
    }
    circuit = dataclasses.replace(circuit, wiring=dataclasses.replace(circuit.wiring, alive=alive))
    old = old_draws.redrawn(circuit) if old_draws.is_old(checkpoint.about) else None
    params = unflatten(_params_template(circuit, checkpoint), checkpoint.arrays, "params")
    circuit = dataclasses.replace(circuit, params=jax.device_put(params))
    if old is not None:
        circuit = _with_old_rows(circuit, old)
    template = jax.eval_shape(lambda: init(circuit, jax.random.key(0)))
    state = unflatten(template, checkpoint.arrays, "state")
    return circuit, jax.device_put(state)


def _is_of_user(rule: Connect | None) -> bool:
    """Whether a rule of connection is one that a user has registered."""
    label = next((name for name, each in RULES.items() if each is type(rule)), None)
    return registry.added("connection", label)


def spec_of(checkpoint: Checkpoint) -> Spec:
    """The spec of a checkpoint's circuit.

    Raises:
      UsageError: the checkpoint has no circuit.
    """
    if "spec" not in checkpoint.about:
        raise UsageError(f"{checkpoint.path}: no circuit in it; a checkpoint of a model")
    return describe.from_json(checkpoint.about["spec"])


def _params_template(circuit: Circuit, checkpoint: Checkpoint) -> Params:
    """The circuit's parameters in the shapes that they have in the checkpoint.

    Consolidation may have replaced the mean of uint16 rows by the rows, and a value that all cells
    share by a value for each cell.
    """
    spec, weights = circuit.spec, dict[str, Any](circuit.params.weights)
    for projection in spec.projections:
        name = projection.name
        saved = checkpoint.arrays.get(f"params/weights/{name}")
        if projection.dtype == "uint16" and saved is not None and saved.ndim:
            rows = spec.population(projection.source).size, spec.beam_size(projection.target)
            weights[name] = jax.ShapeDtypeStruct(rows, np.uint16)
    params = dataclasses.replace(circuit.params, weights=weights)
    paths, structure = list(flatten(params)), jax.tree.structure(params)
    leaves = []
    for name, leaf in zip(paths, jax.tree.leaves(params), strict=True):
        saved = checkpoint.arrays.get(f"params/{name}")
        kind, _, rest = name.partition("/")
        size = spec.population(rest.split("/")[0]).size if kind == "cells" else None
        if saved is not None and size is not None and saved.shape == (size,):
            leaf = jax.ShapeDtypeStruct(saved.shape, saved.dtype)
        leaves.append(leaf)
    return jax.tree.unflatten(structure, leaves)


def _with_old_rows(circuit: Circuit, old: Circuit) -> Circuit:
    """The circuit, with rows that an older version drew where the checkpoint has only their mean.

    Args:
      old: the circuit as the older version built it.
    """
    weights = {
        name: weight if weight.ndim else old.params.weights[name]
        for name, weight in circuit.params.weights.items()
    }
    return dataclasses.replace(circuit, params=dataclasses.replace(circuit.params, weights=weights))


def _with_saved_wiring(checkpoint: Checkpoint, spec: Spec, path: anatomy.Path) -> Circuit:
    """The circuit of a checkpoint that holds the wiring, with the weights of the checkpoint."""
    # Lists that were given may be of projections that would be drawn as rows, and what a rule of
    # connection draws may need positions, which a checkpoint does not hold.
    none: dict[Any, Edges] = {
        p.name: Edges([], [])
        for p in spec.projections
        if f"wiring/fans/{p.name}/targets" in checkpoint.arrays and not p.crosses
    }
    none |= {p.name: Edges([], []) for p in spec.populations if p.gap_junctions is not None}
    spec = dataclasses.replace(spec, place=None)
    circuit = anatomy.build(spec, jax.random.key(0), none, path=path)
    fans: dict[str, events.Fan] = {}
    for name, fan in circuit.wiring.fans.items():
        if isinstance(fan, events.FanOut):
            targets = checkpoint.arrays[f"wiring/fans/{name}/targets"]
            delays = checkpoint.arrays.get(f"wiring/fans/{name}/delays")
            fan = events.with_delays(
                events.FanOut(targets=jax.device_put(targets), ascends=fan.ascends), delays
            )
        fans[name] = fan

    def saved(folder: str, names: Iterable[str]) -> dict[str, Array]:
        return {name: jax.device_put(checkpoint.arrays[f"{folder}/{name}"]) for name in names}

    seed = jax.device_put(checkpoint.arrays["wiring/seed"])
    partners = saved("wiring/partners", circuit.wiring.partners)
    wiring = dataclasses.replace(
        circuit.wiring, fans=fans, partners=partners, seed=seed, drawn=False
    )
    params = dataclasses.replace(
        circuit.params,
        weights=saved("params/weights", circuit.params.weights),
        gap_junctions=saved("params/gap_junctions", circuit.params.gap_junctions),
    )
    return dataclasses.replace(circuit, params=params, wiring=wiring)
