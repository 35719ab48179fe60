"""The search for values: an optimiser that follows the gradient of the rates' differences."""

import logging
import math
from collections.abc import Iterator, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax

from cerebellum.errors import UsageError
from cerebellum.learn import rate_gradient
from cerebellum.learn.rate_gradient import Span
from cerebellum.learn.unknowns import Unknown
from cerebellum.model.circuit import Circuit
from cerebellum.sim import numbers
from cerebellum.sim.chunk import Inputs

log = logging.getLogger(__name__)


class Search:
    """The steps of a fit, and the values and rates of each."""

    def __init__(
        self,
        circuit: Circuit,
        target_hz: dict[str, float],
        unknowns: list[Unknown],
        span: Span,
        words: np.ndarray,
        inputs: Inputs,
    ):
        """Prepare a fit.

        Args:
          circuit: the circuit before the fit.
          target_hz: target rates, Hz, by population.
          unknowns: what is fitted.
          words: those of the keys, uint32 [K, 2].
          inputs: the drive, as `rate_gradient.inputs_of` returns it.
        """
        self.circuit, self.target_hz, self.unknowns = circuit, target_hz, unknowns
        self.span, self.words, self.inputs = span, words, inputs
        self.rows: list[dict[str, Any]] = []
        """a row for each evaluation: "step", "loss", the values by name, and "rate.POPULATION" """

    def run(
        self, steps: int, optimizer: optax.GradientTransformation, tolerance: float
    ) -> Iterator[int]:
        """Take steps until the rates are reached, and give the number of each when it is done."""
        extended = optax.with_extra_args_support(optimizer)
        at: Any = {unknown.name: jnp.float32(0) for unknown in self.unknowns}
        memory = extended.init(at)
        for step in range(steps + 1):
            values = [unknown.value(float(at[unknown.name])) for unknown in self.unknowns]
            loss, rates, slopes = self.evaluate(values, self.target_hz)
            named = {unknown.name: x for unknown, x in zip(self.unknowns, values, strict=True)}
            hertz = {f"rate.{name}": hz for name, hz in rates.items()}
            self.rows.append({"step": step, "loss": loss, **named, **hertz})
            yield step
            errors = [abs(rates[name] - hz) / hz for name, hz in self.target_hz.items()]
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
        self, values: list[float], target_hz: Mapping[str, float]
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
            {name: jnp.float32(hz) for name, hz in target_hz.items()},
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
        off = {name: 2 * rates[name] + 1 for name in self.target_hz}
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
            f"the rates of {', '.join(self.target_hz)} do not depend on it, or their cells are too "
            f"far from threshold for the surrogate {rule.name if rule else ''}"
        )
