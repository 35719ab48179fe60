"""What consolidating and dividing refuse: other states, other circuits, arguments swapped."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import cerebellum as cb
from cerebellum.model import plasticity
from cerebellum.model.homeostasis import Threshold
from cerebellum.model.neurons import conductance, relay
from cerebellum.sim import shard

KEY = jax.random.key(0)


def spec(cells: int = 64, name: str = "cells") -> cb.Spec:
    """Relays into cells with thresholds that learn, in two beams."""
    return cb.Spec(
        name="small",
        beams=2,
        dt=1.0,
        populations=(
            cb.Population(name="input", size=64, model="relay", params=relay.Params()),
            cb.Population(
                name=name,
                size=cells,
                model="conductance",
                params=conductance.Params(),
                homeostasis=Threshold(target=10.0),
            ),
        ),
        projections=(
            cb.Projection(
                source="input",
                target=name,
                receptor="exc",
                weight=1.0,
                delay=1.0,
                in_degree=4,
                rule=plasticity.pair_stdp(name, 0.1),
                w_max=4.0,
                plastic=True,
            ),
        ),
    )


@pytest.fixture(scope="module")
def small():
    """A circuit and a state of it, whole and in two shards."""
    whole = cb.build(spec(), KEY, path="event")
    cut = shard.split(whole, shard.mesh(2))
    state = cb.init(whole, KEY)
    return whole, cut, state, shard.split_state(cut, state)


def refused(call, message: str) -> None:
    """The call raises UsageError with one line that begins like the message, a pattern."""
    with pytest.raises(cb.UsageError) as error:
        call()
    assert "\n" not in str(error.value)
    error.match(f"^{message}")


def used_up(state):
    copy = jax.tree.map(jnp.copy, state)
    jax.tree.map(lambda x: x.delete(), copy)
    return copy


def test_only_a_state_of_the_circuit_is_consolidated(small):
    whole, _, state, divided = small
    other = cb.init(cb.build(spec(32), KEY, path="event"), KEY)
    renamed = cb.init(cb.build(spec(name="others"), KEY, path="event"), KEY)
    batch = jax.vmap(cb.init, (None, 0))(whole, jax.random.split(KEY, 2))
    refused(lambda: cb.consolidate(whole, other), r"state\.cells: cells is .* \[32\].*; .* \[64\]")
    refused(lambda: cb.consolidate(whole, renamed), r"state\.cells: 'others'; perhaps|state\.cells")
    refused(lambda: cb.consolidate(whole, batch), r"state\.cells: .* \[2, 64\]")
    refused(lambda: cb.consolidate(whole, divided), r"state\.cells: .* \[2, 32\]")
    refused(lambda: cb.consolidate(whole, used_up(state)), "state: given to a run, which")
    refused(lambda: cb.consolidate(whole, (state, None)), "state: tuple; a state that simulate")


def test_what_fits_is_consolidated_whole_or_divided(small):
    whole, cut, state, _ = small
    shifts = {"cells": replace(state.homeostasis["cells"], value=jnp.linspace(-1.0, 1.0, 64))}
    weights = {name: 2 * x for name, x in state.weights.items()}
    state = replace(state, homeostasis=shifts, weights=weights)
    learned = cb.consolidate(whole, state)
    in_shards = cb.consolidate(cut, shard.split_state(cut, state))
    threshold = whole.params.cells["cells"].v_th + shifts["cells"].value
    np.testing.assert_array_equal(learned.params.cells["cells"].v_th, threshold)
    (name,) = learned.params.weights
    np.testing.assert_array_equal(learned.params.weights[name], weights[name])
    wanted = shard.split(learned, shard.mesh_of(cut)).params
    jax.tree.map(np.testing.assert_array_equal, in_shards.params, wanted)
    assert shard.mesh_of(in_shards) == shard.mesh_of(cut)
    jax.eval_shape(cb.consolidate, whole, state)


def test_a_split_takes_a_whole_circuit_and_a_mesh(small):
    whole = small[0]
    mesh, foreign = shard.mesh(2), jax.make_mesh((1,), ("x",))
    refused(lambda: shard.split(whole, 1), r"mesh: 1; a mesh, such as shard\.mesh\(2\)")
    refused(lambda: shard.split(whole, None), "mesh: None; a mesh")
    refused(lambda: shard.split(mesh, whole), "circuit: Mesh; a circuit that cb.build returned")
    refused(lambda: shard.split(whole, foreign), "mesh: its axes are x; beam and batch")


def test_states_are_divided_and_joined_for_a_divided_circuit_only(small):
    whole, cut, state, divided = small
    for call in (shard.split_state, shard.join_state):
        refused(lambda call=call: call(whole, state), "circuit: a whole one; a divided one")
        refused(lambda call=call: call(state, cut), "circuit: State; a circuit")
        refused(lambda call=call: call(cut, (state, None)), "state: tuple; a state")
    refused(lambda: shard.init(whole, KEY), "circuit: a whole one; a divided one")
    refused(lambda: shard.join_state(cut, state), r"state: its step is \[\]; a state in 2 shards")
    refused(lambda: shard.split_state(cut, divided), "state: 32 cells in input; 64")
    refused(lambda: shard.split_state(cut, used_up(state)), "state: given to a run, which")
    refused(lambda: shard.join_state(cut, used_up(divided)), "state: given to a run, which")
    four = shard.split(cb.build(cb.presets.beams(1_000, beams=4), KEY), shard.mesh(4))
    refused(lambda: shard.join_state(four, divided), "state: in 2 shards; 4, as the circuit is")
    same = shard.join_state(cut, divided)
    jax.tree.map(np.testing.assert_array_equal, same, state)
