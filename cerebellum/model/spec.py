"""What a circuit is made of, before it is built: static, hashable, no arrays."""

from dataclasses import dataclass
from typing import Any, Literal

from cerebellum.errors import UsageError
from cerebellum.model.neurons import CIRCUIT_MODELS
from cerebellum.model.synapses import delay_steps


@dataclass(frozen=True, kw_only=True)
class Population:
    name: str
    size: int
    """number of cells"""
    model: str
    """a name in neurons.CIRCUIT_MODELS"""
    params: Any
    """that model's Params, of plain floats"""


@dataclass(frozen=True, kw_only=True)
class Projection:
    source: str
    target: str
    receptor: str
    """a receptor of the target's model: "exc" or "inh"; "spikes" for a relay"""
    weight: float
    """nS a contact, positive: the sign is the receptor's"""
    delay: float
    """ms, at least one step"""
    in_degree: float
    """mean number of source cells to a target cell"""
    sites: int | None = None
    """Where a target has this many places that are taken or free independently, its in-degree
    is binomial; otherwise every target has the mean, rounded up or down."""
    plastic: bool = False
    """whether its weights, one a synapse, live in the state"""
    label: str = ""
    """tells apart two projections between the same populations"""

    @property
    def name(self) -> str:
        """`source_target`, with the label between where there is one."""
        return "_".join(part for part in (self.source, self.label, self.target) if part)


@dataclass(frozen=True, kw_only=True)
class Spec:
    """A circuit's populations and projections, its step, and the way spikes are sent."""

    name: str
    populations: tuple[Population, ...]
    projections: tuple[Projection, ...]
    dt: float = 1.0
    """ms"""
    path: Literal["auto", "event", "dense"] = "auto"
    """"event" sends packed spikes; "dense" sends every synapse every step and has gradients"""

    def __post_init__(self):
        _check(self)

    def population(self, name: str) -> Population:
        """The population called `name`; UsageError if there is none."""
        for population in self.populations:
            if population.name == name:
                return population
        known = ", ".join(population.name for population in self.populations)
        raise UsageError(f"population {name!r}: {self.name} has {known}")

    @property
    def synapses(self) -> int:
        """Expected number of synapses."""
        return round(sum(p.in_degree * self.population(p.target).size for p in self.projections))


def _check(spec: Spec) -> None:
    if not spec.dt > 0:
        raise UsageError(f"dt: {spec.dt} ms; a step is longer than zero")
    names = [population.name for population in spec.populations]
    if len(set(names)) < len(names):
        raise UsageError(f"populations: {', '.join(names)}; names are unique")
    for population in spec.populations:
        if population.size < 1:
            raise UsageError(f"{population.name}.size: {population.size}; at least 1 cell")
        if population.model not in CIRCUIT_MODELS:
            known = ", ".join(CIRCUIT_MODELS)
            raise UsageError(f"{population.name}.model: {population.model!r}; one of {known}")
        t_ref = getattr(population.params, "t_ref", 0.0)
        if t_ref / spec.dt > 255:
            raise UsageError(
                f"{population.name}.t_ref: {t_ref} ms is over 255 steps of {spec.dt} ms"
            )
    names = [projection.name for projection in spec.projections]
    if len(set(names)) < len(names):
        raise UsageError(f"projections: {', '.join(names)}; names are unique, use labels")
    for projection in spec.projections:
        source = spec.population(projection.source)
        spec.population(projection.target)
        if not 0 <= projection.in_degree <= source.size:
            raise UsageError(
                f"{projection.name}.in_degree: {projection.in_degree}; "
                f"between 0 and the {source.size} cells of {source.name}"
            )
        if projection.sites is not None and not projection.in_degree <= projection.sites:
            raise UsageError(
                f"{projection.name}.sites: {projection.sites}; at least {projection.in_degree}"
            )
        if projection.weight < 0 or projection.delay < 0:
            raise UsageError(f"{projection.name}: weight and delay are not negative")


@dataclass(frozen=True)
class Bundle:
    """Projections that one list of events serves: same source, same delay."""

    source: str
    delay: int
    """steps"""
    projections: tuple[Projection, ...]


def bundles(spec: Spec) -> tuple[Bundle, ...]:
    """The projections of a circuit by source and delay, in their order of appearance.

    No two projections of a bundle end on the same receptor of the same population.
    """
    groups: list[tuple[str, int, list[Projection]]] = []
    for projection in spec.projections:
        delay = delay_steps(projection.delay, spec.dt)
        end = projection.target, projection.receptor
        for source, steps, members in groups:
            free = end not in {(member.target, member.receptor) for member in members}
            if (source, steps) == (projection.source, delay) and free:
                members.append(projection)
                break
        else:
            groups.append((projection.source, delay, [projection]))
    return tuple(Bundle(source, delay, tuple(members)) for source, delay, members in groups)
