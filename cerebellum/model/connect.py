"""Rules of connection: which cells of a source population contact which cells of a target.

    cb.Projection(source="e", target="i", receptor="exc", weight=1.0, delay=1.0,
                  connect=cb.connect.FixedInDegree(100))

A rule is a frozen dataclass of plain numbers with the methods of `Connect`; one that a user writes
works like these, and goes into a checkpoint if it is registered. Rules draw from a counter-based
stream of their own, so that each projection can be built alone.
"""

from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

import numpy as np

from cerebellum.errors import UsageError, is_number, is_whole
from cerebellum.model import registry
from cerebellum.model.sampling import draw_sources

Pairs = tuple[np.ndarray, np.ndarray]
"""source cells and target cells, int64 [synapses] each"""


@dataclass(frozen=True, kw_only=True)
class Ends:
    """The two populations that a rule connects."""

    sources: int
    """number of source cells"""
    targets: int
    """number of target cells"""
    same: bool
    """whether they are one population"""
    source_um: np.ndarray | None = None
    """positions of the source cells, um [sources, 3]; None where none are given"""
    target_um: np.ndarray | None = None
    """positions of the target cells, um [targets, 3]"""


class Connect(Protocol):
    """A rule of connection."""

    def mean_in_degree(self, ends: Ends) -> float:
        """The expected number of synapses of a target cell, from the sizes alone."""
        ...

    def problem(self, ends: Ends) -> str | None:
        """Why the rule cannot connect populations of these sizes, or None."""
        ...

    def pairs(self, ends: Ends, rng: np.random.Generator) -> Pairs:
        """Draw the source and the target of each synapse."""
        ...


@dataclass(frozen=True)
class FixedInDegree:
    """Every target cell has the same number of synapses, from sources drawn at random.

    Attributes:
      number: synapses of each target cell.
      multapses: whether a pair of cells may have several.
      autapses: whether a cell may contact itself, in one population.
    """

    number: int
    multapses: bool = False
    autapses: bool = False

    def mean_in_degree(self, ends: Ends) -> float:
        return self.number

    def problem(self, ends: Ends) -> str | None:
        return _fixed_problem(self, ends.sources, ends)

    def pairs(self, ends: Ends, rng: np.random.Generator) -> Pairs:
        source = _partners(self, ends.targets, ends.sources, ends, rng)
        return source, np.repeat(np.arange(ends.targets), self.number)


@dataclass(frozen=True)
class FixedOutDegree:
    """Every source cell has the same number of synapses, onto targets drawn at random.

    Attributes:
      number: synapses of each source cell.
      multapses, autapses: as in `FixedInDegree`.
    """

    number: int
    multapses: bool = False
    autapses: bool = False

    def mean_in_degree(self, ends: Ends) -> float:
        return self.number * ends.sources / ends.targets

    def problem(self, ends: Ends) -> str | None:
        return _fixed_problem(self, ends.targets, ends)

    def pairs(self, ends: Ends, rng: np.random.Generator) -> Pairs:
        target = _partners(self, ends.sources, ends.targets, ends, rng)
        return np.repeat(np.arange(ends.sources), self.number), target


@dataclass(frozen=True)
class FixedTotal:
    """A number of synapses in all, each between a source and a target drawn at random.

    A pair may have several synapses, and a cell may contact itself (the rule of Potjans & Diesmann
    2014; `fixed_total_number` in NEST).

    Attributes:
      number: synapses of the projection.
    """

    number: int

    def mean_in_degree(self, ends: Ends) -> float:
        return self.number / ends.targets

    def problem(self, ends: Ends) -> str | None:
        if not is_whole(self.number) or self.number < 0:
            return f"number {self.number!r}; a whole number of synapses, zero or more"
        return None

    def pairs(self, ends: Ends, rng: np.random.Generator) -> Pairs:
        source = rng.integers(0, ends.sources, self.number, np.uint32)
        # In the order of targets, so that no sort is needed.
        shares = np.full(ends.targets, 1 / ends.targets)
        target = np.repeat(np.arange(ends.targets), rng.multinomial(self.number, shares))
        return source.astype(np.int64), target


@dataclass(frozen=True)
class Probability:
    """Every pair of cells is connected with the same probability, by one synapse.

    Attributes:
      p: the probability, 0 to 1.
      autapses: whether a cell may contact itself, in one population.
    """

    p: float
    autapses: bool = False

    def mean_in_degree(self, ends: Ends) -> float:
        return self.p * (ends.sources - (ends.same and not self.autapses))

    def problem(self, ends: Ends) -> str | None:
        if not is_number(self.p) or not 0 <= self.p <= 1:
            return f"p {self.p!r}; a probability, from 0 to 1"
        return None

    def pairs(self, ends: Ends, rng: np.random.Generator) -> Pairs:
        others = ends.sources - (ends.same and not self.autapses)
        degrees = rng.binomial(others, self.p, ends.targets)
        target = np.repeat(np.arange(ends.targets), degrees)
        source = _different(degrees, others, rng)
        return _without_self(source, target, others < ends.sources), target


@dataclass(frozen=True)
class OneToOne:
    """Source cell k contacts target cell k; the populations are of one size."""

    def mean_in_degree(self, ends: Ends) -> float:
        return 1.0

    def problem(self, ends: Ends) -> str | None:
        if ends.sources != ends.targets:
            return f"one to one from {ends.sources} cells to {ends.targets}; as many"
        return None

    def pairs(self, ends: Ends, rng: np.random.Generator) -> Pairs:
        return np.arange(ends.sources), np.arange(ends.targets)


@dataclass(frozen=True)
class AllToAll:
    """Every source cell contacts every target cell.

    Attributes:
      autapses: whether a cell contacts itself, in one population.
    """

    autapses: bool = False

    def mean_in_degree(self, ends: Ends) -> float:
        return ends.sources - (ends.same and not self.autapses)

    def problem(self, ends: Ends) -> str | None:
        return None

    def pairs(self, ends: Ends, rng: np.random.Generator) -> Pairs:
        source, target = np.divmod(np.arange(ends.sources * ends.targets), ends.targets)
        if ends.same and not self.autapses:
            other = source != target
            source, target = source[other], target[other]
        return source, target


Kernel = Literal["gaussian", "exponential", "ellipsoid"]


@dataclass(frozen=True)
class Distance:
    """Each pair is connected with a probability that depends on the distance of the two cells.

    With u the distance in units of the scale, along each axis (u^2 = sum of (d_i / scale_i)^2):

        gaussian      p exp(-u^2 / 2)
        exponential   p exp(-u)
        ellipsoid     p where u <= 1, else 0

    It needs the positions of both populations: `cb.build(..., positions={name: um [cells, 3]})`.

    Attributes:
      kernel: "gaussian", "exponential" or "ellipsoid".
      scale_um: sigma, length constant or radius, um: one number, or one along each axis.
      p: the probability at distance zero, 0 to 1.
      autapses: whether a cell may contact itself, in one population.
    """

    kernel: Kernel
    scale_um: float | tuple[float, float, float]
    p: float = 1.0
    autapses: bool = False

    def mean_in_degree(self, ends: Ends) -> float:
        # The true one depends on the positions, which a spec does not have; this is its bound.
        return self.p * (ends.sources - (ends.same and not self.autapses))

    def problem(self, ends: Ends) -> str | None:
        if self.kernel not in get_args(Kernel):
            return f"kernel {self.kernel!r}; one of {', '.join(get_args(Kernel))}"
        scales = self.scale_um if isinstance(self.scale_um, tuple) else (self.scale_um,)
        if len(scales) not in (1, 3) or not all(is_number(s) and 0 < s < np.inf for s in scales):
            return f"scale_um {self.scale_um!r}; um above zero, one or three of them"
        if not is_number(self.p) or not 0 <= self.p <= 1:
            return f"p {self.p!r}; a probability, from 0 to 1"
        return None

    def pairs(self, ends: Ends, rng: np.random.Generator) -> Pairs:
        if ends.source_um is None or ends.target_um is None:
            raise UsageError(
                "connect: by distance, without positions of both populations; "
                "cb.build(..., positions={name: um [cells, 3]})"
            )
        scale = np.asarray(self.scale_um, np.float64)
        block, found = max(1, 4_000_000 // max(1, ends.sources)), []
        for start in range(0, ends.targets, block):
            here = ends.target_um[start : start + block, None]
            squared = np.sum(((here - ends.source_um[None]) / scale) ** 2, axis=-1)
            chance = self.p * _falloff(self.kernel, squared)
            target, source = np.nonzero(rng.random(chance.shape, np.float32) < chance)
            found.append((source, target + start))
        source, target = (np.concatenate(ends) for ends in zip(*found, strict=True))
        if ends.same and not self.autapses:
            source, target = source[source != target], target[source != target]
        return source, target


def _falloff(kernel: str, squared: np.ndarray) -> np.ndarray:
    """The share of the largest probability, by the squared distance in units of the scale."""
    if kernel == "gaussian":
        return np.exp(-squared / 2)
    if kernel == "exponential":
        return np.exp(-np.sqrt(squared))
    return (squared <= 1).astype(np.float64)


def _fixed_problem(rule: FixedInDegree | FixedOutDegree, partners: int, ends: Ends) -> str | None:
    """Why a rule with a fixed degree cannot work with so many partners, or None."""
    if not is_whole(rule.number) or rule.number < 0:
        return f"number {rule.number!r}; a whole number of synapses, zero or more"
    most = partners - (ends.same and not rule.autapses)
    if rule.number > (most if not rule.multapses else rule.number * (most > 0)):
        return f"number {rule.number}; at most {most} other cells, or multapses=True"
    return None


def _partners(
    rule: FixedInDegree | FixedOutDegree,
    cells: int,
    partners: int,
    ends: Ends,
    rng: np.random.Generator,
) -> np.ndarray:
    """The partners of each cell in turn, int64 [cells number]."""
    itself = ends.same and not rule.autapses
    others = partners - itself
    if rule.multapses:
        drawn = rng.integers(0, max(1, others), cells * rule.number)
    else:
        drawn = _different(np.full(cells, rule.number), others, rng)
    return _without_self(drawn, np.repeat(np.arange(cells), rule.number), itself)


def _without_self(partner: np.ndarray, cell: np.ndarray, itself: bool) -> np.ndarray:
    """Partners numbered among the other cells, as numbers among all cells."""
    return partner + (partner >= cell) if itself else partner


def _different(degrees: np.ndarray, others: int, rng: np.random.Generator) -> np.ndarray:
    """For each cell as many different numbers below `others` as its degree, in one array."""
    table = draw_sources(degrees, others, rng)
    return table[np.arange(table.shape[1]) < degrees[:, None]].astype(np.int64)


NAMES = ("mean_in_degree", "problem", "pairs")
"""The methods that a rule of connection must have."""

OWN = (FixedInDegree, FixedOutDegree, FixedTotal, Probability, OneToOne, AllToAll, Distance)
"""The rules of the package."""

RULES: dict[str, type] = {rule.__name__: rule for rule in OWN}
"""Classes of rules by name; `cerebellum.register("connection", name, class)` adds one."""


def wrong(thing: Any) -> str | None:
    """What a class lacks to be a rule of connection, or None."""
    return registry.no_record(thing) or registry.lacking(
        thing, NAMES, "what connect.Connect asks for"
    )


registry.table("connection", RULES, wrong)
