"""The pure function that advances a circuit by one step.

A step integrates every population, delivers the spikes whose delay has passed through their
synapses, and puts the new spikes into the delay lines. In NEST's terms, a spike of step n has the
time stamp (n + 1) dt, and the conductances contain its effect `delay` later.
"""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from cerebellum.errors import UsageError
from cerebellum.model import delays, events, fit, homeostasis, noise, short_term
from cerebellum.model.circuit import (
    BEAM,
    Activity,
    Drive,
    Params,
    State,
    Wiring,
    check_params,
    each_weight,
    synapses_of,
    timing,
)
from cerebellum.model.neurons import CIRCUIT_MODELS
from cerebellum.model.noise import CellRange
from cerebellum.model.ordering import order_after
from cerebellum.model.plasticity import Moment
from cerebellum.model.primitives import REFERENCE, Primitives
from cerebellum.model.spec import Projection, bundles


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
        cells, weights, rule_states = _learn(params, wiring, state, cells, spikes, keys, primitives)
        regulation = {
            name: homeostasis.adjust(
                state.homeostasis[name],
                spikes[population],
                rule,
                params.learning_gain[name],
                spec.dt,
            )
            for name, population, rule in spec.homeostatic()
        }
    with jax.named_scope("delays"):
        # The lines are read above and overwritten here; XLA must keep this order.
        lines = order_after((cells, weights, rule_states), state.delay_lines)
        emitted = _exchange(wiring, words if wiring.path == "event" else spikes)
        lines = {name: delays.emit(line, state.step, emitted[name]) for name, line in lines.items()}
    stepped = State(
        timing=state.timing,
        step=state.step + 1,
        key=state.key,
        cells=cells,
        delay_lines=lines,
        weights=weights,
        rule_states=rule_states,
        terminals=terminals,
        homeostasis=regulation,
    )
    return stepped, Activity(spikes=spikes, words=words)


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


def _mask(wiring: Wiring, spikes: dict[str, Array], words: dict[str, Array]):
    """Mask the cells that are silenced and the padding of the last shards, in both kinds of spikes.

    On the event path nearly all that follows takes the packed spikes, so that this costs one
    operation a word.
    """
    for name, alive in wiring.alive.items():
        emits = events.unpack(alive, wiring.part.size(name), jnp.bool_)
        spikes = {**spikes, name: jnp.where(emits, spikes[name], 0)}
        words = {**words, name: words[name] & alive}
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
            shifted = cell_params.v_th + state.homeostasis[name].value
            cell_params = replace(cell_params, v_th=shifted)
        input = model.outside(external)
        if model.DRAWS_NOISE:
            input = replace(input, uniform=draws[name])
        operands = model, cell_params, before, input, spec.dt, spec.surrogate
        cells[name], spikes[name], words[name] = primitives.integrate(*operands)
    return cells, *_mask(wiring, spikes, words)


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
        spikes = delays.due(state.delay_lines[bundle.source], state.step, bundle.delay)
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
            else each_weight(params.weights[p.name], wiring, p)
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
                out = value + state.homeostasis[p.name].value * out
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
    """Advance every learning rule: the cells, the weights, and the states of the rules."""
    spec = wiring.spec
    weights, rule_states = dict(state.weights), dict(state.rule_states)
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
        synapses = synapses_of(wiring, projection)
        line = state.delay_lines[projection.source]
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
            teaching_spikes=teaching_spikes,
            gain=params.learning_gain[name],
            key=keys[f"learn {name}"],
            settle=primitives.settle,
        )
        weights[name], rule_states[name] = rule.learn(
            weights[name], rule_states[name], moment, synapses
        )
        if not rule.KEEPS_BOUNDS:
            weights[name] = synapses.bounded(weights[name], moment.fired.size)
    return cells, weights, rule_states


def _teaching_spikes(
    params: Params, wiring: Wiring, state: State, teacher: Projection, primitives: Primitives
) -> Array:
    """Number of spikes of a teaching projection that reach each target in this step, [T]."""
    spec = wiring.spec
    delay = delays.delay_steps(teacher.delay, spec.dt)
    spikes = delays.due(state.delay_lines[teacher.source], state.step, delay)
    fan, zeros = wiring.fans[teacher.name], jnp.zeros(wiring.part.size(teacher.target))
    unit_weight = jnp.float32(1)
    if isinstance(fan, events.AllToAll):
        unit_weight = (params.weights[teacher.name] > 0).astype(jnp.float32)
    if wiring.path == "event":
        return events.push(spikes, (fan,), (unit_weight,), (zeros,), sweep=primitives.sweep)[0]
    return events.dense(spikes, fan, unit_weight, zeros)
