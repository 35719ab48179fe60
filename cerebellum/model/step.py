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

from cerebellum.errors import UsageError, nearest
from cerebellum.model import (
    collect,
    delays,
    delivery,
    events,
    fit,
    gap_junctions,
    homeostasis,
    noise,
)
from cerebellum.model.circuit import (
    BEAM,
    Activity,
    Drive,
    Params,
    State,
    Wiring,
    check_params,
    synapses_of,
    timing,
)
from cerebellum.model.neurons import CIRCUIT_MODELS
from cerebellum.model.noise import Draws
from cerebellum.model.ordering import materialize_once, order_after
from cerebellum.model.plasticity import Moment
from cerebellum.model.primitives import REFERENCE, Primitives


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
      drive: what populations receive from outside in this step; populations may be left out. The
        key "golgi" is a population: spikes of relays, or a current, [N]. The key "golgi.r1" is a
        receptor: summed weights that arrive there at the end of the step, [N].
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
        cells = _outside_events(wiring, cells, drive)
    with jax.named_scope("synapses"):
        emitted = words if wiring.path == "event" else spikes
        operands = params, wiring, state, cells, emitted, primitives
        cells, terminals, delivered, teaching = _synapses(*operands)
    with jax.named_scope("learning"):
        operands = params, wiring, state, cells, spikes, teaching, keys, primitives
        cells, weights, rule_states = _learn(*operands)
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
        sent = _exchange(wiring, emitted)
        lines = {name: delays.emit(line, state.step, sent[name]) for name, line in lines.items()}
    stepped = State(
        timing=state.timing,
        step=state.step + 1,
        key=state.key,
        cells=cells,
        delay_lines=lines,
        weights=weights,
        arrivals=delivered.arrivals,
        sent=delivered.sent,
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


def _draws(wiring: Wiring, key: Array) -> dict[str, Draws]:
    """Draws from (0, 1) for every cell of the models that ask for them, by population.

    Cells count on through these populations.

    Args:
      key: words of the key of the step's noise, uint32 [2].
    """
    draws, first = {}, 0
    for population in wiring.spec.populations:
        if CIRCUIT_MODELS[population.model].DRAWS_NOISE:
            cells = wiring.cells(population.name)
            numbered = replace(cells, offset=cells.offset + np.uint32(first))
            draws[population.name] = Draws(key=key, cells=numbered)
            first += population.size
    return draws


def _cells(
    params: Params,
    wiring: Wiring,
    state: State,
    drive: Drive,
    draws: dict[str, Draws],
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
        if name in wiring.partners:
            v = model.variables(before)["v"]
            coupling = wiring.partners[name], params.gap_junctions[name]
            external = external + gap_junctions.current(*coupling, v)
        if population.homeostasis is not None:
            shifted = cell_params.v_th + state.homeostasis[name].value
            cell_params = replace(cell_params, v_th=shifted)
        input = model.outside(external)
        if model.DRAWS_NOISE:
            input = replace(input, uniform=draws[name])
        operands = model, cell_params, before, input, spec.dt, spec.surrogate
        cells[name], spikes[name], words[name] = primitives.integrate(*operands)
    return cells, *_mask(wiring, spikes, words)


def _outside_events(wiring: Wiring, cells: dict[str, Any], drive: Drive) -> dict[str, Any]:
    """The cells after the weights that arrive from outside, under keys such as "golgi.r1"."""
    for key, weights in drive.items():
        name, dot, receptor = key.partition(".")
        if not dot:
            continue
        population = wiring.spec.population(name)
        model = CIRCUIT_MODELS[population.model]
        before = model.receptors(cells[name])
        if receptor not in before:
            right = nearest(receptor, before, population.model)
            raise UsageError(f"drive {key!r}: {receptor!r}; {right}")
        # Rounded before the sum, so that it is the same in every program.
        held, weights = materialize_once((before[receptor], jnp.asarray(weights)))
        after = {**before, receptor: held + weights}
        cells = {**cells, name: model.with_receptors(cells[name], after)}
    return cells


def _synapses(
    params: Params,
    wiring: Wiring,
    state: State,
    cells: dict[str, Any],
    emitted: dict[str, Array],
    primitives: Primitives,
):
    """Deliver the spikes whose delay has passed.

    Args:
      emitted: the spikes of this step, packed on the event path, which go into the rings of
        arrivals.

    Returns:
      The states of the cells after the arrivals, the terminals after use, the state with what is on
      its way, and the number of spikes of each teaching projection that reach its targets, by name.
    """
    spec = wiring.spec
    models = {p.name: CIRCUIT_MODELS[p.model] for p in spec.populations}
    receptors = {name: models[name].receptors(cell) for name, cell in cells.items()}
    arrays = {f"{name}.{key}": x for name, keys in receptors.items() for key, x in keys.items()}
    terminals, taken = dict(state.terminals), {}
    if state.sent is None:
        for name, ring in state.arrivals.items():
            taken[name], arrays[f"ring {name}"] = primitives.take(ring, state.step)
    else:
        assert primitives.deferred is not None
        taken, state = primitives.deferred.arrive(wiring, state, emitted)
    deliveries = collect.deliveries(params, wiring, state, terminals, emitted)
    teaching, zeros = collect.teaching(params, wiring, state)
    arrays |= zeros
    if wiring.path == "event":
        arrays = collect.without_gradient(arrays)
        arrays = primitives.deliver([*deliveries, *teaching], arrays, primitives.sweep)
    else:
        for each in [*deliveries, *teaching]:
            arrays |= delivery.dense(each, arrays)
    for name, arrived in taken.items():
        end = collect.end_of_ring(spec, name)
        if name in state.homeostasis:
            arrived = state.homeostasis[name].value * arrived
        arrays[end] = arrays[end] + arrived
    if state.sent is None:
        arrivals = {name: arrays[f"ring {name}"] for name in taken}
        state = replace(state, arrivals=arrivals)
    cells = {
        name: models[name].with_receptors(cell, {k: arrays[f"{name}.{k}"] for k in receptors[name]})
        for name, cell in cells.items()
    }
    return cells, terminals, state, {each.ends[0]: arrays[each.ends[0]] for each in teaching}


def _learn(
    params: Params,
    wiring: Wiring,
    state: State,
    cells: dict[str, Any],
    spikes: dict[str, Array],
    teaching: dict[str, Array],
    keys: dict[str, Array],
    primitives: Primitives,
):
    """Advance every learning rule: the cells, the weights, and the states of the rules."""
    spec = wiring.spec
    weights, rule_states = dict(state.weights), dict(state.rule_states)
    for projection in spec.projections:
        name = projection.name
        rule = projection.rule
        if rule is None:
            continue
        teaching_spikes = {
            teacher: spikes[teacher]
            if teacher == projection.target
            else teaching[f"teacher {teacher}"]
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
            incur=primitives.incur,
        )
        weights[name], rule_states[name] = rule.learn(
            weights[name], rule_states[name], moment, synapses
        )
        if not rule.KEEPS_BOUNDS:
            # Rounded before they are bounded, so that they are the same in every program.
            rounded = materialize_once(weights[name])
            weights[name] = synapses.bounded(rounded, moment.fired.size)
    return cells, weights, rule_states
