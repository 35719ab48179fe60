"""The description of a circuit before it is built: static, hashable and without arrays."""

import math
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any

import jax
import numpy as np
from jax import Array

from cerebellum.documented import documented
from cerebellum.errors import UsageError
from cerebellum.model import connect, values
from cerebellum.model.connect import Ends
from cerebellum.model.delays import on_grid, steps_of
from cerebellum.model.edges import LONGEST_MS
from cerebellum.model.gap_junctions import Coupled
from cerebellum.model.homeostasis import Scaling, Threshold
from cerebellum.model.neurons import CIRCUIT_MODELS
from cerebellum.model.population import Population, check_population
from cerebellum.model.projection import (
    Projection,
    check_distributions,
    check_numbers,
    check_rule,
    check_short_term,
    check_weights,
)
from cerebellum.model.surrogate import Surrogate
from cerebellum.model.values import Distribution


@documented
@dataclass(frozen=True)
class Spec:
    """The populations and projections of a circuit, and its time step."""

    name: str
    populations: tuple[Population, ...]
    projections: tuple[Projection, ...] = ()
    _: KW_ONLY
    dt: float = 1.0
    """time step, ms"""
    surrogate: Surrogate | None = None
    """how spikes of "current" and "conductance" cells pass gradients on the dense path"""
    place: Callable[[Array], Mapping[str, np.ndarray]] | None = None
    """A function of the circuit's key that places the cells in space and returns the edges (see
    `anatomy.build`) that follow, by projection. The edges of other projections are drawn at
    random."""
    beams: int = 1
    """Number of beams, parts of equal size that only projections with `crosses` connect. The first
    ceil(size / beams) cells of every population belong to the first beam, and so on; the last
    beam may be smaller."""

    def __post_init__(self):
        values.plain(self)
        _check_parts(self)
        derived = tuple(_with_in_degree(p, self) for p in self.projections)
        object.__setattr__(self, "projections", derived)
        _check_projections(self)

    def ends(self, projection: Projection) -> Ends:
        """The two populations of a projection, without positions."""
        return Ends(
            sources=self.population(projection.source).size,
            targets=self.population(projection.target).size,
            same=projection.source == projection.target,
        )

    def population(self, name: str) -> Population:
        """The population called `name`; UsageError if there is none."""
        for population in self.populations:
            if population.name == name:
                return population
        known = ", ".join(population.name for population in self.populations)
        raise UsageError(f"population {name!r}: {self.name} has {known}")

    def beam_size(self, name: str) -> int:
        """Number of cells of a population in every beam except the last."""
        return -(-self.population(name).size // self.beams)

    def coupled(self, name: str) -> Coupled:
        """A population as its gap junctions see it."""
        population, beam = self.population(name), self.beam_size(name)
        return Coupled(name, population.size, beam, population.gap_junctions)

    def crossing(self) -> tuple[str, ...]:
        """The populations whose spikes go to every beam."""
        return tuple(dict.fromkeys(p.source for p in self.projections if p.crosses))

    def reach(self, projection: Projection) -> int:
        """Number of separate parts of a projection: one per beam, or 1 where it crosses beams."""
        return 1 if projection.crosses else self.beams

    def share(self, projection: Projection) -> float:
        """The share of the possible contacts within a beam that exist."""
        if projection.crosses:
            return min(1.0, projection.in_degree / self.population(projection.source).size)
        return min(1.0, projection.in_degree / self.beam_size(projection.source))

    def homeostatic(self) -> list[tuple[str, str, Scaling | Threshold]]:
        """Homeostatic rules, each as (name of what learns, population whose rates count, rule).

        A projection learns by synaptic scaling, and a population by threshold homeostasis.
        """
        scaled = [(p.name, p.target, p.scaling) for p in self.projections if p.scaling]
        shifted = [(p.name, p.name, p.homeostasis) for p in self.populations if p.homeostasis]
        return [*scaled, *shifted]

    def with_population(self, name: str, **changes: Any) -> "Spec":
        """A copy with some fields of one population changed; UsageError if there is none."""
        self.population(name)
        return replace(
            self,
            populations=tuple(
                replace(p, **changes) if p.name == name else p for p in self.populations
            ),
        )

    def with_projection(self, name: str, **changes: Any) -> "Spec":
        """A copy with some fields of one projection changed; UsageError if there is none."""
        known = [projection.name for projection in self.projections]
        if name not in known:
            raise UsageError(f"projection {name!r}: {self.name} has {', '.join(known)}")
        if changes.get("rule") is not None or changes.get("scaling") is not None:
            changes.setdefault("plastic", True)
        return replace(
            self,
            projections=tuple(
                replace(p, **changes) if p.name == name else p for p in self.projections
            ),
        )

    @property
    def synapses(self) -> int:
        """Expected number of synapses."""
        return round(sum(p.in_degree * self.population(p.target).size for p in self.projections))


def _with_in_degree(projection: Projection, spec: Spec) -> Projection:
    """A projection with the in-degree of its rule of connection, which is checked."""
    rule, name = projection.connect, projection.name
    if rule is None:
        return projection
    if isinstance(rule, type) or not all(hasattr(rule, each) for each in connect.NAMES):
        shown = rule.__name__ if isinstance(rule, type) else repr(rule)
        raise UsageError(f"{name}.connect: {shown}; such as cb.connect.FixedInDegree(10)")
    if spec.beams > 1 or projection.crosses or projection.dtype != "float32":
        raise UsageError(f"{name}.connect: given; for float32 weights in a circuit without beams")
    for field in ("sites", "degree_sd", "spread"):
        if getattr(projection, field):
            raise UsageError(f"{name}.{field}: given; none beside connect")
    problem = rule.problem(spec.ends(projection))
    if problem is not None:
        raise UsageError(f"{name}.connect: {problem}")
    return replace(projection, in_degree=rule.mean_in_degree(spec.ends(projection)))


def _check_parts(spec: Spec) -> None:
    """Raise UsageError if a spec is not made of populations and projections that are right."""
    if not values.is_number(spec.dt) or not (spec.dt > 0 and math.isfinite(spec.dt)):
        raise UsageError(f"dt: {spec.dt} ms; a step is longer than zero")
    if spec.surrogate is not None and not isinstance(spec.surrogate, Surrogate):
        raise UsageError(f"surrogate: {spec.surrogate!r}; a Surrogate(name=...), or None")
    for field, kind in (("populations", Population), ("projections", Projection)):
        held = getattr(spec, field)
        if not isinstance(held, tuple) or not all(isinstance(each, kind) for each in held):
            raise UsageError(f"{field}: {type(held).__name__}; a tuple of cb.{kind.__name__}")
    if not spec.populations:
        raise UsageError("populations: none; a circuit has at least one")
    names = [population.name for population in spec.populations]
    if len(set(names)) < len(names):
        raise UsageError(f"populations: {', '.join(names)}; names are unique")
    if not isinstance(spec.beams, int) or spec.beams < 1:
        raise UsageError(f"beams: {spec.beams}; at least 1")
    for population in spec.populations:
        check_population(population, spec.dt)
        if (spec.beams - 1) * spec.beam_size(population.name) >= population.size:
            raise UsageError(
                f"{population.name}.size: {population.size}; enough for {spec.beams} beams of "
                f"{spec.beam_size(population.name)}"
            )


def _check_projections(spec: Spec) -> None:
    """Raise UsageError if the projections of a spec contradict it, or each other."""
    names = [projection.name for projection in spec.projections]
    if len(set(names)) < len(names):
        raise UsageError(f"projections: {', '.join(names)}; names are unique, use labels")
    shared = {population.name for population in spec.populations} & set(names)
    if shared:
        raise UsageError(f"population {min(shared)!r}: the name of a projection too; another one")
    for projection in spec.projections:
        _check_projection(projection, spec)
        check_weights(projection)
        check_short_term(projection, spec.population(projection.source).size, spec.beams)
        onto = [p.name for p in spec.projections if p.target == projection.target]
        check_rule(projection, [projection.target, *onto])
    for projection in spec.projections:
        if isinstance(projection.delay, Distribution):
            continue
        nearest = on_grid(projection.delay, spec.dt)
        if nearest != projection.delay:
            raise UsageError(
                f"{projection.name}.delay: {projection.delay} ms; a multiple of the step of "
                f"{spec.dt} ms, such as {nearest:g}"
            )


def _check_projection(projection: Projection, spec: Spec) -> None:
    name, dt = projection.name, spec.dt
    check_numbers(projection)
    source, target = spec.population(projection.source), spec.population(projection.target)
    model = CIRCUIT_MODELS[target.model]
    known = list(jax.eval_shape(lambda: model.receptors(model.init(target.typical, (1,)))))
    if projection.receptor not in known:
        raise UsageError(f"{name}.receptor: {projection.receptor!r}; one of {', '.join(known)}")
    sources = source.size
    if not projection.crosses:
        sources = source.size - (spec.beams - 1) * spec.beam_size(source.name)
    most = sources - (source.name == target.name)
    if projection.connect is None and not 0 <= projection.in_degree <= most:
        raise UsageError(
            f"{name}.in_degree: {projection.in_degree}; between 0 and the {most} other cells of "
            f"{source.name}" + (" in a beam" if spec.reach(projection) > 1 else "")
        )
    sites = projection.sites
    if sites is not None and not projection.in_degree <= sites <= most:
        raise UsageError(
            f"{name}.sites: {sites}; at least the in-degree {projection.in_degree}, at most {most}"
        )
    if not 0 <= projection.degree_sd < math.inf or (sites and projection.degree_sd):
        raise UsageError(
            f"{name}.degree_sd: {projection.degree_sd}; finite, not negative, 0 beside sites"
        )
    check_distributions(projection)
    if not 0 <= projection.mean_weight < math.inf:
        raise UsageError(f"{name}.weight: {projection.weight}; finite, not negative")
    if projection.crosses != (source.name in spec.crossing()):
        raise UsageError(f"{name}.crosses: False; other projections of {source.name} cross")
    individual = {"plastic": projection.plastic, "spread": projection.spread}
    for field, value in {**individual, "short_term": projection.short_term}.items():
        if projection.crosses and value:
            raise UsageError(f"{name}.{field}: {value}; one that crosses has a single weight")
    if not 0 < projection.contacts < math.inf:
        raise UsageError(f"{name}.contacts: {projection.contacts}; finite, above zero")
    mean = values.typical(projection.delay)
    if not dt * (1 - 1e-6) <= mean < math.inf:
        raise UsageError(f"{name}.delay: {mean} ms; at least one step of {dt} ms")
    if mean > LONGEST_MS:
        raise UsageError(f"{name}.delay: {mean:g} ms; at most {LONGEST_MS:g} ms")


@dataclass(frozen=True)
class Bundle:
    """Projections that share a list of events because they have the same source and delay."""

    source: str
    delay: int
    """in steps"""
    projections: tuple[Projection, ...]


def bundles(spec: Spec) -> tuple[Bundle, ...]:
    """Group the projections of a circuit by source and delay, in their order of appearance.

    No two projections of a bundle end on the same receptor of the same population.
    """
    groups: list[tuple[str, int, list[Projection]]] = []
    for projection in spec.projections:
        delay = steps_of(projection, spec.dt)
        end = projection.target, projection.receptor
        for source, steps, members in groups:
            free = end not in {(member.target, member.receptor) for member in members}
            if (source, steps) == (projection.source, delay) and free:
                members.append(projection)
                break
        else:
            groups.append((projection.source, delay, [projection]))
    return tuple(Bundle(source, delay, tuple(members)) for source, delay, members in groups)
