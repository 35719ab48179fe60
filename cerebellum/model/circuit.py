"""The microcircuit as records: its parameters, its wiring and its state, and their beginning.

`step.step` advances a state, and `consolidation.consolidate` puts what it has learned into the
parameters.
"""

import logging
import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array

from cerebellum.documented import documented
from cerebellum.errors import UsageError
from cerebellum.model import (
    delays,
    events,
    fit,
    fixed,
    gap_junctions,
    homeostasis,
    noise,
    short_term,
    table,
)
from cerebellum.model.edges import Edges, of_fan
from cerebellum.model.neurons import CIRCUIT_MODELS, threshold
from cerebellum.model.noise import CellRange
from cerebellum.model.part import Part
from cerebellum.model.plasticity import Sizes, Synapses
from cerebellum.model.plasticity import check as plasticity_check
from cerebellum.model.population import Population
from cerebellum.model.projection import Projection
from cerebellum.model.spec import Spec

log = logging.getLogger(__name__)


@documented
@struct.dataclass(kw_only=True)
class Params:
    """The numbers of a circuit that may be learned: floats."""

    cells: dict[str, Any]
    """the Params of each population's model, by population"""
    weights: dict[str, Array]
    """Weights by projection, in nS or mV: a scalar, [N, F] for a FanOut or [N, R] for an AllToAll.

    A plastic projection starts from these weights and then uses those in the state, so that its
    gradient is with respect to the state. Rows have a place for every target in a beam; zeros are
    contacts that do not exist. For uint16 rows this is only the mean weight, from which `init`
    draws the rows, so that the largest array of a circuit exists once.
    """
    learning_gain: dict[str, Array]
    """Gains of learning, by the name of what learns (a projection, or a population whose
    thresholds learn): a factor on everything that it learns, 1 or, to switch learning off, 0."""
    gap_junctions: dict[str, Array] = struct.field(default_factory=dict)
    """Conductances of gap junctions by population, nS: a scalar, or [K, N], one for each of the
    cell's partners in the wiring."""


@documented
@struct.dataclass(kw_only=True)
class Wiring:
    """The parts of a circuit that no step changes: integers, and the static spec."""

    fans: dict[str, events.Fan]
    """the connections of each projection, as lists or as rows, by projection"""
    seed: Array
    """words of the random key with which the circuit was built, uint32 [2]"""
    part: Part = struct.field(pytree_node=False)
    """the circuit's spec, and how the circuit is divided into shards"""
    path: events.Path = struct.field(pytree_node=False)
    """"event" delivers packed spikes; "dense" visits every synapse in every step and has
    gradients"""
    drawn: bool = struct.field(pytree_node=False, default=False)
    """whether `anatomy.build` can draw this wiring again from the spec and the seed"""
    equations: tuple[Hashable, ...] = struct.field(pytree_node=False, default=())
    """What registered models, rules and windows consist of (see `registry.equations`). It makes
    sure that a program which was compiled before an edit is not run after it."""
    alive: dict[str, Array] = struct.field(default_factory=dict)
    """Which cells emit spikes, by population: packed (see `events.pack`), uint32 [W]. They are all
    that exist but those that `manipulate.silence` has silenced; a shard's padding does not exist.
    A population that is not here has nothing to mask."""
    partners: dict[str, Array] = struct.field(default_factory=dict)
    """The cells to which each cell has a gap junction, by population, int32 [K, N] (see
    `gap_junctions`)."""
    merged: Any = None
    """Lists in a form of the backend's own (`Backend.merged`), which `simulate` adds to what it
    runs; None where there is none."""
    shard: Array | None = None
    """number of this shard, where the circuit is divided into shards: uint32 scalar"""

    @property
    def spec(self) -> Spec:
        """The spec of the whole circuit."""
        return self.part.spec

    def cells(self, name: str) -> CellRange:
        """The cells of a population in this shard, by their numbers in the whole circuit."""
        size = self.part.size(name)
        offset = 0 if self.shard is None else self.shard * jnp.uint32(size)
        return CellRange(size=size, offset=offset)


@dataclass(frozen=True)
class Timing:
    """What the clock and the delay lines of a state were made for."""

    dt: float
    """time step, ms"""
    path: events.Path
    """the path of the circuit: packed spikes, or one number a cell"""
    delays: tuple[tuple[str, int], ...]
    """each projection and its delay in steps"""


@documented
@struct.dataclass(kw_only=True)
class State:
    """Everything that a step changes."""

    step: Array
    """number of steps done, int32 scalar"""
    key: Array
    """words of the run's random key, uint32 [2]; the key never advances, draws fold the step into
    it"""
    cells: dict[str, Any]
    """the State of each population's model, by population"""
    delay_lines: dict[str, Array]
    """Delay lines by source population: uint32 [D, W], or [D, N] on the dense path. For a
    population whose projections cross beams, a shard holds the lines of all shards side by side."""
    weights: dict[str, Array]
    """present weights by plastic projection, shaped as in Params; uint16 in units of its fan"""
    arrivals: dict[str, Array]
    """Rings of weights that are on their way, for projections whose synapses have delays of their
    own: float32 [D, T], by receptor ("golgi.exc"), or by projection where it has synaptic scaling.
    Row s mod D holds what arrives in step s, in nS or mV."""
    rule_states: dict[str, Any]
    """The state of each learning rule, by projection: for a window rule, the pending weight
    updates, which are the sums that teaching spikes have added up so far."""
    terminals: dict[str, short_term.Terminals]
    """presynaptic terminals by projection with short-term plasticity"""
    homeostasis: dict[str, homeostasis.State]
    """homeostasis state, by projection with synaptic scaling and by population with threshold
    homeostasis"""
    sent: Any = None
    """Within a chunk of a backend that delivers spikes when they arrive: those that are not in the
    rings of arrivals yet (`primitives.Deferred`). Otherwise None."""
    timing: Timing | None = struct.field(pytree_node=False, default=None)
    """the timing of the circuit that it is of, so that it is not run on with another one"""

    def __repr__(self) -> str:
        return table.of_state(self)


@struct.dataclass(kw_only=True)
class Activity:
    """The spikes of one step."""

    spikes: dict[str, Array]
    """spikes by population, 0 or 1, [N]"""
    words: dict[str, Array]
    """the same spikes packed (see `events.pack`), uint32 [W]"""


@documented
@struct.dataclass(kw_only=True)
class Circuit:
    """A built circuit and the backend that it runs on."""

    params: Params
    wiring: Wiring
    backend: str = struct.field(pytree_node=False, default="auto")
    """a name in `backends.BACKENDS`, or "auto" for the fastest one that this machine has"""

    @property
    def spec(self) -> Spec:
        """The spec of the whole circuit."""
        return self.wiring.spec

    def edges(self, name: str, state: "State | None" = None) -> Edges:
        """The synapses of a projection, with the delay (ms) and the weight (nS or mV) of each.

        Args:
          name: the projection; or a population, for its gap junctions: each pair once, and its
            conductance (nS).
          state: a state of this circuit, from which the weights of a plastic projection are taken
            as it has learned them. Without it they are those of the parameters.

        Raises:
          UsageError: there is no such projection, or the circuit is divided among devices.
        """
        projections = {p.name: p for p in self.spec.projections}
        if name not in projections and name not in self.wiring.partners:
            fit.check_names([name], [*projections, *self.wiring.partners], "edges", self.spec.name)
        if self.wiring.shard is not None:
            raise UsageError("circuit: a divided one; edges are those of the whole circuit")
        if name in self.wiring.partners:
            conductance = self.params.gap_junctions[name]
            return gap_junctions.edges_of(self.wiring.partners[name], conductance)
        projection, weights, built = projections[name], self.params.weights[name], None
        if state is not None and name in state.weights:
            built = np.asarray(weights) if np.ndim(weights) else None
            weights = state.weights[name]
        elif projection.dtype == "uint16" and not np.ndim(weights):
            raise UsageError(
                f"edges: {name} has uint16 rows, which the state holds; circuit.edges({name!r}, "
                "state)"
            )
        sizes = [self.spec.population(end).size for end in (projection.source, projection.target)]
        steps = delays.steps_of(projection, self.spec.dt)
        held, ends = np.asarray(weights), (sizes[0], sizes[1])
        return of_fan(self.wiring.fans[name], held, ends, self.spec.dt, steps, built)

    def __repr__(self) -> str:
        return table.of_circuit(self)


Drive = Mapping[str, Array]
"""What populations receive from outside in one step, by name, broadcast to [N]: spikes (0 or 1, or
packed words, uint32 [W]) for relays, an injected current (pA) for cells."""

BEAM = "beam"
"""The axis of a mesh along which a circuit is divided into shards."""


def init(circuit: Circuit, key: Array | int, *, spread: bool = False) -> State:
    """Return the state of a circuit at rest: conductances are zero and no spike is on its way.

    Args:
      key: random key of the run, or its seed, for everything that is drawn while the circuit runs
        and, with `spread`, for the initial voltages.
      spread: draw initial voltages uniformly between reset and threshold, so that pacemakers do
        not start in step with each other. Otherwise all cells start at their leak potential, as
        in NEST and in the reference runs of the presets.
    """
    for population in circuit.spec.populations if spread else ():
        if not _spreads(population):
            log.warning(
                "init: spread=True changes nothing for %s: model %s draws no first voltages",
                *(population.name, population.model),
            )
    return initial(circuit, jax.random.key_data(noise.key_of(key)), spread)


def _spreads(population: Population) -> bool:
    """Whether the model of a population draws first voltages; relays have none."""
    model, changed = CIRCUIT_MODELS[population.model], []

    def look() -> Any:
        state = model.init(population.typical, (1,))
        after = model.spread(population.typical, state, jnp.zeros(1))
        changed.append(after is not state)
        return after

    jax.eval_shape(look)
    return changed[0] or model.TAKES_SPIKES


@partial(jax.jit, static_argnames="spread")
def initial(circuit: Circuit, key: Array, spread: bool) -> State:
    """`init` as one program, because many small programs would take longer to compile than to run.

    Args:
      key: words of the random key, uint32 [2].
    """
    spec, part = circuit.spec, circuit.wiring.part
    key = jnp.array(key, jnp.uint32)
    cells, draws = {}, _first_draws(circuit, key) if spread else {}
    for population in spec.populations:
        params = circuit.params.cells[population.name]
        model = CIRCUIT_MODELS[population.model]
        state = model.init(params, (part.size(population.name),))
        counter, _ = threshold.counter(model, population.params, spec.dt)
        if counter != jnp.uint8:
            state = replace(state, refractory=state.refractory.astype(counter))
        if population.name in draws:
            state = model.spread(params, state, draws[population.name])
        cells[population.name] = state
    return State(
        timing=timing(circuit.wiring),
        step=jnp.int32(0),
        key=key,
        cells=cells,
        delay_lines=_empty_lines(circuit.wiring),
        weights={p.name: _initial_weights(circuit, p) for p in spec.projections if p.plastic},
        arrivals={
            name: jnp.zeros((ring.depth, part.size(ring.target)))
            for name, ring in rings(circuit.wiring).items()
        },
        rule_states={
            p.name: p.rule.begin(_sizes(circuit, p), spec.dt)
            for p in spec.projections
            if p.rule is not None
        },
        terminals={
            p.name: short_term.rested(part.size(p.source))
            for p in spec.projections
            if p.short_term is not None
        },
        homeostasis={
            name: homeostasis.begin(rule, part.size(population))
            for name, population, rule in spec.homeostatic()
        },
    )


def _first_draws(circuit: Circuit, key: Array) -> dict[str, Array]:
    """Draws from (0, 1) for the first voltages of all cells that have one, [n] by population.

    Args:
      key: words of the random key, uint32 [2].
    """
    models = {p.name: CIRCUIT_MODELS[p.model] for p in circuit.spec.populations}
    names = [name for name, model in models.items() if not model.TAKES_SPIKES]
    uses = {f"start {name}": circuit.wiring.cells(name).numbers for name in names}
    return dict(zip(names, noise.uniform_each(key, uses).values(), strict=True))


def longest_refractory(spec: Spec) -> dict[str, int]:
    """Most steps of a refractory period that a state can count, by population."""
    return {
        p.name: threshold.counter(CIRCUIT_MODELS[p.model], p.params, spec.dt)[1]
        for p in spec.populations
    }


def _sizes(circuit: Circuit, projection: Projection) -> Sizes:
    """Sizes of a plastic projection in this shard."""
    part = circuit.wiring.part
    width = part.spec.beam_size(projection.target)
    return Sizes(
        sources=part.size(projection.source),
        targets=part.size(projection.target),
        row=part.beams * width,
        weights=_weight_shape(circuit.wiring, projection),
    )


def contacts_key(seed: Array, projection: Projection) -> Array:
    """The words of the key of `fixed.exists` of a projection's rows, uint32 [2].

    Args:
      seed: those of the key that the circuit is built from, uint32 [2].
    """
    return noise.named(seed, f"contacts {projection.name}")


def synapses_of(wiring: Wiring, projection: Projection) -> Synapses:
    """The synapses of a plastic projection, as its rule uses them."""
    spec = wiring.spec
    return Synapses(
        fan=wiring.fans[projection.name],
        contacts_key=contacts_key(wiring.seed, projection),
        cell_offset=wiring.cells(projection.source).offset,
        rule=projection.rule,
        dt=spec.dt,
        delay=delays.steps_of(projection, spec.dt),
        share=spec.share(projection),
        w_max=math.inf if projection.w_max is None else projection.w_max,
    )


def check_rules(circuit: Circuit) -> None:
    """Check that every learning rule fits the circuit, by shapes alone.

    Raises:
      UsageError: the axes of a rule do not fit its state, or a step would change shapes or types.
    """
    wiring = circuit.wiring
    lines = jax.eval_shape(lambda: _empty_lines(wiring))
    for projection in circuit.spec.projections:
        if projection.rule is None:
            continue
        target = circuit.spec.population(projection.target)
        model, sizes = CIRCUIT_MODELS[target.model], _sizes(circuit, projection)
        plasticity_check.check(
            projection.name,
            projection.rule,
            jax.ShapeDtypeStruct(sizes.weights, projection.dtype),
            sizes,
            synapses_of(wiring, projection),
            lines[projection.source],
            jax.eval_shape(lambda m=model, t=target: m.variables(m.init(t.typical, (t.size,)))),
        )


def learning(spec: Spec) -> list[str]:
    """The names of projections and populations that learn (see `Params.learning_gain`)."""
    with_rule = [p.name for p in spec.projections if p.rule is not None]
    return list(dict.fromkeys([*with_rule, *(name for name, _, _ in spec.homeostatic())]))


def timing(wiring: Wiring) -> Timing:
    """The timing of a circuit."""
    dt = wiring.spec.dt
    steps = tuple((p.name, delays.steps_of(p, dt)) for p in wiring.spec.projections)
    return Timing(dt, wiring.path, steps)


def depths(spec: Spec) -> dict[str, int]:
    """Number of steps that the delay line of each source population holds."""
    deepest: dict[str, int] = {}
    for projection in spec.projections:
        steps = delays.steps_of(projection, spec.dt)
        if projection.rule is not None:
            steps += projection.rule.history(spec.dt)
        deepest[projection.source] = max(steps, deepest.get(projection.source, 0))
    return deepest


@dataclass(frozen=True)
class Ring:
    """A ring of arrivals."""

    target: str
    """the population of its columns"""
    depth: int
    """number of its rows, the longest delay in steps"""


def ring_of(projection: Projection) -> str:
    """The name of the ring into which a projection with delays of its own delivers."""
    if projection.scaling is not None:
        return projection.name
    return f"{projection.target}.{projection.receptor}"


def rings(wiring: Wiring) -> dict[str, Ring]:
    """The rings of arrivals of a circuit by name."""
    found: dict[str, Ring] = {}
    for projection in wiring.spec.projections:
        fan, name = wiring.fans[projection.name], ring_of(projection)
        if isinstance(fan, events.FanOut) and fan.delays is not None:
            before = found[name].depth if name in found else 0
            found[name] = Ring(projection.target, max(before, fan.longest))
    return found


def _empty_lines(wiring: Wiring) -> dict[str, Array]:
    """Delay lines without spikes, by source population."""
    lines, part = {}, wiring.part
    for name, depth in depths(part.spec).items():
        shards = part.count if name in part.spec.crossing() else 1
        if wiring.path == "dense":
            lines[name] = jnp.zeros((depth, shards * part.size(name)), jnp.float32)
        else:
            words = -(-part.size(name) // events.BITS)
            lines[name] = jnp.zeros((depth, shards * words), jnp.uint32)
    return lines


def _initial_weights(circuit: Circuit, projection: Projection) -> Array:
    """A copy of a plastic projection's weights, or its rows, drawn from the mean weight."""
    weights, spec = circuit.params.weights[projection.name], circuit.spec
    if weights.ndim or projection.dtype != "uint16":
        return jnp.copy(each_weight(weights, circuit.wiring, projection))
    return fixed.draw(
        first_weights(circuit.wiring.seed, projection, spec, weights),
        circuit.wiring.cells(projection.source),
        spec.beam_size(projection.target),
        projection.w_max,
    )


def first_weights(key: Array, projection: Projection, spec: Spec, mean: Array) -> fixed.First:
    """How the first weights of a projection with rows are drawn.

    Args:
      key: words of the key that a circuit is built from, uint32 [2].
      mean: scalar.
    """
    return fixed.First(
        weights_key=noise.named(key, f"weights {projection.name}"),
        contacts_key=contacts_key(key, projection),
        mean=mean,
        spread=projection.spread,
        share=spec.share(projection),
    )


def _weight_shape(wiring: Wiring, projection: Projection) -> tuple[int, int]:
    """The shape of a projection's weights in this shard, where they are not a single one."""
    fan = wiring.fans[projection.name]
    if isinstance(fan, events.FanOut):
        return fan.targets.shape[0], fan.targets.shape[1]
    return wiring.part.size(projection.source), wiring.spec.beam_size(projection.target)


def check_params(params: Params, wiring: Wiring) -> None:
    """Raise UsageError if parameters have names or shapes that the circuit has not."""
    fit.check_cells(params.cells, wiring.part)
    shapes = {p.name: _weight_shape(wiring, p) for p in wiring.spec.projections}
    fit.check_weights(params.weights, shapes, wiring.spec.name)
    pairs = {name: partners.shape for name, partners in wiring.partners.items()}
    fit.check_weights(params.gap_junctions, pairs, wiring.spec.name, "params.gap_junctions")


def check_junctions(params: Params, wiring: Wiring) -> None:
    """Raise UsageError if conductances of gap junctions are none, or too large for the step."""
    for name, partners in wiring.partners.items():
        operands = partners, params.gap_junctions[name], params.cells[name]
        gap_junctions.check_values(name, *operands, wiring.spec.dt)


def each_weight(weights: Array, wiring: Wiring, projection: Projection) -> Array:
    """Weights with one for each synapse where the projection needs them, if one value is given.

    Lists of contacts that do not learn can share a single weight; rows cannot.
    """
    fan, weights = wiring.fans[projection.name], jnp.asarray(weights)
    if weights.dtype != jnp.uint16:
        weights = weights.astype(jnp.promote_types(weights.dtype, jnp.float32))
    listed = isinstance(fan, events.FanOut)
    if weights.ndim or (listed and not projection.plastic):
        return weights
    exists = fan.targets < wiring.part.size(projection.target) if listed else True
    return jnp.where(exists, jnp.full(_weight_shape(wiring, projection), weights), 0)
