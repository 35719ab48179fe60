"""What the service answers with: a trained model, or the untrained circuit of its configuration.

`answer` is the one compiled function: ticks of some markets, each with what is remembered of it.
An untrained circuit has nothing to learn from, so its plasticity is off.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array

import cerebellum as cb
from cerebellum import configure, store
from cerebellum.config import Settings
from cerebellum.errors import UsageError
from cerebellum.learn import encode, features, network, online
from cerebellum.learn.features import Fields, Tick
from cerebellum.learn.network import Carry, Design, Learner, Net
from cerebellum.learn.online import Event, Gains, Market
from cerebellum.learn.tasks import ticks
from cerebellum.model.circuit import Circuit
from cerebellum.service.packed import Layout, layout, pack, unpack
from cerebellum.store import describe, learned

PROBES = 64
"""Generated ticks by which an untrained circuit's receptive fields and readout are set."""
PEAK_HZ = 200.0
"""of a mossy fibre of an untrained circuit, at its favourite value"""
LEARNS = ("climbing_fiber", "hybrid")
"""Methods of a configuration with which the service learns from outcomes."""


Packed = tuple[Array, ...]
"""Arrays of a tree, see `packed`."""


@struct.dataclass(kw_only=True)
class Arrays:
    """What all markets share and nothing changes."""

    circuit: Circuit
    shared: dict[str, Array]
    """weights of plastic projections"""
    receptive: encode.Fields
    gains: Gains
    key: Array


@struct.dataclass(kw_only=True)
class Memory:
    """What is remembered of one market."""

    market: Market
    """[1, ...]"""
    senses: features.State


@struct.dataclass(kw_only=True)
class Answer:
    """What is said of B markets; P populations, S steps to a tick."""

    chances: Array
    """[B, 3]"""
    finite: Array
    """whether a market's memory is, bool [B]"""
    counts: Array
    """spikes, int32 [P, B]"""
    sample: Array
    """spikes of a population's first 32 cells, a bit each, uint32 [P, S]; of the first market"""


@dataclass(frozen=True, kw_only=True)
class Form:
    """What a compiled call is made for; static."""

    design: Design
    fields: Fields
    arrays: Layout
    learner: Layout
    memory: Layout


@dataclass(frozen=True, kw_only=True)
class Served:
    """A model in service."""

    name: str
    """UNTRAINED, or the checkpoint that it came from"""
    task: ticks.Task
    band: float
    form: Form
    arrays: Packed
    """of `Arrays`"""
    learner: Packed
    """of `Learner`"""
    fresh: Packed
    """of `Memory`, of a market that was never seen"""
    sizes: dict[str, int]
    """cells by population, in the order of `Answer.counts`"""
    learns: bool
    digest: str
    """memories of another are of no use"""

    @property
    def tick_s(self) -> float:
        """Biological time of a tick, s."""
        return self.form.design.steps * self.form.design.dt * 1e-3

    def rate(self, population: str, count: int) -> float:
        """The rate of a population's cells, Hz, that fire `count` spikes in a tick."""
        return count / self.sizes.get(population, 1) / self.tick_s


@partial(jax.jit, static_argnames="form")
def answer(
    form: Form,
    arrays: Packed,
    learner: Packed,
    memories: tuple[Packed, ...],
    given: Array,
    news: Array,
    count: Array,
) -> tuple[Packed, tuple[Packed, ...], Answer]:
    """A tick of each of B markets.

    Nothing is donated, so that a call that fails has changed nothing.

    Args:
      given: the fields of `features.Tick`, float32 [7, B].
      news: `back`, `label` and `asks` of `online.Event`, int32 [3, B].
      count: ticks that were answered before.

    Returns:
      The learner after it, which is the one before where nothing is learned; memories; what is
      said.
    """
    held: Arrays = unpack(form.arrays, arrays)
    before: list[Memory] = [unpack(form.memory, each) for each in memories]
    net = Net(form.design, held.circuit)
    senses = jax.tree.map(lambda *x: jnp.stack(x), *(m.senses for m in before))
    markets = jax.tree.map(lambda *x: jnp.concatenate(x), *(m.market for m in before))
    tick = Tick(**dict(zip(Tick.__dataclass_fields__, given, strict=True)))
    senses, found = jax.vmap(partial(features.step, fields=form.fields))(senses, tick)
    ranks = encode.levels(held.receptive, found)
    events = Event(inputs=ranks, back=news[0], label=news[1], asks=news[2] > 0)
    once = jax.random.fold_in(held.key, count)
    taught, markets, chances, seen = online.step(
        net,
        unpack(form.learner, learner),
        markets,
        events,
        held.gains,
        once,
        held.shared,
        watch=True,
    )
    assert seen is not None
    sound = [
        jnp.all(jnp.isfinite(leaf).reshape(len(before), -1), axis=1)
        for leaf in jax.tree.leaves((markets, senses, chances))
        if jnp.issubdtype(leaf.dtype, jnp.floating)
    ]
    after = tuple(
        pack(
            Memory(
                market=jax.tree.map(lambda x, i=i: x[i : i + 1], markets),
                senses=jax.tree.map(lambda x, i=i: x[i], senses),
            )
        )
        for i in range(len(before))
    )
    names = [p.name for p in held.circuit.spec.populations]
    said = Answer(
        chances=chances,
        finite=jnp.all(jnp.stack(sound), axis=0),
        counts=jnp.stack([seen.counts[name] for name in names]),
        sample=jnp.stack([seen.sample[name][:, 0] for name in names]),
    )
    return pack(taught) if markets.waiting is not None else learner, after, said


def _served(
    arrays: Arrays,
    learner: Learner,
    fresh: Memory,
    design: Design,
    fields: Fields,
    told: dict[str, Any],
    **more: Any,
) -> Served:
    """A model, packed; `told` says what it is, for its digest."""
    populations = arrays.circuit.spec.populations
    leaves = {name: str(leaf.aval) for name, leaf in store.flatten(fresh).items()}
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
        digest=_digest({**told, "memory": leaves}),
        **more,
    )


UNTRAINED = "untrained"


def newest(settings: Settings) -> str:
    """The name of the model that `load` would give."""
    models = Path(settings.storage.models)
    found = store.steps(models / store.FOLDER)
    return f"{models.name}/{found[0][0]}" if found else UNTRAINED


def load(settings: Settings) -> Served:
    """The trained model below `storage.models`, or else the configured circuit.

    Raises:
      UsageError, FailedError: a model that is damaged, or too large for this machine.
    """
    if newest(settings) == UNTRAINED:
        return untrained(settings)
    return trained(Path(settings.storage.models), settings)


def trained(run: Path, settings: Settings) -> Served:
    """The model that a training run made."""
    held = learned.load(run)
    model = held.model
    learning = settings.training.method in LEARNS and settings.neural.learning_rate > 0
    rate = settings.neural.learning_rate * online.GAIN
    memory = Memory(
        market=online.begin(model.net, model.learner, 1, learning), senses=features.init()
    )
    arrays = Arrays(
        circuit=model.net.circuit,
        shared={},
        receptive=model.receptive,
        gains=Gains(climbing=jnp.float32(rate), readout=jnp.float32(online.RATE)),
        key=jax.random.key_data(jax.random.key(settings.neural.seed)),
    )
    told = {"design": asdict(model.net.design), "step": held.step, "learning": learning}
    told |= {"task": model.task, "fields": asdict(model.fields), "data": held.data}
    return _served(
        arrays,
        model.learner,
        memory,
        model.net.design,
        model.fields,
        name=f"{run.name}/{held.step}",
        task=model.task,
        band=model.band,
        told=told,
    )


def untrained(settings: Settings) -> Served:
    """The circuit of a configuration, its readout of zones set by generated ticks.

    Raises:
      UsageError: sizes that cannot be; fewer mossy fibres than there are features.
    """
    neural = settings.neural
    spec = configure.spec_of(settings, learning=False)
    fields = Fields()
    inputs, fibres = len(fields.names), spec.population("mossy_fiber").size
    if fibres < inputs:
        raise UsageError(
            f"neural.mossy_fiber_size: too few to carry {inputs} features of a tick ({fibres}; "
            f"at least {inputs})"
        )
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
    circuit = cb.build(spec, key, path="event", backend=settings.performance.kernels)
    state = cb.init(circuit, jax.random.fold_in(key, 1), spread=True)
    rest = jax.tree.map(lambda x: x[None], replace(state, weights={}))
    walk = _walk(PROBES, neural.seed)
    _, found = features.run(features.init(), walk, fields)
    arrays = Arrays(
        circuit=circuit,
        shared=state.weights,
        receptive=encode.fit(np.asarray(found)),
        gains=Gains(climbing=jnp.float32(0), readout=jnp.float32(0)),
        key=jax.random.key_data(key),
    )
    carry = Carry(state=rest, rates=jnp.zeros((1, design.nuclei), jnp.float32), traces=None)
    rates = _rates(design, arrays, carry, np.asarray(found))
    readout = network.readout(design, jnp.asarray(rates[PROBES // 4 :]))
    one = jax.tree.map(lambda x: jnp.asarray(x)[None], readout)
    memory = Memory(market=Market(readout=one, carry=carry, waiting=None), senses=features.init())
    return _served(
        arrays,
        Learner(weights={}, drive={}, readout=readout),
        memory,
        design,
        fields,
        name=UNTRAINED,
        task="event",
        band=0.0,
        told={"spec": {**describe.to_json(spec), **_ran(settings)}, "seed": neural.seed},
    )


def _ran(settings: Settings) -> dict[str, Any]:
    """What a spec said of how it runs when digests were first made of it: they stay the same."""
    kernels = settings.performance.kernels
    return {"path": "event", "kernels": kernels, "whole": None, "shards": 1}


def _rates(design: Design, arrays: Arrays, carry: Carry, found: np.ndarray) -> np.ndarray:
    """Nuclear rates [n, N] of the ticks with these features [n, F]."""
    levels = jax.jit(encode.levels)(arrays.receptive, jnp.asarray(found))
    rates = []
    for each in levels:
        carry, ends = _tick(design, arrays, carry, each[None])
        rates.append(np.asarray(ends.rates[0, 0]))
    return np.stack(rates)


@partial(jax.jit, static_argnames="design")
def _tick(design: Design, arrays: Arrays, carry: Carry, inputs: Array):
    return network.unroll(design, arrays.circuit, carry, inputs[None], 0, arrays.shared)


def _walk(count: int, seed: int) -> Tick:
    """A random walk of ticks, [count]."""
    rng = np.random.default_rng(seed)
    zero: Any = np.zeros(count, np.float32)
    parts = {
        "log_return": 1e-4 * rng.integers(-1, 2, count),
        "interval": rng.exponential(200.0, count),
        "volume": rng.exponential(1.0, count),
    }
    given: dict[str, Any] = dict.fromkeys(Tick.__dataclass_fields__, zero)
    return Tick(**given | {name: part.astype(np.float32) for name, part in parts.items()})


def _digest(told: Any) -> str:
    text = json.dumps(told, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
