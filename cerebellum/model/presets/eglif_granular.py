"""Mechanisms that make the granular layer of Model B represent time; each is an option of its own.

The published circuit has none of them: the granule cells that fire hardly change during a tone.
"""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from jax import Array

from cerebellum.documented import documented
from cerebellum.errors import UsageError, is_number, is_whole
from cerebellum.model.edges import Edges
from cerebellum.model.neurons.eglif import Params
from cerebellum.model.population import Population
from cerebellum.model.presets.eglif_space import DEPTH, EXTENT, rosettes
from cerebellum.model.projection import Projection
from cerebellum.model.short_term import ShortTerm, mean_factor
from cerebellum.model.streams import stream
from cerebellum.model.values import PerCell

REST_HZ = 4.0
"""Rate of mossy fibres at rest, for which synapses of brush cells are scaled."""

_BRUSH = Params(
    c_m=16.5,
    tau_m=13.2,
    e_l=-66.7,
    t_ref=1.67,
    v_reset=-76.7,
    v_th=-55.8,
    k_adap=1.17,
    k_1=0.14,
    k_2=0.76,
    a_1=1e-4,
    a_2=1e-4,
    i_e=1.0,
    lambda_0=1.0,
    tau_v=0.5,
    e_rev=(0.0, -80.0),
    tau_syn=(0.2, 2.0),
)
"""The unipolar brush cell of cerebellar-models 0.7 (`ubc_nest.yaml`). Its synapse of 0.2 ms is
replaced."""

FAST_MS = 13.61
"""Time constant of the fast inhibition of granule cells, ms (`basal_vitro.yaml`)."""

RHEOBASE = 2.2
"""Steady current above which that cell fires, pA; it fires some 3.4 Hz more for each pA beyond
[computed]."""

DRIVING_MV = 60.0
"""Mean driving force of excitation in that cell, mV [computed]."""


@documented
@dataclass(frozen=True, kw_only=True)
class BrushCells:
    """Unipolar brush cells between some mossy fibres and their glomeruli.

    Each receives one mossy fibre by an alpha synapse with a slow time constant of its own, as the
    responses of these cells to the same burst form a continuum (Guo et al. 2021; van Dorp & De
    Zeeuw 2014). ON cells are silent at rest and excited; OFF cells fire by themselves and are
    inhibited (mGluR2). Their axons end on glomeruli which no mossy fibre of the circuit reaches;
    the number of glomeruli is that of the circuit without them.
    """

    cells: int = 390
    """number of brush cells; cerebellar-models has 608 and adds glomeruli for them"""
    glomeruli: float = 0.7
    """share of the glomeruli that they drive; chosen"""
    off: float = 1 / 3
    """Share of OFF cells; chosen. They fire 10 to 12 Hz at rest and ON cells hardly, so that with a
    third the mean rate of glomeruli is about that of the mossy fibres."""
    tau_ms: tuple[float, float] = (30.0, 500.0)
    """time constants of their synapses, which are uniform in the logarithm; responses last several
    times as long"""
    on_current: float = -12.0
    """Constant current of ON cells, pA; chosen. With 1 pA, as published, they are near threshold,
    and a synapse that hardly fires them at rest lets them fire only a few Hz in a tone."""
    utilisation: float = 0.15
    """Share of its resources that a synapse onto a brush cell uses for a spike. Their strong
    depression (Rossi et al. 1995, J Neurosci 15:5382) makes the response to the onset of a train
    large, and lets it end while the train goes on."""
    recovery_ms: float = 1000.0
    """recovery of those resources; chosen"""
    margin: float = 2.0
    """An ON cell fires when its conductance is this number of standard deviations above its mean at
    rest. It decides how rarely ON cells fire at rest."""
    off_current: float = 4.5
    """constant current of OFF cells, pA; 13 Hz without input"""
    off_conductance: float = 0.03
    """mean inhibitory conductance of OFF cells at rest, nS; they pause at about 0.1"""

    def __post_init__(self):
        if not is_whole(self.cells) or self.cells < 1:
            raise UsageError(f"brush_cells.cells: {self.cells!r}; at least 1, a whole number")
        _check_share("brush_cells.glomeruli", self.glomeruli)
        _check_share("brush_cells.off", self.off)
        _check_range("brush_cells.tau_ms", self.tau_ms)

    def sizes(self) -> dict[str, int]:
        """Number of cells by population."""
        off = round(self.off * self.cells)
        return {"brush_on": self.cells - off, "brush_off": off}

    def taus(self, name: str) -> np.ndarray:
        """Synaptic time constants of the cells of a population, ms, [cells].

        They are the middles of equal shares of the distribution, the same in every circuit; which
        cell lies where and hears which fibre is drawn.
        """
        count, (low, high) = self.sizes()[name], self.tau_ms
        return low * (high / low) ** ((np.arange(count) + 0.5) / count)

    @property
    def threshold(self) -> float:
        """Steady conductance above which an ON cell fires, nS."""
        return (RHEOBASE - self.on_current) / DRIVING_MV

    @property
    def rule(self) -> ShortTerm:
        """Short-term plasticity of the mossy fibres' synapses onto brush cells."""
        return ShortTerm(utilisation=self.utilisation, tau_rec=self.recovery_ms, tau_fac=0.0)

    def weights(self, name: str) -> np.ndarray:
        """Weight of the mossy fibre of each cell of a population, nS, [cells].

        The conductance of an alpha synapse under a Poisson train of rate r has the mean r w e tau
        and the standard deviation mean / (2 sqrt(r tau)) (Campbell's theorem).
        """
        tau, rate = self.taus(name), REST_HZ * 1e-3
        scale = mean_factor(self.rule, REST_HZ) * rate * np.e * tau
        if name == "brush_off":
            return self.off_conductance / scale
        variation = 0.5 / np.sqrt(rate * tau)
        return self.threshold / (1 + self.margin * variation) / scale

    def populations(self) -> tuple[Population, ...]:
        """The populations of brush cells that have cells."""
        current = self.on_current
        on = replace(_BRUSH, i_e=current, tau_syn=(self.taus("brush_on").tolist(), 2.0))
        current = self.off_current
        off = replace(_BRUSH, i_e=current, tau_syn=(0.2, self.taus("brush_off").tolist()))
        cells = {"brush_on": on, "brush_off": off}
        return tuple(
            Population(name=name, size=size, model="eglif", params=cells[name])
            for name, size in self.sizes().items()
            if size
        )

    def projections(self, glomeruli: int) -> tuple[Projection, ...]:
        """Their projections from mossy fibres and to glomeruli.

        Args:
          glomeruli: number of all glomeruli.
        """
        projections = []
        for population in self.populations():
            name, size = population.name, population.size
            receptor = "r1" if name == "brush_on" else "r2"
            weight = float(self.weights(name).mean())
            share = self.glomeruli * size / self.cells
            projections += [
                Projection(
                    source="mossy_fiber",
                    target=name,
                    receptor=receptor,
                    weight=weight,
                    delay=2.0,
                    in_degree=1.0,
                    short_term=self.rule,
                ),
                Projection(
                    source=name,
                    target="glomerulus",
                    receptor="spikes",
                    weight=1.0,
                    delay=1.0,
                    in_degree=share,
                ),
            ]
        return tuple(projections)

    def edges(
        self, key: Array, cells: dict[str, np.ndarray], fibre: np.ndarray
    ) -> dict[str, Edges | np.ndarray]:
        """Draw the edges of brush cells, and of mossy fibres to the glomeruli that are left.

        Args:
          key: key of the circuit.
          cells: positions of the other cells, um, [cells, 3] by population.
          fibre: mossy fibre of each glomerulus in a circuit without brush cells.
        """
        rng = stream(key, "brush cells")
        count = round(self.glomeruli * fibre.size)
        driven = rng.permutation(fibre.size)[:count]
        # Every cell has as many glomeruli as the others, or one more.
        source = rng.permutation(np.arange(count) % self.cells)
        low, high = np.array([(0.0, EXTENT[0]), (0.0, EXTENT[1]), DEPTH["glomerulus"]]).T
        position = low + (high - low) * rng.random((self.cells, 3))
        heard = rosettes(cells["mossy_fiber"], position, rng)
        left = np.setdiff1d(np.arange(fibre.size), driven)
        edges: dict[str, Edges | np.ndarray] = {
            "mossy_fiber_glomerulus": _single(fibre[left], left)
        }
        first = 0
        for population in self.populations():
            name, size = population.name, population.size
            ours = (source >= first) & (source < first + size)
            edges[f"{name}_glomerulus"] = _single(source[ours] - first, driven[ours])
            pre, post = heard[first : first + size], np.arange(size)
            edges[f"mossy_fiber_{name}"] = Edges(pre, post, weight=self.weights(name))
            first += size
        return edges


def _check_share(where: str, value: float) -> None:
    if not is_number(value) or not 0 <= value <= 1:
        raise UsageError(f"{where}: {value!r}; a share, from 0 to 1")


def _check_range(where: str, value: Any, most: float = 1e9) -> None:
    pair = isinstance(value, tuple) and len(value) == 2 and all(map(is_number, value))
    if not pair or not 0 < value[0] <= value[1] <= most:
        raise UsageError(f"{where}: {value!r}; (low, high), above 0, at most {most:g}")


def _single(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Edges of one contact each, as `anatomy.build` takes them."""
    return np.stack([source, target, np.ones_like(source)], axis=1).astype(np.int64)


@documented
@dataclass(frozen=True, kw_only=True)
class DiverseTerminals:
    """Short-term plasticity of glomeruli onto granule cells that differs from glomerulus to
    glomerulus.

    Mossy fibres fall into drivers, which are strong and depress, and supporters, which are weak and
    facilitate (Chabrol et al. 2015), and their diversity alone can represent time (Barri et al.
    2022, Nat Commun 13:7902). The groups and the kind of distribution are theirs; the ranges are
    chosen, of one pool of vesicles. Weights are such that a spike counts on average as much at rest
    as one of the circuit without them, times the group's amplitude.
    """

    drivers: float = 0.8
    """share of drivers"""
    amplitude: tuple[float, float] = (1.05, 0.8)
    """amplitude of drivers and of supporters at rest; with `drivers`, their mean should be one"""
    driver_u: tuple[float, float] = (0.2, 0.9)
    """utilisation of drivers, uniform in the logarithm"""
    driver_rec_ms: tuple[float, float] = (300.0, 3000.0)
    """recovery of drivers, uniform in the logarithm; they do not facilitate"""
    supporter_u: tuple[float, float] = (0.005, 0.05)
    """utilisation of supporters, uniform in the logarithm"""
    supporter_rec_ms: tuple[float, float] = (100.0, 2000.0)
    """recovery of supporters, uniform in the logarithm"""
    supporter_fac_ms: tuple[float, float] = (200.0, 2000.0)
    """facilitation of supporters, uniform in the logarithm"""

    def __post_init__(self):
        _check_share("terminals.drivers", self.drivers)
        for name in ("driver_u", "supporter_u"):
            _check_range(f"terminals.{name}", getattr(self, name), most=1.0)
        for name in ("driver_rec_ms", "supporter_rec_ms", "supporter_fac_ms"):
            _check_range(f"terminals.{name}", getattr(self, name))

    def of_driver(self, glomeruli: int) -> np.ndarray:
        """Whether each glomerulus is a driver, bool [N]."""
        return np.arange(glomeruli) < round(self.drivers * glomeruli)

    def rule(self, glomeruli: int) -> ShortTerm:
        """The terminals, which are the same in every circuit; which fibre has which is drawn.

        Args:
          glomeruli: number of glomeruli.
        """
        rng = np.random.Generator(np.random.Philox(20220712))
        driver = self.of_driver(glomeruli)

        def logarithmic(low: float, high: float) -> np.ndarray:
            return low * (high / low) ** rng.random(glomeruli)

        u = logarithmic(*self.driver_u)
        rec = logarithmic(*self.driver_rec_ms)
        u = np.where(driver, u, logarithmic(*self.supporter_u))
        rec = np.where(driver, rec, logarithmic(*self.supporter_rec_ms))
        fac = np.where(driver, 0.0, logarithmic(*self.supporter_fac_ms))
        return ShortTerm(utilisation=PerCell(u), tau_rec=PerCell(rec), tau_fac=PerCell(fac))

    def gain(self, glomeruli: int) -> np.ndarray:
        """Factor on the weight of each glomerulus's synapses without short-term plasticity, [N]."""
        amplitude = np.where(self.of_driver(glomeruli), *self.amplitude)
        return amplitude / mean_factor(self.rule(glomeruli), REST_HZ)


@documented
@dataclass(frozen=True, kw_only=True)
class SlowGolgi:
    """Slow inhibition of granule cells by GABA that spills over from the synapses of Golgi cells.

    It has the same pairs of cells as the fast inhibition, of whose charge it takes a part over, and
    lasts some 100 ms (Rossi & Hamann 1998; Crowley, Fioravante & Regehr 2009).
    """

    tau_ms: float = 100.0
    """time constant of its alpha synapse; chosen"""
    share: float = 0.75
    """share of the charge that is slow; chosen"""
    gain: float = 1.0
    """factor on the whole charge"""

    def __post_init__(self):
        _check_share("slow_golgi.share", self.share)
        for name in ("tau_ms", "gain"):
            value = getattr(self, name)
            if not is_number(value) or not 0 < value < float("inf"):
                raise UsageError(f"slow_golgi.{name}: {value!r}; a number above zero")

    @property
    def weights(self) -> tuple[float, float]:
        """Factors on the weight of the fast inhibition, and of the slow one."""
        return self.gain * (1 - self.share), self.gain * self.share * FAST_MS / self.tau_ms


@documented
@dataclass(frozen=True, kw_only=True)
class GranularLayer:
    """The mechanisms of a circuit that make its granular layer represent time; None for none."""

    brush_cells: BrushCells | None = None
    """unipolar brush cells"""
    terminals: DiverseTerminals | None = None
    """terminals of glomeruli that depress and facilitate, each in its own way"""
    slow_golgi: SlowGolgi | None = None
    """slow inhibition by Golgi cells"""

    def __post_init__(self):
        kinds = BrushCells, DiverseTerminals, SlowGolgi
        for field, kind in zip(fields(self), kinds, strict=True):
            value = getattr(self, field.name)
            if value is not None and not isinstance(value, kind):
                raise UsageError(f"granular.{field.name}: {value!r}; {kind.__name__}(), or None")

    def populations(self, populations: tuple[Population, ...]) -> tuple[Population, ...]:
        """The populations of a circuit with these mechanisms."""
        slow, brush = self.slow_golgi, self.brush_cells
        if slow:
            populations = tuple(
                replace(each, params=_with_slow(each.params, slow.tau_ms))
                if each.name == "granule"
                else each
                for each in populations
            )
        return populations + (brush.populations() if brush else ())

    def projections(
        self, projections: tuple[Projection, ...], glomeruli: int, weight: float
    ) -> tuple[Projection, ...]:
        """The projections of a circuit with these mechanisms.

        Args:
          glomeruli: number of glomeruli.
          weight: weight of glomeruli onto granule cells without short-term plasticity, nS.
        """
        by_name = {each.name: each for each in projections}
        terminals, slow, brush = self.terminals, self.slow_golgi, self.brush_cells
        if terminals:
            base = by_name["glomerulus_granule"]
            rule, gain = terminals.rule(glomeruli), float(terminals.gain(glomeruli).mean())
            by_name[base.name] = replace(base, short_term=rule, weight=weight * gain)
        if slow:
            base = by_name["golgi_granule"]
            fast, spilled = (base.mean_weight * factor for factor in slow.weights)
            by_name[base.name] = replace(base, weight=fast)
            added = replace(base, label="spillover", receptor="r3", weight=spilled)
            by_name[added.name] = added
        return tuple(by_name.values()) + (brush.projections(glomeruli) if brush else ())

    def edges(
        self, key: Array, cells: dict[str, np.ndarray], edges: dict[str, np.ndarray], weight: float
    ) -> dict[str, Any]:
        """The edges of a circuit with these mechanisms, which have streams of their own.

        Args:
          key: key of the circuit.
          cells: positions, um, [cells, 3] by population.
          edges: edges of the circuit without them.
          weight: weight of glomeruli onto granule cells without short-term plasticity, nS.
        """
        changed: dict[str, Any] = dict(edges)
        if self.slow_golgi:
            changed["golgi_spillover_granule"] = edges["golgi_granule"]
        if self.terminals:
            glomerulus, granule, _ = edges["glomerulus_granule"].T
            gain = self.terminals.gain(len(cells["glomerulus"]))
            changed["glomerulus_granule"] = Edges(glomerulus, granule, weight * gain[glomerulus])
        if self.brush_cells:
            fibre = edges["mossy_fiber_glomerulus"][:, 0]
            changed |= self.brush_cells.edges(key, cells, fibre)
        return changed


def _with_slow(params: Params, tau_ms: float) -> Params:
    """Granule cells with a third receptor, inhibitory and slow."""
    e_rev, tau_syn = params.e_rev, params.tau_syn
    return replace(params, e_rev=(*e_rev, e_rev[1]), tau_syn=(*tau_syn, tau_ms))


TEMPORAL_BASIS = GranularLayer(
    brush_cells=BrushCells(),
    terminals=DiverseTerminals(amplitude=(3.5, 2.3)),
    slow_golgi=SlowGolgi(share=0.95, gain=4.0),
)
"""All mechanisms together. Under a steady tone the similarity of granule vectors falls faster than
with each alone. Excitation and inhibition are both stronger than alone, so that granule cells fire
at rest as they do without, but the mean of a tone is balanced and its changes count."""
