"""Disorders of the circuit of eyeblink conditioning: three models of dystonia.

They are the configurations of dystonia_ebcc (Geminiani et al. 2022, Front Syst Neurosci). Each
published change is a ratio here, because the circuit of `eyeblink_circuit` has a scale of its own:

* "fewer climbing fibres": the weight of the olive onto Purkinje cells is 150 nS of 300, a half. The
  published program can also take the teaching signal from half of the Purkinje cells, drawn at
  random, and the configuration says so ("hypoconnected"). The weight alone would not change what is
  learned, because a climbing-fibre spike teaches whatever its weight is.
* "Purkinje bursts": their own current is 50 pA of 742.543, and their intrinsic noise has a rate and
  a width of 1.25 times. What they lack comes in bursts, 20 ms of every 40, which all of them share:
  10 spikes of 10 nS at random times, from the start of a burst that is up to 19 ms late. The
  current of our cells is 762 pA, so that the spikes have 10.26 nS.
* "olive bursts": no inhibition of the olive by the nuclei, and bursts of the whole olive, 40 ms of
  every 80, a spike every 2 ms, each twice as strong as one of the puff (20 nS and 10; ours 200 and
  100). One trial in ten has none (0.96 of every 10 s).

Dimensions: T steps of 1 ms to a trial.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import numpy as np
from jax import Array

from cerebellum.documented import documented
from cerebellum.learn.tasks.eyeblink_circuit import PARALLEL, scaled
from cerebellum.learn.tasks.eyeblink_trial import Timing
from cerebellum.model.spec import Spec
from cerebellum.model.streams import stream

CLIMBING, TEACHING = "inferior_olive_climbing_purkinje", "inferior_olive_teaching_purkinje"
OLIVARY_INHIBITION = "nuclei_inhibitory_inferior_olive"


@documented
@dataclass(frozen=True, kw_only=True)
class Bursts:
    """Bursts of spikes that all cells of a population receive, without an end."""

    target: str
    """population and receptor, such as "purkinje.r1" """
    on_ms: int
    """length of a burst"""
    off_ms: int
    """length of the pause after it"""
    spikes: int
    """spikes to a burst"""
    weight: float
    """of a spike, nS"""
    late_ms: int = 0
    """A burst begins less than so much late, and its spikes come at random times; 0 for a burst on
    time with spikes in equal steps"""
    rest: int = 0
    """One trial in so many has no burst; 0 for none"""

    def trial(self, key: Array, number: int, timing: Timing) -> np.ndarray:
        """The weights of the spikes in a trial, float32 [T, 1].

        Args:
          key: of all that is random.
          number: of the trial. Bursts go on from trial to trial.
        """
        weights = np.zeros((timing.trial, 1), np.float32)
        if self.rest and number % self.rest == 0:
            return weights
        start, cycle = number * timing.trial, self.on_ms + self.off_ms
        first = (start - self.on_ms - self.late_ms) // cycle
        for index in range(max(0, first), (start + timing.trial) // cycle + 1):
            steps = cycle * index + self._steps(key, index) - start
            weights[steps[(steps >= 0) & (steps < timing.trial)]] = self.weight
        return weights

    def _steps(self, key: Array, index: int) -> np.ndarray:
        """Steps of the spikes of a burst after the start of its cycle."""
        if not self.late_ms:
            gap = self.on_ms / self.spikes
            return np.round(gap * np.arange(1, self.spikes + 1)).astype(int)
        rng = stream(key, f"burst {index} of {self.target}")
        late = rng.integers(self.late_ms)
        return late + rng.choice(self.on_ms + 1, self.spikes, replace=False)


@documented
@dataclass(frozen=True, kw_only=True)
class Disorder:
    """What is different in a circuit, as factors on the values of the healthy one."""

    climbing: float = 1.0
    """factor on the weight of the olive onto Purkinje cells"""
    taught: float = 1.0
    """share of the Purkinje cells whose parallel fibres the olive teaches"""
    olivary_inhibition: float = 1.0
    """factor on the weight of the nuclei onto the olive"""
    current: float = 1.0
    """factor on the current of Purkinje cells"""
    noise: float = 1.0
    """factor on the rate and the width of the intrinsic noise of Purkinje cells"""
    bursts: tuple[Bursts, ...] = ()

    def changed(self, healthy: Spec) -> Spec:
        """The spec of a healthy circuit with the disorder."""
        spec = scaled(healthy, CLIMBING, self.climbing)
        spec = scaled(spec, OLIVARY_INHIBITION, self.olivary_inhibition)
        if self.taught < 1:
            spec = _partly_taught(spec, self.taught)
        cells = spec.population("purkinje").params
        cells = replace(
            cells,
            i_e=cells.i_e * self.current,
            lambda_0=cells.lambda_0 * self.noise,
            tau_v=cells.tau_v * self.noise,
        )
        populations = (
            replace(each, params=cells) if each.name == "purkinje" else each
            for each in spec.populations
        )
        return replace(spec, populations=tuple(populations))


def _partly_taught(spec: Spec, share: float) -> Spec:
    """A spec in which a share of the climbing fibres teaches.

    A projection without weight has the climbing fibres that teach, and the rule has it as teacher.
    """
    (climbing,) = (p for p in spec.projections if p.name == CLIMBING)
    teaching = replace(climbing, label="teaching", weight=0.0, in_degree=share)
    (learning,) = (p for p in spec.projections if p.name == PARALLEL)
    assert learning.rule is not None
    assert spec.place is not None
    spec = replace(
        spec,
        projections=(*spec.projections, teaching),
        place=_teaching_place(spec.place, share),
    )
    rule: Any = learning.rule
    return spec.with_projection(PARALLEL, rule=replace(rule, teacher=TEACHING))


Place = Callable[[Array], dict[str, np.ndarray]]


@cache
def _teaching_place(place: Place, share: float) -> Place:
    """The `place` function of such a spec; it is cached, so that equal specs compare as equal."""
    return partial(_with_teaching, place=place, share=share)


def _with_teaching(key: Array, place: Place, share: float) -> dict[str, np.ndarray]:
    """The edges that `place` draws, and those of the climbing fibres that teach."""
    edges = place(key)
    climbing = edges[CLIMBING]
    chosen = stream(key, "teaching").permutation(len(climbing))[: round(share * len(climbing))]
    return {**edges, TEACHING: climbing[np.sort(chosen)]}


OUR_CURRENT = 762.0 / 742.543
"""Current of our Purkinje cells as a factor on the published one."""

DISORDERS: dict[str, Disorder] = {
    "fewer climbing fibres": Disorder(climbing=0.5, taught=0.5),
    "Purkinje bursts": Disorder(
        current=50 / 742.543,
        noise=1.25,
        bursts=(
            Bursts(
                target="purkinje.r1",
                on_ms=20,
                off_ms=20,
                spikes=10,
                weight=10 * OUR_CURRENT,
                late_ms=20,
            ),
        ),
    ),
    "olive bursts": Disorder(
        olivary_inhibition=0.0,
        bursts=(
            Bursts(
                target="inferior_olive.r1", on_ms=40, off_ms=40, spikes=20, weight=200.0, rest=10
            ),
        ),
    ),
}
"""Disorders by name."""
