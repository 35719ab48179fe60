"""The microcircuit: one pytree of state and one pure function that advances it.

A step integrates every population, delivers the spikes whose delay has passed through their
synapses, and puts the new spikes into the delay lines. In NEST's terms, a spike of step n has the
time stamp (n + 1) dt, and the conductances contain its effect `delay` later.
"""

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array, lax
from jax.core import Tracer

from cerebellum.errors import UsageError
from cerebellum.model import delays, events, fit, fixed, homeostasis, noise, short_term
from cerebellum.model.neurons import CIRCUIT_MODELS, threshold
from cerebellum.model.noise import CellRange
from cerebellum.model.ordering import order_after
from cerebellum.model.part import Part
from cerebellum.model.plasticity import Moment, Sizes, Synapses
from cerebellum.model.plasticity import check as plasticity_check
from cerebellum.model.primitives import REFERENCE, Primitives
from cerebellum.model.spec import Projection, Spec, bundles


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
    rates: dict[str, Array]
    """Gains of learning, by the name of what learns (a projection, or a population whose
    thresholds learn): a factor on everything that it learns, 1 or, to switch learning off, 0."""


@struct.dataclass(kw_only=True)
class Wiring:
    """The parts of a circuit that never change: integers, and the static spec."""

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
    lines: dict[str, Array]
    """Delay lines by source population: uint32 [D, W], or [D, N] on the dense path. For a
    population whose projections cross beams, a shard holds the lines of all shards side by side."""
    weights: dict[str, Array]
    """present weights by plastic projection, shaped as in Params; uint16 in units of its fan"""
    debts: dict[str, Any]
    """The state of each learning rule, by projection: for a window rule, the pending weight
    updates, which are the sums that teaching spikes have added up so far."""
    terminals: dict[str, short_term.Terminals]
    """presynaptic terminals by projection with short-term plasticity"""
    watches: dict[str, homeostasis.Watch]
    """homeostasis state, by projection with synaptic scaling and by population with threshold
    homeostasis"""
    timing: Timing | None = struct.field(pytree_node=False, default=None)
    """the timing of the circuit that it is of, so that it is not run on with another one"""


@struct.dataclass(kw_only=True)
class Activity:
    """The spikes of one step."""

    spikes: dict[str, Array]
    """spikes by population, 0 or 1, [N]"""
    words: dict[str, Array]
    """the same spikes packed (see `events.pack`), uint32 [W]"""


@struct.dataclass(kw_only=True)
class Circuit:
    """A built circuit and the backend that it runs on."""

    params: Params
    wiring: Wiring
    backend: str = struct.field(pytree_node=False, default="auto")
    """a name in `backends.BACKENDS`, or "auto" for the fastest one that this machine has"""

    @property
    def spec(self) -> Spec:
        return self.wiring.spec


Drive = Mapping[str, Array]
"""What populations receive from outside in one step, by name, broadcast to [N]: spikes (0 or 1, or
packed words, uint32 [W]) for relays, an injected current (pA) for cells."""


def init(circuit: Circuit, key: Array, *, spread: bool = False) -> State:
    """Return the state of a circuit at rest: conductances are zero and no spike is on its way.

    Args:
      key: random key of the run, for everything that is drawn while the circuit runs and, with
        `spread`, for the initial voltages.
      spread: draw initial voltages uniformly between reset and threshold, so that pacemakers do
        not start in step with each other. Otherwise all cells start at their leak potential, as
        in NEST and in the reference runs of the presets.
    """
    try:
        words = jax.random.key_data(key)
    except (TypeError, ValueError):
        raise UsageError(f"key: {key!r}; jax.random.key(seed)") from None
    if words.shape != (2,):
        raise UsageError(f"key: {words.size} words; a threefry key, jax.random.key(seed), has 2")
    return _init(circuit, words, spread)


@partial(jax.jit, static_argnames="spread")
def _init(circuit: Circuit, key: Array, spread: bool) -> State:
    """`init` as one program, because many small programs would take longer to compile than to run.

    Args:
      key: words of the random key, uint32 [2].
    """
    spec, part = circuit.spec, circuit.wiring.part
    key = jnp.array(key, jnp.uint32)
    cells = {}
    for population in spec.populations:
        params = circuit.params.cells[population.name]
        model = CIRCUIT_MODELS[population.model]
        state = model.init(params, (part.size(population.name),))
        counter, _ = threshold.counter(model, population.params, spec.dt)
        if counter != jnp.uint8:
            state = replace(state, refractory=state.refractory.astype(counter))
        if spread:
            start_key = noise.named(key, f"start {population.name}")
            uniform = noise.uniform(start_key, circuit.wiring.cells(population.name).numbers)
            state = model.spread(params, state, uniform)
        cells[population.name] = state
    return State(
        timing=timing(circuit.wiring),
        step=jnp.int32(0),
        key=key,
        cells=cells,
        lines=_empty_lines(circuit.wiring),
        weights={p.name: _initial_weights(circuit, p) for p in spec.projections if p.plastic},
        debts={
            p.name: p.rule.begin(_sizes(circuit, p), spec.dt)
            for p in spec.projections
            if p.rule is not None
        },
        terminals={
            p.name: short_term.rested(part.size(p.source))
            for p in spec.projections
            if p.short_term is not None
        },
        watches={
            name: homeostasis.begin(rule, part.size(population))
            for name, population, rule in spec.watched()
        },
    )


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


def _synapses_of(wiring: Wiring, projection: Projection) -> Synapses:
    """The synapses of a plastic projection, as its rule uses them."""
    spec = wiring.spec
    return Synapses(
        fan=wiring.fans[projection.name],
        contacts_key=noise.named(wiring.seed, f"contacts {projection.name}"),
        cell_offset=wiring.cells(projection.source).offset,
        rule=projection.rule,
        dt=spec.dt,
        delay=delays.delay_steps(projection.delay, spec.dt),
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
            _synapses_of(wiring, projection),
            lines[projection.source],
            jax.eval_shape(lambda m=model, t=target: m.variables(m.init(t.params, (t.size,)))),
        )


def learning(spec: Spec) -> list[str]:
    """The names of projections and populations that learn (see `Params.rates`)."""
    with_rule = [p.name for p in spec.projections if p.rule is not None]
    return list(dict.fromkeys([*with_rule, *(name for name, _, _ in spec.watched())]))


def timing(wiring: Wiring) -> Timing:
    """The timing of a circuit."""
    dt = wiring.spec.dt
    steps = tuple((p.name, delays.delay_steps(p.delay, dt)) for p in wiring.spec.projections)
    return Timing(dt, wiring.path, steps)


def depths(spec: Spec) -> dict[str, int]:
    """Number of steps that the delay line of each source population holds."""
    deepest: dict[str, int] = {}
    for projection in spec.projections:
        steps = delays.delay_steps(projection.delay, spec.dt)
        if projection.rule is not None:
            steps += projection.rule.history(spec.dt)
        deepest[projection.source] = max(steps, deepest.get(projection.source, 0))
    return deepest


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
        return jnp.copy(_each(weights, circuit.wiring, projection))
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
        contacts_key=noise.named(key, f"contacts {projection.name}"),
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


def _each(weights: Array, wiring: Wiring, projection: Projection) -> Array:
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


def consolidate(circuit: Circuit, state: State) -> Circuit:
    """Copy the weights that plasticity has reached in `state` into the parameters of the circuit.

    Weights are multiplied by their synaptic scaling, and shifts of thresholds are added to the
    thresholds. `state` still holds these factors and shifts, so a run of the consolidated circuit
    starts from a new state, `init(consolidated, key)`: from `state`, they would count twice.

    Raises:
      UsageError: the state was given to a run, or is of another circuit or a batch.
    """
    _check_learned(circuit, state)
    learned = _learned if circuit.wiring.shard is None else jax.vmap(_learned)
    return replace(circuit, params=learned(circuit, state))


def _learned(circuit: Circuit, state: State) -> Params:
    """The parameters of `consolidate`."""
    params, spec = circuit.params, circuit.spec
    weights = {**params.weights, **jax.tree.map(jnp.copy, state.weights)}
    cells = dict(params.cells)
    for name, population, rule in spec.watched():
        value = state.watches[name].value
        if isinstance(rule, homeostasis.Threshold):
            cells[population] = replace(cells[population], v_th=cells[population].v_th + value)
        else:
            weights[name] = _scaled(weights[name], circuit.wiring.fans[name], value)
    return replace(params, weights=weights, cells=cells)


def _check_learned(circuit: Circuit, state: State) -> None:
    """Raise UsageError if a state was given to a run, or what it learned is not of the circuit."""
    if not isinstance(state, State):
        raise UsageError(f"state: {type(state).__name__}; a state that simulate returned")
    if any(
        isinstance(x, Array) and not isinstance(x, Tracer) and x.is_deleted()
        for x in jax.tree.leaves(state)
    ):
        raise UsageError("state: given to a run, which has used it up; the one that it returned")
    key = jax.random.key_data(jax.random.key(0))
    begin = _init if circuit.wiring.shard is None else jax.vmap(_init, (0, None, None))
    wanted = jax.eval_shape(lambda: begin(circuit, key, False))
    for what in ("cells", "weights", "watches"):
        have, want = getattr(state, what), getattr(wanted, what)
        fit.check_names(have, want, f"state.{what}", circuit.spec.name)
        for name in want:
            ours, theirs = _shapes(want[name]), _shapes(have[name])
            if ours != theirs:
                raise UsageError(
                    f"state.{what}: {name} is {theirs}; {ours}, as in {circuit.spec.name}"
                )


def _shapes(tree: Any) -> str:
    """The types and shapes of the arrays of a tree, each once, for a message."""
    each = (f"{x.dtype} {list(x.shape)}" for x in jax.tree.leaves(tree))
    return ", ".join(dict.fromkeys(each))


def _scaled(weights: Array, fan: events.Fan, factor: Array) -> Array:
    """Weights of a projection, each multiplied by the factor [T] of its target."""
    if isinstance(fan, events.FanOut):
        return weights * factor.at[fan.targets].get(mode="fill", fill_value=0)
    rows, width = weights.shape
    missing = fan.beams * width - factor.size
    beam = jnp.pad(factor, (0, missing)).reshape(fan.beams, width)
    scaled = beam[jnp.arange(rows) // -(-rows // fan.beams)] * weights.astype(jnp.float32)
    if weights.dtype == jnp.uint16:
        return jnp.clip(jnp.round(scaled), 0, fixed.LEVELS).astype(jnp.uint16)
    return scaled


def step(
    params: Params,
    wiring: Wiring,
    state: State,
    drive: Drive,
    primitives: Primitives = REFERENCE,
) -> tuple[State, Activity]:
    """Advance a circuit by one time step, `dt`.

    Args:
      params, wiring, state: those of one circuit.
      drive: what populations receive from outside in this step; populations may be left out.
      primitives: the operations of the step, as a backend provides them.

    Returns:
      The next state and the spikes of this step.

    Raises:
      UsageError: `drive` names a population that the circuit does not have, parameters are of
        other names or shapes, or gradients are asked for on the event path, which has none.
    """
    spec = wiring.spec
    fit.check_drive(drive, wiring.part)
    check_params(params, wiring)
    if state.timing not in (None, timing(wiring)):
        raise UsageError(
            "state: of a circuit with another dt, path or delay; one of cb.init(circuit, key)"
        )
    with jax.named_scope("cells"):
        keys = _step_keys(wiring, state)
        draws = _draws(wiring, keys["noise"])
        cells, spikes, words = _cells(params, wiring, state, drive, draws, primitives)
    with jax.named_scope("synapses"):
        cells, terminals = _synapses(params, wiring, state, cells, primitives)
    with jax.named_scope("learning"):
        cells, weights, debts = _learn(params, wiring, state, cells, spikes, keys, primitives)
        watches = {
            name: homeostasis.adjust(
                state.watches[name], spikes[population], rule, params.rates[name], spec.dt
            )
            for name, population, rule in spec.watched()
        }
    with jax.named_scope("delays"):
        # The lines are read above and overwritten here; XLA must keep this order.
        lines = order_after((cells, weights, debts), state.lines)
        emitted = _exchange(wiring, words if wiring.path == "event" else spikes)
        lines = {name: delays.emit(line, state.step, emitted[name]) for name, line in lines.items()}
    stepped = State(
        timing=state.timing,
        step=state.step + 1,
        key=state.key,
        cells=cells,
        lines=lines,
        weights=weights,
        debts=debts,
        terminals=terminals,
        watches=watches,
    )
    return stepped, Activity(spikes=spikes, words=words)


BEAM = "beam"
"""The axis of a mesh along which a circuit is divided into shards."""


def _exchange(wiring: Wiring, emitted: dict[str, Array]) -> dict[str, Array]:
    """Gather the spikes that cross beams from all shards, in a single exchange.

    Returns:
      Spikes by population: of all shards where they cross beams, otherwise as in `emitted`.
    """
    names = wiring.spec.crossing()
    if wiring.part.count == 1 or not names:
        return emitted
    sent = jnp.concatenate([emitted[name] for name in names])
    gathered = lax.all_gather(sent, BEAM)
    ends = np.cumsum([emitted[name].size for name in names])[:-1]
    by_population = jnp.split(gathered, ends, axis=1)
    crossing = {name: x.reshape(-1) for name, x in zip(names, by_population, strict=True)}
    return {**emitted, **crossing}


def _mask_padding(wiring: Wiring, spikes: dict[str, Array], words: dict[str, Array]):
    """Mask the padding cells of the last shards, in spikes and in packed spikes."""
    part = wiring.part
    for population in part.spec.populations:
        name = population.name
        if population.size < part.count * part.size(name):
            exists = wiring.cells(name).numbers < jnp.uint32(population.size)
            spikes = {**spikes, name: jnp.where(exists, spikes[name], 0)}
            words = {**words, name: words[name] & events.pack(exists)}
    return spikes, words


def _step_keys(wiring: Wiring, state: State) -> dict[str, Array]:
    """The keys of everything that is drawn in a step, by use: words, uint32 [2]."""
    rules = [f"learn {p.name}" for p in wiring.spec.projections if p.rule is not None]
    return noise.of_step(state.key, ["noise", *rules], state.step)


def _draws(wiring: Wiring, key: Array) -> dict[str, Array]:
    """Draws from (0, 1) for every cell of the models that ask for them, by population.

    Cells count on through these populations, so that all are drawn at once.

    Args:
      key: words of the key of the step's noise, uint32 [2].
    """
    drawing = [p for p in wiring.spec.populations if CIRCUIT_MODELS[p.model].DRAWS_NOISE]
    if not drawing:
        return {}
    firsts = np.cumsum([0, *(p.size for p in drawing)]).astype(np.uint32)
    ranges = [wiring.cells(p.name) for p in drawing]
    if wiring.part.count == 1:
        numbers = CellRange(size=int(firsts[-1])).numbers
    else:
        pairs = zip(ranges, firsts[:-1], strict=True)
        numbers = jnp.concatenate([cells.numbers + first for cells, first in pairs])
    ends = np.cumsum([cells.size for cells in ranges])[:-1]
    parts = jnp.split(noise.uniform(key, numbers), ends)
    return {p.name: part for p, part in zip(drawing, parts, strict=True)}


def _cells(
    params: Params,
    wiring: Wiring,
    state: State,
    drive: Drive,
    draws: dict[str, Array],
    primitives: Primitives,
):
    """Integrate every population: its state, its spikes and its packed spikes, by name."""
    spec = wiring.spec
    cells, spikes, words = {}, {}, {}
    targets = {projection.target for projection in spec.projections}
    for population in spec.populations:
        name, size = population.name, wiring.part.size(population.name)
        model, cell_params = CIRCUIT_MODELS[population.model], params.cells[name]
        before = state.cells[name]
        external = drive.get(name, 0.0)
        if jnp.result_type(external) == jnp.uint32:
            packed = jnp.asarray(external)
            external = events.unpack(packed, size)
            if name not in targets:
                cells[name], spikes[name], words[name] = before, external, packed
                continue
        if population.homeostasis is not None:
            shifted = cell_params.v_th + state.watches[name].value
            cell_params = replace(cell_params, v_th=shifted)
        input = model.outside(external)
        if model.DRAWS_NOISE:
            input = replace(input, uniform=draws[name])
        operands = model, cell_params, before, input, spec.dt, spec.surrogate
        cells[name], spikes[name], words[name] = primitives.integrate(*operands)
    return cells, *_mask_padding(wiring, spikes, words)


def _synapses(
    params: Params,
    wiring: Wiring,
    state: State,
    cells: dict[str, Any],
    primitives: Primitives,
):
    """Deliver the spikes whose delay has passed.

    Returns:
      The states of the cells after the arrivals, and the terminals after use.
    """
    spec = wiring.spec
    models = {p.name: CIRCUIT_MODELS[p.model] for p in spec.populations}
    receptors = {name: models[name].receptors(cell) for name, cell in cells.items()}
    terminals = dict(state.terminals)
    for bundle in bundles(spec):
        spikes = delays.due(state.lines[bundle.source], state.step, bundle.delay)
        gains = []
        for p in bundle.projections:
            gain = None
            if p.short_term is not None:
                fired = spikes
                if wiring.path == "event":
                    fired = events.unpack(spikes, wiring.part.size(p.source))
                terminals[p.name], gain = short_term.use(
                    terminals[p.name], fired, p.short_term, spec.dt
                )
            gains.append(gain)
        fans = [wiring.fans[p.name] for p in bundle.projections]
        weights = [
            state.weights[p.name]
            if p.name in state.weights
            else _each(params.weights[p.name], wiring, p)
            for p in bundle.projections
        ]
        before = [receptors[p.target][p.receptor] for p in bundle.projections]
        outs = [
            out if p.scaling is None else jnp.zeros_like(out)
            for p, out in zip(bundle.projections, before, strict=True)
        ]
        if wiring.path == "event":
            weights, outs = _without_gradient((weights, outs))
            operands = spikes, tuple(fans), tuple(weights), tuple(outs), tuple(gains)
            outs = events.push(*operands, sweep=primitives.sweep)
        else:
            outs = [
                events.propagate(
                    spikes if gain is None else spikes * gain, fan, weight, out, "dense"
                )
                for fan, weight, gain, out in zip(fans, weights, gains, outs, strict=True)
            ]
        for p, value, out in zip(bundle.projections, before, outs, strict=True):
            if p.scaling is not None:
                out = value + state.watches[p.name].value * out
            receptors[p.target] = {**receptors[p.target], p.receptor: out}
    cells = {n: models[n].with_receptors(cell, receptors[n]) for n, cell in cells.items()}
    return cells, terminals


@jax.custom_jvp
def _without_gradient(operands: Any) -> Any:
    """Operands of the event path, of which a gradient is refused by name."""
    return operands


@_without_gradient.defjvp
def _refuse_gradient(primals, tangents):
    raise UsageError(
        "path: 'event', which has no gradients; cb.build(..., path=\"dense\") with a surrogate"
    )


def _learn(
    params: Params,
    wiring: Wiring,
    state: State,
    cells: dict[str, Any],
    spikes: dict[str, Array],
    keys: dict[str, Array],
    primitives: Primitives,
):
    """Advance every learning rule: the cells, the weights, and the states of the rules (debts)."""
    spec = wiring.spec
    weights, debts = dict(state.weights), dict(state.debts)
    by_name = {projection.name: projection for projection in spec.projections}
    for name, projection in by_name.items():
        rule = projection.rule
        if rule is None:
            continue
        teaching_spikes = {
            teacher: spikes[teacher]
            if teacher == projection.target
            else _teaching_spikes(params, wiring, state, by_name[teacher], primitives)
            for teacher in rule.teachers
        }
        # The cells were computed from these weights, which are overwritten below.
        weights[name] = order_after(cells, weights[name])
        synapses = _synapses_of(wiring, projection)
        line = state.lines[projection.source]
        arrived = delays.due(line, state.step, synapses.delay)
        if wiring.path == "event":
            arrived = events.unpack(arrived, wiring.part.sources(projection))
        model = CIRCUIT_MODELS[spec.population(projection.target).model]
        moment = Moment(
            step=state.step,
            line=line,
            arrived=arrived,
            fired=spikes[projection.target],
            cells=model.variables(cells[projection.target]),
            taught=teaching_spikes,
            gain=params.rates[name],
            key=keys[f"learn {name}"],
            settle=primitives.settle,
        )
        weights[name], debts[name] = rule.learn(weights[name], debts[name], moment, synapses)
        if not rule.KEEPS_BOUNDS:
            weights[name] = synapses.bounded(weights[name], moment.fired.size)
    return cells, weights, debts


def _teaching_spikes(
    params: Params, wiring: Wiring, state: State, teacher: Projection, primitives: Primitives
) -> Array:
    """Number of spikes of a teaching projection that reach each target in this step, [T]."""
    spec = wiring.spec
    delay = delays.delay_steps(teacher.delay, spec.dt)
    spikes = delays.due(state.lines[teacher.source], state.step, delay)
    fan, zeros = wiring.fans[teacher.name], jnp.zeros(wiring.part.size(teacher.target))
    unit_weight = jnp.float32(1)
    if isinstance(fan, events.AllToAll):
        unit_weight = (params.weights[teacher.name] > 0).astype(jnp.float32)
    if wiring.path == "event":
        return events.push(spikes, (fan,), (unit_weight,), (zeros,), sweep=primitives.sweep)[0]
    return events.dense(spikes, fan, unit_weight, zeros)
