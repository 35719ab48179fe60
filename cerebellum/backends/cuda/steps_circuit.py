"""A circuit, its state and its drive as the plan of a launch, and the state that it results in."""

from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from cerebellum.backends import models
from cerebellum.backends.cuda import steps_plan
from cerebellum.backends.cuda.steps_plan import Address, Arrays, Record, bits_of
from cerebellum.model import delays, events, fixed, noise, plasticity
from cerebellum.model.circuit import Params, State, Wiring, each_weight, synapses_of
from cerebellum.model.events import BITS, AllToAll
from cerebellum.model.neurons import CIRCUIT_MODELS, current
from cerebellum.model.population import Population
from cerebellum.model.projection import Projection
from cerebellum.model.spec import bundles

TARGET = "cerebellum_cuda_steps"

FRONTS = 4
"""Steps whose spikes are kept outside the delay lines (steps/plan.h)."""

GROUP = 128
"""Cells of a warp at once."""

PIECE = 512
"""Longest part of a list that one warp delivers."""

ONE_WEIGHT, OWN_WEIGHTS, ROWS, LEVELS = range(4)
"""Kinds of weights (steps/plan.h)."""

CHOICES = {"all": 0, "range": 1, "list": 2}
VARIABLES = {"v": 0, "i_exc": 1, "i_inh": 2, "counts": 3, "raster": 3}


def words_of(size: int) -> int:
    """The number of words that so many packed spikes take."""
    return -(-size // BITS)


def padded(size: int) -> int:
    """A number of cells as whole groups (steps/block.h), of which each is cleared as a whole."""
    return -(-size // GROUP) * GROUP


@dataclass(frozen=True)
class Room:
    """The most that a block takes of shared memory, beside what it needs."""

    queue: int = 8_192
    """events of a step; single threads deliver those that are more"""
    slots: int = 4_096
    """groups of cells whose variables stay there; those of others stay where the state lies"""


class Launch:
    """One launch of a circuit: the records of its plan, and where its results are."""

    def __init__(
        self, params: Params, wiring: Wiring, state: State, steps: int, bits: dict[str, int]
    ):
        """Describe a circuit.

        Args:
          bits: those of a counter, for each projection with lists.
        """
        self.params, self.wiring, self.state, self.steps = params, wiring, state, steps
        self.spec, self.bits = wiring.spec, bits
        self.arrays = Arrays()
        self.places: dict[tuple[str, ...], Address] = {}
        """results, by what they are"""
        # As step.step delivers them, so that a cell adds up what arrives in the same order.
        in_order = [p for bundle in bundles(self.spec) for p in bundle.projections]
        self.numbers = {p.name: number for number, p in enumerate(in_order)}
        self.names = [p.name for p in self.spec.populations]
        learning = [p for p in self.spec.projections if p.rule is not None]
        self.ruled = {p.name: number for number, p in enumerate(learning)}
        self.teachers = {name for p in learning if p.rule for name in p.rule.teachers}
        self.projections = [self._projection(p) for p in in_order]
        self.rules = [self._rule(p) for p in learning]
        self.arrivals: list[int] = []
        self.drives: list[Record] = []
        self.recorders: list[Record] = []
        self.populations = [self._population(p) for p in self.spec.populations]

    def __call__(
        self,
        drive: dict[str, list[Any]],
        recorders: tuple[Any, ...],
        chosen: dict[str, Array],
        room: Room,
    ) -> Any:
        """Run: the state after the steps, and the records of each (`sim.recorders.observe`).

        It is NotImplemented if there are more arrays than a launch can have.

        Args:
          drive: sources of spikes (`sim.drive.Relayed`) by population.
          recorders: of spikes and variables of cells (`sim.recorders.Recorder`).
          chosen: the cells of recorders that do not record all, by label.
          room: what a block takes of shared memory at most.
        """
        for name, sources in drive.items():
            self._drive(name, sources)
        # The recorders of variables of a population are next to each other.
        for name in self.names:
            record = self.populations[self.names.index(name)]
            record["first_trace"] = len(self.recorders)
            for r in recorders:
                if r.owner == name and r.traced:
                    self._recorder(r, chosen)
            record["traces"] = len(self.recorders) - record["first_trace"]
        for r in recorders:
            if not r.traced:
                self._recorder(r, chosen)
        plan = self._plan()
        sizes = [p["size"] for p in self.populations if not p["relay"]]
        attributes = {"sizes": np.array(sizes, np.int64), **vars(room)}
        if self.arrays.count > steps_plan.BUFFERS:
            return NotImplemented
        results = steps_plan.run(TARGET, self.arrays, plan, **attributes)
        return self._state(results), self._records(results, recorders)

    def _plan(self) -> list[tuple[tuple[str, ...], Record]]:
        """All records, in the order of steps/plan.h."""
        header: Record = {
            "start": self.arrays.read(self.state.step.astype(jnp.int32).reshape(1)),
            "counter": self.arrays.scratch(4),
            "steps": self.steps,
            "populations": len(self.populations),
            "projections": len(self.projections),
            "arrivals": len(self.arrivals),
            "rules": len(self.rules),
            "drives": len(self.drives),
            "recorders": len(self.recorders),
            "row_projections": sum(p["kind"] == LEVELS for p in self.projections),
        }
        return [
            (steps_plan.HEADER, header),
            *((steps_plan.POPULATION, record) for record in self.populations),
            *((steps_plan.PROJECTION, record) for record in self.projections),
            *((("number",), {"number": number}) for number in self.arrivals),
            *((steps_plan.RULE, record) for record in self.rules),
            *((steps_plan.DRIVE, record) for record in self.drives),
            *((steps_plan.RECORDER, record) for record in self.recorders),
        ]

    def _changed(self, what: tuple[str, ...], array: Array) -> Address:
        """The address of a part of the state, which the launch changes."""
        self.places[what] = self.arrays.change(array)
        return self.places[what]

    def _population(self, p: Population) -> Record:
        size, name = p.size, p.name
        cells = self.state.cells[name]
        relays = CIRCUIT_MODELS[p.model] is not current
        words = words_of(size)
        line = self.state.delay_lines.get(name)
        alive = self.wiring.alive.get(name)
        self.places["totals", name] = self.arrays.change(jnp.zeros(self.steps, jnp.int32))
        first = len(self.arrivals)
        self.arrivals += [
            self.numbers[projection.name]
            for bundle in bundles(self.spec)
            for projection in bundle.projections
            if projection.target == name
        ]
        record: Record = dict.fromkeys(steps_plan.POPULATION, 0) | {
            **dict.fromkeys(("exc", "inh", "refractory", "constants", "bias", "raster"), None),
            "v": self._changed(("cells", name, "v"), cells.arrived if relays else cells.v),
            "line": None if line is None else self._changed(("delay_lines", name), line),
            "front": self.arrays.scratch(4 * FRONTS * words),
            "alive": None if alive is None else self.arrays.read(alive),
            "totals": self.places["totals", name],
            "size": size,
            "words": words,
            "depth": 0 if line is None else line.shape[0],
            "relay": int(relays),
            "first_arrival": first,
            "arrivals": len(self.arrivals) - first,
        }
        if relays:
            return record
        params, dt = self.params.cells[name], self.spec.dt
        constants = models.by_cell(models.CURRENT.constants(params, dt))
        bias = jnp.atleast_1d(models.CURRENT.current(params, current.Input(), dt))
        return record | {
            "exc": self._changed(("cells", name, "exc"), cells.exc),
            "inh": self._changed(("cells", name, "inh"), cells.inh),
            "refractory": self._changed(("cells", name, "refractory"), cells.refractory),
            "constants": self.arrays.read(constants),
            "bias": self.arrays.read(bias.astype(jnp.float32)),
            "own_constants": int(constants.shape[1] > 1),
            "own_bias": int(bias.size > 1),
            "wide": int(cells.refractory.dtype == jnp.uint16),
        }

    def _projection(self, p: Projection) -> Record:
        fan, weights = self.wiring.fans[p.name], self.state.weights.get(p.name)
        if weights is None:
            weights = jnp.asarray(self.params.weights[p.name], jnp.float32)
        targets = self.spec.population(p.target).size
        copies = 3 if p.name in self.teachers else 2
        record: Record = dict.fromkeys(steps_plan.PROJECTION, 0) | {
            "targets": None,
            "taught": None,
            "source": self.names.index(p.source),
            "target": self.names.index(p.target),
            "receptor": int(p.receptor == "inh"),
            "delay": delays.steps_of(p, self.spec.dt),
            "copies": copies,
            "rule": self.ruled.get(p.name, -1),
        }
        bits = 64
        if isinstance(fan, AllToAll):
            if p.name not in self.ruled:
                weights = each_weight(weights, self.wiring, p)
            levels = weights.dtype == jnp.uint16
            sources, length = weights.shape
            record |= {
                "kind": LEVELS if levels else ROWS,
                "beams": fan.beams,
                "beam_sources": -(-sources // fan.beams),
                "unit": bits_of(fan.unit),
            }
            targets = fan.beams * length
        else:
            length = fan.targets.shape[1]
            record["kind"] = OWN_WEIGHTS if weights.ndim else ONE_WEIGHT
            record["targets"] = self.arrays.read(fan.targets)
            record["wide"] = int(fan.targets.dtype == jnp.uint32)
            if weights.ndim == 0:
                bits = self.bits[p.name]
        size = padded(targets) * bits // 8
        learns = p.name in self.ruled
        if copies == 3 and record["kind"] != ONE_WEIGHT:
            record["taught"] = self.arrays.scratch(copies * 4 * targets)
        return record | {
            "weights": self._changed(("weights", p.name), weights)
            if learns
            else self.arrays.read(weights),
            "sums": self.arrays.scratch(copies * size),
            "fan": length,
            "pieces": max(1, -(-length // PIECE)),
            "piece": min(length, PIECE),
            "bits": bits,
            "copy_bytes": size,
        }

    def _rule(self, p: Projection) -> Record:
        rule, dt = p.rule, self.spec.dt
        fan = self.wiring.fans[p.name]
        assert isinstance(rule, plasticity.Rule), p.name
        assert isinstance(fan, AllToAll), p.name
        synapses = synapses_of(self.wiring, p)
        ahead, back = plasticity.ring_steps(rule, dt)
        pending = self.state.rule_states[p.name]
        taught: Record = {"taught": None, "bits": 0, "copies": 1, "copy_bytes": 0}
        if rule.teacher != p.target:
            teacher = self.projections[self.numbers[rule.teacher]]
            taught = {name: teacher[name] for name in ("bits", "copies", "copy_bytes")}
            taught["taught"] = teacher["sums"]
            if teacher["kind"] != ONE_WEIGHT:
                size = self.spec.population(p.target).size
                taught |= {"taught": teacher["taught"], "bits": 32, "copy_bytes": 4 * size}
        gain = jnp.asarray(self.params.learning_gain[p.name], jnp.float32)
        return {
            "pending": self._changed(("rule_states", p.name), pending),
            "window": self.arrays.read(plasticity.kernel(rule, dt)),
            "gain": self.arrays.read(gain.reshape(1)),
            "rounding": self.arrays.read(noise.named(self.state.key, f"learn {p.name}")),
            "contacts": self.arrays.read(synapses.contacts_key),
            **taught,
            "depth": pending.shape[0],
            "ahead": ahead,
            "back": back,
            "age": synapses.delay + rule.history(dt),
            "per_spike": bits_of(rule.per_spike),
            "per_pair": bits_of(rule.per_pair),
            "inverse": bits_of(np.float32(1) / np.float32(fan.unit)),
            "share": fixed.threshold(synapses.share),
        }

    def _drive(self, name: str, sources: list[Any]) -> None:
        """Add the sources of spikes of a population."""
        record = self.populations[self.names.index(name)]
        targets = {p.target for p in self.spec.projections}
        record["first_drive"], record["drives"] = len(self.drives), len(sources)
        # step.step then sends on the packed spikes, and leaves what has arrived as it is.
        record["repeats"] = int(name not in targets and all(s.packed for s in sources))
        for source in sources:
            if source.words is not None:
                drive: Record = {
                    **dict.fromkeys(("starts", "key"), None),
                    "values": self.arrays.read(source.words),
                    "rows": source.words.shape[0],
                    "stride": source.words.shape[1],
                }
            else:
                drive = {
                    "values": self.arrays.read(source.chances),
                    "starts": self.arrays.read(source.starts),
                    "key": self.arrays.read(noise.named(self.state.key, source.use)),
                    "rows": source.chances.shape[0],
                    "stride": source.chances.shape[1],
                }
            self.drives.append(drive)

    def _recorder(self, r: Any, chosen: dict[str, Array]) -> None:
        """Add a recorder; spikes of all cells of a population are written with them."""
        population = self.populations[self.names.index(r.owner)]
        key = ("records", r.label, r.choice)
        words = (self.steps, words_of(r.room))
        if not r.traced and r.choice == "all":
            if population["raster"] is None:
                population["raster"] = self.arrays.write(words, jnp.uint32)
            self.places[key] = population["raster"]
            return
        index, mask = chosen.get(r.label), None
        if r.choice == "list" and r.traced:
            assert index is not None
            mask = events.pack(jnp.zeros(population["size"]).at[index].set(1))
        shape, dtype = ((self.steps, r.room), jnp.float32) if r.traced else (words, jnp.uint32)
        self.places[key] = self.arrays.write(shape, dtype)
        self.recorders.append(
            {
                "out": self.places[key],
                "index": None if index is None else self.arrays.read(index),
                "chosen": None if mask is None else self.arrays.read(mask),
                "population": self.names.index(r.owner),
                "variable": VARIABLES[r.kind],
                "choice": CHOICES[r.choice],
                "room": r.room,
            }
        )

    def _state(self, results: Any) -> State:
        """The state after the launch."""

        def after(*what: str) -> Array:
            return results[self.places[what].number]

        state = self.state
        cells = {}
        for name, before in state.cells.items():
            if isinstance(before, current.State):
                fields = ("v", "exc", "inh", "refractory")
                cells[name] = current.State(**{f: after("cells", name, f) for f in fields})
            else:
                cells[name] = replace(before, arrived=after("cells", name, "v"))
        return replace(
            state,
            step=state.step + self.steps,
            cells=cells,
            delay_lines={name: after("delay_lines", name) for name in state.delay_lines},
            weights=state.weights | {name: after("weights", name) for name in self.ruled},
            rule_states={name: after("rule_states", name) for name in state.rule_states},
        )

    def _records(self, results: Any, recorders: tuple[Any, ...]) -> tuple[dict[str, Array], Any]:
        """Spikes by population, [steps], and one array for each recorder."""
        totals = {name: results[self.places["totals", name].number] for name in self.names}
        places = [self.places["records", r.label, r.choice] for r in recorders]
        return totals, tuple(results[place.number] for place in places)
