"""A microcircuit that is taught: a `beams` circuit whose spikes pass gradients, and its readout.

It differs from the circuit at rest in what teaching needs. Conduction takes one step, for market
time is not the body's. Nuclear cells hear every mossy fibre, forget within a tick (5 ms membrane,
2 ms synapse), and are more than anatomy has, in a zone for each choice, their thresholds spread so
that together they speak in small steps. Weights are float32, with bounds at zero (an excitatory
fibre stays excitatory) and at `W_MAX` times their first mean. The olive is not a population here:
what climbing fibres teach is in `climbing`.

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

import cerebellum as cb
from cerebellum.learn import decode, encode
from cerebellum.learn.decode import Readout
from cerebellum.model.anatomy import stream
from cerebellum.model.circuit import Activity, Circuit, Params, State, Wiring
from cerebellum.model.neurons import current
from cerebellum.model.spec import Spec
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
DRIVEN = ("granule", "golgi", "purkinje", "nuclei")
"""Populations whose constant current is learned, too."""

W_MAX = 10.0
DRIVE_UNIT = 3.0
"""mV"""
READOUT_UNIT = 0.02
"""A readout that moves faster than the cells it reads follows noise in place of them."""

NUCLEI = {"tau_m": 5.0, "tau_exc": 2.0}
RATES = {"granule": 0.025, "nuclei": 0.15}
"""Share of a population that fires in a step, to which `start.balance` brings it."""
THRESHOLD_SPREAD = 8.0
"""mV, standard deviation of nuclear constant currents"""


SURROGATE = Surrogate(alpha=5.0)


@dataclass(frozen=True, kw_only=True)
class Design:
    """What a taught circuit is made of; static."""

    inputs: int
    """features, or mossy fibres where `fields` is 0"""
    choices: tuple[int, ...] = (0, 1, 2)
    """that are ever asked for: each has a zone"""
    fields: int = 6
    """receptive fields to a feature; 0: inputs are spikes of mossy fibres, [B, S, M]"""
    code: encode.Code = "rate"
    burst: int = 8
    """most spikes of a mossy fibre in a tick, or steps that latencies span"""
    steps: int = 10
    """to a tick"""
    dt: float = 1.0
    """ms"""
    granule: int = 300
    golgi: int = 8
    purkinje: int = 24
    nuclei: int = 192
    surrogate: Surrogate = SURROGATE
    tau: float = 4.0
    """of the filter on nuclear rates, ms"""
    inhibition: float = 0.05
    """first weights of Purkinje cells onto nuclear cells, beside those of `beams`: little, where
    mossy fibres can say most by themselves"""
    memory: float = 5.0
    """for which a synapse remembers that it was active, ms: what outcomes are credited to"""
    linger: float = 3.0
    """time constant of mossy-fibre currents in granule cells, ms: 3 as in `beams`, or up to the 50
    of their NMDA receptors, where one tick must remember another"""
    mossy_granule: float = 0.5
    """first weights of mossy fibres onto granule cells, beside those of `beams`, whose mossy fibres
    fire less"""
    mossy_nuclei: float = 300.0
    """total of mossy fibres onto a nuclear cell, mV; of a market a tick brings about a third of
    them, twice or more"""
    microzones: bool = False
    """whether a Purkinje cell inhibits the nuclear cells of its own zone alone, as in the animal
    (Apps & Garwicz 2005): needed where Purkinje cells must say what mossy fibres cannot"""
    silent: int = 0
    """mossy fibres that no input drives"""

    @property
    def fade(self) -> float:
        """Share of a trace that is left after a step."""
        return float(np.exp(-self.dt / self.memory))

    def zone(self, cells: int) -> np.ndarray:
        """The choice that each of a population's cells speaks for, int [cells]."""
        return np.asarray(self.choices)[np.arange(cells) % len(self.choices)]

    @property
    def outputs(self) -> int:
        """C: choices, also those never asked for."""
        return max(self.choices) + 1

    @property
    def mossy_fibers(self) -> int:
        return self.inputs * max(1, self.fields) + self.silent


@struct.dataclass(kw_only=True)
class Learner:
    """What is learned."""

    weights: dict[str, Array]
    """by projection, mV, [source, target]"""
    drive: dict[str, Array]
    """by population, constant current beside the cells' own, mV, [n]"""
    readout: Readout


@struct.dataclass(kw_only=True)
class Carry:
    """What goes from one tick to the next."""

    state: State
    """of B circuits"""
    rates: Array
    """filtered nuclear rates, [B, N]"""
    traces: "Traces | None"
    """None: outcomes are not learned from"""


@struct.dataclass(kw_only=True)
class Traces:
    """What presynaptic terminals remember: spikes, fading with the design's `memory`."""

    mossy: Array
    """[..., M]"""
    granule: Array
    """[..., granule]"""


@struct.dataclass(kw_only=True)
class Seen:
    """What there is to see of a tick."""

    counts: dict[str, Array]
    """by population, spikes, int32 [L, B]"""
    sample: dict[str, Array]
    """spikes of a population's first 32 cells, a bit each, uint32 [L, S, B]"""


@struct.dataclass(kw_only=True)
class Ends:
    """The ends of ticks."""

    rates: Array
    """[L, B, N]"""
    traces: Traces | None
    """[L, B, ...]"""
    seen: Seen | None


@dataclass(frozen=True)
class Net:
    """A design and the circuit that it became."""

    design: Design
    circuit: Circuit


def spec_of(design: Design) -> Spec:
    """The circuit's spec.

    Raises:
      UsageError: sizes that cannot be.
    """
    sizes = cb.presets.Sizes(
        mossy_fiber=design.mossy_fibers,
        golgi=design.golgi,
        purkinje=design.purkinje,
        nuclei=design.nuclei,
    )
    spec = cb.presets.beams(design.granule, beams=1, sizes=sizes, dt=design.dt, dtype="float32")
    projections = tuple(
        _projection(p, design) for p in spec.projections if "inferior_olive" not in p.name
    )
    changes = {"nuclei": NUCLEI, "granule": {"tau_exc": design.linger}}
    populations = tuple(
        replace(p, params=replace(p.params, **changes.get(p.name, {})))
        for p in spec.populations
        if p.name != "inferior_olive"
    )
    return replace(
        spec,
        name="taught",
        populations=populations,
        projections=projections,
        surrogate=design.surrogate,
    )


def _projection(projection: Any, design: Design) -> Any:
    changed = replace(
        projection,
        delay=design.dt,
        plastic=False,
        rule=None,
        w_max=None,
        spread=0.5,
    )
    if projection.name == "purkinje_nuclei":
        return replace(changed, weight=changed.weight * design.inhibition)
    if projection.name == "mossy_fiber_granule":
        # The same charge, however long it lingers.
        scale = design.mossy_granule * current.Params().tau_exc / design.linger
        return replace(changed, weight=changed.weight * scale)
    if projection.name != "mossy_fiber_nuclei":
        return changed
    fibres = design.mossy_fibers
    return replace(changed, in_degree=fibres, weight=design.mossy_nuclei / fibres)


def build(design: Design, key: Array) -> Net:
    """A circuit of a design."""
    circuit = cb.build(spec_of(design), key, path="dense")
    return Net(design, _in_zones(design, circuit) if design.microzones else circuit)


def _in_zones(design: Design, circuit: Circuit) -> Circuit:
    """The circuit with as much inhibition of each nuclear cell, from its own zone alone."""
    held, name = circuit.params.weights, "purkinje_nuclei"
    own = design.zone(design.purkinje)[:, None] == design.zone(design.nuclei)
    total = jnp.mean(jnp.sum(held[name], axis=0))
    weights = {**held, name: jnp.asarray(own / own.sum(axis=0), jnp.float32) * total}
    return replace(circuit, params=replace(circuit.params, weights=weights))


def begin(net: Net, key: Array) -> Learner:
    """A learner that has learned nothing; its `readout` is yet to be centred on some rates."""
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
    """A readout of zones, centred and scaled by some rates, [..., N]."""
    return decode.init(rates, design.zone(design.nuclei), design.outputs)


def with_learned(circuit: Circuit, learner: Learner) -> Circuit:
    """The circuit with what was learned in its parameters."""
    params = circuit.params
    cells = dict(params.cells)
    for name, offset in learner.drive.items():
        cells[name] = replace(cells[name], drive=cells[name].drive + offset)
    weights = {**params.weights, **learner.weights}
    return replace(circuit, params=replace(params, weights=weights, cells=cells))


def units(net: Net) -> Learner:
    """What a step of one would be, by what is learned: the mean of a projection's contacts, say."""
    params, one = net.circuit.params, jnp.float32(1)
    spoken = READOUT_UNIT * one
    return Learner(
        weights={name: _mean(params.weights[name]) for name in LEARNED},
        drive=dict.fromkeys(DRIVEN, jnp.float32(DRIVE_UNIT)),
        readout=Readout(
            centre=0 * one, scale=0 * one, weights=spoken, bias=spoken, temperature=0 * one
        ),
    )


def _mean(weights: Array) -> Array:
    """Of the contacts that there are."""
    return jnp.sum(weights) / jnp.maximum(1, jnp.sum(weights > 0))


def bound(first: Array) -> Array:
    """The largest weight that contacts of these first weights may reach."""
    return W_MAX * _mean(first)


def bounded(net: Net, learner: Learner) -> Learner:
    """What was learned, cut at its bounds; contacts that do not exist stay so."""
    first = net.circuit.params.weights
    weights = {
        name: jnp.where(first[name] > 0, jnp.clip(held, 0, bound(first[name])), 0)
        for name, held in learner.weights.items()
    }
    return replace(learner, weights=weights)


def no_traces(design: Design, count: int) -> Traces:
    """Of so many circuits that have seen nothing."""
    return Traces(
        mossy=jnp.zeros((count, design.mossy_fibers), jnp.float32),
        granule=jnp.zeros((count, design.granule), jnp.float32),
    )


def fresh(net: Net, key: Array, streams: int) -> Carry:
    """Circuits that have seen nothing."""
    states = jax.vmap(lambda k: cb.init(net.circuit, k, spread=True))(
        jax.random.split(key, streams)
    )
    design = net.design
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
    intensity = encode.population(ranks, design.fields)
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
) -> tuple[Carry, Ends]:
    """Some ticks, and what there is at the end of each.

    Args:
      inputs: of every tick, [L, B, ...]; see `sense`.
      segment: ticks whose inside is computed again for the gradient instead of being kept; 0:
        everything is kept.
      shared: weights of plastic projections, which stay as they are, the same for every circuit.
      watch: whether there is `Seen`.
    """
    # Weights that a state does not hold are those of the parameters.
    params = replace(circuit.params, weights={**circuit.params.weights, **shared})
    wiring = circuit.wiring
    one = chunk.of(circuit, design.steps, environment=Listener(design=design, watch=watch))
    # An event loop must not be mapped over: every circuit would run as long as the busiest.
    some = BatchChunk(chunk=one, batched=("mossy_fiber",)) if wiring.path == "dense" else Alone(one)

    def tick(carry: Carry, given: Array):
        spikes = jnp.moveaxis(sense(design, given), 1, 0)
        before = Coupled(state=carry.state, place=Heard(rates=carry.rates, traces=carry.traces))
        after, seen = some(params, wiring, before, Inputs(arrays={"mossy_fiber": spikes}))
        rates, traces = after.place.rates, after.place.traces
        if seen is not None:
            # Of members, then of steps.
            sample = jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1), seen.sample)
            seen = Seen(counts=jax.tree.map(lambda x: x.sum(1), seen.counts), sample=sample)
        return Carry(state=after.state, rates=rates, traces=traces), Ends(
            rates=rates, traces=traces, seen=seen
        )

    if segment <= 1:
        return lax.scan(jax.checkpoint(tick) if segment else tick, carry, inputs)
    grouped = inputs.reshape(-1, segment, *inputs.shape[1:])
    ticks = jax.checkpoint(lambda carry, given: lax.scan(jax.checkpoint(tick), carry, given))
    carry, found = lax.scan(ticks, carry, grouped)
    return carry, jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), found)


@struct.dataclass(kw_only=True)
class Heard:
    """What is kept of a circuit's spikes from step to step."""

    rates: Array
    """filtered nuclear rates, [N]"""
    traces: Traces | None


@dataclass(frozen=True, kw_only=True)
class Listener:
    """The environment of a circuit that is taught: it listens, and drives nothing."""

    design: Design
    watch: bool

    def drive(self, place: Heard, now: Moment) -> dict[str, Array]:
        return {}

    def react(
        self, place: Heard, drive: dict[str, Array], activity: Activity
    ) -> tuple[Heard, Seen | None]:
        design, fired, traces = self.design, activity.spikes, place.traces
        if traces is not None:
            traces = Traces(
                mossy=traces.mossy * design.fade + drive["mossy_fiber"],
                granule=traces.granule * design.fade + fired["granule"],
            )
        rates = decode.filtered(place.rates, fired["nuclei"], design.tau, design.dt)
        return Heard(rates=rates, traces=traces), _look(activity) if self.watch else None


def _look(activity: Activity) -> Seen:
    words = activity.words
    counted = {n: jnp.sum(lax.population_count(w), -1, jnp.int32) for n, w in words.items()}
    return Seen(counts=counted, sample={name: word[..., 0] for name, word in words.items()})


@dataclass(frozen=True)
class Alone:
    """A chunk of a batch of one, whose arrays have an axis of one in front."""

    chunk: Chunk

    def __call__(self, params: Params, wiring: Wiring, state: Any, inputs: Inputs) -> Any:
        first, given = jax.tree.map(lambda x: x[0], (state, inputs))
        return jax.tree.map(lambda x: x[None], self.chunk(params, wiring, first, given))


@partial(jax.jit, static_argnums=0)
def respond(design: Design, circuit: Circuit, learner: Learner, carry: Carry, inputs: Array):
    """`unroll` of a learner, without a gradient."""
    return unroll(design, with_learned(circuit, learner), carry, inputs, 0)
