"""Small circuits for laws: one relay population into one population of cells."""

import jax
import jax.numpy as jnp
import numpy as np

import cerebellum as cb
from cerebellum.model import events
from cerebellum.model.circuit import State
from cerebellum.model.neurons import conductance, relay
from cerebellum.model.population import Population
from cerebellum.model.projection import Projection
from cerebellum.model.spec import Spec

CELL = conductance.Params()
KEEPS = conductance.Params(tau_exc=1e30, tau_inh=1e30, e_exc=-74.0, e_inh=-74.0)
"""Conductances that never decay and move nothing: they count what has arrived."""


def feed_forward(
    sources: int,
    targets: int,
    in_degree: float,
    *,
    delays=(1.0,),
    weight: float = 1.0,
    cell: conductance.Params = CELL,
    dt: float = 1.0,
    plastic: bool = False,
) -> Spec:
    """`sources` relays into `targets` cells: one projection a delay, excitatory first."""
    projections = [
        Projection(
            source="input",
            label=f"p{index}",
            target="cells",
            receptor=("exc", "inh")[index % 2],
            weight=weight,
            delay=delay,
            in_degree=in_degree,
            plastic=plastic,
        )
        for index, delay in enumerate(delays)
    ]
    return Spec(
        name="feed_forward",
        populations=(
            Population(name="input", size=sources, model="relay", params=relay.Params()),
            Population(name="cells", size=targets, model="conductance", params=cell),
        ),
        projections=tuple(projections),
        dt=dt,
    )


@jax.jit
def _scan(params, wiring, state, drive):
    def body(state, now):
        state, activity = cb.step(params, wiring, state, now)
        return state, (activity.spikes, state.cells)

    return jax.lax.scan(body, state, drive)


def run(circuit: cb.Circuit, state: State, drive):
    """The state after a drive of arrays [time, N], and every step's spikes and cells.

    The circuit's arrays are arguments of one compiled function: circuits of a shape share it.
    """
    return _scan(circuit.params, circuit.wiring, state, drive)


def spikes(steps: int, cells: int, share: float, seed: int) -> np.ndarray:
    """Independent spikes, float32 [steps, cells]."""
    return (np.random.default_rng(seed).random((steps, cells)) < share).astype(np.float32)


def matrix(circuit: cb.Circuit, name: str) -> np.ndarray:
    """Weights of a projection as a matrix [sources, targets], contacts summed."""
    projection = next(p for p in circuit.spec.projections if p.name == name)
    size = circuit.spec.population(projection.target).size
    fan, weight = circuit.wiring.fans[name], np.asarray(circuit.params.weights[name])
    if not hasattr(fan, "targets"):
        return weight
    table = np.asarray(fan.targets)  # pyright: ignore[reportAttributeAccessIssue]
    out = np.zeros((table.shape[0], size))
    source, column = np.nonzero(table < size)
    np.add.at(
        out, (source, table[source, column]), np.broadcast_to(weight, table.shape)[source, column]
    )
    return out


def rows(circuit: cb.Circuit, name: str, weights) -> np.ndarray:
    """Weights of a projection as rows [N, R] over the targets of a beam, from lists too."""
    fan, weights = circuit.wiring.fans[name], np.array(weights)
    if isinstance(fan, events.AllToAll):
        return weights
    projection = next(p for p in circuit.spec.projections if p.name == name)
    targets, size = np.asarray(fan.targets), circuit.spec.population(projection.target).size
    span = circuit.spec.beam_size(projection.source)
    width = circuit.spec.beam_size(projection.target)
    table = np.zeros((len(targets), width))
    source, slot = np.nonzero(targets < size)
    table[source, targets[source, slot] - source // span * width] = weights[source, slot]
    return table


def as_double(tree):
    """Every float32 array in double precision."""
    return jax.tree.map(
        lambda x: x.astype(jnp.float64) if getattr(x, "dtype", None) == jnp.float32 else x, tree
    )
