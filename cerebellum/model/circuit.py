"""The microcircuit: one pytree of state, one pure step.

A step integrates every population, sends the spikes that have come to the end of their delay
through their synapses, and puts the new spikes into the delay lines. In NEST's words: a spike
of step n has the time stamp (n + 1) dt, and its effect is in the conductances `delay` later.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array, lax

from cerebellum.errors import UsageError
from cerebellum.model import delays, events, fixed, homeostasis, short_term
from cerebellum.model.fence import after
from cerebellum.model.neurons import CIRCUIT_MODELS
from cerebellum.model.part import Part
from cerebellum.model.plasticity import Moment, Sizes, Synapses
from cerebellum.model.primitives import REFERENCE, Primitives
from cerebellum.model.spec import Projection, Spec, bundles


@struct.dataclass(kw_only=True)
class Params:
    """What may be learned: floats."""

    cells: dict[str, Any]
    """by population, the Params of its model"""
    weights: dict[str, Array]
    """by projection, nS or mV: a scalar, or [N, F] beside a FanOut, or [N, R] of an AllToAll.

    A plastic projection starts from these and runs on those in the state: its gradient is
    there. Rows have a place for every target in a beam; zeros are contacts that do not exist.
    Of uint16 rows this is the mean alone, from which `init` draws them, so that the largest
    array of a circuit is there once.
    """
    rates: dict[str, Array]
    """by what learns, a projection or the thresholds of a population, a factor of all that it
    learns: 1, or 0 to switch it off"""


@struct.dataclass(kw_only=True)
class Wiring:
    """What never changes: integers, and the static spec."""

    fans: dict[str, events.Fan]
    """by projection"""
    seed: Array
    """key that the circuit was built with, uint32 [2]"""
    part: Part = struct.field(pytree_node=False)
    """the circuit's spec, and how it is cut"""
    path: events.Path = struct.field(pytree_node=False)
    """"event" sends packed spikes; "dense" sends every synapse every step and has gradients"""
    drawn: bool = struct.field(pytree_node=False, default=False)
    """whether `anatomy.build` gives it again from the spec and the seed"""
    revision: int = struct.field(pytree_node=False, default=0)
    """how often something registered had been replaced when it was built (see `registry`), so
    that what was compiled of it before is not run after"""
    shard: Array | None = None
    """which part of a circuit this is, where it is cut into shards: uint32 scalar"""

    @property
    def spec(self) -> Spec:
        """Of the whole circuit."""
        return self.part.spec

    def cells(self, name: str) -> fixed.CellRange:
        """A population's cells here, by their numbers in the whole circuit."""
        size = self.part.size(name)
        offset = 0 if self.shard is None else self.shard * jnp.uint32(size)
        return fixed.CellRange(size=size, offset=offset)


@struct.dataclass(kw_only=True)
class State:
    """Everything that a step changes."""

    step: Array
    """steps done, int32 scalar"""
    key: Array
    """random key of the run, uint32 [2]; never advanced, draws fold the step into it"""
    cells: dict[str, Any]
    """by population, the State of its model"""
    lines: dict[str, Array]
    """by source population, its delay line: [D, W] uint32, or [D, N] on the dense path; in a
    shard, of those that cross the lines of all shards, one after another"""
    weights: dict[str, Array]
    """by plastic projection, its weights now, shaped as in Params; uint16 in units of its fan"""
    debts: dict[str, Any]
    """by projection with a rule, the rule's own state: of a window, what its teachers owe"""
    terminals: dict[str, short_term.Terminals]
    """by projection with short-term plasticity"""
    watches: dict[str, homeostasis.Watch]
    """by projection with synaptic scaling, and by population with threshold homeostasis"""


@struct.dataclass(kw_only=True)
class Activity:
    """What happened in a step."""

    spikes: dict[str, Array]
    """by population, 0 or 1, [N]"""
    words: dict[str, Array]
    """the same packed (see `events.pack`), uint32 [W]"""


@struct.dataclass(kw_only=True)
class Circuit:
    """What is simulated, and what it is to run on."""

    params: Params
    wiring: Wiring
    backend: str = struct.field(pytree_node=False, default="auto")
    """a name in `backends.BACKENDS`, or "auto": the fastest that this machine has"""

    @property
    def spec(self) -> Spec:
        return self.wiring.spec


Drive = Mapping[str, Array]
"""What reaches populations from outside in one step, by name, broadcast to [N]: spikes (0 or 1,
or packed words, uint32 [W]) for relays, an injected current (pA) for cells."""


def init(circuit: Circuit, key: Array, *, spread: bool = False) -> State:
    """A circuit at rest, ready to run: conductances zero, nothing under way.

    Args:
      key: random key of the run: everything drawn while it runs, and first voltages if spread.
      spread: draw first voltages evenly between reset and threshold, so that pacemakers do not
        start in step with each other. Otherwise all start at their leak potential, as in NEST
        and in the reference runs of the presets.
    """
    words = jax.random.key_data(key)
    if words.shape != (2,):
        raise UsageError(f"key: {words.size} words; a threefry key, jax.random.key(seed), has 2")
    return _init(circuit, words, spread)


@partial(jax.jit, static_argnames="spread")
def _init(circuit: Circuit, key: Array, spread: bool) -> State:
    """`init`, as one program: started apart, its small ones take longer to compile than to run."""
    spec, part = circuit.spec, circuit.wiring.part
    key = jnp.array(key, jnp.uint32)
    cells = {}
    for population in spec.populations:
        params = circuit.params.cells[population.name]
        model = CIRCUIT_MODELS[population.model]
        state = model.init(params, (part.size(population.name),))
        if spread:
            own = fixed.named_key(key, population.name)
            drawn = fixed.threefry_uniform(own, circuit.wiring.cells(population.name))
            state = model.spread(params, state, drawn)
        cells[population.name] = state
    return State(
        step=jnp.int32(0),
        key=key,
        cells=cells,
        lines=_lines(circuit.wiring),
        weights={p.name: _first_weights(circuit, p) for p in spec.projections if p.plastic},
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


def _sizes(circuit: Circuit, projection: Projection) -> Sizes:
    """Of a plastic projection's synapses here."""
    part, fan = circuit.wiring.part, circuit.wiring.fans[projection.name]
    width = part.spec.beam_size(projection.target)
    shape = part.size(projection.source), width
    if isinstance(fan, events.FanOut):
        shape = fan.targets.shape[0], fan.targets.shape[1]
    return Sizes(
        sources=part.size(projection.source),
        targets=part.size(projection.target),
        row=part.beams * width,
        weights=shape,
    )


def depths(spec: Spec) -> dict[str, int]:
    """By source population, how many steps its delay line holds."""
    deepest: dict[str, int] = {}
    for projection in spec.projections:
        steps = delays.delay_steps(projection.delay, spec.dt)
        if projection.rule is not None:
            steps += projection.rule.history(spec.dt)
        deepest[projection.source] = max(steps, deepest.get(projection.source, 0))
    return deepest


def _lines(wiring: Wiring) -> dict[str, Array]:
    lines, part = {}, wiring.part
    for name, depth in depths(part.spec).items():
        shards = part.count if name in part.spec.crossing() else 1
        if wiring.path == "dense":
            lines[name] = jnp.zeros((depth, shards * part.size(name)), jnp.float32)
        else:
            words = -(-part.size(name) // events.BITS)
            lines[name] = jnp.zeros((depth, shards * words), jnp.uint32)
    return lines


def _first_weights(circuit: Circuit, projection: Projection) -> Array:
    """A copy of a plastic projection's weights, or its rows drawn from their mean."""
    given, spec = circuit.params.weights[projection.name], circuit.spec
    if given.ndim or projection.dtype != "uint16":
        return jnp.copy(given)
    return fixed.draw_all(
        fixed.seed(circuit.wiring.seed, projection.name),
        given,
        circuit.wiring.cells(projection.source),
        spec.beam_size(projection.target),
        projection.spread,
        spec.share(projection),
        projection.w_max,
    )


def consolidate(circuit: Circuit, state: State) -> Circuit:
    """The circuit with copies of the weights that plasticity has reached, scaling included.

    Shifts of thresholds go into the thresholds.
    """
    params, spec = circuit.params, circuit.spec
    weights = {**params.weights, **jax.tree.map(jnp.copy, state.weights)}
    cells = dict(params.cells)
    for name, population, rule in spec.watched():
        value = state.watches[name].value
        if isinstance(rule, homeostasis.Threshold):
            cells[population] = replace(cells[population], v_th=cells[population].v_th + value)
        else:
            weights[name] = _scaled(weights[name], circuit.wiring.fans[name], value)
    return replace(circuit, params=replace(params, weights=weights, cells=cells))


def _scaled(weights: Array, fan: events.Fan, factor: Array) -> Array:
    """Weights of a projection, each times the factor of its target [T]."""
    if isinstance(fan, events.FanOut):
        return weights * factor.at[fan.targets].get(mode="fill", fill_value=0)
    rows, width = weights.shape
    missing = fan.beams * width - factor.size
    beam = jnp.pad(factor, (0, missing)).reshape(fan.beams, width)
    own = beam[jnp.arange(rows) // -(-rows // fan.beams)] * weights.astype(jnp.float32)
    if weights.dtype == jnp.uint16:
        return jnp.clip(jnp.round(own), 0, fixed.LEVELS).astype(jnp.uint16)
    return own


def step(
    params: Params,
    wiring: Wiring,
    state: State,
    drive: Drive,
    primitives: Primitives = REFERENCE,
) -> tuple[State, Activity]:
    """Advance a circuit by its `dt`.

    Args:
      params, wiring, state: of one circuit.
      drive: what reaches it from outside in this step; populations may be left out.
      primitives: the operations that it is made of, those of a backend.

    Returns:
      The next state and the spikes of this step.

    Raises:
      UsageError: when `drive` names a population that the circuit does not have.
    """
    spec = wiring.spec
    for name in drive:
        spec.population(name)
    with jax.named_scope("cells"):
        cells, spikes, words = _cells(params, wiring, state, drive, primitives)
    with jax.named_scope("synapses"):
        cells, terminals = _synapses(params, wiring, state, cells, primitives)
    with jax.named_scope("learning"):
        cells, weights, debts = _learn(params, wiring, state, cells, spikes, primitives)
        watches = {
            name: homeostasis.adjust(
                state.watches[name], spikes[population], rule, params.rates[name], spec.dt
            )
            for name, population, rule in spec.watched()
        }
    with jax.named_scope("delays"):
        # The lines are read above and written here: the fence says so to the compiler.
        lines = after((cells, weights, debts), state.lines)
        emitted = _everywhere(wiring, words if wiring.path == "event" else spikes)
        lines = {name: delays.emit(line, state.step, emitted[name]) for name, line in lines.items()}
    stepped = State(
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
"""The axis of a mesh along which a circuit is cut into shards."""


def _everywhere(wiring: Wiring, emitted: dict[str, Array]) -> dict[str, Array]:
    """Spikes of this step, those that cross beams from all shards: in a single exchange."""
    names = wiring.spec.crossing()
    if wiring.part.count == 1 or not names:
        return emitted
    sent = jnp.concatenate([emitted[name] for name in names])
    everyone = lax.all_gather(sent, BEAM)
    ends = np.cumsum([emitted[name].size for name in names])[:-1]
    parts = jnp.split(everyone, ends, axis=1)
    return {**emitted, **{name: x.reshape(-1) for name, x in zip(names, parts, strict=True)}}


def _existing(wiring: Wiring, spikes: dict[str, Array], words: dict[str, Array]):
    """Spikes, and the same packed, without those of cells for which a last shard has room only."""
    part = wiring.part
    for population in part.spec.populations:
        name = population.name
        if population.size < part.count * part.size(name):
            there = wiring.cells(name).numbers < jnp.uint32(population.size)
            spikes = {**spikes, name: jnp.where(there, spikes[name], 0)}
            words = {**words, name: words[name] & events.pack(there)}
    return spikes, words


def _cells(params: Params, wiring: Wiring, state: State, drive: Drive, primitives: Primitives):
    """Every population, one step on: its states, and spikes plain and packed, by name."""
    spec = wiring.spec
    cells, spikes, words = {}, {}, {}
    reached = {projection.target for projection in spec.projections}
    for population in spec.populations:
        name, size = population.name, wiring.part.size(population.name)
        model, own = CIRCUIT_MODELS[population.model], params.cells[name]
        before = state.cells[name]
        given = drive.get(name, 0.0)
        if jnp.result_type(given) == jnp.uint32:
            packed = jnp.asarray(given)
            given = events.unpack(packed, size)
            if name not in reached:
                cells[name], spikes[name], words[name] = before, given, packed
                continue
        if population.homeostasis is not None:
            own = replace(own, v_th=own.v_th + state.watches[name].value)
        input = model.outside(given)
        if model.DRAWS_NOISE:
            seed = fixed.seed(state.key, name)
            input = replace(input, uniform=fixed.uniform(seed, state.step, wiring.cells(name)))
        operands = model, own, before, input, spec.dt, spec.surrogate
        cells[name], spikes[name], words[name] = primitives.integrate(*operands)
    return cells, *_existing(wiring, spikes, words)


def _synapses(
    params: Params,
    wiring: Wiring,
    state: State,
    cells: dict[str, Any],
    primitives: Primitives,
):
    """Send what is due: the cells' states after arrival, and the terminals after sending."""
    spec = wiring.spec
    models = {p.name: CIRCUIT_MODELS[p.model] for p in spec.populations}
    arrived = {name: models[name].receptors(cell) for name, cell in cells.items()}
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
        weights = [state.weights.get(p.name, params.weights[p.name]) for p in bundle.projections]
        before = [arrived[p.target][p.receptor] for p in bundle.projections]
        outs = [
            out if p.scaling is None else jnp.zeros_like(out)
            for p, out in zip(bundle.projections, before, strict=True)
        ]
        if wiring.path == "event":
            operands = spikes, tuple(fans), tuple(weights), tuple(outs), tuple(gains)
            outs = events.push(*operands, sweep=primitives.sweep)
        else:
            outs = [
                events.propagate(
                    spikes if gain is None else spikes * gain, fan, weight, out, "dense"
                )
                for fan, weight, gain, out in zip(fans, weights, gains, outs, strict=True)
            ]
        for p, first, out in zip(bundle.projections, before, outs, strict=True):
            if p.scaling is not None:
                out = first + state.watches[p.name].value * out
            arrived[p.target] = {**arrived[p.target], p.receptor: out}
    reached = {n: models[n].with_receptors(cell, arrived[n]) for n, cell in cells.items()}
    return reached, terminals


def _learn(
    params: Params,
    wiring: Wiring,
    state: State,
    cells: dict[str, Any],
    spikes: dict[str, Array],
    primitives: Primitives,
):
    """Every rule, one step on: the cells behind the last reading, weights and debts."""
    spec = wiring.spec
    weights, debts = dict(state.weights), dict(state.debts)
    by_name = {projection.name: projection for projection in spec.projections}
    for name, projection in by_name.items():
        rule = projection.rule
        if rule is None:
            continue
        taught = {
            teacher: spikes[teacher]
            if teacher == projection.target
            else _taught(params, wiring, state, by_name[teacher], primitives)
            for teacher in rule.teachers
        }
        # The weights were read for these cells, and are written below.
        weights[name] = after(cells, weights[name])
        synapses = Synapses(
            fan=wiring.fans[name],
            mask_seed=fixed.seed(wiring.seed, name),
            cell_offset=wiring.cells(projection.source).offset,
            rule=rule,
            dt=spec.dt,
            delay=delays.delay_steps(projection.delay, spec.dt),
            share=spec.share(projection),
            w_max=math.inf if projection.w_max is None else projection.w_max,
        )
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
            taught=taught,
            gain=params.rates[name],
            seed=fixed.seed(state.key, name),
            settle=primitives.settle,
        )
        weights[name], debts[name] = rule.learn(weights[name], debts[name], moment, synapses)
    return cells, weights, debts


def _taught(
    params: Params, wiring: Wiring, state: State, teacher: Projection, primitives: Primitives
) -> Array:
    """Spikes of a teaching projection that arrive at each of its targets in this step, [T]."""
    spec = wiring.spec
    delay = delays.delay_steps(teacher.delay, spec.dt)
    spikes = delays.due(state.lines[teacher.source], state.step, delay)
    fan, none = wiring.fans[teacher.name], jnp.zeros(wiring.part.size(teacher.target))
    one = jnp.float32(1)
    if isinstance(fan, events.AllToAll):
        one = (params.weights[teacher.name] > 0).astype(jnp.float32)
    if wiring.path == "event":
        return events.push(spikes, (fan,), (one,), (none,), sweep=primitives.sweep)[0]
    return events.dense(spikes, fan, one, none)
