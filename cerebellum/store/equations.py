"""What registered models, rules and windows compute, as numbers that a checkpoint keeps.

A checkpoint holds parameters, not equations. Those of the package belong to its version; those that
a user has registered may be edited between two runs. So each of them computes a few steps of a few
cells or synapses on fixed input. The numbers are compared with a tolerance, because another version
of JAX or another device rounds otherwise.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cerebellum.model import events, registry
from cerebellum.model.delays import steps_of
from cerebellum.model.neurons import CIRCUIT_MODELS
from cerebellum.model.plasticity import RULES, WINDOWS, Moment, Sizes, Synapses, incur, settle
from cerebellum.model.population import Population
from cerebellum.model.projection import Projection
from cerebellum.model.spec import Spec

CELLS, SOURCES, STEPS = 8, 6, 10
"""Cells, source cells and steps of a probe."""
DIGITS = 6
"""Digits that are kept of a number, about as many as float32 has."""
TOLERANCE, ROUNDING = 1e-4, 1e-6
"""What rounding explains: a share of a change in a step, and a share of the largest value. float32
has an epsilon of 1.2e-7."""

Values = list[float | None]
"""The results of a probe; None stands for what is not finite."""


def probes(spec: Spec) -> dict[str, Values | None]:
    """Results of every registered model, rule and window in a spec, by what it is called.

    None stands for one that cannot compute on the input of a probe, and so cannot be compared.
    """
    found: dict[str, Values | None] = {}
    for population in spec.populations:
        if registry.added("neuron", population.model):
            name = f"neuron {population.model!r} ({population.name})"
            found[name] = _values(lambda p=population: _cells(p, spec.dt))
    for projection in spec.projections:
        rule = projection.rule
        kernel = getattr(rule, "kernel", None)
        if registry.added("window", kernel):
            name = f"window {kernel!r} ({projection.name})"
            found[name] = _values(lambda r=rule: _window(r))
        label = next((label for label, each in RULES.items() if each is type(rule)), None)
        if registry.added("rule", label):
            name = f"rule {label!r} ({projection.name})"
            found[name] = _values(lambda p=projection: _synapses(p, spec))
    return found


def changed(saved: dict[str, Values | None], spec: Spec) -> list[str]:
    """Names of what computes something else than when `probes` returned `saved`."""
    now = probes(spec)
    return [
        name
        for name in sorted(saved.keys() | now.keys())
        if name not in saved or name not in now or not _alike(saved[name], now[name])
    ]


def _alike(one: Values | None, other: Values | None) -> bool:
    """Whether two probes have the same results but for rounding."""
    if one is None or other is None:
        return True
    if len(one) != len(other):
        return False
    a, b = (np.array([np.nan if x is None else x for x in each], float) for each in (one, other))
    return np.allclose(a, b, rtol=TOLERANCE, atol=ROUNDING, equal_nan=True)


def _values(compute: Callable[[], Any]) -> Values | None:
    """The numbers of a probe, whose arrays are [steps, ...].

    They are, of each array, its largest value, its first step, and the changes in each later step,
    the last two in units of the largest value.
    """
    numbers = []
    try:
        for leaf in jax.tree.leaves(compute()):
            array = np.asarray(leaf, np.float64)
            finite = np.abs(array[np.isfinite(array)])
            largest = max(finite.max(initial=0.0), np.finfo(np.float32).tiny)
            changes = np.diff(array / largest, axis=0, prepend=0.0)
            numbers += [largest, *np.ravel(changes)]
    except Exception:  # A user's code may raise anything on input that is not its own.
        return None
    return [float(f"{x:.{DIGITS}g}") if np.isfinite(x) else None for x in numbers]


def _ramp(size: int, phase: float = 0.0) -> jax.Array:
    """Different numbers from (0, 1), [size]."""
    return (jnp.arange(size, dtype=jnp.float32) + 0.37 + phase) % size / size


def _cells(population: Population, dt: float) -> Any:
    """The states of some cells while currents of many sizes, or spikes, reach them."""
    model = CIRCUIT_MODELS[population.model]
    params = population.typical

    def step(state, number):
        drive = (number + jnp.arange(CELLS)) % 3 == 0 if model.TAKES_SPIKES else 1e3 ** _ramp(CELLS)
        input = model.outside(jnp.asarray(drive, jnp.float32))
        if model.DRAWS_NOISE:
            input = dataclasses.replace(input, uniform=_ramp(CELLS, 0.3))
        state, spikes = model.step(params, state, input, dt)
        arrived = {name: x + _ramp(CELLS, 0.1) for name, x in model.receptors(state).items()}
        state = model.with_receptors(state, arrived)
        return state, (state, spikes)

    def run():
        state = model.spread(params, model.init(params, (CELLS,)), _ramp(CELLS))
        return jax.lax.scan(step, state, jnp.arange(STEPS))[1]

    return jax.jit(run)()


def _window(rule: Any) -> np.ndarray:
    """The weight of a pair at lags around a rule's window."""
    lags = np.linspace(-rule.back - rule.window / 4, 1.25 * rule.window, 64)
    return np.asarray(WINDOWS[rule.kernel].shape(lags, rule.tau))[None]


def _synapses(projection: Projection, spec: Spec) -> Any:
    """The weights and the state of a rule while spikes of all kinds reach some synapses."""
    rule: Any = projection.rule
    shape, dt = (SOURCES, CELLS), spec.dt
    delay = steps_of(projection, dt)
    target = spec.population(projection.target)
    model = CIRCUIT_MODELS[target.model]
    params = target.typical
    synapses = Synapses(
        fan=events.AllToAll(), contacts_key=jnp.uint32([0, 1]), rule=rule, dt=dt, delay=delay
    )
    sizes = Sizes(sources=SOURCES, targets=CELLS, row=CELLS, weights=shape)
    line = jnp.zeros((delay + rule.history(dt), SOURCES), jnp.float32).at[::2].set(1.0)

    def fired(size: int, number: jax.Array, every: int) -> jax.Array:
        return ((number + jnp.arange(size)) % every == 0).astype(jnp.float32)

    def learn(carried, number):
        cells = model.spread(params, model.init(params, (CELLS,)), _ramp(CELLS))
        moment = Moment(
            step=number,
            line=line,
            arrived=fired(SOURCES, number, 3),
            fired=fired(CELLS, number, 4),
            cells=model.variables(cells),
            teaching_spikes={name: fired(CELLS, number, 5) for name in rule.teachers},
            gain=jnp.float32(1),
            key=jnp.uint32([0, 1]),
            settle=settle,
            incur=incur,
        )
        learned = rule.learn(*carried, moment, synapses)
        return learned, learned

    def run():
        top = projection.w_max or 2 * projection.mean_weight
        weights = top * _ramp(SOURCES * CELLS).reshape(shape)
        return jax.lax.scan(learn, (weights, rule.begin(sizes, dt)), jnp.arange(STEPS))[1]

    return jax.jit(run)()
