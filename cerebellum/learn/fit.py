"""Fitting numbers of a circuit, so that its populations fire at wanted mean rates."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from cerebellum.errors import UsageError, is_number, is_whole
from cerebellum.learn import rate_gradient, unknowns
from cerebellum.learn.rate_gradient import Span
from cerebellum.learn.unknowns import Bounds, Unknown
from cerebellum.model import anatomy
from cerebellum.model import circuit as circuits
from cerebellum.model.circuit import Circuit
from cerebellum.model.fit import nearest
from cerebellum.sim import drive as drives
from cerebellum.sim import interrupt, numbers, simulate
from cerebellum.sim.record import rates as mean_rates
from cerebellum.sim.sweep import Table, words_of

log = logging.getLogger(__name__)

LEARNING_RATE, MOMENTUM, MEMORY = 0.1, 0.5, 0.9
"""Adam's constants by default. Its gradients shrink by a factor of a hundred once a silent
population fires; with the usual memory of 0.999 all later steps would be short."""


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
    wanted: dict[str, float]
    """the rates that were to be reached, Hz, by population"""
    table: Table
    """A row for each iteration, the first one before any step: "step", "loss", the values by name,
    and mean rates in Hz as "rate.POPULATION"."""

    def __repr__(self) -> str:
        rates = {
            "population": list(self.wanted),
            "wanted Hz": list(self.wanted.values()),
            "reached Hz": [self.rates[name] for name in self.wanted],
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
    wanted: Mapping[str, float],
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
    """Look for values of some numbers of a circuit with which its populations fire as wanted.

    An optimiser follows the gradient of the loss, the mean over the wanted populations of the
    squared `rate_gradient.difference` of their rate, through all spikes of a run. The circuit must
    have a surrogate; built for the event path, it runs on the dense path during the fit, with its
    own wiring. The values with the lowest loss are returned. A surrogate gradient is not the
    derivative of the rates, so that the loss may rise on the way.

    Ctrl-C ends the fit after the present step with `FitInterrupted`, a KeyboardInterrupt that
    holds the best values so far; a second Ctrl-C stops at once and holds nothing.

    Args:
      circuit: a whole circuit whose spec has a surrogate.
      wanted: mean rates by population, Hz, above zero.
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
      tolerance: the fit ends when every rate deviates from the wanted one by at most this share.
      progress: as in `simulate`; the times are those of runs.

    Raises:
      UsageError: an argument is wrong, or as for `simulate`; the circuit passes no gradients, or
        the gradient of a number is zero before the first step.
      FitInterrupted: the fit was interrupted.
    """
    _check_circuit(circuit)
    circuit = anatomy.current(circuit)
    _check_rates(circuit, wanted)
    _check_options(steps, optimizer, tolerance)
    found = unknowns.of(circuit, over, bounds)
    words, _ = words_of(keys)
    span = _span(circuit, drive, words, (duration_ms, skip_ms))
    search = _Search(circuit, {name: float(hz) for name, hz in wanted.items()}, found, words, span)
    search.inputs = rate_gradient.inputs_of(circuit, dict(drive or {}), span)
    default = optax.adam(LEARNING_RATE, b1=MOMENTUM, b2=MEMORY)
    try:
        with simulate.shown(progress) as show, interrupt.deferred() as interruption:
            for step in search.run(steps, optimizer or default, tolerance):
                show(step * duration_ms, steps * duration_ms)
                interruption()
            show(steps * duration_ms, steps * duration_ms)
    except KeyboardInterrupt:
        if not search.rows:
            raise
        raise FitInterrupted(search.result(drive), steps) from None
    return search.result(drive)


class _Search:
    """The steps of a fit, and what each had for values and rates."""

    inputs: Any

    def __init__(
        self,
        circuit: Circuit,
        wanted: dict[str, float],
        found: list[Unknown],
        words: np.ndarray,
        span: Span,
    ):
        """Prepare a fit.

        Args:
          words: those of the keys, uint32 [K, 2].
        """
        self.circuit, self.wanted, self.unknowns = circuit, wanted, found
        self.words, self.span = words, span
        self.rows: list[dict[str, Any]] = []

    def run(self, steps: int, optimizer: optax.GradientTransformation, tolerance: float):
        """Take steps until the rates are reached, and give the number of each when it is done."""
        extended = optax.with_extra_args_support(optimizer)
        at: Any = {unknown.name: jnp.float32(0) for unknown in self.unknowns}
        memory = extended.init(at)
        for step in range(steps + 1):
            values = [unknown.value(float(at[unknown.name])) for unknown in self.unknowns]
            loss, rates, slopes = self.evaluate(values, self.wanted)
            named = {unknown.name: x for unknown, x in zip(self.unknowns, values, strict=True)}
            hertz = {f"rate.{name}": hz for name, hz in rates.items()}
            self.rows.append({"step": step, "loss": loss, **named, **hertz})
            yield step
            errors = [abs(rates[name] - hz) / hz for name, hz in self.wanted.items()]
            if max(errors) <= tolerance or step == steps:
                return
            if step == 0:
                self.check_slopes(values, rates, slopes)
            if not np.isfinite(list(slopes.values())).all():
                log.warning("fit: a gradient is not finite after %d steps, where it ends", step)
                return
            gradient: Any = {name: jnp.float32(slope) for name, slope in slopes.items()}
            change, memory = extended.update(gradient, memory, at, value=loss)
            at = optax.apply_updates(at, change)
            for unknown in self.unknowns:
                inside = unknown.value(float(at[unknown.name]))
                at[unknown.name] = jnp.float32(unknown.coordinate(inside))

    def evaluate(
        self, values: list[float], wanted: Mapping[str, float]
    ) -> tuple[float, dict[str, float], dict[str, float]]:
        """The loss, mean rates in Hz, and the derivative of the loss by each coordinate."""
        pairs = list(zip(self.unknowns, values, strict=True))
        evaluation, gradients = rate_gradient.evaluate(
            tuple(unknown.target for unknown in self.unknowns),
            self.span,
            [jnp.asarray(unknown.array(self.circuit, value)) for unknown, value in pairs],
            self.circuit,
            jnp.asarray(self.words),
            self.inputs,
            {name: jnp.float32(hz) for name, hz in wanted.items()},
        )
        slopes = {
            unknown.name: unknown.slope(self.circuit, gradient, value)
            for (unknown, value), gradient in zip(pairs, gradients, strict=True)
        }
        rates = rate_gradient.rates_of(self.circuit, evaluation.spikes, self.span)
        return float(evaluation.loss), rates, slopes

    def check_slopes(
        self, values: list[float], rates: dict[str, float], slopes: dict[str, float]
    ) -> None:
        """Raise UsageError if a gradient is zero or not finite before the first step."""
        for unknown in self.unknowns:
            if not math.isfinite(slopes[unknown.name]):
                raise UsageError(
                    f"over: {unknown.name!r}: its gradient is not finite; a shorter duration_ms, "
                    "or a surrogate with a larger alpha"
                )
        if all(slopes.values()):
            return
        # A rate that is right already has no part in the loss; here each has one.
        off = {name: 2 * rates[name] + 1 for name in self.wanted}
        slopes = self.evaluate(values, off)[2]
        for unknown in self.unknowns:
            if not slopes[unknown.name]:
                raise UsageError(f"over: {unknown.name!r}: no gradient; {self.why(unknown, rates)}")

    def why(self, unknown: Unknown, rates: dict[str, float]) -> str:
        """Why a number has no gradient."""
        if unknown.target.group == "weights":
            source = numbers.projection_of(self.circuit, unknown.target).source
            if not rates[source]:
                return f"{source} is silent, so first values with which it fires"
        rule = self.circuit.spec.surrogate
        return (
            f"the rates of {', '.join(self.wanted)} do not depend on it, or their cells are too "
            f"far from threshold for the surrogate {rule.name if rule else ''}"
        )

    def result(self, drive: drives.Drive | None) -> Fitted:
        """The values with the lowest loss, and what the circuit does with them on its own path."""
        losses = [row["loss"] for row in self.rows]
        best = self.rows[int(np.argmin(np.where(np.isfinite(losses), losses, math.inf)))]
        values = {unknown.name: best[unknown.name] for unknown in self.unknowns}
        named = {unknown: values[unknown.name] for unknown in self.unknowns}
        circuit = unknowns.fitted_circuit(self.circuit, named)
        duration_ms = self.span.steps * circuit.spec.dt
        each = [
            mean_rates(_simulated(circuit, words, drive, duration_ms), self.skip_ms)
            for words in self.words
        ]
        rates = {name: float(np.mean([x[name] for x in each])) for name in each[0]}
        columns = {name: np.array([row[name] for row in self.rows]) for name in best}
        return Fitted(circuit, values, rates, self.wanted, Table(columns))

    @property
    def skip_ms(self) -> float:
        return self.span.first * self.circuit.spec.dt


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
    if not is_number(duration_ms):
        raise UsageError(f"duration_ms: {duration_ms!r}; a number, ms")
    if not is_number(skip_ms) or not 0 <= skip_ms < duration_ms:
        raise UsageError(f"skip_ms: {skip_ms!r}; ms, from 0 to less than duration_ms")
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


def _check_rates(circuit: Circuit, wanted: Any) -> None:
    """Raise UsageError if wanted rates are not of populations that can have them."""
    spec = circuit.spec
    if not isinstance(wanted, Mapping) or not wanted:
        raise UsageError(f"wanted: {wanted!r}; rates in Hz by population, such as {{'golgi': 8.0}}")
    names = [population.name for population in spec.populations]
    for name, hz in wanted.items():
        if name not in names:
            raise UsageError(f"wanted: {name!r}; {nearest(name, names, spec.name)}")
        if not is_number(hz) or not 0 < hz <= 1e3 / spec.dt:
            raise UsageError(
                f"wanted: {name!r}: {hz!r}; Hz, above 0, at most {1e3 / spec.dt:g}, a spike a step"
            )
        unknowns.check_model(spec, name, f"wanted: {name!r}")


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
