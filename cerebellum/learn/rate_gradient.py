"""Mean firing rates of a circuit, and the gradient of their distance from target rates.

The circuit runs on the dense path, with the wiring that it has, and spikes pass surrogate
gradients. Back-propagation through time keeps the state at the beginning of each segment and
computes the steps between again: with segments of as many steps as there are segments, memory grows
with the square root of the duration.

A surrogate has a gradient in every step in which a voltage is near the threshold. Of a time step of
0.1 ms there are ten times as many as of one of 1 ms, and each would count as a spike: in a circuit
with feedback the gradient would grow without bound. So it is multiplied by the time step in ms.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array, lax

from cerebellum.model import circuit as circuits
from cerebellum.model.circuit import Activity, Circuit, Wiring
from cerebellum.sim import drive as drives
from cerebellum.sim import numbers
from cerebellum.sim.chunk import Coupled, Inputs, ScanChunk
from cerebellum.sim.numbers import Target


@dataclass(frozen=True)
class Span:
    """The steps of a run."""

    steps: int
    first: int
    """the first of the steps whose spikes count"""

    @property
    def segment(self) -> int:
        """Number of steps between two states that are kept."""
        return math.ceil(math.sqrt(self.steps))

    @property
    def segments(self) -> int:
        return -(-self.steps // self.segment)


@dataclass(frozen=True)
class _Counter:
    """An environment that drives nothing and records the number of spikes of each population."""

    def drive(self, place: Any, now: drives.Moment) -> dict[str, Array]:
        return {}

    def react(self, place: Any, drive: dict[str, Array], activity: Activity) -> tuple[Any, Any]:
        return place, {name: jnp.sum(spikes) for name, spikes in activity.spikes.items()}


@struct.dataclass(kw_only=True)
class Evaluation:
    """What a circuit did with some values."""

    loss: Array
    """mean over populations with a target of the squared `difference`, scalar"""
    spikes: dict[str, Array]
    """number of spikes in the span by population, one for each key, [K]"""


def inputs_of(circuit: Circuit, drive: drives.Drive, span: Span) -> Inputs:
    """The inputs of all steps of a run, in segments; those after its end are zero."""
    plan = drives.plan(drive, circuit.spec)
    rows = plan.rows(0, span.steps, 0)
    missing = span.segments * span.segment - span.steps

    def divided(x: Any) -> Array:
        padded = np.pad(np.asarray(x), [(0, missing), *[(0, 0)] * (np.ndim(x) - 1)])
        return jnp.asarray(padded.reshape(span.segments, span.segment, *padded.shape[1:]))

    return Inputs(sources=plan.drawn, arrays=jax.tree.map(divided, rows))


def difference(rate: Any, target: Any) -> Any:
    """How far rates are from target rates, both Hz: 2 log((rate + target) / (2 target)).

    Near zero it is the relative difference. It is -1.4 for a silent population, whose gradient is
    finite, and grows with the logarithm of a rate that is too high, so that neither drowns the
    others.
    """
    return 2 * jnp.log((rate + target) / (2 * target))


@partial(jax.jit, static_argnames=("places", "span"))
def evaluate(
    places: tuple[Target, ...],
    span: Span,
    arrays: Sequence[Any],
    circuit: Circuit,
    keys: Array,
    inputs: Inputs,
    target_hz: Mapping[str, Array],
) -> tuple[Evaluation, list[Array]]:
    """Run a circuit with other arrays in the places of some numbers.

    Args:
      places: where the numbers are in the parameters.
      arrays: one for each of the places.
      circuit: a circuit whose spec has a surrogate, on either path.
      keys: words of the keys of runs, uint32 [K, 2]; each run starts from `init`.
      inputs: those of `inputs_of`.
      target_hz: mean rates over all keys, Hz, by population.

    Returns:
      What the circuit did, and the gradient of the loss with respect to each of the arrays.
    """
    spec, wiring = circuit.spec, _differentiable(circuit)
    chunk = ScanChunk(steps=span.segment, environment=_Counter())
    seconds = (span.steps - span.first) * spec.dt * 1e-3

    def loss_of(arrays: Sequence[Any]) -> tuple[Array, Evaluation]:
        params = numbers.placed(circuit.params, places, arrays)
        own = replace(circuit, params=params, wiring=wiring)

        def spikes_of(key: Array) -> dict[str, Array]:
            @jax.checkpoint
            def run_segment(before: Coupled, rows: Any) -> tuple[Any, Any]:
                return chunk(params, wiring, before, replace(inputs, arrays=rows))

            begun = Coupled(state=circuits.initial(own, key, False), place=())
            _, counts = lax.scan(run_segment, begun, inputs.arrays, length=span.segments)
            counted = slice(span.first, span.steps)
            return {name: jnp.sum(x.reshape(-1)[counted]) for name, x in counts.items()}

        spikes = jax.vmap(spikes_of)(keys)
        squares = []
        for name, hz in target_hz.items():
            rate = jnp.mean(spikes[name]) / (spec.population(name).size * seconds)
            squares.append(jnp.square(difference(rate, hz)))
        loss = jnp.mean(jnp.stack(squares))
        return loss, Evaluation(loss=loss, spikes=spikes)

    (_, evaluation), gradients = jax.value_and_grad(loss_of, has_aux=True)(list(arrays))
    return evaluation, gradients


def _differentiable(circuit: Circuit) -> Wiring:
    """The wiring on the dense path, with a surrogate for its time step."""
    spec, wiring = circuit.spec, circuit.wiring
    rule = spec.surrogate
    if rule is not None:
        rule = replace(rule, gain=rule.gain * min(1.0, spec.dt))
    part = replace(wiring.part, spec=replace(spec, surrogate=rule))
    return replace(wiring, path="dense", part=part)


def rates_of(circuit: Circuit, spikes: Mapping[str, Any], span: Span) -> dict[str, float]:
    """Mean rates over all keys, Hz, as `record.rates` computes them for each.

    Args:
      spikes: those of an `Evaluation`.
    """
    seconds = (span.steps - span.first) * circuit.spec.dt * 1e-3
    sizes = {population.name: population.size for population in circuit.spec.populations}
    return {
        name: float(np.mean([int(count) / sizes[name] / seconds for count in np.asarray(each)]))
        for name, each in spikes.items()
    }
