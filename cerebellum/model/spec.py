"""The description of a circuit before it is built: static, hashable and without arrays."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, fields, replace
from typing import Any, Literal, get_args

import jax
import numpy as np
from jax import Array

from cerebellum.documented import documented
from cerebellum.errors import UsageError, nearest
from cerebellum.model import connect, gap_junctions, registry, values
from cerebellum.model.connect import Connect, Ends
from cerebellum.model.delays import on_grid, steps_of
from cerebellum.model.edges import LONGEST_MS
from cerebellum.model.gap_junctions import Coupled, GapJunctions
from cerebellum.model.homeostasis import Scaling, Threshold
from cerebellum.model.neurons import CIRCUIT_MODELS, threshold
from cerebellum.model.plasticity import RULES
from cerebellum.model.plasticity.protocol import Rule
from cerebellum.model.short_term import ShortTerm
from cerebellum.model.surrogate import Surrogate
from cerebellum.model.values import Distribution

Dtype = Literal["float32", "uint16"]
DTYPES = get_args(Dtype)


def _plain(record: Any) -> None:
    """Turn the NumPy numbers in the fields of a record into numbers of Python, which are hashable
    and can be stored."""
    for field, value in vars(record).items():
        if isinstance(value, (np.integer, np.floating)):
            object.__setattr__(record, field, value.item())


@documented
@dataclass(frozen=True)
class Population:
    """A number of cells of one neuron model."""

    name: str
    size: int
    """number of cells"""
    model: str = ""
    """a name in neurons.CIRCUIT_MODELS; by default the model whose Params `params` are"""
    params: Any = None
    """The Params of that model, or a dictionary of those that differ from the default values. Each
    is one number for all cells, a list or an array of one number a cell, or a distribution
    (`Normal`, `LogNormal`, `Uniform`), from which `build` draws one a cell."""
    _: KW_ONLY
    homeostasis: Threshold | None = None
    """how the thresholds of its cells follow their firing rates"""
    gap_junctions: GapJunctions | None = None
    """electrical synapses among its cells"""

    def __post_init__(self):
        _plain(self)
        if not self.model:
            object.__setattr__(self, "model", _model_of(self))
        if self.model in CIRCUIT_MODELS and isinstance(self.params, Mapping | None):
            object.__setattr__(self, "params", _params_of(self))
        object.__setattr__(self, "params", values.in_fields(self.params, f"{self.name}.params"))

    @property
    def typical(self) -> Any:
        """The Params with one plain number in each field: the mean where cells differ."""
        return values.typical_fields(self.params)


def _params_of(population: Population) -> Any:
    """The Params of a population's model, with the values of a dictionary."""
    kind, given = CIRCUIT_MODELS[population.model].Params, population.params or {}
    known = [field.name for field in fields(kind)]
    for name in given:
        if name not in known:
            where = f"{population.name}.params"
            raise UsageError(f"{where} {name!r}: unknown; {nearest(name, known, population.model)}")
    return kind(**given)


def _model_of(population: Population) -> str:
    """The name of the model whose Params a population has."""
    kind = type(population.params)
    names = [name for name, model in CIRCUIT_MODELS.items() if kind is model.Params]
    if len(names) == 1:
        return names[0]
    shown = kind.__name__ if population.params is not None else "not given"
    if names:
        raise UsageError(
            f"{population.name}.model: not given; one of {', '.join(names)}, which share {shown}"
        )
    raise UsageError(
        f"{population.name}.params: {shown}; the Params of a model, or the name of one as model: "
        f"{', '.join(CIRCUIT_MODELS)}"
    )


@documented
@dataclass(frozen=True)
class Projection:
    """The synapses from one population onto one receptor of another."""

    source: str
    target: str
    receptor: str
    """a receptor of the target's model: "exc" or "inh"; "spikes" for a relay"""
    _: KW_ONLY
    weight: float | Distribution
    """Weight of one contact in nS (mV for "current" cells), positive; the receptor determines the
    sign. A distribution gives each synapse a weight of its own."""
    delay: float | Distribution
    """Conduction delay in ms, a whole number of steps, at least one. A distribution gives each
    synapse a delay of its own, rounded to steps. A rule of learning then sees a presynaptic spike
    after the mean delay, at all synapses of a cell."""
    in_degree: float = 0.0
    """mean number of source cells per target cell; with `connect` it follows from that"""
    connect: Connect | None = None
    """the rule that draws the connections (see `model.connect`); None draws `in_degree` sources of
    each target, all different"""
    contacts: float = 1.0
    """Mean number of contacts of a connected pair; its one synapse has that many times `weight`.
    Edges that the caller provides (see `anatomy.build`) have their own numbers of contacts."""
    sites: int | None = None
    """If a target has this many sites, each occupied or free independently of the others, its
    in-degree is binomial. Otherwise every target has the mean in-degree, rounded up or down."""
    degree_sd: float = 0.0
    """Standard deviation of the in-degree, which is normal about its mean and is limited to the
    range from zero to all source cells."""
    plastic: bool | None = None
    """whether the state holds its weights, one per synapse; by default if it has `rule` or
    `scaling`"""
    spread: float = 0.0
    """initial weights are uniform in weight (1 - spread) to weight (1 + spread)"""
    w_max: float | None = None
    """upper bound of plastic weights, in the unit of `weight`; float32 weights need none"""
    dtype: Dtype = "float32"
    """data type of plastic weights; "uint16" is fixed point in units of w_max / 65,535"""
    rule: Rule | None = None
    """how its weights learn"""
    scaling: Scaling | None = None
    """how a target cell scales all its weights"""
    short_term: ShortTerm | None = None
    """how its terminals depress and facilitate; for float32 weights only"""
    crosses: bool = False
    """Whether the sources of a target lie in all beams, not only in the target's beam. Either all
    projections of a source population cross beams or none does. A projection that crosses has a
    single weight."""
    label: str = ""
    """distinguishes two projections between the same populations"""

    def __post_init__(self):
        _plain(self)
        if self.plastic is None:
            learns = self.rule is not None or self.scaling is not None
            object.__setattr__(self, "plastic", learns)

    @property
    def mean_weight(self) -> float:
        """The mean weight of a contact."""
        return values.typical(self.weight)

    @property
    def individual(self) -> bool:
        """Whether its synapses have weights of their own, not a single one."""
        return bool(self.plastic) or self.spread > 0 or isinstance(self.weight, Distribution)

    @property
    def listed(self) -> bool:
        """Whether its connections are kept as lists on every path."""
        drawn = isinstance(self.weight, Distribution) or isinstance(self.delay, Distribution)
        return drawn or self.connect is not None

    @property
    def name(self) -> str:
        """`source_target`, or `source_label_target` if there is a label."""
        return "_".join(part for part in (self.source, self.label, self.target) if part)


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
        _plain(self)
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
        _check_population(population, spec.dt)
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
        _check_weights(projection, spec)
    for projection in spec.projections:
        if isinstance(projection.delay, Distribution):
            continue
        nearest = on_grid(projection.delay, spec.dt)
        if nearest != projection.delay:
            raise UsageError(
                f"{projection.name}.delay: {projection.delay} ms; a multiple of the step of "
                f"{spec.dt} ms, such as {nearest:g}"
            )


def _check_population(population: Population, dt: float) -> None:
    name = population.name
    if not isinstance(name, str) or not name.isidentifier():
        raise UsageError(f"population {name!r}: a name is letters, digits and underscores")
    if type(population.size) is not int or population.size < 1:
        raise UsageError(f"{name}.size: {population.size!r}; at least 1 cell, a whole number")
    if not isinstance(population.model, str) or population.model not in CIRCUIT_MODELS:
        known = ", ".join(CIRCUIT_MODELS)
        raise UsageError(f"{name}.model: {population.model!r}; one of {known}")
    if not isinstance(population.params, CIRCUIT_MODELS[population.model].Params):
        raise UsageError(f"{name}.params: not the Params of {population.model}")
    problem = registry.problem("neuron", population.model)
    if problem is not None:
        raise UsageError(f"{name}.model: {population.model!r}: {problem}")
    _check_params(population)
    if population.gap_junctions is not None:
        gap_junctions.check(name, population.size, population.gap_junctions)
        if CIRCUIT_MODELS[population.model].TAKES_SPIKES:
            raise UsageError(f"{name}.gap_junctions: given; {population.model} has no membrane")
    if population.homeostasis is not None:
        if not hasattr(population.params, "v_th"):
            raise UsageError(f"{name}.homeostasis: given; {population.model} has no threshold")
        _check_homeostasis(f"{name}.homeostasis", population.homeostasis, Threshold)
    t_ref = getattr(population.params, "t_ref", 0.0)
    most = threshold.counter(CIRCUIT_MODELS[population.model], population.params, dt)[1]
    longest = values.typical(t_ref) if isinstance(t_ref, Distribution) else values.largest(t_ref)
    if longest / dt > most:
        raise UsageError(f"{name}.t_ref: {longest} ms is over {most} steps of {dt} ms")


def _check_params(population: Population) -> None:
    """Check that parameters are numbers, one a cell where there are many, and in their range.

    The names of time constants and capacitances say what these can be.
    """
    name, size = population.name, population.size
    for field in dataclasses.fields(population.params):
        if getattr(population.params, field.name) is None and field.default is not None:
            raise UsageError(f"{name}.params.{field.name}: None; a number")
    for field, value in values.fields(population.params).items():
        where = f"{name}.params.{field}"
        if isinstance(value, values.PerCell):
            if len(value) != size:
                raise UsageError(f"{where}: {len(value)} values; {size}, one a cell")
        elif not isinstance(value, Distribution) and (
            not isinstance(value, (int, float)) or not math.isfinite(value)
        ):
            raise UsageError(
                f"{where}: {value!r}; a finite number, a list or array of one a cell, or a "
                "distribution such as cb.Normal(mean, sd)"
            )
        drawn = isinstance(value, Distribution)
        # What a distribution draws is checked when it is drawn.
        least = values.typical(value) if drawn else values.least(value)
        if (field.startswith("tau") or field == "c_m") and not least > 0:
            raise UsageError(f"{where}: {least:g}; above zero")
        if field == "t_ref" and least < 0:
            raise UsageError(f"{where}: {least:g} ms; zero or more")
    _check_reset(name, population.params)


def _check_reset(name: str, params: Any) -> None:
    """Raise UsageError if cells would fire again at once, at the voltage of their reset."""
    if not all(hasattr(params, field) for field in ("v_reset", "v_th")):
        return
    reset, threshold = (
        np.asarray(values.typical(value) if isinstance(value, Distribution) else value)
        for value in (params.v_reset, params.v_th)
    )
    reset, threshold = np.broadcast_arrays(reset, threshold)
    wrong = np.flatnonzero(reset >= threshold)
    if wrong.size:
        below, above = reset.flat[wrong[0]], threshold.flat[wrong[0]]
        raise UsageError(f"{name}.params.v_reset: {below:g}; below v_th, which is {above:g}")


def _check_homeostasis(where: str, rule: Any, kind: type) -> None:
    if not isinstance(rule, kind):
        raise UsageError(f"{where}: {type(rule).__name__}; a {kind.__name__}")
    for key, value in vars(rule).items():
        if not isinstance(value, (int, float)):
            raise UsageError(f"{where}.{key}: {value!r}; a number")
    if not 0 <= getattr(rule, "gain", 0.0) < math.inf:
        raise UsageError(f"{where}.gain: {rule.gain}; finite, zero or more")
    for key in ("target", "tau", "tau_rate"):
        if not 0 < getattr(rule, key, 1.0) < math.inf:
            raise UsageError(f"{where}.{key}: {getattr(rule, key)}; above zero")
    neutral = 1.0 if isinstance(rule, Scaling) else 0.0
    low, high = rule.lowest, rule.highest
    if not -math.inf < low <= neutral <= high < math.inf or (neutral and low <= 0):
        raise UsageError(f"{where}: from {low} to {high}; around {neutral:g}")


def _check_projection(projection: Projection, spec: Spec) -> None:
    name, dt = projection.name, spec.dt
    for field in ("weight", "delay", "in_degree", "degree_sd", "contacts", "spread"):
        value = getattr(projection, field)
        if isinstance(value, Distribution) and field in ("weight", "delay"):
            continue
        if not values.is_number(value):
            raise UsageError(
                f"{name}.{field}: {value!r}; one number for all synapses (numbers of each go into "
                "cb.Edges)"
                if field in ("weight", "delay")
                else f"{name}.{field}: {value!r}; one number for all synapses"
            )
    for field in ("plastic", "crosses"):
        if not isinstance(getattr(projection, field), bool):
            raise UsageError(f"{name}.{field}: {getattr(projection, field)!r}; True or False")
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
    _check_distributions(projection, dt)
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


def _check_distributions(projection: Projection, dt: float) -> None:
    """Raise UsageError if the distributions of a projection do not fit it."""
    name = projection.name
    drawn = [f for f in ("weight", "delay") if isinstance(getattr(projection, f), Distribution)]
    for field in drawn:
        if projection.crosses or projection.dtype != "float32" or projection.spread:
            raise UsageError(
                f"{name}.{field}: a distribution; for float32 weights without spread that do not "
                "cross beams"
            )
    if isinstance(projection.weight, Distribution) and projection.weight.bounds[0] < 0:
        raise UsageError(
            f"{name}.weight: {projection.weight}; low=0 or more, the receptor has the sign"
        )


def _check_weights(projection: Projection, spec: Spec) -> None:
    name, rule = projection.name, projection.rule
    if not 0 <= projection.spread <= 1:
        raise UsageError(f"{name}.spread: {projection.spread}; between 0 and 1")
    if projection.dtype not in DTYPES:
        raise UsageError(f"{name}.dtype: {projection.dtype!r}; one of {', '.join(DTYPES)}")
    if projection.dtype == "uint16" and not projection.plastic:
        raise UsageError(f"{name}.dtype: 'uint16'; weights that are not plastic are one float")
    w_max = projection.w_max
    if w_max is not None and not values.is_number(w_max):
        raise UsageError(f"{name}.w_max: {w_max!r}; a number, or None")
    if w_max is None and projection.dtype == "uint16":
        raise UsageError(f"{name}.w_max: missing; uint16 weights need one")
    largest = projection.mean_weight * projection.contacts * (1 + projection.spread)
    if w_max is not None and not (largest <= w_max < math.inf and w_max > 0):
        raise UsageError(f"{name}.w_max: {w_max}; at least the largest first weight, {largest}")
    if projection.scaling is not None:
        if not projection.plastic:
            raise UsageError(f"{name}.scaling: given; its weights must be plastic")
        _check_homeostasis(f"{name}.scaling", projection.scaling, Scaling)
    if projection.short_term is not None:
        _check_short_term(f"{name}.short_term", projection, spec)
    if rule is None:
        return
    if not projection.plastic:
        raise UsageError(f"{name}.rule: given; its weights must be plastic")
    if isinstance(rule, type):
        raise UsageError(f"{name}.rule: the class {rule.__name__}; an object, {rule.__name__}(...)")
    if type(rule) not in RULES.values():
        kind = type(rule).__name__
        raise UsageError(f'{name}.rule: {kind}; cb.register("rule", NAME, {kind}) first')
    known = [projection.target]
    known += [p.name for p in spec.projections if p.target == projection.target]
    if not isinstance(rule.teachers, tuple):
        raise UsageError(f"{name}.rule.teachers: {rule.teachers!r}; a tuple of names")
    for teacher in rule.teachers:
        if teacher not in known:
            raise UsageError(f"{name}.rule.teacher: {teacher!r}; one of {', '.join(known)}")
    problem = rule.problem(projection)
    if problem is not None:
        raise UsageError(f"{name}.rule.{problem}")


def _check_short_term(where: str, projection: Projection, spec: Spec) -> None:
    rule = projection.short_term
    if not isinstance(rule, ShortTerm):
        raise UsageError(f"{where}: {type(rule).__name__}; a ShortTerm(utilisation=...), or None")
    if projection.dtype != "float32":
        raise UsageError(f"{where}: given; for float32 weights only ({projection.dtype})")
    problem = rule.problem(spec.population(projection.source).size, spec.beams)
    if problem is not None:
        raise UsageError(f"{where}.{problem}")


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
