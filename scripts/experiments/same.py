"""Says whether the package still gives the same numbers, bit for bit, after a change to its inside.

    python scripts/experiments/same.py --out before.json        (before the change)
    python scripts/experiments/same.py --against before.json    (after it)

Every case of `CASES` runs a small circuit, task or program. What a user can see of it is written
as SHA-256 digests: spikes, rasters, traces and counts by their public names; the arrays of a state
or of parameters as a sorted list, so that fields may be renamed and trees rebuilt. With --against
the same is computed again and compared: a line for each case, and exit code 1 where anything
differs, is missing or fails. --only PATTERN takes some of the cases, and --list names them.

Digests of floats are those of one processor and one version of XLA, which the file names: compare
on the machine that wrote it. The cases use the public face of the package. What lies deeper is
imported in the functions under "The inside" alone, which are to be adapted when names change
there; the cases and their digests stay as they are.
"""

import argparse
import dataclasses
import hashlib
import inspect
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cerebellum as cb

# After the package, whose own flags must come first, and before JAX. Sums of the dense path depend
# on how many threads share them.
os.environ["XLA_FLAGS"] = " ".join(
    (
        os.environ.get("XLA_FLAGS", ""),
        "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    )
).strip()
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import numpy as np

PROGRAM = (sys.executable, "-m", "cerebellum.cli")
"""The command line."""

DEVICES = 8
"""Devices that the processor is divided into, for circuits that are cut and batches on a mesh."""

BUILD_KEY, RUN_KEY = 3, 5
"""Seeds of wiring and of runs."""

RECORD = ("raster:purkinje", "raster:granule:3::7", "counts:nuclei", "v:golgi:1:9:2")
"""What is recorded of a beams circuit."""

Digests = dict[str, str | list[str]]
"""By name, the digest of an array or of a few, or the sorted digests of a tree's leaves."""


# Digests


def digest(*arrays: Any) -> str:
    """SHA-256 of arrays: their types, shapes and bytes."""
    total = hashlib.sha256()
    for array in arrays:
        array = np.ascontiguousarray(array)
        total.update(f"{array.dtype.name} {array.shape}".encode())
        total.update(array.tobytes())
    return total.hexdigest()


def leaves(tree: Any) -> list[str]:
    """Type, shape and digest of each array of a tree, sorted: the tree's form does not matter."""
    found = []
    for leaf in jax.tree.leaves(tree):
        if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        array = np.asarray(leaf)
        if array.dtype == jax.dtypes.float0:
            continue
        shape = ",".join(map(str, array.shape))
        found.append(f"{array.dtype.name}[{shape}] {digest(array)[:24]}")
    return sorted(found)


def recorded(recording: Any) -> Digests:
    """Everything that a recording holds, by its public names."""
    found: Digests = {f"spikes:{name}": digest(x) for name, x in recording.spikes.items()}
    for name, raster in recording.rasters.items():
        found[f"raster:{name}"] = digest(raster.time_ms, raster.cell, raster.cells)
    for name, counts in recording.counts.items():
        found[f"counts:{name}"] = digest(counts)
    for name, trace in recording.traces.items():
        found[f"trace:{name}"] = digest(trace.values, trace.cells)
    return found


def under(title: str, digests: Mapping[str, str | list[str]]) -> Digests:
    """The digests of one part of a case, with the part's title before their names."""
    return {f"{title}: {name}": value for name, value in digests.items()}


# Circuits and runs


def key(seed: int) -> jax.Array:
    """A random key."""
    return jax.random.key(seed)


def beams(
    granules: int = 1_000,
    *,
    path: str = "event",
    kernels: str = "native",
    surrogate: str | None = None,
    **options: Any,
) -> cb.Circuit:
    """A circuit of the beams preset."""
    spec = cb.presets.beams(granules, **options)
    return built(spec, path=path, kernels=kernels, surrogate=surrogate)


def burst(spec: Any, start_ms: float = 60, stop_ms: float = 110) -> dict[str, Any]:
    """A burst in a fifth of the mossy fibres of every beam."""
    size = spec.population("mossy_fiber").size
    cells, parts = size // 5, spec.beams
    return {"mossy_fiber": cb.drive.burst(size, 10, 100, start_ms, stop_ms, cells, beams=parts)}


def run(
    circuit: cb.Circuit,
    drive: Mapping[str, Any],
    duration_ms: float,
    record: Sequence[str] = RECORD,
    *,
    state: Any = None,
    spread: bool = True,
    chunk_steps: int = 1_000,
) -> tuple[Any, Digests]:
    """Run a circuit from a state, or from its start: the state after it, and all digests."""
    if state is None:
        state = cb.init(circuit, key(RUN_KEY), spread=spread)
    options = {"record": record, "chunk_steps": chunk_steps, "progress": False}
    state, recording = cb.simulate(circuit, state, drive, duration_ms=duration_ms, **options)
    return state, {**recorded(recording), "state": leaves(state)}


def run_beams(granules: int, **options: Any) -> Digests:
    """A beams circuit through a burst: 300 ms, longer than the window of its learning."""
    circuit = beams(granules, **options)
    _, found = run(circuit, burst(circuit.spec), 300)
    return {**found, "params": leaves(circuit.params)}


def run_cut(shards: int) -> Digests:
    """Three beams of unequal length, cut into shards."""
    whole = beams(1_050, beams=3, learning_rate=1e-3, sparsity=0.2)
    circuit = cb.shard.split(whole, cb.shard.mesh(shards))
    state = cb.shard.init(circuit, key(RUN_KEY), spread=True)
    state, recording = cb.simulate(
        circuit, state, burst(whole.spec), duration_ms=300, record=RECORD, progress=False
    )
    return {**recorded(recording), "state": leaves(cb.shard.join_state(circuit, state))}


def run_batch(devices: int) -> Digests:
    """Four copies with spikes of their own, on one device or on a mesh of shards and copies."""
    whole = circuit = beams(beams=2, learning_rate=1e-3)
    size = whole.spec.population("mossy_fiber").size
    spikes = (np.random.default_rng(0).random((4, 230, size)) < 0.05).astype(np.float32)
    keys = jax.random.split(key(RUN_KEY), 4)
    state = jax.vmap(lambda own: cb.init(whole, own))(keys)
    if devices > 1:
        circuit = cb.shard.split(whole, cb.shard.mesh(2, batch=devices // 2))
        state = cb.shard.split_state(circuit, jax.tree.map(np.asarray, state))
    state, recordings = cb.simulate_batch(
        circuit, state, {"mossy_fiber": spikes}, record=RECORD, progress=False
    )
    if devices > 1:
        state = cb.shard.join_state(circuit, state)
    found: Digests = {"state": leaves(state)}
    for index, recording in enumerate(recordings):
        found |= under(f"copy {index}", recorded(recording))
    return found


def wave(t_ms: jax.Array, phases: jax.Array) -> jax.Array:
    """Rates that rise and fall, each fibre's at its own time."""
    return 40 * (1 + jnp.sin(t_ms / 20 + phases))


def spike_times(size: int) -> Any:
    """500 spikes of random fibres at random times."""
    rng = np.random.default_rng(1)
    return cb.drive.SpikeTimes(rng.integers(0, size, 500), rng.uniform(0, 120, 500))


def spike_array(size: int) -> np.ndarray:
    """Independent spikes, a row for each step."""
    return (np.random.default_rng(2).random((120, size)) < 0.04).astype(np.float32)


SOURCES: dict[str, Callable[[int], Any]] = {
    "poisson": lambda size: cb.drive.poisson(40.0),
    "poisson-rates": lambda size: cb.drive.poisson(np.linspace(0, 80, size)),
    "rate-function": lambda size: cb.drive.RateFunction(wave, (jnp.linspace(0, 3, size),)),
    "one-rate": lambda size: cb.drive.RateFunction(lambda t_ms: 20 + t_ms / 10),
    "spike-times": spike_times,
    "array": spike_array,
}
"""Sources of a population's spikes, by kind, for a number of cells."""


def run_driven(kind: str) -> Digests:
    """Mossy fibres driven by one kind of source, and currents into two populations of cells."""
    circuit = beams()
    size, golgi = (circuit.spec.population(name).size for name in ("mossy_fiber", "golgi"))
    drive = {
        "mossy_fiber": SOURCES[kind](size),
        "golgi": np.random.default_rng(3).normal(0, 3, (120, golgi)).astype(np.float32),
        "purkinje": np.ones((120, 1), np.float32),
    }
    return run(circuit, drive, 120)[1]


def run_chunks() -> Digests:
    """One run in chunks of two lengths, then on from its end in chunks of the second."""
    circuit = beams(learning_rate=1e-3)
    drive = burst(circuit.spec)
    state, found = run(circuit, drive, 131, chunk_steps=40)
    _, later = run(circuit, drive, 66, state=state, chunk_steps=11)
    return {**found, **under("later", later)}


def run_mouse(path: str, kernels: str) -> Digests:
    """The conductance-based preset at a fiftieth of its size, 0.1 ms a step."""
    spec = cb.presets.mouse(scale=0.02, dt=0.1)
    circuit = built(spec, path=path, kernels=kernels)
    drive = {"glomerulus": cb.drive.poisson(20.0)}
    record = ("raster:granule", "counts:purkinje", "v:golgi:0:3", "g_exc:granule:::90")
    _, found = run(circuit, drive, 40, record, spread=False)
    return {**found, "params": leaves(circuit.params)}


def run_mouse_eglif() -> Digests:
    """The extended generalised leaky integrate-and-fire preset, with short-term plasticity."""
    spec = cb.presets.mouse_eglif("vitro", dt=1.0, short_term=True)
    circuit = built(spec, path="event", kernels="native")
    protocol = cb.presets.PRESETS["mouse-eglif"].protocol
    drive = cb.drive.standard(protocol, circuit.spec, key(BUILD_KEY), with_burst=False)
    record = ("raster:golgi", "counts:granule", "v:purkinje:0:4", "i_adap:nuclei:0:4")
    _, found = run(circuit, drive, 200, record, spread=False)
    spread = cb.init(circuit, key(RUN_KEY), spread=True)
    return {**found, "params": leaves(circuit.params), "spread start": leaves(spread)}


def run_common(wiring: str) -> Digests:
    """The common benchmark network, size S."""
    circuit = built(common_spec(wiring), path="event", kernels="native")
    record = ("raster:purkinje", "counts:interneuron")
    return run(circuit, burst(circuit.spec), 200, record)[1]


def run_spec(make: Callable[[], Any], path: str, kernels: str, duration_ms: float = 400) -> Digests:
    """One of the small circuits under "The inside", and what it has learned consolidated."""
    circuit = built(make(), path=path, kernels=kernels)
    drive = {"input": cb.drive.poisson(30.0)}
    if "olive" in {population.name for population in circuit.spec.populations}:
        drive["olive"] = cb.drive.poisson(5.0)
    state, found = run(circuit, drive, duration_ms, ("raster:cells", "v:cells"))
    learned = cb.consolidate(circuit, state)
    return {**found, "consolidated": leaves(learned.params)}


def run_consolidated() -> Digests:
    """A circuit that has learned, consolidated and started afresh."""
    circuit = beams(learning_rate=1e-2)
    state, _ = run(circuit, burst(circuit.spec), 300)
    learned = cb.consolidate(circuit, state)
    _, found = run(learned, burst(circuit.spec), 60)
    return {**found, "consolidated": leaves(learned.params)}


def run_starts() -> Digests:
    """States before a run, at rest and with voltages spread, of cells of two models."""
    conductance = built(feed_forward("conductance"), path="dense", kernels="xla")
    several = beams(1_050, beams=3, kernels="xla")
    found: Digests = {}
    for name, circuit in {"beams": several, "conductance": conductance}.items():
        for spread in (False, True):
            state = cb.init(circuit, key(RUN_KEY), spread=spread)
            found[f"{name}, {'spread' if spread else 'at rest'}"] = leaves(state)
    return found


def differentiate(circuit: cb.Circuit, source: str, target: str, steps: int = 30) -> Digests:
    """A weighed sum of a population's spikes, and its gradients by parameters and first state."""
    size = circuit.spec.population(source).size
    spikes = (np.random.default_rng(4).random((steps, size)) < 0.2).astype(np.float32)
    weighing = jnp.linspace(0.5, 1.5, circuit.spec.population(target).size)

    def loss(params: Any, state: Any) -> jax.Array:
        def advance(state: Any, now: jax.Array) -> tuple[Any, jax.Array]:
            state, activity = cb.step(params, circuit.wiring, state, {source: now})
            return state, activity.spikes[target]

        return jnp.sum(jax.lax.scan(advance, state, jnp.asarray(spikes))[1] * weighing)

    state = cb.init(circuit, key(RUN_KEY), spread=True)
    both = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), allow_int=True))
    value, (by_params, by_state) = both(circuit.params, state)
    assert float(value) > 0
    return {"value": digest(value), "params": leaves(by_params), "state": leaves(by_state)}


def differentiate_model(model: str, surrogate: str) -> Digests:
    """Gradients through one layer of cells of a model, by one surrogate."""
    circuit = built(feed_forward(model), path="dense", kernels="xla", surrogate=surrogate)
    return differentiate(circuit, "input", "cells")


NEURONS = ("lif", "lif_ex", "lif_adex", "lif_refrac", "lsnn", "leaky_integrator", "izhikevich")
"""Models that stand alone."""


def run_neurons() -> Digests:
    """Every model that stands alone, 200 steps of random input."""
    drive = np.random.default_rng(5).normal(4, 6, (200, 8)).astype(np.float32)
    found: Digests = {}
    for name in NEURONS:
        model = getattr(cb.neurons, name)
        params = model.Params()
        state = model.init(params, (8,))
        advance = jax.jit(partial(jax.lax.scan, partial(step_alone, model, params)))
        state, out = advance(state, jnp.asarray(drive))
        found[name] = digest(out)
        found[f"{name}, state"] = leaves(state)
    return found


def step_alone(model: Any, params: Any, state: Any, now: jax.Array) -> tuple[Any, jax.Array]:
    """One millisecond of a model's cells."""
    return model.step(params, state, now, 1.0)


# The command line


def run_program(*arguments: str) -> dict[str, Any]:
    """The program in a process of its own, with this package: the JSON that it prints."""
    root = str(Path(cb.__file__).resolve().parents[1])
    done = subprocess.run(
        [*PROGRAM, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": root},
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1:])
    return json.loads(done.stdout)


RESULT_KEYS = ("seed", "dt_ms", "duration_ms", "steps", "populations", "windows")
"""What `simulate --json` prints and no clock has a part in."""


def run_command_line() -> Digests:
    """`simulate` with checkpoints, and gone on with from the newest of them."""
    found: Digests = {}
    with tempfile.TemporaryDirectory() as folder:
        fixed = ("simulate", "--granule-size", "1000", "--no-plots", "--json", "--out", folder)
        for title, more in {
            "begun": ("--duration-ms", "100", "--checkpoint-ms", "50"),
            "resumed": ("--duration-ms", "200", "--checkpoint-ms", "50", "--resume"),
        }.items():
            result = run_program(*fixed, *more)
            kept = {name: result[name] for name in RESULT_KEYS}
            text = json.dumps(kept, sort_keys=True).encode()
            found[f"{title}: result"] = hashlib.sha256(text).hexdigest()
            files: Any = getattr(cb, "io", cb.record)
            recording = files.load(Path(folder) / "recording.npz")
            found |= under(title, recorded(recording))
    return found


# The inside: what a change of names there may touch


def built(
    spec: Any, *, path: str, kernels: str, surrogate: str | None = None, seed: int = BUILD_KEY
) -> cb.Circuit:
    """Build a circuit that sends spikes on a path, by kernels of a kind, and passes gradients.

    One that is not a field of the spec is given to `build` where that takes it, and otherwise is
    left to the package: what is computed must not depend on it. (What is the backend now was once
    a field of the name of kernels.)
    """
    wanted: dict[str, Any] = {"path": path, "kernels": kernels, "backend": kernels}
    if surrogate is not None:
        from cerebellum.model.surrogate import Surrogate

        wanted["surrogate"] = Surrogate(name=surrogate)
    fields = {field.name for field in dataclasses.fields(spec)}
    taken = inspect.signature(cb.build).parameters
    spec = dataclasses.replace(spec, **{name: wanted[name] for name in wanted.keys() & fields})
    more = {name: wanted[name] for name in wanted.keys() - fields if name in taken}
    return cb.build(spec, key(seed), **more)


def common_spec(wiring: Any) -> Any:
    """The common network of 10,000 granule cells."""
    from cerebellum.model.presets.common import common

    return common("S", wiring=wiring)


def relay_population(name: str, size: int) -> cb.Population:
    """Cells that pass on the spikes that they are given."""
    return cb.Population(name=name, size=size, model="relay", params=cb.neurons.relay.Params())


def feed_forward(model: str) -> cb.Spec:
    """60 relays that excite and inhibit 12 cells of a model."""
    cells = {
        "current": cb.neurons.current.Params(drive=12.0),
        "conductance": cb.neurons.conductance.Params(),
    }[model]
    population = cb.Population(name="cells", size=12, model=model, params=cells)
    return cb.Spec(
        name="feed_forward",
        populations=(relay_population("input", 60), population),
        projections=tuple(
            cb.Projection(
                source="input",
                target="cells",
                receptor=receptor,
                label=receptor,
                weight=weight,
                delay=delay,
                in_degree=20,
                plastic=receptor == "exc",
            )
            for receptor, weight, delay in (("exc", 2.0, 1.0), ("inh", 0.5, 2.0))
        ),
        dt=1.0,
    )


def every_rule() -> cb.Spec:
    """60 relays onto 12 cells by every published rule, in rows of weights and in lists."""
    from cerebellum.model import plasticity

    rules = {
        "purkinje": plasticity.parallel_fibre_purkinje("olive_cells", 0.002, -0.02),
        "interneuron": plasticity.parallel_fibre_interneuron("olive_cells", 0.02, -0.002),
        "nuclei": plasticity.mossy_fibre_nuclei("input_nuclei_cells", 0.01, -0.01),
        "pair": plasticity.pair_stdp("cells", 0.01),
    }
    forms = {"rows": (60, 0.05, 1.0), "lists": (20, 0.2, 3.0)}
    learning = []
    for index, (name, rule) in enumerate(rules.items()):
        form = list(forms)[index % 2]
        in_degree, weight, delay = forms[form]
        learning.append(
            cb.Projection(
                source="input",
                label=name,
                target="cells",
                receptor="exc",
                weight=2 * weight,
                delay=delay,
                in_degree=in_degree,
                spread=0.5,
                plastic=True,
                w_max=4 * weight,
                rule=rule,
            )
        )
    olive = cb.Projection(
        source="olive", target="cells", receptor="exc", weight=1.0, delay=2.0, in_degree=1
    )
    cells = cb.Population(
        name="cells", size=12, model="current", params=cb.neurons.current.Params(drive=8.0)
    )
    return cb.Spec(
        name="every_rule",
        populations=(relay_population("input", 60), relay_population("olive", 12), cells),
        projections=(*learning, olive),
    )


def homeostatic(weights: str) -> cb.Spec:
    """60 relays onto 12 cells that scale their weights and shift their thresholds."""
    from cerebellum.model.homeostasis import Scaling, Threshold

    forms = {
        "lists": {"in_degree": 20, "weight": 0.8},
        "uint16": {"in_degree": 60, "weight": 0.25, "dtype": "uint16", "w_max": 4.0},
    }
    cells = cb.Population(
        name="cells",
        size=12,
        model="current",
        params=cb.neurons.current.Params(drive=8.0),
        homeostasis=Threshold(target=20.0, gain=1.0, tau_rate=500.0),
    )
    projection = cb.Projection(
        source="input",
        target="cells",
        receptor="exc",
        delay=1.0,
        spread=0.8,
        plastic=True,
        scaling=Scaling(target=20.0, tau=500.0, tau_rate=500.0),
        **forms[weights],
    )
    return cb.Spec(
        name="homeostatic",
        populations=(relay_population("input", 60), cells),
        projections=(projection,),
    )


def train_trials(method: Any) -> Digests:
    """A few steps of training on two patterns of spikes; hybrid takes three epochs."""
    from cerebellum.learn import network, train
    from cerebellum.learn.feed import Trials

    rng = np.random.default_rng(6)
    labels = rng.integers(0, 2, 96)
    spikes = (rng.random((96, 2, 10, 24)) < 0.1).astype(np.uint8)
    spikes[labels == 1, :, :, :8] |= rng.random((int(labels.sum()), 2, 10, 8)) < 0.4
    feed = Trials(spikes=spikes, labels=labels, parts=(64, 80), size=16)
    design = network.Design(inputs=24, fields=0, choices=(0, 1), granule=100, purkinje=4, nuclei=8)
    net = network.build(design, key(BUILD_KEY))
    plan = train.Plan(
        method=method,
        epochs=3 if method == "hybrid" else 1,
        gradient_checkpointing=method == "hybrid",
        plasticity=2e-3,
    )
    training, history, losses = train.begin(plan, feed, net), [], []
    found: Digests = {"begun": leaves(training)}
    for after, progress in train.run(plan, feed, net, training, history):
        training = after
        losses.append(progress.loss)
    return {
        **found,
        "losses": digest(losses),
        "trained": leaves(training),
        "history": digest_of(history),
    }


def price_file(folder: Path) -> Path:
    """A file of 1,500 ticks, whose price tends to go on as it went."""
    rng = np.random.default_rng(7)
    moves = np.cumprod(np.where(rng.random(1_500) < 0.8, 1, -1))
    time_ms = 1_700_000_000_000 + np.cumsum(rng.integers(1, 400, moves.size))
    price, volume = 100 + 0.01 * np.cumsum(moves), rng.random(moves.size)
    rows = zip(time_ms, price, volume, strict=True)
    path = folder / "ticks.csv"
    text = "".join(f"{t},{p:.4f},{v:.3f}\n" for t, p, v in rows)
    path.write_text(f"timestamp,price,volume\n{text}")
    return path


def learn_online() -> Digests:
    """Features and labels of a file of ticks, and going through its test part while learning."""
    from cerebellum.learn import network, online
    from cerebellum.learn.tasks import ticks

    with tempfile.TemporaryDirectory() as folder:
        data = ticks.prepare(ticks.load(price_file(Path(folder))), "event")
    inputs, choices = data.ranks.shape[1], ticks.CHOICES[data.task]
    design = network.Design(inputs=inputs, choices=choices, granule=100, purkinje=12, nuclei=24)
    net = network.build(design, key(BUILD_KEY))
    learner = network.begin(net, key(RUN_KEY))
    gains = online.Gains(climbing=jnp.float32(1e-3), readout=jnp.float32(1e-2))
    learner, chances = online.prequential(net, learner, data, data.test, gains)
    return {
        "features and labels": digest(data.ranks, data.labels),
        "learner": leaves(learner),
        "chances": digest(chances),
    }


def digest_of(value: Any) -> str:
    """SHA-256 of JSON values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def serve_ticks() -> Digests:
    """What the service answers to 20 ticks of two markets, in this process."""
    from cerebellum import config
    from cerebellum.service import metrics, served, state
    from cerebellum.service.requests import Tick

    found: Digests = {}
    with tempfile.TemporaryDirectory() as folder:
        flags = {
            "neural.granule_size": 500,
            "performance.batch_size": 1,
            "storage.models": str(Path(folder) / "models"),
        }
        settings = config.load(None, flags)
        model = served.untrained(settings)
        engine = state.build(settings, model, metrics.build(model.sizes, {"version": "0"}))
        engine.start()
        try:
            for index in range(20):
                price = 100 + 0.01 * ((index * 7919) % 13 - 6)
                stamp = 1_700_000_000_000.0 + 100 * index
                tick = Tick(price=price, volume=1.0 + index % 3, timestamp=stamp)
                answer = engine.submit("ab"[index % 2], [tick], 60.0).result(60)
                counts = [answer.counts[name] for name in sorted(answer.counts)]
                found[f"tick {index}"] = digest(answer.chances, counts)
        finally:
            engine.stop()
    return found


def blink() -> Digests:
    """One trial of eyeblink conditioning, tone and puff."""
    from cerebellum.learn.tasks import eyeblink
    from cerebellum.learn.tasks.eyeblink_tone import structured

    circuit = built(eyeblink.spec(), path="event", kernels="native")
    stimuli = eyeblink.Stimuli(tone=structured(key(BUILD_KEY)), key=key(RUN_KEY))
    state, session = eyeblink.run(circuit, cb.init(circuit, key(RUN_KEY)), ("paired",), stimuli)
    found: Digests = {f"spikes:{name}": digest(x) for name, x in session.spikes.items()}
    return {**found, "tone": digest(stimuli.tone), "state": leaves(state)}


def move_eye() -> Digests:
    """One cycle of the vestibulo-ocular reflex, learning."""
    from cerebellum.learn.tasks import vor

    circuit = built(vor.spec(), path="event", kernels="native")
    loop = vor.start(circuit, key(RUN_KEY))
    loop, course = vor.turn(circuit, loop, 1, 1.5, 0.05)
    found: Digests = {f"rates:{name}": digest(hertz) for name, hertz in course.hertz.items()}
    movement = digest(course.gain, course.phase)
    return {**found, "gain and phase": movement, "loop": leaves(loop)}


# The table


def beam_cases() -> Iterator[tuple[str, Callable[[], Digests]]]:
    """Beams of two sizes on the event path: every pair of size, kernels, learning and weights."""
    for granules, kernels, learning, dtype in (
        (1_000, "native", True, "uint16"),
        (1_000, "native", True, "float32"),
        (1_000, "xla", False, "float32"),
        (3_000, "native", False, "float32"),
        (3_000, "native", False, "uint16"),
        (3_000, "xla", True, "uint16"),
    ):
        options = {"kernels": kernels, "learning_rate": 1e-3 * learning, "dtype": dtype}
        title = f"beams-{granules}-{kernels}-{'learning' if learning else 'still'}-{dtype}"
        yield title, partial(run_beams, granules, **options)


CASES: dict[str, Callable[[], Digests]] = {
    **dict(beam_cases()),
    "dense": partial(run_beams, 500, path="dense", kernels="xla", learning_rate=1e-3),
    "three-beams": partial(run_beams, 1_050, beams=3, learning_rate=1e-3, sparsity=0.2),
    "three-beams-cut-in-2": partial(run_cut, 2),
    "three-beams-cut-in-3": partial(run_cut, 3),
    "batch": partial(run_batch, 1),
    "batch-on-a-mesh": partial(run_batch, 4),
    **{f"drive-{kind}": partial(run_driven, kind) for kind in SOURCES},
    "chunks": run_chunks,
    "mouse-dense": partial(run_mouse, "dense", "xla"),
    "mouse-event": partial(run_mouse, "event", "native"),
    "mouse-eglif-short-term": run_mouse_eglif,
    "common-random": partial(run_common, "random"),
    "common-anatomical": partial(run_common, "anatomical"),
    "rules-native": partial(run_spec, every_rule, "event", "native"),
    "rules-xla": partial(run_spec, every_rule, "event", "xla"),
    "rules-dense": partial(run_spec, every_rule, "dense", "xla"),
    "homeostasis-lists": partial(run_spec, partial(homeostatic, "lists"), "event", "native"),
    "homeostasis-uint16": partial(run_spec, partial(homeostatic, "uint16"), "event", "native"),
    "homeostasis-dense": partial(run_spec, partial(homeostatic, "lists"), "dense", "xla"),
    "consolidated": run_consolidated,
    "starts": run_starts,
    "gradients-current": partial(differentiate_model, "current", "superspike"),
    "gradients-conductance": partial(differentiate_model, "conductance", "triangle"),
    "neurons": run_neurons,
    "train-climbing-fiber": partial(train_trials, "climbing_fiber"),
    "train-surrogate-gradient": partial(train_trials, "surrogate_gradient"),
    "train-hybrid": partial(train_trials, "hybrid"),
    "online": learn_online,
    "service": serve_ticks,
    "eyeblink": blink,
    "vor": move_eye,
    "command-line": run_command_line,
}
"""Every case, by name: a function that gives its digests."""


# Comparing


def machine() -> dict[str, str]:
    """Versions and the processor, on which the last bits of floats depend."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in ("jax", "jaxlib", "numpy")},
        "processor": names[0] if names else platform.machine(),
    }


def compute(name: str) -> Digests:
    """One case; an error is written down in place of its digests, and the others go on."""
    try:
        return CASES[name]()
    except Exception as error:
        first = (str(error).splitlines() or [""])[0]
        return {"failed": f"{type(error).__name__}: {first}"}


def differences(before: Digests, now: Digests) -> list[str]:
    """Names of what is not the same, or is in one of the two alone."""
    found = []
    for name in dict.fromkeys((*before, *now)):
        one, other = before.get(name), now.get(name)
        if name == "failed" and other is not None:
            found.append(f"failed: {other}")
        elif one is None or other is None:
            found.append(f"{name} ({'new' if one is None else 'missing'})")
        elif isinstance(one, list) and isinstance(other, list) and one != other:
            gone, new = Counter(one) - Counter(other), Counter(other) - Counter(one)
            kinds = [
                f"{sign}{leaf.split()[0]}"
                for sign, some in (("-", gone), ("+", new))
                for leaf in some.elements()
            ]
            shown = " ".join(kinds[:8]) + (" ..." if len(kinds) > 8 else "")
            found.append(f"{name} ({shown})")
        elif one != other:
            found.append(name)
    return found


def verdict(before: Digests | None, now: Digests) -> tuple[bool, str]:
    """Whether a case is good, and what the table says of it."""
    if before is None:
        failed = now.get("failed")
        return failed is None, f"failed: {failed}" if failed else f"{len(now)} digests"
    found = differences(before, now)
    return not found, f"differs  {', '.join(found)}" if found else "same"


def chosen(patterns: Sequence[str] | None) -> list[str]:
    """Cases whose names match one of some patterns; all where there is none."""
    if not patterns:
        return list(CASES)
    return [name for name in CASES if any(fnmatchcase(name, pattern) for pattern in patterns)]


def arguments() -> argparse.Namespace:
    """What the program was told."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the digests there")
    parser.add_argument("--against", type=Path, metavar="FILE", help="compare with that file")
    parser.add_argument("--only", nargs="+", metavar="PATTERN", help="cases, such as 'beams-*'")
    parser.add_argument("--list", action="store_true", help="name the cases, and end")
    given = parser.parse_args()
    if not (given.out or given.against or given.list):
        parser.error("--out FILE, --against FILE or --list")
    return given


def main() -> int:
    """Run the cases, write or compare; 1 where something is not as it was."""
    given = arguments()
    names = chosen(given.only)
    if given.list:
        print("\n".join(names))
        return 0
    jax.config.update("jax_num_cpu_devices", DEVICES)
    before = json.loads(given.against.read_text()) if given.against else None
    if before and before["machine"] != machine():
        print(f"written on another machine: {before['machine']}; this one is {machine()}")
    cases, bad = {}, []
    for name in names:
        began = time.perf_counter()
        cases[name] = compute(name)
        old = before["cases"].get(name, {}) if before else None
        good, told = verdict(old, cases[name])
        if not good:
            bad.append(name)
        print(f"{name:38}{time.perf_counter() - began:7.1f} s  {told}", flush=True)
    if before and not given.only:
        gone = [name for name in before["cases"] if name not in cases]
        bad += gone
        for name in gone:
            print(f"{name:38}           missing: no such case any more")
    if given.out:
        written = {"machine": machine(), "cases": cases}
        given.out.write_text(json.dumps(written, indent=1) + "\n")
    print(f"{len(names) - len(set(bad) & set(names))} of {len(names)} cases are good")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
