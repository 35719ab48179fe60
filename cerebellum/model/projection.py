"""The description of a projection: its synapses, and how they learn."""

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Literal, get_args

from cerebellum.documented import documented
from cerebellum.errors import UsageError
from cerebellum.model import values
from cerebellum.model.connect import Connect
from cerebellum.model.homeostasis import Scaling
from cerebellum.model.plasticity import RULES
from cerebellum.model.plasticity.protocol import Rule
from cerebellum.model.population import check_homeostasis
from cerebellum.model.short_term import ShortTerm
from cerebellum.model.values import Distribution

Dtype = Literal["float32", "uint16"]
DTYPES = get_args(Dtype)


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
        values.plain(self)
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


def check_numbers(projection: Projection) -> None:
    """Raise UsageError if a field of a projection is not a number, or not True or False."""
    name = projection.name
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


def check_distributions(projection: Projection) -> None:
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


def check_weights(projection: Projection) -> None:
    """Raise UsageError if the weights of a projection are impossible."""
    name = projection.name
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
        check_homeostasis(f"{name}.scaling", projection.scaling, Scaling)


def check_rule(projection: Projection, teachers: Sequence[str]) -> None:
    """Raise UsageError if a projection cannot learn by its rule.

    Args:
      teachers: names of what may teach it.
    """
    name, rule = projection.name, projection.rule
    if rule is None:
        return
    if not projection.plastic:
        raise UsageError(f"{name}.rule: given; its weights must be plastic")
    if isinstance(rule, type):
        raise UsageError(f"{name}.rule: the class {rule.__name__}; an object, {rule.__name__}(...)")
    if type(rule) not in RULES.values():
        kind = type(rule).__name__
        raise UsageError(f'{name}.rule: {kind}; cb.register("rule", NAME, {kind}) first')
    if not isinstance(rule.teachers, tuple):
        raise UsageError(f"{name}.rule.teachers: {rule.teachers!r}; a tuple of names")
    for teacher in rule.teachers:
        if teacher not in teachers:
            raise UsageError(f"{name}.rule.teacher: {teacher!r}; one of {', '.join(teachers)}")
    problem = rule.problem(projection)
    if problem is not None:
        raise UsageError(f"{name}.rule.{problem}")


def check_short_term(projection: Projection, sources: int, beams: int) -> None:
    """Raise UsageError if the terminals of a projection cannot depress and facilitate by its rule.

    Args:
      sources: number of cells of its source population.
      beams: those of its circuit.
    """
    rule, where = projection.short_term, f"{projection.name}.short_term"
    if rule is None:
        return
    if not isinstance(rule, ShortTerm):
        raise UsageError(f"{where}: {type(rule).__name__}; a ShortTerm(utilisation=...), or None")
    if projection.dtype != "float32":
        raise UsageError(f"{where}: given; for float32 weights only ({projection.dtype})")
    problem = rule.problem(sources, beams)
    if problem is not None:
        raise UsageError(f"{where}.{problem}")
