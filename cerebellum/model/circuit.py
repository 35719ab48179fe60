"""The microcircuit: one pytree of state, one pure step.

A step integrates every population, sends the spikes that have come to the end of their delay
through their synapses, and puts the new spikes into the delay lines. In NEST's words: a spike
of step n has the time stamp (n + 1) dt, and its effect is in the conductances `delay` later.
"""

import math
import zlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from cerebellum.errors import UsageError
from cerebellum.model import events, fixed, synapses
from cerebellum.model.fence import fence
from cerebellum.model.neurons import CIRCUIT_MODELS, eglif, relay
from cerebellum.model.plasticity import learn, ring_steps
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
    """by projection with a rule, a factor of all that it learns: 1, or 0 to switch it off"""


@struct.dataclass(kw_only=True)
class Wiring:
    """What never changes: integers, and the static spec."""

    fans: dict[str, events.Fan]
    """by projection"""
    seed: Array
    """key that the circuit was built with, uint32 [2]"""
    spec: Spec = struct.field(pytree_node=False)


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
    """by source population, its delay line: [D, W] uint32, or [D, N] on the dense path"""
    weights: dict[str, Array]
    """by plastic projection, its weights now, shaped as in Params; uint16 in units of its fan"""
    debts: dict[str, Array]
    """by projection with a rule, what its teachers owe it: see `plasticity`, [D, G R]"""


@struct.dataclass(kw_only=True)
class Activity:
    """What happened in a step."""

    spikes: dict[str, Array]
    """by population, 0 or 1, [N]"""


@struct.dataclass(kw_only=True)
class Circuit:
    params: Params
    wiring: Wiring

    @property
    def spec(self) -> Spec:
        return self.wiring.spec


Drive = Mapping[str, Array]
"""What reaches populations from outside in one step, by name, broadcast to [N]: spikes (0 or 1)
for relays, an injected current (pA) for cells."""


def init(circuit: Circuit, key: Array, *, spread: bool = False) -> State:
    """A circuit at rest, ready to run: conductances zero, nothing under way.

    Args:
      key: random key of the run: everything drawn while it runs, and first voltages if spread.
      spread: draw first voltages evenly between reset and threshold, so that pacemakers do not
        start in step with each other. Otherwise all start at their leak potential, as in NEST
        and in the reference runs of the presets.
    """
    spec = circuit.spec
    key = jnp.array(jax.random.key_data(key), jnp.uint32)
    if key.shape != (2,):
        raise UsageError(f"key: {key.size} words; a threefry key, jax.random.key(seed), has 2")
    cells = {}
    for population in spec.populations:
        params = circuit.params.cells[population.name]
        state = CIRCUIT_MODELS[population.model].init(params, (population.size,))
        if spread and population.model != "relay":
            drawn = jax.random.uniform(part(key, population.name), (population.size,))
            v = params.v_reset + drawn * (params.v_th - params.v_reset)
            state = replace(state, v=v)
        cells[population.name] = state
    return State(
        step=jnp.int32(0),
        key=key,
        cells=cells,
        lines=_lines(spec),
        weights={p.name: _first_weights(circuit, p) for p in spec.projections if p.plastic},
        debts={
            p.name: jnp.zeros(
                (sum(ring_steps(p.rule, spec.dt)), spec.beams * spec.beam_size(p.target)),
                jnp.float32,
            )
            for p in spec.projections
            if p.rule is not None
        },
    )


def depths(spec: Spec) -> dict[str, int]:
    """By source population, how many steps its delay line holds."""
    deepest: dict[str, int] = {}
    for projection in spec.projections:
        steps = synapses.delay_steps(projection.delay, spec.dt)
        if projection.rule is not None:
            steps += ring_steps(projection.rule, spec.dt)[0] - 1
        deepest[projection.source] = max(steps, deepest.get(projection.source, 0))
    return deepest


def _lines(spec: Spec) -> dict[str, Array]:
    lines = {}
    for name, depth in depths(spec).items():
        size = spec.population(name).size
        if spec.path == "dense":
            lines[name] = jnp.zeros((depth, size), jnp.float32)
        else:
            lines[name] = jnp.zeros((depth, -(-size // events.BITS)), jnp.uint32)
    return lines


def _first_weights(circuit: Circuit, projection: Projection) -> Array:
    """A copy of a plastic projection's weights, or its rows drawn from their mean."""
    given, spec = circuit.params.weights[projection.name], circuit.spec
    if given.ndim or not spec.has_rows(projection):
        return jnp.copy(given)
    return fixed.draw_all(
        fixed.seed(circuit.wiring.seed, projection.name),
        given,
        spec.population(projection.source).size,
        spec.beam_size(projection.target),
        projection.spread,
        spec.share(projection),
        projection.w_max,
    )


def part(key: Array, name: str) -> Array:
    """The random key of a named part: independent of the order in which parts draw."""
    return jax.random.fold_in(jax.random.wrap_key_data(key), zlib.crc32(name.encode()))


def consolidate(params: Params, state: State) -> Params:
    """The parameters with copies of the weights that plasticity has reached."""
    return replace(params, weights={**params.weights, **jax.tree.map(jnp.copy, state.weights)})


def step(params: Params, wiring: Wiring, state: State, drive: Drive) -> tuple[State, Activity]:
    """Advance a circuit by its `dt`.

    Args:
      params, wiring, state: of one circuit.
      drive: what reaches it from outside in this step; populations may be left out.

    Returns:
      The next state and the spikes of this step.

    Raises:
      UsageError: when `drive` names a population that the circuit does not have.
    """
    spec = wiring.spec
    for name in drive:
        spec.population(name)
    with jax.named_scope("cells"):
        cells, spikes = _cells(params, spec, state, drive)
    with jax.named_scope("synapses"):
        cells = _synapses(params, wiring, state, cells)
    with jax.named_scope("learning"):
        cells, weights, debts = _learn(params, wiring, state, cells, spikes)
    with jax.named_scope("delays"):
        # The lines are read above and written here: the fence says so to the compiler.
        cells, lines = fence((cells, state.lines))
        packed = spec.path == "event"
        lines = {
            name: synapses.emit(
                line, state.step, events.pack(spikes[name]) if packed else spikes[name]
            )
            for name, line in lines.items()
        }
    stepped = replace(
        state, step=state.step + 1, cells=cells, lines=lines, weights=weights, debts=debts
    )
    return stepped, Activity(spikes=spikes)


def _cells(params: Params, spec: Spec, state: State, drive: Drive):
    """Every population, one step on: its states and spikes by name."""
    cells, spikes = {}, {}
    for population in spec.populations:
        name = population.name
        given = drive.get(name, 0.0)
        model = CIRCUIT_MODELS[population.model]
        input = relay.Input(spikes=given) if model is relay else model.Input(current=given)
        if model is eglif:
            draws = fixed.uniform(fixed.seed(state.key, name), state.step, population.size)
            input = replace(input, uniform=draws)
        cells[name], spikes[name] = model.step(
            params.cells[name], state.cells[name], input, spec.dt
        )
    return cells, spikes


def _synapses(params: Params, wiring: Wiring, state: State, cells: dict[str, Any]):
    """Send what is due; the cells' states after arrival."""
    spec = wiring.spec
    models = {p.name: CIRCUIT_MODELS[p.model] for p in spec.populations}
    arrived = {name: models[name].receptors(cell) for name, cell in cells.items()}
    for bundle in bundles(spec):
        spikes = synapses.due(state.lines[bundle.source], state.step, bundle.delay)
        fans = [wiring.fans[p.name] for p in bundle.projections]
        weights = [state.weights.get(p.name, params.weights[p.name]) for p in bundle.projections]
        outs = [arrived[p.target][p.receptor] for p in bundle.projections]
        if spec.path == "event":
            outs = events.push(spikes, tuple(fans), tuple(weights), tuple(outs))
        else:
            outs = [
                events.propagate(spikes, fan, weight, out, "dense")
                for fan, weight, out in zip(fans, weights, outs, strict=True)
            ]
        for projection, out in zip(bundle.projections, outs, strict=True):
            arrived[projection.target] = {**arrived[projection.target], projection.receptor: out}
    return {name: models[name].with_receptors(cell, arrived[name]) for name, cell in cells.items()}


def _learn(params: Params, wiring: Wiring, state: State, cells: dict[str, Any], spikes):
    """Every rule, one step on: the cells behind the last reading, weights and debts."""
    spec = wiring.spec
    weights, debts = dict(state.weights), dict(state.debts)
    by_name = {projection.name: projection for projection in spec.projections}
    for name, projection in by_name.items():
        rule = projection.rule
        if rule is None:
            continue
        if rule.teacher == projection.target:
            taught = spikes[rule.teacher]
        else:
            taught = _taught(params, wiring, state, by_name[rule.teacher])
        # The weights were read for these cells, and are written below.
        cells, weights[name] = fence((cells, weights[name]))
        weights[name], debts[name] = learn(
            weights[name],
            debts[name],
            state.lines[projection.source],
            taught,
            state.step,
            fixed.seed(state.key, name),
            fixed.seed(wiring.seed, name),
            wiring.fans[name],
            rule,
            params.rates[name],
            synapses.delay_steps(projection.delay, spec.dt),
            spec.dt,
            spec.share(projection),
            math.inf if projection.w_max is None else projection.w_max,
        )
    return cells, weights, debts


def _taught(params: Params, wiring: Wiring, state: State, teacher: Projection) -> Array:
    """Spikes of a teaching projection that arrive at each of its targets in this step, [T]."""
    spec = wiring.spec
    delay = synapses.delay_steps(teacher.delay, spec.dt)
    spikes = synapses.due(state.lines[teacher.source], state.step, delay)
    fan, none = wiring.fans[teacher.name], jnp.zeros(spec.population(teacher.target).size)
    one = jnp.float32(1)
    if isinstance(fan, events.AllToAll):
        one = (params.weights[teacher.name] > 0).astype(jnp.float32)
    if spec.path == "event":
        return events.push(spikes, (fan,), (one,), (none,))[0]
    return events.dense(spikes, fan, one, none)
