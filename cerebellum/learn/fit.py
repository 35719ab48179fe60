"""Fitting numbers of a circuit, so that its populations fire at given mean rates."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from cerebellum.errors import UsageError, is_number, is_whole
from cerebellum.learn import losses, rate_gradient, unknowns
from cerebellum.learn.rate_gradient import Span
from cerebellum.learn.search import Search
from cerebellum.learn.unknowns import Bounds
from cerebellum.model import anatomy
from cerebellum.model import circuit as circuits
from cerebellum.model.circuit import Circuit
from cerebellum.model.fit import nearest
from cerebellum.sim import drive as drives
from cerebellum.sim import interrupt, simulate
from cerebellum.sim.progress import bar_of_times
from cerebellum.sim.record import rates as mean_rates
from cerebellum.sim.sweep import Table, check_times, words_of

log = logging.getLogger(__name__)

DEFAULT = optax.adam(0.1, b1=0.5, b2=0.9)
"""The optimiser by default. Gradients shrink by a factor of a hundred once a silent population
fires; with the usual memory, a `b2` of 0.999, all later steps would be short."""


@dataclass(frozen=True)
class Fitted:
    """The result of a fit: the values with the lowest loss."""

    circuit: Circuit
    """the circuit with these values, also in its spec"""
    values: dict[str, float]
    """the values by name"""
    rates: dict[str, float]
    """mean rates of all populations, Hz, as `cb.simulate` gives them for this circuit and the keys
    and the drive of the fit"""
    target_hz: dict[str, float]
    """the rates that were to be reached, Hz, by population"""
    table: Table
    """A row for each iteration, the first one before any step: "step", "loss", the values by name,
    and mean rates in Hz as "rate.POPULATION"."""

    def __repr__(self) -> str:
        rates = {
            "population": list(self.target_hz),
            "target Hz": list(self.target_hz.values()),
            "reached Hz": [self.rates[name] for name in self.target_hz],
        }
        fitted = {
            "number": list(self.values),
            "first": [self.table[name][0] for name in self.values],
            "fitted": list(self.values.values()),
        }
        tables = [Table({k: np.array(v) for k, v in x.items()}) for x in (rates, fitted)]
        return "\n\n".join(map(repr, tables))


class FitInterrupted(KeyboardInterrupt):
    """A fit was interrupted; the exception holds the best values so far.

    In a notebook, or after `python -i`, it is `sys.last_value`.
    """

    def __init__(self, fitted: Fitted, steps: int):
        super().__init__(
            f"after {len(fitted.table) - 1} of {steps} steps; this exception has the best values "
            "so far, as .fitted"
        )
        self.fitted = fitted
        """what `cb.fit` would have returned if it had ended here"""


def fit(
    circuit: Circuit,
    target_hz: Mapping[str, float],
    drive: drives.Drive | None = None,
    *,
    over: str | Sequence[str],
    duration_ms: float,
    skip_ms: float = 0.0,
    keys: int | Sequence[int] | Array = 1,
    steps: int = 100,
    optimizer: optax.GradientTransformation | None = None,
    bounds: Bounds | None = None,
    tolerance: float = 0.01,
    progress: bool | None = None,
) -> Fitted:
    """Look for values of some numbers of a circuit with which its populations fire at given rates.

    An optimiser follows the gradient of the loss through all spikes of a run. The loss is the mean
    over populations of the squared `rate_gradient.difference` of their rates from the targets. The
    circuit must have a surrogate; built for the event path, it runs on the dense path during the
    fit, with its own wiring. The values with the lowest loss are returned, whether they reach the
    targets or not. A surrogate gradient is not the derivative of the rates, so the loss may rise on
    the way.

    Ctrl-C ends the fit after the present step, and a second one at once, with `FitInterrupted`, a
    KeyboardInterrupt that holds the best values so far.

    Args:
      circuit: a whole circuit whose spec has a surrogate.
      target_hz: mean rates by population, Hz, above zero.
      drive: as in `simulate`, the same for all runs.
      over: the names of the numbers, as in `sweep`: "POPULATION.PARAMETER", where cells that differ
        keep their differences, or "PROJECTION.weight". Weights, time constants and capacitances
        stay positive (see `unknowns` for the length of steps).
      duration_ms: duration of each run.
      skip_ms: rates are of the time after this one.
      keys: seeds of runs, or how many there are (0, 1, ...), or keys of JAX. Rates are means over
        them, and all steps have the same ones.
      steps: the most steps of the optimiser.
      optimizer: one of Optax; Adam by default.
      bounds: (low, high) by name. A value that a step takes beyond is moved to the bound.
      tolerance: the fit ends when every rate deviates from its target by at most this share.
      progress: as in `simulate`; the times are those of runs.

    Raises:
      UsageError: an argument is wrong, or as for `simulate`; the circuit passes no gradients, or
        the gradient of a number is zero before the first step.
      FitInterrupted: the fit was interrupted.
    """
    _check_circuit(circuit)
    circuit = anatomy.current(circuit)
    _check_rates(circuit, target_hz)
    _check_options(steps, optimizer, tolerance)
    sought = unknowns.of(circuit, over, bounds)
    words, _ = words_of(keys)
    span = _span(circuit, drive, words, (duration_ms, skip_ms))
    inputs = rate_gradient.inputs_of(circuit, dict(drive or {}), span)
    hertz = {name: float(hz) for name, hz in target_hz.items()}
    search = Search(circuit, hertz, sought, span, words, inputs)
    interrupted = False
    try:
        with bar_of_times(progress) as show, interrupt.deferred() as interruption:
            for step in search.run(steps, optimizer or DEFAULT, tolerance):
                show(step * duration_ms, steps * duration_ms)
                interruption()
            show(steps * duration_ms, steps * duration_ms)
    except KeyboardInterrupt:
        if not search.rows:
            raise
        interrupted = True
    with interrupt.deferred() as interruption:
        fitted = _report(search, drive)
        try:
            interruption()
        except KeyboardInterrupt:
            interrupted = True
    if interrupted:
        raise FitInterrupted(fitted, steps)
    for name, hz in fitted.target_hz.items():
        share = abs(fitted.rates[name] / hz - 1)
        if tolerance and not share <= tolerance:
            log.warning(
                "fit: %s fires at %.4g Hz, %.1f %% away from its target of %.4g Hz, after %d steps",
                *(name, fitted.rates[name], 100 * share, hz, len(fitted.table) - 1),
            )
    return fitted


def _report(search: Search, drive: drives.Drive | None) -> Fitted:
    """The values with the lowest loss, and what the circuit does with them on its own path."""
    best = search.rows[losses.lowest([row["loss"] for row in search.rows])]
    values = {unknown.name: best[unknown.name] for unknown in search.unknowns}
    named = {unknown: values[unknown.name] for unknown in search.unknowns}
    circuit, span = unknowns.fitted_circuit(search.circuit, named), search.span
    times_ms = span.steps * circuit.spec.dt, span.first * circuit.spec.dt
    each = [
        mean_rates(_simulated(circuit, words, drive, times_ms[0]), times_ms[1])
        for words in search.words
    ]
    rates = {name: float(np.mean([x[name] for x in each])) for name in each[0]}
    columns = {name: np.array([row[name] for row in search.rows]) for name in best}
    return Fitted(circuit, values, rates, search.target_hz, Table(columns))


def _simulated(
    circuit: Circuit, words: np.ndarray, drive: drives.Drive | None, duration_ms: float
) -> Any:
    """The recording of a run from `init`."""
    options = simulate.Options(duration_ms, ("rates",), simulate.CHUNK_STEPS, False)
    state = circuits.initial(circuit, jnp.asarray(words), False)
    return simulate.run(circuit, state, drive, None, options)[1][0]


def _span(circuit: Circuit, drive: Any, words: np.ndarray, times_ms: tuple[Any, Any]) -> Span:
    """The steps of each run, after one run that finds out whether the drive is right."""
    duration_ms, skip_ms = times_ms
    check_times(duration_ms, skip_ms)
    recording = _simulated(circuit, words[0], drive, duration_ms)
    first = round(skip_ms / circuit.spec.dt)
    if first >= recording.steps:
        raise UsageError(f"skip_ms: {skip_ms!r}; at least a step before duration_ms")
    return Span(recording.steps, first)


def _check_circuit(circuit: Any) -> None:
    """Raise UsageError if a circuit passes no gradients."""
    if not isinstance(circuit, Circuit):
        raise UsageError(f"circuit: {type(circuit).__name__}; what cb.build(spec, key) returns")
    if circuit.wiring.shard is not None:
        raise UsageError("circuit: a divided one; fits run whole circuits")
    surrogate = circuit.spec.surrogate
    if surrogate is None:
        raise UsageError(
            "surrogate: None, so that spikes pass no gradients; a cb.Surrogate() in the Spec"
        )
    if surrogate.soft:
        raise UsageError("surrogate: soft, so that there are no spikes; one with soft=False")
    for projection in circuit.spec.projections:
        if projection.rule is not None:
            name = projection.name
            raise UsageError(
                f"circuit: {name} learns, and its rule passes no gradients; "
                f"spec.with_projection({name!r}, rule=None)"
            )


def _check_rates(circuit: Circuit, target_hz: Any) -> None:
    """Raise UsageError if target rates are not of populations that can have them."""
    spec = circuit.spec
    if not isinstance(target_hz, Mapping) or not target_hz:
        raise UsageError(f"target_hz: {target_hz!r}; Hz by population, such as {{'golgi': 8.0}}")
    names = [population.name for population in spec.populations]
    for name, hz in target_hz.items():
        if name not in names:
            raise UsageError(f"target_hz: {name!r}; {nearest(name, names, spec.name)}")
        if not is_number(hz) or not 0 < hz <= 1e3 / spec.dt:
            raise UsageError(
                f"target_hz: {name!r}: {hz!r}; above 0 Hz, at most {1e3 / spec.dt:g}, a spike a "
                "step"
            )
        unknowns.check_model(spec, name, f"target_hz: {name!r}")


def _check_options(steps: Any, optimizer: Any, tolerance: Any) -> None:
    """Raise UsageError if the options of a fit are of another kind than they are to be."""
    if not is_whole(steps) or steps < 1:
        raise UsageError(f"steps: {steps!r}; a whole number, at least 1")
    if not is_number(tolerance) or not 0 <= tolerance < 1:
        raise UsageError(f"tolerance: {tolerance!r}; a share, from 0 to less than 1")
    if optimizer is not None and not isinstance(optimizer, optax.GradientTransformation):
        raise UsageError(
            f"optimizer: {type(optimizer).__name__}; one of Optax, such as optax.adam(0.1)"
        )
