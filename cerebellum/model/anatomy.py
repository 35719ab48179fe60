"""Building a circuit: its connections and their initial weights.

This runs on the host, in NumPy. Every projection draws from its own stream (`streams`). So each
can be rebuilt alone, and none depends on the order of building.
"""

import logging
from collections.abc import Hashable, Mapping
from dataclasses import replace
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from cerebellum.errors import UsageError
from cerebellum.model import circuit as circuits
from cerebellum.model import (
    contacts,
    events,
    fit,
    fixed,
    gap_junctions,
    noise,
    registry,
    remarks,
    values,
)
from cerebellum.model.circuit import Circuit, Params, Wiring, check_rules
from cerebellum.model.delays import steps_of
from cerebellum.model.edges import LONGEST, Edges
from cerebellum.model.given_edges import connect_by_name, with_projections
from cerebellum.model.noise import CellRange
from cerebellum.model.part import Part
from cerebellum.model.plasticity import RULES
from cerebellum.model.plasticity.window import Rule as WindowRule
from cerebellum.model.population import Population
from cerebellum.model.projection import Projection
from cerebellum.model.spec import Spec
from cerebellum.model.streams import stream
from cerebellum.model.target_lists import Connected, fan_out, listed, with_room

log = logging.getLogger(__name__)

Path = Literal["auto", "event", "dense"]
PATHS = get_args(Path)

ROWS_SHARE = 0.5
"""If at least this share of the possible contacts exists, the event path keeps rows of weights. A
row costs one sequential read per target; a list costs about six random reads per contact."""

MATRIX_SHARE = 0.01
"""The same limit for the dense path."""

DENSE_LIMIT = 2_000_000
"""Largest number of possible contacts (source cells times target cells, over all projections)
for which "auto" chooses the dense path."""


def resolve_path(spec: Spec, path: Path = "auto") -> events.Path:
    """The path on which spikes are delivered; "auto" chooses it by the size of the circuit.

    Raises:
      UsageError: there is no such path.
    """
    if path not in PATHS:
        raise UsageError(f"path: {path!r}; one of {', '.join(PATHS)}")
    if path != "auto":
        return path
    size = {population.name: population.size for population in spec.populations}
    possible = sum(size[p.source] * size[p.target] for p in spec.projections)
    return "dense" if possible <= DENSE_LIMIT else "event"


def has_rows(projection: Projection, spec: Spec, path: events.Path) -> bool:
    """Whether a projection has a row of weights for every source, instead of lists of targets."""
    if projection.dtype == "uint16":
        return True
    if projection.crosses or projection.listed:
        return False
    limit = MATRIX_SHARE if path == "dense" else ROWS_SHARE
    evenly_distributed = projection.sites is None and not projection.degree_sd
    return evenly_distributed and spec.share(projection) >= limit


Positions = Mapping[str, np.ndarray]
"""positions of cells by population, um [cells, 3]"""


def connect(
    projection: Projection,
    spec: Spec,
    key: Array,
    path: events.Path,
    positions: Positions | None = None,
) -> Connected:
    """Draw the wiring and the initial weights of one projection."""
    if projection.listed:
        drawn = _connect_listed(projection, spec, key, positions or {})
    else:
        drawn = _connect_evenly(projection, spec, key, path)
    return with_room(drawn, projection, spec)


def _connect_evenly(projection: Projection, spec: Spec, key: Array, path: events.Path) -> Connected:
    """As `connect`, for a projection of which each target draws its sources."""
    if has_rows(projection, spec, path):
        w_max = projection.w_max
        unit = fixed.unit(w_max) if w_max and projection.dtype == "uint16" else 1.0
        return events.AllToAll(beams=spec.beams, unit=unit), _rows(projection, spec, key)
    ends = spec.ends(projection)
    table = fan_out(*contacts.draw_all(projection, spec, key), ends)
    weights = np.float32(projection.mean_weight * projection.contacts)
    if projection.plastic or projection.spread:
        # mean (1 + spread (2 uniform - 1)), in place, because tables may be large.
        each = stream(key, f"{projection.name}.weights").random(table.shape, np.float32)
        each *= 2
        each -= 1
        each *= projection.spread
        each += 1
        each *= weights
        each[table >= ends.targets] = 0
        weights = each
    fan = events.FanOut(targets=jax.device_put(table), ascends=True)
    return fan, jax.device_put(np.asarray(weights, np.float32))


def _connect_listed(
    projection: Projection, spec: Spec, key: Array, positions: Positions
) -> tuple[events.FanOut, Array]:
    """As `connect`, for a rule of connection, or weights or delays that are distributed."""
    name, rule, ends = projection.name, projection.connect, spec.ends(projection)
    if rule is None:
        pre, post = contacts.draw_all(projection, spec, key)
    else:
        ends = replace(
            ends,
            source_um=positions.get(projection.source),
            target_um=positions.get(projection.target),
        )
        pre, post = rule.pairs(ends, stream(key, name))
    Edges(pre, post).checked(f"{name}.connect", ends.sources, ends.targets, spec.dt)
    weight = None
    if isinstance(projection.weight, values.Distribution):
        weight = values.draw(projection.weight, stream(key, f"{name}.weights"), pre.shape)
        most = np.inf if projection.w_max is None else projection.w_max
        weight = np.minimum(weight * projection.contacts, most)
    steps = np.full(pre.shape, steps_of(projection, spec.dt), np.uint16)
    if isinstance(projection.delay, values.Distribution):
        delay = values.draw(projection.delay, stream(key, f"{name}.delays"), pre.shape)
        steps = np.clip(np.round(delay / spec.dt), 1, LONGEST).astype(np.uint16)
    return listed(projection, spec, pre, post, weight, steps)


def _rows(projection: Projection, spec: Spec, key: Array) -> Array:
    """Initial weights [N, R]; for uint16 only their mean, from which `init` draws the rows."""
    mean = jnp.float32(projection.mean_weight * projection.contacts)
    if projection.dtype == "uint16":
        return mean
    shape = spec.population(projection.source).size, spec.beam_size(projection.target)
    share = spec.share(projection)
    if projection.rule is not None or share == 1:
        first = circuits.first_weights(
            jnp.asarray(jax.random.key_data(key)), projection, spec, mean
        )
        return fixed.draw(first, CellRange(size=shape[0]), shape[1])
    matrix = np.zeros(shape, np.float32)
    for beam in range(spec.beams):
        source, target = contacts.draw(projection, spec, key, beam)
        uniform = stream(key, f"{projection.name}.{beam}.weights").random(source.size, np.float32)
        factor = 1 + projection.spread * (2 * uniform - 1)
        weight = projection.mean_weight * projection.contacts
        matrix[source, target - beam * shape[1]] = weight * factor
    return jax.device_put(matrix)


def cell_params(population: Population, key: Array) -> Any:
    """The parameters of a population's cells: float32, scalars or, where cells differ, [N].

    Every distribution draws from a stream of its own (see `stream`), POPULATION.FIELD.
    """
    size = population.size

    def numbers(path: Any, value: Any) -> Array:
        if not isinstance(value, (values.PerCell, values.Distribution)):
            return jax.device_put(np.float32(value))
        field = jax.tree_util.keystr(path, simple=True, separator=".")
        rng = stream(key, f"{population.name}.{field}")
        return jnp.asarray(values.draw(value, rng, (size,)), jnp.float32)

    return jax.tree_util.tree_map_with_path(numbers, population.params)


def _draws_params(population: Population) -> bool:
    """Whether a parameter of a population is a distribution."""
    fields = values.fields(population.params).values()
    return any(isinstance(value, values.Distribution) for value in fields)


def equations(spec: Spec) -> tuple[Hashable, ...]:
    """What the registered models, rules and windows of a spec consist of at present."""
    rules = [p.rule for p in spec.projections if p.rule is not None]
    types = {type(rule) for rule in rules}
    return registry.equations(
        {
            "neuron": [p.model for p in spec.populations],
            "rule": [name for name, each in RULES.items() if each in types],
            "window": [rule.kernel for rule in rules if isinstance(rule, WindowRule)],
        }
    )


def current(circuit: Circuit) -> Circuit:
    """A circuit whose registered things are those of now: what was edited since is compiled."""
    now = equations(circuit.spec)
    if now == circuit.wiring.equations:
        return circuit
    return replace(circuit, wiring=replace(circuit.wiring, equations=now))


def build(
    spec: Spec,
    key: Array | int,
    edges: Mapping[str | tuple[str, str, str], Edges | np.ndarray] | None = None,
    *,
    positions: Mapping[str, Any] | None = None,
    path: Path = "auto",
    backend: str = "auto",
) -> Circuit:
    """Draw the wiring and the initial parameters of a circuit.

    Args:
      spec: the circuit to build.
      key: a JAX random key, or a seed; the same one gives the same circuit on any machine.
      edges: the edges of projections that are not to be drawn, by name: `Edges`, with a weight and
        a delay of each synapse; or source, target and number of contacts, integers [pairs, 3], each
        pair once. They replace those that `spec.place` returns. The name of a population is for its
        gap junctions: each pair once, with its conductance (nS) as weight. The name (source,
        target, receptor) adds a projection that the spec does not have, with the mean weight and
        delay of its edges, which must have both.
      positions: positions of the cells, um [cells, 3], by population, for rules of connection that
        depend on distance.
      path: how spikes are delivered. "event" delivers packed spikes; "dense" visits every synapse
        in every step and has gradients; "auto" chooses "dense" up to `DENSE_LIMIT` possible
        contacts.
      backend: the backend that the circuit runs on (see `Circuit`). Whether it is available is
        checked when the circuit runs, not here.

    Raises:
      UsageError: a distribution drew what its parameter cannot be; edges have the wrong shape, or
        refer to cells or projections that do not exist, or belong to a projection that has rows;
        or a learning rule does not fit; gap junctions are too strong for the step; the key is none.
    """
    if not isinstance(spec, Spec):
        raise UsageError(f"spec: {type(spec).__name__}; a cb.Spec")
    key = noise.key_of(key)
    spec, by_name = with_projections(spec, edges or {})
    names = {p.name for p in spec.populations}
    pairs = {name: by_name.pop(name) for name in names & by_name.keys()}
    resolved_path = resolve_path(spec, path)
    # Edges that were given are checked before the others are placed, which takes seconds.
    laid = connect_by_name(spec, by_name)
    placed_um = _positions(spec, positions or {})
    placed = spec.place(key) if spec.place else {}
    coupled = {**{name: placed[name] for name in names & placed.keys()}, **pairs}
    placed = {name: each for name, each in placed.items() if name not in names}
    placed = connect_by_name(spec, {n: e for n, e in placed.items() if n not in laid})
    named = {p.name: p for p in spec.projections}
    laid |= {name: with_room(x, named[name], spec) for name, x in placed.items()}
    connected = {
        p.name: laid.get(p.name) or connect(p, spec, key, resolved_path, placed_um)
        for p in spec.projections
    }
    cells = {p.name: cell_params(p, key) for p in spec.populations}
    drawn = {p.name: cells[p.name] for p in spec.populations if _draws_params(p)}
    fit.check_values(drawn, {}, circuits.longest_refractory(spec), spec.dt)
    for remark in remarks.of_circuit(spec, laid, cells):
        log.warning("%s", remark)
    junctions = _gap_junctions(spec, key, coupled, placed_um)
    circuit = Circuit(
        params=Params(
            cells=cells,
            weights={name: weight for name, (_, weight) in connected.items()},
            learning_gain={name: jnp.float32(1) for name in circuits.learning(spec)},
            gap_junctions={n: jax.device_put(each.conductance) for n, each in junctions.items()},
        ),
        wiring=Wiring(
            fans={name: fan for name, (fan, _) in connected.items()},
            seed=jnp.asarray(jax.random.key_data(key), jnp.uint32),
            alive={p.name: jax.device_put(events.all_of(p.size)) for p in spec.populations},
            part=Part(spec=spec),
            partners={n: jax.device_put(each.partners) for n, each in junctions.items()},
            path=resolved_path,
            drawn=not laid and not placed_um and not coupled,
            equations=equations(spec),
        ),
        backend=backend,
    )
    _check_teachers(circuit)
    check_rules(circuit)
    circuits.check_junctions(circuit.params, circuit.wiring)
    return circuit


def _gap_junctions(
    spec: Spec, key: Array, pairs: Mapping[str, Edges | np.ndarray], positions: Positions
) -> dict[str, gap_junctions.Built]:
    """The gap junctions of the populations that have some: between given pairs, or drawn."""
    built = {}
    for population in spec.populations:
        name, cells = population.name, spec.coupled(population.name)
        if name in pairs:
            built[name] = gap_junctions.given(cells, pairs[name])
        elif population.gap_junctions is not None:
            rng = stream(key, f"{name}.gap_junctions")
            built[name] = gap_junctions.draw(cells, positions.get(name), rng)
    return built


def _positions(spec: Spec, positions: Mapping[str, Any]) -> Positions:
    """Positions in NumPy; UsageError if they do not fit the populations."""
    checked = {}
    for name, given in positions.items():
        size, um = spec.population(name).size, np.asarray(given)
        if um.shape != (size, 3) or um.dtype.kind not in "iuf" or not np.isfinite(um).all():
            raise UsageError(
                f"positions {name!r}: {um.dtype} {list(um.shape)}; finite numbers, um [{size}, 3]"
            )
        checked[name] = um.astype(np.float64)
    return checked


def _check_teachers(circuit: Circuit) -> None:
    """Raise UsageError if a teaching projection has no contacts, or delays of its synapses."""
    for projection in circuit.spec.projections:
        for teacher in projection.rule.teachers if projection.rule else ():
            fan = circuit.wiring.fans.get(teacher)
            weights = circuit.params.weights.get(teacher)
            if isinstance(fan, events.AllToAll) and not np.any(np.asarray(weights)):
                raise UsageError(
                    f"{projection.name}.rule.teacher: {teacher}, whose weights are 0, which are no "
                    'contacts in its rows; a small weight, or path="event"'
                )
            if isinstance(fan, events.FanOut) and fan.delays is not None:
                raise UsageError(
                    f"{projection.name}.rule.teacher: {teacher}, whose synapses have delays of "
                    "their own; one with a single delay"
                )
