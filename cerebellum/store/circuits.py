"""A circuit and its state in one call each: what `simulate` takes is saved, and comes back."""

from pathlib import Path

import jax
import numpy as np

from cerebellum.errors import UsageError
from cerebellum.model.circuit import Circuit, State
from cerebellum.store import snapshot
from cerebellum.store.checkpoint import load, newest, write


def save_circuit(folder: str | Path, circuit: Circuit, state: State) -> Path:
    """Save a circuit and its state as a checkpoint (see `write`), and return its folder.

    Args:
      folder: the folder of checkpoints, which are named after the steps that the state has done.
      circuit: a whole circuit.
      state: a state of the whole circuit (see `shard.join_state`), not a batch.

    Raises:
      UsageError: the circuit or the state is none, or divided, a batch, or used up by a run.
      OSError: the disk refused.
    """
    for name, thing, kind in (("circuit", circuit, Circuit), ("state", state, State)):
        if not isinstance(thing, kind):
            raise UsageError(f"{name}: {type(thing).__name__}; a cb.{kind.__name__}")
    if circuit.wiring.shard is not None:
        raise UsageError("circuit: divided; the whole one, and shard.join_state(circuit, state)")
    if any(isinstance(x, jax.Array) and x.is_deleted() for x in jax.tree.leaves(state)):
        raise UsageError("state: given to a run, which has used it up; the one that it returned")
    if np.ndim(state.step):
        raise UsageError("state: a batch, or divided; one state of the whole circuit")
    tree = snapshot.tree(circuit, state)
    return write(folder, int(state.step), tree, snapshot.about(circuit))


def load_circuit(folder: str | Path, *, edited: bool = False) -> tuple[Circuit, State]:
    """The circuit and the state of a checkpoint, bit for bit, on this machine's best backend.

    Args:
      folder: a checkpoint, or a folder of them, of which the newest intact one is taken.
      edited: whether registered models, rules and windows may have been edited since.

    Raises:
      UsageError: there is no checkpoint, it has no circuit, or this version cannot restore it
        (see `snapshot.restore`).
    """
    folder = Path(folder)
    if (folder / "manifest.json").exists():
        return snapshot.restore(load(folder), edited=edited)
    checkpoint = newest(folder)
    if checkpoint is None:
        raise UsageError(f"{folder}: no checkpoint; what store.save_circuit wrote to")
    return snapshot.restore(checkpoint, edited=edited)
