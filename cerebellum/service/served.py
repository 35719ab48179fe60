"""The model that the service answers with: trained, or the untrained circuit as configured.

`answer` calls the one compiled function: it takes a tick and the memory of each of some markets.
The plasticity of an untrained circuit is off, because it has nothing to learn from.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array

from cerebellum import configure, store
from cerebellum.config import Settings
from cerebellum.errors import UsageError
from cerebellum.learn import encode, features, network, online
from cerebellum.learn.features import Fields, Tick
from cerebellum.learn.network import Carry, Design, Learner, Net
from cerebellum.learn.online import Event, Gains, Market
from cerebellum.learn.tasks import ticks
from cerebellum.model import anatomy, noise
from cerebellum.model import circuit as circuits
from cerebellum.model.circuit import Circuit
from cerebellum.model.ordering import materialize_once
from cerebellum.model.spec import Spec
from cerebellum.service import models, stacking
from cerebellum.service.models import UNTRAINED, Model
from cerebellum.service.packed import Layout, Packed, layout, pack, pack_on_host, unpack
from cerebellum.sim.memory import peak
from cerebellum.store import describe, learned
from cerebellum.store import names as array_names

PROBES = 64
"""The number of generated ticks that set an untrained circuit's receptive fields and readout."""
PEAK_HZ = 200.0
"""The rate of a mossy fibre of an untrained circuit at its preferred value."""
LEARNS = ("climbing_fiber", "hybrid")
"""Values of training.method with which the service learns from outcomes."""
LATER = {"width": encode.WIDTH, "refractory": 2.0, "largest_weight": network.W_MAX}
"""Fields that a design did not have when digests were first made, and what each then was."""


@struct.dataclass(kw_only=True)
class Arrays:
    """The arrays that all markets share and that never change."""

    circuit: Circuit
    shared: dict[str, Array]
    """weights of plastic projections"""
    receptive: encode.Fields
    gains: Gains
    key: Array


@struct.dataclass(kw_only=True)
class Memory:
    """The memory of one market."""

    market: Market
    """arrays [1, ...]"""
    senses: features.State
    """what features of the next tick are computed from"""


@struct.dataclass(kw_only=True)
class Inputs:
    """A tick of each of B markets, with what it asks and makes known; see `online.Event`."""

    tick: Tick
    """float32 [B] each"""
    back: Any
    """how many questions ago the one was whose answer is now known; 0: none, int32 [B]"""
    label: Any
    """that answer, int32 [B]"""
    asks: Any
    """1 where this tick is a question, otherwise 0, int32 [B]"""


@struct.dataclass(kw_only=True)
class Answer:
    """The answer to a tick of each of B markets; P populations, S steps to a tick."""

    chances: Array
    """of buy, hold and sell, float32 [B, 3]"""
    finite: Array
    """whether a market's memory and chances are finite, bool [B]"""
    counts: Array
    """spikes, int32 [P, B]"""
    sample: Array
    """spikes of a population's first 32 cells, a bit each, uint32 [P, S]; of the first market"""


@dataclass(frozen=True, kw_only=True)
class Form:
    """The static argument of the compiled call."""

    design: Design
    fields: Fields
    arrays: Layout
    learner: Layout
    memory: Layout


@dataclass(frozen=True, kw_only=True)
class Served:
    """A model in service."""

    name: str
    """UNTRAINED, or the checkpoint that the model came from"""
    task: ticks.Task
    band: float
    form: Form
    arrays: Packed
    """an `Arrays`"""
    learner: Packed
    """a `Learner`"""
    fresh: Packed
    """the `Memory` of a market before its first tick"""
    sizes: dict[str, int]
    """cells by population, in the order of `Answer.counts`"""
    learns: bool
    """whether it learns from outcomes"""
    digests: tuple[str, ...]
    """identify the model: memories of a model with other digests cannot be used. The first is
    saved; earlier versions saved the others."""
    version: str
    """tells trained models of one name apart, see `models.Model`"""
    needs: int
    """memory of the program and the model without markets, estimated, bytes"""

    @property
    def digest(self) -> str:
        """The digest that is saved with memories."""
        return self.digests[0]

    @property
    def tick_s(self) -> float:
        """The biological time of a tick, s."""
        return self.form.design.steps * self.form.design.dt * 1e-3

    def rate(self, population: str, count: int) -> float:
        """The rate of a population's cells, Hz, that fire `count` spikes in a tick."""
        return count / self.sizes.get(population, 1) / self.tick_s


def zero_inputs(count: int) -> Inputs:
    """Inputs of `count` markets that are all zero: nothing moved and nothing is asked; NumPy."""
    zero: Any = np.zeros(count, np.float32)
    none = np.zeros(count, np.int32)
    fields: dict[str, Any] = dict.fromkeys(Tick.__dataclass_fields__, zero)
    return Inputs(tick=Tick(**fields), back=none, label=none, asks=none)


@lru_cache
def _inputs_layout(count: int) -> Layout:
    return layout(zero_inputs(count))


def answer(
    form: Form,
    arrays: Packed,
    learner: Packed,
    memories: tuple[Packed, ...],
    inputs: Inputs,
    count: np.int32,
) -> tuple[Packed, tuple[Packed, ...], Answer]:
    """Answer a tick of each of B markets.

    Nothing is donated, so that a call that fails has changed nothing.

    Args:
      inputs: NumPy arrays.
      count: ticks that were answered before.

    Returns:
      The learner after the ticks, which is the one before where nothing is learned; the memories
      after the ticks; the answer.
    """
    size = len(memories)
    packed = pack_on_host(_inputs_layout(size), inputs)
    if size <= stacking.GROUP:
        return compiled_answer(form, arrays, learner, memories, packed, count, size)
    stacks = stacking.join(memories)
    learner, stacks, result = compiled_answer(form, arrays, learner, stacks, packed, count, size)
    return learner, stacking.part(stacks), result


@partial(jax.jit, static_argnames=("form", "size"))
def compiled_answer(
    form: Form,
    arrays: Packed,
    learner: Packed,
    memories: tuple[Packed, ...],
    inputs: Packed,
    count: Array,
    size: int,
) -> tuple[Packed, tuple[Packed, ...], Answer]:
    """The compiled function of `answer`, which takes packed inputs.

    Args:
      memories: of B markets; stacks of them if there are fewer than B. They are returned likewise.
      size: B.
    """
    constants: Arrays = unpack(form.arrays, arrays)
    batch: Inputs = unpack(_inputs_layout(size), inputs)
    markets, senses = _unpacked(form, memories, size)
    step = partial(features.step, fields=form.fields)
    senses, values = jax.vmap(step)(senses, batch.tick)
    ranks = encode.levels(constants.receptive, values)
    learner_after, markets, chances, activity = online.step(
        Net(form.design, constants.circuit),
        unpack(form.learner, learner),
        markets,
        Event(inputs=ranks, back=batch.back, label=batch.label, asks=batch.asks > 0),
        constants.gains,
        jax.random.fold_in(constants.key, count),
        constants.shared,
        watch=True,
    )
    assert activity is not None
    names = [p.name for p in constants.circuit.spec.populations]
    result = Answer(
        chances=chances,
        finite=_finite((markets, senses, chances), size),
        counts=jnp.stack([activity.counts[name] for name in names]),
        sample=jnp.stack([activity.sample[name][:, 0] for name in names]),
    )
    after = _split(markets, senses, memories, size)
    return pack(learner_after) if markets.waiting is not None else learner, after, result


def _finite(tree: Any, count: int) -> Array:
    """Whether all floats of a market are finite, bool [B]; arrays of the tree are [B, ...]."""
    finite = [
        jnp.all(jnp.isfinite(leaf).reshape(count, -1), axis=1)
        for leaf in jax.tree.leaves(tree)
        if jnp.issubdtype(leaf.dtype, jnp.floating)
    ]
    return jnp.all(jnp.stack(finite), axis=0)


def _unpacked(form: Form, memories: tuple[Packed, ...], size: int) -> tuple[Market, features.State]:
    """Arrays [B, ...] of the packed memories of B = `size` markets, or of stacks of them."""
    join = stacking.stack if len(memories) == size else stacking.concatenate
    memory: Memory = jax.vmap(partial(unpack, form.memory))(join(memories))
    return jax.tree.map(lambda x: x[:, 0], memory.market), memory.senses


def _split(
    markets: Market, senses: features.State, before: tuple[Packed, ...], size: int
) -> tuple[Packed, ...]:
    """The packed memory of each of B = `size` markets, or stacks of them as there were before."""
    memory = Memory(market=jax.tree.map(lambda x: x[:, None], markets), senses=senses)
    # Otherwise XLA would pack everything again for each part that is taken out.
    together = materialize_once(jax.vmap(pack)(memory))
    if len(before) == size:
        return stacking.unstack(together)
    ends = np.cumsum([stack[0].shape[0] for stack in before])
    return stacking.split(together, tuple(ends[:-1].tolist()))


def _served(
    arrays: Arrays,
    learner: Learner,
    fresh: Memory,
    design: Design,
    fields: Fields,
    identities: Sequence[dict[str, Any]],
    **names: Any,
) -> Served:
    """A model, packed.

    Args:
      identities: what the model is, JSON, for its digests.
      names: the other fields of `Served`.
    """
    populations = arrays.circuit.spec.populations
    # Digests were first made with these names. They keep saved memories valid.
    leaves = {array_names.original(n): str(leaf.aval) for n, leaf in store.flatten(fresh).items()}
    return Served(
        form=Form(
            design=design,
            fields=fields,
            arrays=layout(arrays),
            learner=layout(learner),
            memory=layout(fresh),
        ),
        arrays=pack(arrays),
        learner=pack(learner),
        fresh=pack(fresh),
        sizes={p.name: p.size for p in populations},
        learns=fresh.market.waiting is not None,
        digests=tuple(_digest({**each, "memory": leaves}) for each in identities),
        needs=peak(arrays.circuit.spec, arrays.circuit.wiring.path),
        **names,
    )


def load(model: Model, settings: Settings) -> Served:
    """A model that `models` has found: a trained one, or the circuit of the configuration.

    Raises:
      UsageError, FailedError: it is damaged, of another version, or too large for this machine.
    """
    return untrained(settings) if model.path is None else _trained(model, model.path, settings)


def _identity(run: learned.Run, learning: bool) -> dict[str, Any]:
    """What tells a trained model from others, for its digests."""
    design = asdict(run.model.net.design).items()
    told = {name: value for name, value in design if (name, value) not in LATER.items()}
    identity = {"design": told, "step": run.step, "learning": learning}
    return identity | {
        "task": run.model.task,
        "fields": asdict(run.model.fields),
        "data": run.data,
    }


def _trained(found: Model, path: Path, settings: Settings) -> Served:
    """The model of a training run's checkpoint."""
    checkpoint = learned.read(path)
    model = checkpoint.model
    learning = settings.training.method in LEARNS and settings.neural.learning_rate > 0
    plan = replace(checkpoint.plan, plasticity=settings.neural.learning_rate)
    market = online.begin(
        model.net, model.learner, learning=learning, mixing=learning and online.mixes(plan)
    )
    memory = Memory(market=market, senses=features.init())
    arrays = Arrays(
        circuit=model.net.circuit,
        shared={},
        receptive=model.receptive,
        gains=online.gains_of(plan),
        key=_ticks_key(settings.neural.seed),
    )
    identity = _identity(checkpoint, learning)
    return _served(
        arrays,
        model.learner,
        memory,
        model.net.design,
        model.fields,
        name=found.name,
        version=found.version,
        task=model.task,
        band=model.band,
        # Without the manifest, runs of one design, length and data had the same digest.
        identities=({**identity, "manifest": found.version}, identity),
    )


def _ticks_key(seed: int) -> Array:
    """Words of the key from which the key of each tick is derived, uint32 [2]."""
    return jax.random.key_data(noise.of_use(jax.random.key(seed), "ticks"))


def check(settings: Settings) -> None:
    """Check what `load` would need of the settings, without building anything.

    Raises:
      UsageError: the untrained circuit would be served, and has fewer mossy fibres than features.
    """
    try:
        trained = models.expected(Path(settings.storage.models))
        spec = configure.spec_of(settings, learning=False)
    except (OSError, ValueError):
        # `configure.problems` says so.
        return
    if not trained:
        _fibres(spec, Fields())


def _fibres(spec: Spec, fields: Fields) -> int:
    """The number of mossy fibres of a circuit that is to carry features.

    Raises:
      UsageError: there are fewer than features.
    """
    inputs, fibres = len(fields.names), spec.population("mossy_fiber").size
    if fibres < inputs:
        raise UsageError(
            f"neural.mossy_fiber_size: too few to carry {inputs} features of a tick ({fibres}; "
            f"at least {inputs})"
        )
    return fibres


def untrained(settings: Settings) -> Served:
    """The circuit of a configuration. Generated ticks set its readout of zones.

    Raises:
      UsageError: sizes that are not possible; fewer mossy fibres than features.
    """
    neural = settings.neural
    spec, fields = configure.spec_of(settings, learning=False), Fields()
    inputs, fibres = len(fields.names), _fibres(spec, fields)
    design = Design(
        inputs=inputs,
        fields=fibres // inputs,
        silent=fibres % inputs,
        steps=neural.steps_per_tick,
        burst=max(1, round(PEAK_HZ * 1e-3 * neural.dt * neural.steps_per_tick)),
        dt=neural.dt,
        granule=neural.granule_size,
        golgi=spec.population("golgi").size,
        purkinje=spec.population("purkinje").size,
        nuclei=spec.population("nuclei").size,
    )
    key = jax.random.key(neural.seed)
    circuit = anatomy.build(spec, key, path="event", backend=settings.performance.kernels)
    state = circuits.init(circuit, noise.of_use(key, "start"), spread=True)
    rest = jax.tree.map(lambda x: x[None], replace(state, weights={}))
    walk = _walk(PROBES, neural.seed)
    _, values = features.run(features.init(), walk, fields)
    arrays = Arrays(
        circuit=circuit,
        shared=state.weights,
        receptive=encode.fit(np.asarray(values)),
        gains=Gains(readout=jnp.float32(0)),
        key=_ticks_key(neural.seed),
    )
    carry = Carry(state=rest, rates=jnp.zeros((1, design.nuclei), jnp.float32), traces=None)
    rates = _rates(design, arrays, carry, np.asarray(values))
    readout = network.readout(design, jnp.asarray(rates[PROBES // 4 :]))
    readout_of_one = jax.tree.map(lambda x: jnp.asarray(x)[None], readout)
    memory = Memory(
        market=Market(readout=readout_of_one, carry=carry, waiting=None), senses=features.init()
    )
    return _served(
        arrays,
        Learner(weights={}, drive={}, readout=readout),
        memory,
        design,
        fields,
        name=UNTRAINED,
        version="",
        task="event",
        band=0.0,
        identities=[
            {"spec": {**describe.to_json(spec), **each}, "seed": neural.seed} for each in EXECUTIONS
        ],
    )


EXECUTIONS = [
    {"path": "event", "kernels": kernels, "whole": None, "shards": 1}
    for kernels in ("auto", "xla", "native")
]
"""How a circuit runs, as part of its digests.

A spec held these fields when digests were first made. They keep old digests valid. Memories are of
one form with all kernels, and give the same spikes.
"""


def _rates(design: Design, arrays: Arrays, carry: Carry, values: np.ndarray) -> np.ndarray:
    """Nuclear rates [n, N] in ticks with the feature values [n, F]."""
    levels = jax.jit(encode.levels)(arrays.receptive, jnp.asarray(values))
    rates = []
    for ranks in levels:
        carry, ends = _tick(design, arrays, carry, ranks[None])
        rates.append(np.asarray(ends.rates[0, 0]))
    return np.stack(rates)


@partial(jax.jit, static_argnames="design")
def _tick(design: Design, arrays: Arrays, carry: Carry, inputs: Array):
    return network.unroll(design, arrays.circuit, carry, inputs[None], 0, arrays.shared)


def forget_start() -> None:
    """Drop the programs that only the making of an untrained circuit's readout needed."""
    compiled: Any = _tick
    compiled.clear_cache()


def _walk(count: int, seed: int) -> Tick:
    """A random walk of ticks, [count]."""
    rng = np.random.default_rng(seed)
    zero: Any = np.zeros(count, np.float32)
    columns = {
        "log_return": 1e-4 * rng.integers(-1, 2, count),
        "interval": rng.exponential(200.0, count),
        "volume": rng.exponential(1.0, count),
    }
    still: dict[str, Any] = dict.fromkeys(Tick.__dataclass_fields__, zero)
    return Tick(**still | {name: x.astype(np.float32) for name, x in columns.items()})


def _digest(identity: Any) -> str:
    text = json.dumps(identity, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
