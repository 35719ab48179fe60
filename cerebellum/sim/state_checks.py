"""Whether a state and single weights fit the circuit that runs from them."""

import jax
import jax.numpy as jnp
import numpy as np

from cerebellum.errors import UsageError
from cerebellum.model import circuit as circuits
from cerebellum.model import fit
from cerebellum.model.circuit import Circuit, State
from cerebellum.model.events import FanOut
from cerebellum.model.neurons import CIRCUIT_MODELS


def check_state(state: State, circuit: Circuit, batch: int | None) -> None:
    """Raise UsageError if a state was donated before, or does not fit the circuit or the batch."""
    part = circuit.wiring.part
    if state.step.is_deleted():
        raise UsageError(
            "state: given to an earlier run; go on with the state that it returned, or with that "
            "of its exception (Interrupted.state) if it was interrupted"
        )
    if circuit.wiring.shard is not None and state.step.shape[:1] != (part.count,):
        raise UsageError(f"state: not in {part.count} shards as the circuit is; shard.split_state")
    if batch is None and state.step.ndim > (circuit.wiring.shard is not None):
        raise UsageError("state: a batch of them; simulate_batch runs batches")
    steps = np.concatenate([np.ravel(piece.data) for piece in state.step.addressable_shards])
    if steps.min() != steps.max():
        raise UsageError(f"state: members at steps {steps.min()} to {steps.max()}; all at one")
    if steps.min() < 0:
        raise UsageError(f"state: step {steps.min()}; zero or more")
    for population in part.spec.populations:
        size = part.size(population.name)
        model, cells = CIRCUIT_MODELS[population.model], state.cells.get(population.name)
        if cells is not None and type(cells) is not model.State:
            raise UsageError(
                f"state: {population.name} is {type(cells).__module__}.{type(cells).__name__}; "
                f"{population.model} cells"
            )
        for leaf in jax.tree.leaves(state.cells.get(population.name)):
            if leaf.shape[-1] != size:
                raise UsageError(
                    f"state: {leaf.shape[-1]} cells in {population.name}; the circuit has {size}"
                )
    _check_lines(state, circuit)
    _check_plasticity(state, circuit)


def _check_plasticity(state: State, circuit: Circuit) -> None:
    """Raise UsageError if a state is of other populations, plastic projections or delays."""
    spec = circuit.spec
    for what, known in (
        ("cells", [p.name for p in spec.populations]),
        ("weights", [p.name for p in spec.projections if p.plastic]),
        ("rule_states", [p.name for p in spec.projections if p.rule is not None]),
        ("terminals", [p.name for p in spec.projections if p.short_term is not None]),
        ("homeostasis", [name for name, _, _ in spec.homeostatic()]),
    ):
        fit.check_names(getattr(state, what), known, f"state.{what}", spec.name)
    timing = circuits.timing(circuit.wiring)
    if state.timing is None:
        return
    if state.timing.dt != timing.dt:
        raise UsageError(
            f"state: of a circuit with a dt of {state.timing.dt:g} ms; this one has {timing.dt:g}"
        )
    before = dict(state.timing.delays)
    for name, steps in timing.delays:
        if before.get(name) != steps:
            raise UsageError(
                f"state: {name} had a delay of {before.get(name)} steps; this circuit's has {steps}"
            )


def check_single_weights(circuit: Circuit) -> None:
    """Raise UsageError if one weight is given for rows in which contacts are missing.

    A missing contact is a zero among the weights, so one weight would make it exist; 0 would not.
    """
    for projection in circuit.spec.projections:
        name, wiring = projection.name, circuit.wiring
        weight = circuit.params.weights[name]
        if isinstance(wiring.fans[name], FanOut) or np.ndim(weight) or projection.dtype == "uint16":
            continue
        complete = wiring.drawn and circuit.spec.share(projection) >= 1
        if not complete and float(weight) != 0:
            raise UsageError(
                f"params.weights: {name}: one value, {float(weight):g}; an array, whose zeros are "
                "the contacts that are missing, or 0"
            )


def _check_lines(state: State, circuit: Circuit) -> None:
    """Raise UsageError if the delay lines of a state are those of other delays, dt or path."""
    spec, path = circuit.spec, circuit.wiring.path
    depths = circuits.depths(spec)
    if state.delay_lines.keys() != depths.keys():
        known = ", ".join(depths)
        raise UsageError(
            f"state: delay lines of {', '.join(state.delay_lines)}; the circuit has {known}"
        )
    for name, line in state.delay_lines.items():
        if (line.dtype == jnp.uint32) != (path == "event"):
            other = "dense" if path == "event" else "event"
            raise UsageError(f"state: of a circuit on the {other} path; this one is on {path}")
        if line.shape[-2] != depths[name]:
            raise UsageError(
                f"state: the delay line of {name} has {line.shape[-2]} steps; {depths[name]} at "
                f"the circuit's delays and its dt of {spec.dt:g} ms"
            )
