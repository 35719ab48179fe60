"""A microcircuit that can be trained: a `beams` circuit whose spikes pass gradients, and a readout.

It differs from the resting circuit where training needs it. Conduction takes one step, because the
time between ticks is not biological time. Nuclear cells receive every mossy fibre, forget within a
tick (5 ms membrane, 2 ms synapse) and are more numerous than in anatomy. They form a zone for each
choice, and their thresholds are spread so that their summed output changes in small steps. Weights
are float32. Their bounds are zero (an excitatory fibre stays excitatory) and
`Design.largest_weight` times their initial mean. The olive is not a population of this circuit:
`climbing` computes the climbing fibres.

Dimensions: L ticks, B streams or trials, S steps to a tick, M mossy fibres, N nuclear cells.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array, lax

from cerebellum.learn import decode, encode
from cerebellum.learn.decode import Readout
from cerebellum.model import anatomy, presets
from cerebellum.model import circuit as circuits
from cerebellum.model.circuit import Activity, Circuit, Params, State, Wiring
from cerebellum.model.neurons import current
from cerebellum.model.projection import Projection
from cerebellum.model.spec import Spec
from cerebellum.model.streams import stream
from cerebellum.model.surrogate import Surrogate
from cerebellum.sim import chunk
from cerebellum.sim.chunk import BatchChunk, Chunk, Coupled, Inputs
from cerebellum.sim.drive import Moment

LEARNED = (
    "mossy_fiber_granule",
    "golgi_granule",
    "granule_purkinje",
    "granule_basket",
    "granule_stellate",
    "basket_purkinje",
    "stellate_purkinje",
    "purkinje_nuclei",
    "mossy_fiber_nuclei",
)
"""Projections whose weights are learned."""
DRIVEN = ("granule", "golgi", "purkinje", "nuclei")
"""Populations whose constant current is learned, too."""

W_MAX = 10.0
"""Largest weight by default, and unit of changes by climbing fibres, in initial mean weights of a
projection."""
DRIVE_UNIT = 3.0
"""Unit in which a constant current is learned, mV."""
READOUT_UNIT = 0.02
"""Unit in which the readout is learned. A readout that moves faster than the cells it reads follows
noise instead of the cells."""

NUCLEI = {"tau_m": 5.0, "tau_exc": 2.0}
"""Time constants of nuclear cells, ms."""
RATES = {"granule": 0.025, "nuclei": 0.15}
"""Share of a population that fires in a step. `start.balance` adjusts the circuit to it."""
THRESHOLD_SPREAD = 8.0
"""Standard deviation of the constant currents of nuclear cells, mV."""


SURROGATE = Surrogate(alpha=5.0)


@dataclass(frozen=True, kw_only=True)
class Design:
    """The sizes and constants of a trainable circuit; static."""

    inputs: int
    """Number of features, or of mossy fibres where `fields` is 0."""
    choices: tuple[int, ...] = (0, 1, 2)
    """Choices that occur as labels. Each has a zone."""
    fields: int = 6
    """Receptive fields to a feature. With 0 the inputs are spikes of mossy fibres, [B, S, M]."""
    width: float = encode.WIDTH
    """Standard deviation of a receptive field, in distances between neighbouring fields."""
    code: encode.Code = "rate"
    burst: int = 8
    """Most spikes of a mossy fibre in a tick, or the steps that latencies span."""
    steps: int = 10
    """Steps to a tick."""
    dt: float = 1.0
    """Time step, ms."""
    granule: int = 300
    golgi: int = 8
    purkinje: int = 24
    nuclei: int = 192
    surrogate: Surrogate = SURROGATE
    tau: float = 4.0
    """Time constant of the filter on nuclear rates, ms."""
    refractory: float = 2.0
    """Refractory period of the nuclear cells, ms. The shorter it is, the more a cell's rate can
    differ from tick to tick."""
    inhibition: float = 0.05
    """Initial weights from Purkinje cells to nuclear cells, as a share of those of `beams`. The
    value is small because the mossy fibres alone carry most of what can be predicted."""
    memory: float = 5.0
    """Time constant of the synaptic traces to which outcomes are credited, ms."""
    linger: float = 3.0
    """Time constant of mossy-fibre currents in granule cells, ms: 3 as in `beams`, or up to the 50
    of their NMDA receptors where a tick must influence the next."""
    mossy_granule: float = 0.5
    """Initial weights from mossy fibres to granule cells, as a share of those of `beams`, whose
    mossy fibres fire less."""
    mossy_nuclei: float = 300.0
    """Sum of the initial weights from mossy fibres to a nuclear cell, mV. In a tick of a market
    about a third of the fibres fire, twice or more."""
    microzones: bool = False
    """Whether a Purkinje cell inhibits only the nuclear cells of its own zone, as in the animal
    (Apps & Garwicz 2005). This is needed where Purkinje cells must express what mossy fibres
    cannot."""
    largest_weight: float = W_MAX
    """Largest weight, in units of a projection's initial mean weight."""
    silent: int = 0
    """Number of mossy fibres that no input drives."""

    @property
    def fade(self) -> float:
        """Share of a trace that is left after a step."""
        return float(np.exp(-self.dt / self.memory))

    def zone(self, cells: int) -> np.ndarray:
        """The choice whose zone each of a population's cells belongs to, int [cells]."""
        return np.asarray(self.choices)[np.arange(cells) % len(self.choices)]

    def microzone(self, cells: int, count: int) -> np.ndarray:
        """Which of `count` microzones each of a population's cells is in, one-hot [count, cells].

        Each microzone has cells of every choice's zone.
        """
        member = np.arange(cells) // len(self.choices) % count
        return member == np.arange(count)[:, None]

    @property
    def outputs(self) -> int:
        """C: the number of choices, including those that never occur as labels."""
        return max(self.choices) + 1

    @property
    def mossy_fibers(self) -> int:
        return self.inputs * max(1, self.fields) + self.silent


@struct.dataclass(kw_only=True)
class Learner:
    """The arrays that training changes."""

    weights: dict[str, Array]
    """Weights by projection, mV, [source, target]."""
    drive: dict[str, Array]
    """Learned constant current by population, added to that of the cells, mV, [n]."""
    readout: Readout


@struct.dataclass(kw_only=True)
class Carry:
    """The state that is carried from one tick to the next."""

    state: State
    """State of B circuits."""
    rates: Array
    """Filtered nuclear rates, [B, N]."""
    traces: "Traces | None"
    """Synaptic traces; None where nothing is learned from outcomes."""


@struct.dataclass(kw_only=True)
class Traces:
    """Traces of presynaptic spikes, which decay with the design's `memory`."""

    mossy: Array
    """[..., M]"""
    granule: Array
    """[..., granule]"""


@struct.dataclass(kw_only=True)
class SpikeSummary:
    """The spikes of ticks, for display and for counters."""

    counts: dict[str, Array]
    """Spikes by population, int32 [L, B]."""
    sample: dict[str, Array]
    """Spikes of a population's first 32 cells, one bit a cell, uint32 [L, S, B]."""


@struct.dataclass(kw_only=True)
class Ends:
    """Rates and traces at the end of each tick."""

    rates: Array
    """Filtered nuclear rates, [L, B, N]."""
    traces: Traces | None
    """[L, B, ...]"""
    spikes: SpikeSummary | None
    """The spikes of each tick; None where they were not asked for."""
    nuclei: Array | None
    """The spikes of nuclear cells in each step, float32 [L, B, S, N]; None where not asked for."""


@dataclass(frozen=True)
class Net:
    """A design and the circuit that was built from it."""

    design: Design
    circuit: Circuit


def spec_of(design: Design) -> Spec:
    """The circuit's spec.

    Raises:
      UsageError: impossible sizes.
    """
    sizes = presets.Sizes(
        mossy_fiber=design.mossy_fibers,
        golgi=design.golgi,
        purkinje=design.purkinje,
        nuclei=design.nuclei,
    )
    spec = presets.beams(design.granule, beams=1, sizes=sizes, dt=design.dt, dtype="float32")
    projections = tuple(
        _projection(p, design) for p in spec.projections if "inferior_olive" not in p.name
    )
    nuclei = {**NUCLEI, "t_ref": design.refractory}
    changes = {"nuclei": nuclei, "granule": {"tau_exc": design.linger}}
    populations = tuple(
        replace(p, params=replace(p.params, **changes.get(p.name, {})))
        for p in spec.populations
        if p.name != "inferior_olive"
    )
    return replace(
        spec,
        name="trainable",
        populations=populations,
        projections=projections,
        surrogate=design.surrogate,
    )


def _projection(projection: Projection, design: Design) -> Projection:
    """A projection of `beams` as the trainable circuit has it."""
    changed = replace(
        projection,
        delay=design.dt,
        plastic=False,
        rule=None,
        w_max=None,
        spread=0.5,
    )
    if projection.name == "purkinje_nuclei":
        return replace(changed, weight=changed.mean_weight * design.inhibition)
    if projection.name == "mossy_fiber_granule":
        # A spike brings the same charge, whatever the time constant is.
        scale = design.mossy_granule * current.Params().tau_exc / design.linger
        return replace(changed, weight=changed.mean_weight * scale)
    if projection.name != "mossy_fiber_nuclei":
        return changed
    fibres = design.mossy_fibers
    return replace(changed, in_degree=fibres, weight=design.mossy_nuclei / fibres)


def build(design: Design, key: Array) -> Net:
    """Build the circuit of a design."""
    circuit = anatomy.build(spec_of(design), key, path="dense")
    return Net(design, _with_microzones(design, circuit) if design.microzones else circuit)


def _with_microzones(design: Design, circuit: Circuit) -> Circuit:
    """The circuit with each nuclear cell inhibited by its own zone only, with the same mean sum."""
    initial_weights, name = circuit.params.weights, "purkinje_nuclei"
    same_zone = design.zone(design.purkinje)[:, None] == design.zone(design.nuclei)
    total = jnp.mean(jnp.sum(initial_weights[name], axis=0))
    within_zones = jnp.asarray(same_zone / same_zone.sum(axis=0), jnp.float32) * total
    weights = {**initial_weights, name: within_zones}
    return replace(circuit, params=replace(circuit.params, weights=weights))


def begin(net: Net, key: Array) -> Learner:
    """An untrained learner, whose `readout` is not yet centred on measured rates."""
    params, spec = net.circuit.params, net.circuit.spec
    drive = {
        name: jnp.zeros(spec.population(name).size, jnp.float32)
        for name in DRIVEN
        if name != "nuclei"
    }
    spread = stream(key, "nuclei.drive").standard_normal(net.design.nuclei)
    drive["nuclei"] = jnp.asarray(THRESHOLD_SPREAD * spread, jnp.float32)
    rates = jnp.zeros((2, net.design.nuclei), jnp.float32)
    return Learner(
        weights={name: jnp.copy(params.weights[name]) for name in LEARNED},
        drive=drive,
        readout=readout(net.design, rates),
    )


def readout(design: Design, rates: Array) -> Readout:
    """A readout of zones, centred on and scaled by the given rates, [..., N]."""
    return decode.init(rates, design.zone(design.nuclei), design.outputs)


def with_learned(circuit: Circuit, learner: Learner) -> Circuit:
    """The circuit with the learner's weights and currents in its parameters."""
    params = circuit.params
    cells = dict(params.cells)
    for name, offset in learner.drive.items():
        cells[name] = replace(cells[name], drive=cells[name].drive + offset)
    weights = {**params.weights, **learner.weights}
    return replace(circuit, params=replace(params, weights=weights, cells=cells))


def units(net: Net) -> Learner:
    """The unit of a training step for each array, such as a projection's mean weight."""
    params, one = net.circuit.params, jnp.float32(1)
    readout_unit = READOUT_UNIT * one
    return Learner(
        weights={name: mean_weight(params.weights[name]) for name in LEARNED},
        drive=dict.fromkeys(DRIVEN, jnp.float32(DRIVE_UNIT)),
        readout=Readout(
            centre=0 * one,
            scale=0 * one,
            weights=readout_unit,
            bias=readout_unit,
            temperature=0 * one,
        ),
    )


def mean_weight(initial_weights: Array) -> Array:
    """Mean weight of the contacts that exist."""
    return jnp.sum(initial_weights) / jnp.maximum(1, jnp.sum(initial_weights > 0))


def bound(design: Design, initial_weights: Array) -> Array:
    """The largest weight that contacts with these initial weights may reach."""
    return design.largest_weight * mean_weight(initial_weights)


def bounded(net: Net, learner: Learner) -> Learner:
    """The learner with its weights clipped to their bounds. Missing contacts stay zero."""

    def clipped(learned: Array, initial: Array) -> Array:
        return jnp.where(initial > 0, jnp.clip(learned, 0, bound(net.design, initial)), 0)

    initial_weights = net.circuit.params.weights
    weights = {name: clipped(w, initial_weights[name]) for name, w in learner.weights.items()}
    return replace(learner, weights=weights)


def no_traces(design: Design, count: int) -> Traces:
    """The traces of `count` circuits that have received no spikes yet."""
    return Traces(
        mossy=jnp.zeros((count, design.mossy_fibers), jnp.float32),
        granule=jnp.zeros((count, design.granule), jnp.float32),
    )


def fresh(net: Net, key: Array, streams: int) -> Carry:
    """Initial states of `streams` circuits."""
    return _fresh(net.design, net.circuit, key, streams)


@partial(jax.jit, static_argnames=("design", "streams"))
def _fresh(design: Design, circuit: Circuit, key: Array, streams: int) -> Carry:
    states = jax.vmap(lambda k: circuits.init(circuit, k, spread=True))(
        jax.random.split(key, streams)
    )
    return Carry(
        state=states,
        rates=jnp.zeros((streams, design.nuclei), jnp.float32),
        traces=no_traces(design, streams),
    )


def sense(design: Design, inputs: Array) -> Array:
    """Mossy-fibre spikes of a tick, [S, B, M].

    Args:
      inputs: ranks of features in `encode.LEVELS` steps, uint8 [B, F], or spikes [B, S, M].
    """
    if not design.fields:
        return jnp.moveaxis(inputs, 1, 0).astype(jnp.float32)
    ranks = inputs.astype(jnp.float32) / encode.LEVELS
    intensity = encode.population(ranks, design.fields, design.width)
    spikes = encode.CODES[design.code](intensity, design.steps, design.burst)
    return jnp.pad(spikes, ((0, 0), (0, 0), (0, design.silent))) if design.silent else spikes


def unroll(
    design: Design,
    circuit: Circuit,
    carry: Carry,
    inputs: Array,
    segment: int = 1,
    shared: Mapping[str, Array] = MappingProxyType({}),
    watch: bool = False,
    trains: bool = False,
) -> tuple[Carry, Ends]:
    """Run L ticks. Returns the carry after them and the end of each tick.

    Args:
      inputs: inputs of every tick, [L, B, ...]; see `sense`.
      segment: number of ticks whose inner values are recomputed for the gradient instead of being
        stored; with 0 everything is stored.
      shared: constant weights of plastic projections, the same for every circuit.
      watch: whether to return a `SpikeSummary`.
      trains: whether to return the spikes of nuclear cells in each step.
    """
    # Weights that a state does not hold are those of the parameters.
    params = replace(circuit.params, weights={**circuit.params.weights, **shared})
    wiring = circuit.wiring
    listener = Listener(design=design, watch=watch, trains=trains)
    member = chunk.of(circuit, design.steps, environment=listener)
    # An event loop must not be mapped over: every circuit would run as long as the busiest one.
    batch: Chunk = (
        BatchChunk(chunk=member, batched=("mossy_fiber",))
        if wiring.path == "dense"
        else BatchOfOne(member)
    )

    def tick(carry: Carry, tick_inputs: Array):
        spikes = jnp.moveaxis(sense(design, tick_inputs), 1, 0)
        place = ListenerState(rates=carry.rates, traces=carry.traces)
        before = Coupled(state=carry.state, place=place)
        inputs = Inputs(arrays={"mossy_fiber": spikes})
        after, (summary, nuclei) = batch(params, wiring, before, inputs)
        rates, traces = after.place.rates, after.place.traces
        if summary is not None:
            # The chunk gives [B, S, ...].
            sample = jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1), summary.sample)
            counts = jax.tree.map(lambda x: x.sum(1), summary.counts)
            summary = SpikeSummary(counts=counts, sample=sample)
        return Carry(state=after.state, rates=rates, traces=traces), Ends(
            rates=rates, traces=traces, spikes=summary, nuclei=nuclei
        )

    if segment <= 1:
        return lax.scan(jax.checkpoint(tick) if segment else tick, carry, inputs)
    grouped = inputs.reshape(-1, segment, *inputs.shape[1:])
    ticks = jax.checkpoint(lambda carry, group: lax.scan(jax.checkpoint(tick), carry, group))
    carry, ends = lax.scan(ticks, carry, grouped)
    return carry, jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), ends)


@struct.dataclass(kw_only=True)
class ListenerState:
    """What `Listener` keeps of a circuit's spikes from step to step."""

    rates: Array
    """Filtered nuclear rates, [N]."""
    traces: Traces | None


@dataclass(frozen=True, kw_only=True)
class Listener:
    """The environment of a trainable circuit: it filters the spikes and drives nothing."""

    design: Design
    watch: bool
    trains: bool

    def drive(self, place: ListenerState, now: Moment) -> dict[str, Array]:
        return {}

    def react(
        self, place: ListenerState, drive: dict[str, Array], activity: Activity
    ) -> tuple[ListenerState, tuple[SpikeSummary | None, Array | None]]:
        design, fired, traces = self.design, activity.spikes, place.traces
        if traces is not None:
            traces = Traces(
                mossy=traces.mossy * design.fade + drive["mossy_fiber"],
                granule=traces.granule * design.fade + fired["granule"],
            )
        rates = decode.filtered(place.rates, fired["nuclei"], design.tau, design.dt)
        summary = _summary(activity) if self.watch else None
        nuclei = fired["nuclei"] if self.trains else None
        return ListenerState(rates=rates, traces=traces), (summary, nuclei)


def _summary(activity: Activity) -> SpikeSummary:
    """The spikes of one step, counted and sampled."""
    words = activity.words
    counts = {n: jnp.sum(lax.population_count(w), -1, jnp.int32) for n, w in words.items()}
    return SpikeSummary(counts=counts, sample={name: word[..., 0] for name, word in words.items()})


@dataclass(frozen=True)
class BatchOfOne:
    """A chunk of a batch of one, whose arrays have a leading axis of size one."""

    chunk: Chunk

    def __call__(self, params: Params, wiring: Wiring, state: Any, inputs: Inputs) -> Any:
        member_state, member_inputs = jax.tree.map(lambda x: x[0], (state, inputs))
        outputs = self.chunk(params, wiring, member_state, member_inputs)
        return jax.tree.map(lambda x: x[None], outputs)


@partial(jax.jit, static_argnums=0)
def respond(design: Design, circuit: Circuit, learner: Learner, carry: Carry, inputs: Array):
    """Run `unroll` for a learner, without a gradient."""
    return unroll(design, with_learned(circuit, learner), carry, inputs, 0)
