"""Many steps of a circuit in one launch: the chunk of the CUDA backend (steps.cu).

It runs circuits of current-based cells and relays, on the event path: lists that share a weight or
have one a synapse, rows of floats or of uint16, and rules of `plasticity.window` on rows of uint16.
`unsuitable` says what else a circuit has. Where the inputs of a chunk are not spikes of relays
alone, it returns NotImplemented, and the steps run one by one.
"""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from cerebellum.backends.cuda import contacts, steps_plan
from cerebellum.backends.cuda.steps_circuit import Launch, Room
from cerebellum.model import plasticity
from cerebellum.model.circuit import Circuit, Params, State, Wiring
from cerebellum.model.events import FanOut
from cerebellum.model.neurons import CIRCUIT_MODELS, current, relay
from cerebellum.model.population import Population
from cerebellum.model.projection import Projection

ROOM = Room()

MOST_CELLS = 2**27
"""Cells of a population, whose counters are addressed by 32 bits."""


def chunk(circuit: Circuit, steps: int, recorders: tuple[Any, ...]) -> "StepsChunk | None":
    """The chunk that runs `steps` steps of a circuit in one launch, or None (see `unsuitable`)."""
    if unsuitable(circuit, recorders) is not None:
        return None
    return StepsChunk(steps=steps, recorders=recorders, bits=contacts.counter_bits(circuit))


def unsuitable(circuit: Circuit, recorders: tuple[Any, ...]) -> str | None:
    """Why a circuit cannot run in one launch with these recorders, in one line, or None."""
    wiring = circuit.wiring
    spec = wiring.spec
    if wiring.path != "event":
        return f"path: {wiring.path!r}; one launch runs 'event'"
    if wiring.part.shards is not None:
        return "the circuit is divided among devices"
    if spec.surrogate is not None:
        return "surrogate: given; one launch has none"
    for population in spec.populations:
        problem = _population_problem(population)
        if problem is not None:
            return f"{population.name}: {problem}"
    for projection in spec.projections:
        problem = _projection_problem(projection, circuit)
        if problem is not None:
            return f"{projection.name}: {problem}"
    for recorder in recorders:
        if recorder.kind == "weights":
            return f"record {recorder.label!r}: one launch records cells alone"
    records = {"populations": spec.populations, "projections": spec.projections}
    records["rules"] = tuple(p for p in spec.projections if p.rule is not None)
    for kind, most in steps_plan.LIMITS.items():
        if kind in records and len(records[kind]) > most:
            return f"{len(records[kind])} {kind}; one launch has room for {most}"
    return None


def _population_problem(population: Population) -> str | None:
    if CIRCUIT_MODELS[population.model] not in (current, relay):
        return f"{population.model} cells; one launch runs current-based ones and relays"
    if population.size >= MOST_CELLS:
        return f"{population.size:,} cells; one launch numbers up to {MOST_CELLS:,}"
    if population.homeostasis is not None:
        return "threshold homeostasis"
    return None if population.gap_junctions is None else "gap junctions"


def _projection_problem(projection: Projection, circuit: Circuit) -> str | None:
    fan = circuit.wiring.fans[projection.name]
    if projection.scaling is not None:
        return "synaptic scaling"
    if projection.short_term is not None:
        return "short-term plasticity"
    if isinstance(fan, FanOut):
        if fan.delays is not None:
            return "a delay for each synapse"
        if projection.rule is not None:
            return "lists that learn; one launch learns rows of uint16"
        return None
    if projection.rule is None:
        return None
    if projection.dtype != "uint16":
        return "rows of floats that learn; one launch learns rows of uint16"
    if not isinstance(projection.rule, plasticity.Rule):
        return f"{type(projection.rule).__name__}; one launch runs rules of windows"
    teacher = projection.rule.teacher
    if teacher in {p.name for p in circuit.spec.projections if p.dtype == "uint16"}:
        return f"its teacher {teacher} has rows of uint16"
    return None


@dataclass(frozen=True, kw_only=True)
class StepsChunk:
    """So many steps of a circuit in one launch (`sim.chunk.Chunk`)."""

    steps: int
    recorders: tuple[Any, ...]
    bits: tuple[tuple[str, int], ...]
    """those of a counter of spikes, by projection with lists"""
    room: Room = ROOM

    def __call__(self, params: Params, wiring: Wiring, state: Any, inputs: Any) -> Any:
        drive = inputs.relayed(wiring)
        if isinstance(drive, str) or not _single_precision(state):
            return NotImplemented
        if sum(map(len, drive.values())) > steps_plan.LIMITS["drives"]:
            return NotImplemented
        launch = Launch(params, wiring, state, self.steps, dict(self.bits))
        return launch(drive, self.recorders, inputs.chosen, self.room)


def _single_precision(state: State) -> bool:
    """Whether all voltages are float32."""
    cells = (cell for cell in state.cells.values() if isinstance(cell, current.State))
    return all(cell.v.dtype == jnp.float32 for cell in cells)
