"""Published circuits at a coarser time step than the published one."""

from dataclasses import replace

from cerebellum.model.population import Population
from cerebellum.model.spec import Spec

PUBLISHED_DT = 0.1
"""ms"""


def with_whole_periods(spec: Spec) -> Spec:
    """The spec with refractory periods in whole steps, as they are taken, if its step is coarser.

    At 1 ms, 1.5 ms becomes 2 ms and 0.5 ms becomes 0.
    """
    if spec.dt <= PUBLISHED_DT:
        return spec
    return replace(spec, populations=tuple(_whole(p, spec.dt) for p in spec.populations))


def _whole(population: Population, dt: float) -> Population:
    period = getattr(population.params, "t_ref", None)
    if period is None:
        return population
    taken = round(period / dt) * dt
    return replace(population, params=replace(population.params, t_ref=taken))
