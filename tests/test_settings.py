"""Every key of the configuration acts: a probe for each shows what another value changes.

A probe reads an effect through the code that the program itself runs. A key without a probe fails.
"""

import argparse
import asyncio
import json
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from starlette.exceptions import HTTPException

from cerebellum import config, configure
from cerebellum.cli import checkpoints as checkpoints_program
from cerebellum.cli import new_run
from cerebellum.cli import train as train_program
from cerebellum.config import Settings
from cerebellum.errors import UsageError
from cerebellum.learn import encode, losses, network, stdp, train, updates
from cerebellum.learn.feed import Batch
from cerebellum.learn.network import Design
from cerebellum.learn.plan import Plan
from cerebellum.learn.tasks import ticks
from cerebellum.service import (
    app,
    check,
    engine,
    guard,
    inference,
    listening,
    logs,
    metrics,
    serve,
    state,
    statistics,
)
from cerebellum.service.markets import FullError
from cerebellum.service.requests import Start, Tick
from cerebellum.service.requests_queue import BusyError
from cerebellum.service.training import Trainer
from cerebellum.store import tools

sys.path.insert(0, str(Path(__file__).parent / "learn"))
import series

pytestmark = pytest.mark.usefixtures("broadcasting")


@dataclass(frozen=True)
class Probe:
    """Two values of a key, and what they must change."""

    one: Any
    other: Any
    see: Callable[[Settings, "Lab"], Any]
    """the effect"""
    base: dict[str, Any] = field(default_factory=dict)
    """other keys, the same for both values"""


@dataclass
class Lab:
    """What probes share: a folder, ticks and a small network."""

    folder: Path
    stream: ticks.Stream
    net: network.Net
    patch: pytest.MonkeyPatch
    load: Callable[..., Any]
    """`ticks.prepare`, which remembers"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A stream of ticks, a small network, and `ticks.prepare` with a memory."""
    folder, known = tmp_path_factory.mktemp("settings"), {}
    stream = ticks.load(series.write(folder / "ticks.csv", series.steps(1_000, 0.8, 0)))

    def prepare(
        stream, task, receptive=None, band=None, validation=ticks.VALIDATION, blur=encode.BLUR
    ):
        what = validation, blur
        if what not in known:
            known[what] = real(stream, task, receptive, band, *what)
        return known[what]

    real = ticks.prepare
    design = Design(inputs=28, granule=100, golgi=4, purkinje=4, nuclei=8)
    with jax.numpy_rank_promotion("allow"):
        return stream, network.build(design, jax.random.key(0)), prepare


@pytest.fixture
def lab(tmp_path, made, monkeypatch):
    stream, net, prepare = made
    for name in list(os.environ):
        if name.startswith((config.PREFIX, "XLA_PYTHON_CLIENT", "XLA_CLIENT", "OMP_NUM")):
            monkeypatch.delenv(name)
    return Lab(tmp_path, stream, net, monkeypatch, prepare)


def size(population: str) -> Callable[[Settings, Lab], Any]:
    return lambda settings, lab: configure.spec_of(settings).population(population).size


def spec(see: Callable[[Any], Any]) -> Callable[[Settings, Lab], Any]:
    return lambda settings, lab: see(configure.spec_of(settings))


def contacts(spec: Any) -> Any:
    return next(p for p in spec.projections if p.name == "granule_purkinje")


def new(settings: Settings, lab: Lab) -> Any:
    """A new training run, with the design and the data that it would have."""
    asked = {}

    def build(design, key):
        asked["design"], asked["key"] = design, jax.random.key_data(key).tolist()
        return lab.net

    with lab.patch.context() as patch:
        patch.setattr(new_run.network, "build", build)
        patch.setattr(new_run.network, "begin", lambda net, key: None)
        patch.setattr(new_run.ticks, "prepare", lab.load)
        run, data = new_run.new(settings, lab.stream, "event")
    return SimpleNamespace(run=run, plan=run.plan, data=data, **asked)


def narrowest(data: Any) -> float:
    """The smallest width over which a feature's rank rises."""
    return float(np.min(data.receptive.blur))


def planned(see: Callable[[Any, Lab], Any]) -> Callable[[Settings, Lab], Any]:
    return lambda settings, lab: see(new(settings, lab).plan, lab)


def designed(see: Callable[[Design], Any]) -> Callable[[Settings, Lab], Any]:
    return lambda settings, lab: see(new(settings, lab).design)


def refractory(design: Design) -> Any:
    """The refractory period of the nuclear cells of the circuit."""
    return network.spec_of(design).population("nuclei").params.t_ref


def most_spikes(design: Design) -> float:
    """Most spikes of a mossy fibre in a tick."""
    ranks = jnp.arange(256, dtype=jnp.uint8)[:, None] * jnp.ones(design.inputs, jnp.uint8)
    return float(network.sense(design, ranks).sum(axis=0).max())


def update(plan: Plan, lab: Lab) -> float:
    """The second update of a weight, by gradients of 3 and 1."""
    with lab.patch.context() as patch:
        patch.setattr(updates.network, "units", lambda net: {"w": jnp.float32(1)})
        optimizer = updates.optimizer_of(plan, lab.net, 10)
    weights: Any = {"w": jnp.float32(0)}
    held = optimizer.init(weights)
    _, held = optimizer.update({"w": jnp.float32(3)}, held)
    moved: Any = optimizer.update({"w": jnp.float32(1)}, held)[0]
    return float(moved["w"])


def loss(plan: Plan, lab: Lab) -> float:
    return float(losses.LOSSES[plan.loss](jnp.array([[2.0, 0.0, 1.0]]), jnp.array([0]))[0])


@dataclass
class Feed:
    """A feed of three empty batches, of which two labels in three are 0."""

    resets: bool = False
    steps: int = 3
    size: int = 1

    def batch(self, epoch: int, step: int) -> Batch:
        return Batch(np.zeros((1, 1)), np.zeros((1, 1), np.int32), np.ones((1, 1), np.float32))

    def examples(self, what="train"):
        return np.zeros((3, 1)), np.array([0, 0, 2])


def steps(plan: Plan, lab: Lab) -> list[float]:
    """The weights of samples in each step of a run that never gets better."""
    weights = []

    def step(*arguments):
        (batch,) = (each for each in arguments if isinstance(each, updates.Samples))
        training = next(each for each in arguments if isinstance(each, updates.Training))
        weights.append(float(batch.weights[0, 0]))
        return training, 0.0

    def after(plan, feed, net, training, history, epoch):
        return replace(training, waited=training.waited + 1)

    with lab.patch.context() as patch:
        patch.setattr(train, "descend", step)
        patch.setattr(train, "_after_epoch", after)
        patch.setattr(updates.network, "fresh", lambda *arguments: None)
        nothing: Any = None
        training = updates.Training(
            learner=nothing,
            optimizer=nothing,
            carry=nothing,
            total=jnp.float32(0),
            counted=jnp.float32(0),
            best=nothing,
            best_loss=jnp.float32(0),
            waited=jnp.int32(0),
        )
        for _ in train.run(plan, Feed(), lab.net, training, []):
            pass
    return weights


def recomputed(plan: Plan, lab: Lab) -> list[int]:
    """How many ticks the backward pass recomputes at a time."""
    seen = []

    class Seen(Exception):
        pass

    def unroll(mesh, design, circuit, carry, inputs, segment):
        seen.append(segment)
        raise Seen

    training = SimpleNamespace(learner=0.0, carry=None)
    with lab.patch.context() as patch:
        patch.setattr(updates.parallel, "unroll", unroll)
        patch.setattr(updates.network, "with_learned", lambda circuit, learner: circuit)
        batch = SimpleNamespace(inputs=None)
        arguments: Any = (lab.net.design, plan, 1, lab.net.circuit, training, batch, None)
        with pytest.raises(Seen):
            updates.descend.__wrapped__(*arguments)
    return seen


def taught(plan: Plan, lab: Lab) -> list[float]:
    """The weights after some spikes that a rule of spike timing learns from."""
    rng = np.random.default_rng(0)
    net, steps = lab.net, 30
    mossy = rng.random((steps, 2, net.design.mossy_fibers)) < 0.3
    post = rng.integers(-1, 2, (steps, 2, net.design.nuclei)) / 20
    learner = stdp.teach(
        net,
        network.begin(net, jax.random.key(0)),
        plan.stdp,
        jnp.asarray(mossy, jnp.float32),
        jnp.asarray(post, jnp.float32),
        jnp.float32(1),
    )
    return np.asarray(learner.weights[stdp.PROJECTION]).tolist()


def saved(settings: Settings, lab: Lab) -> int:
    """Checkpoints that stay of three."""
    with train_program._open_store(lab.folder / "run", settings) as store:
        for step in range(3):
            store.save(step, {"x": np.zeros(1)}, {})
            store.wait()
    return len(list((lab.folder / "run").glob("0*")))


def priced(settings: Settings, lab: Lab) -> Any:
    """The price of a file whose column of that name is empty of prices."""
    path = lab.folder / "named.csv"
    rows = "".join(f"{1_700_000_000_000 + i},{100 + i % 3},{50 + i % 2},1\n" for i in range(200))
    path.write_text("timestamp,price,last,volume\n" + rows)
    return ticks.load(path, settings.training.columns).price.max()


# The service.


def model(bytes_each: int = 1_000) -> Any:
    """Enough of a model for an engine that is not started."""
    fresh = (np.zeros(bytes_each, np.uint8),)
    return SimpleNamespace(
        fresh=fresh, needs=10_000, digest="d", digests=("d",), learns=False, name="untrained"
    )


def built(settings: Settings, lab: Lab) -> engine.Engine:
    settings = settings.model_copy(
        update={"storage": settings.storage.model_copy(update={"models": lab.folder / "models"})}
    )
    return state.build(settings, model(), metrics.build((), {"version": "0"}))


def markets(idle: bool) -> Callable[[Settings, Lab], int]:
    """How many markets of 30 are in memory, all of them idle or none."""

    def see(settings: Settings, lab: Lab) -> int:
        held = built(settings, lab).markets
        try:
            for index in range(30):
                held.find(f"m{index}")
                if idle:
                    held.used[f"m{index}"] = -100.0
        except FullError:
            pass
        return len(held.states)

    return see


def places(settings: Settings, lab: Lab) -> int:
    """Requests that may wait."""
    queue: Any = built(settings, lab).requests
    with pytest.raises(BusyError):
        list(map(queue.put, range(10)))
    return len(queue)


def saves(settings: Settings, lab: Lab) -> bool:
    """Whether an engine saves its state after 100 s."""
    made, asked = built(settings, lab), []
    lab.patch.setattr(
        made.persistence.checkpoints, "save", lambda *arguments, **more: asked.append(1)
    )
    made.persistence.begun_ticks = -1
    made._summarise_and_save(time.monotonic() + 100.0)
    return bool(asked)


def threads(settings: Settings, lab: Lab) -> Any:
    """The threads of the application's event loop for blocking work."""
    import anyio.to_thread

    async def look() -> Any:
        service = app.Service(settings, metrics.build((), {"version": "0"}), trainer=None)  # type: ignore[arg-type]
        application = app.build(service, lambda: None, lambda: None)
        async with application.router.lifespan_context(application):
            tokens = anyio.to_thread.current_default_thread_limiter().total_tokens
            loop = asyncio.get_running_loop()
            return tokens, loop._default_executor._max_workers  # type: ignore[attr-defined]

    return asyncio.run(look())


def server(see: Callable[[Any], Any]) -> Callable[[Settings, Lab], Any]:
    def look(settings: Settings, lab: Lab) -> Any:
        measured = metrics.build((), {"version": "0"})
        application: Any = print
        return see(serve._server(settings.server, application, measured, 10).config)

    return look


def address(settings: Settings, lab: Lab) -> Any:
    with listening.bound(settings.server.host, settings.server.port) as sock:
        return sock.getsockname()


def refusal(settings: Settings, lab: Lab) -> Any:
    scope = {"headers": [(b"content-length", b"2000")], "path": "/"}
    return guard._refusal(scope, settings.server.max_body_size, ())


def future(settings: Settings, lab: Lab) -> bool:
    """Whether a tick is refused that is five seconds ahead."""
    service: Any = SimpleNamespace(settings=settings, metrics=metrics.build((), {"version": "0"}))
    tick = Tick(price=1.0, volume=1.0, timestamp=(time.time() + 5) * 1e3)
    try:
        app._check_clock([tick], service)
    except HTTPException:
        return True
    return False


def named(settings: Settings, lab: Lab) -> bool:
    return guard.hosts(settings.server.host, settings.server.allowed_hosts)(b"signals.example:80")


def keys(settings: Settings, lab: Lab) -> Any:
    path = settings.server.api_key_file
    assert path is not None
    path.write_text(f"a-key-of-{path.name}-0123456789")
    path.chmod(0o600)
    assert not [line for line in check.problems(settings) if "api_key_file" in line]
    return guard.keys(path)


def logged(settings: Settings, lab: Lab) -> Any:
    """Names of log files, and their first line without its time."""
    folder = lab.folder / "log"
    listener = logs.begin(settings.logging)
    log = logging.getLogger("cerebellum.probe")
    for _ in range(12):
        log.debug("quiet")
        log.info("loud " + 100 * "x")
    listener.stop()
    for handler in listener.handlers:
        handler.close()
    files = sorted(folder.iterdir())
    first = next(path for path in files if path.suffix != ".gz").read_text().splitlines()
    return [path.name for path in files], "quiet" in str(first), first[0][:1] == "{"


def data_of(settings: Settings, lab: Lab) -> Path:
    trainer = Trainer(settings, None)
    (settings.storage.data).mkdir(exist_ok=True)
    (settings.storage.data / "x.csv").touch()
    return trainer._data(Start(data="x.csv"))


def backups(settings: Settings, lab: Lab) -> str:
    path = lab.folder / "c.toml"
    path.write_text(f"[storage]\nbackups = {json.dumps(str(settings.storage.backups))}\n")
    arguments = argparse.Namespace(target=None, config=str(path))
    return checkpoints_program._backups(arguments)


# The device.


def device(settings: Settings, lab: Lab) -> Any:
    """What JAX is told, and whether a GPU is asked for."""
    told = []
    fake = SimpleNamespace(
        config=SimpleNamespace(update=lambda *pair: told.append(pair)), devices=told.append
    )
    lab.patch.setattr(configure, "jax", fake)
    configure.use_device(settings)
    return told


def pool(settings: Settings, lab: Lab) -> dict[str, Any]:
    """How JAX would keep the memory of a GPU of 40 GB."""
    from jaxlib import xla_client

    for name in [name for name in os.environ if name.startswith("XLA_PYTHON_CLIENT")]:
        lab.patch.delenv(name)
    lab.patch.setattr(configure, "gpu_memory", lambda: 40 * 10**9)
    with lab.patch.context() as patch:
        patch.setattr(configure.os, "environ", dict(os.environ))
        configure.choose_device(settings)
        names = {k: v for k, v in configure.os.environ.items() if k.startswith("XLA_PYTHON")}
    for name, value in names.items():
        lab.patch.setenv(name, value)
    read = getattr(xla_client, "generate_pjrt_gpu_plugin_options", lambda: names)
    return dict(read())


def variable(name: str) -> Callable[[Settings, Lab], Any]:
    def see(settings: Settings, lab: Lab) -> Any:
        lab.patch.setenv(name, "before")
        configure.choose_device(settings)
        return os.environ[name]

    return see


def made_by(name: str) -> Callable[[Settings, Lab], Any]:
    """An argument with which the circuit of a configuration is built."""

    def see(settings: Settings, lab: Lab) -> Any:
        asked: dict[str, Any] = {}

        def build(spec, key, **more):
            asked.update(more, key=jax.random.key_data(key).tolist())

        with lab.patch.context() as patch:
            patch.setattr(tools.anatomy, "build", build)
            patch.setattr(tools, "init", lambda *arguments, **more: None)
            tools.untrained(settings)
        return asked[name]

    return see


def fits(settings: Settings, lab: Lab) -> bool:
    lab.patch.setattr(configure, "memory_there", lambda: 64 * 10**9)
    try:
        configure.check_memory(configure.spec_of(settings), settings.performance.memory_limit)
    except UsageError:
        return False
    return True


SGD = {"training.optimizer": "sgd"}
LOG = {"logging.file": "{folder}/log/a.log"}
SMALL_FILES = {**LOG, "logging.max_size": 300}
PER_MARKET = {"performance.memory_limit": 30_000}

PROBES: dict[str, Probe] = {
    "neural.granule_size": Probe(1_000, 2_000, size("granule")),
    "neural.purkinje_size": Probe(12, 13, size("purkinje")),
    "neural.golgi_size": Probe(12, 13, size("golgi")),
    "neural.stellate_size": Probe(12, 13, size("stellate")),
    "neural.basket_size": Probe(12, 13, size("basket")),
    "neural.dcn_size": Probe(12, 13, size("nuclei")),
    "neural.inferior_olive_size": Probe(12, 13, size("inferior_olive")),
    "neural.mossy_fiber_size": Probe(50, 51, size("mossy_fiber")),
    "neural.beams": Probe(1, 2, spec(lambda made: made.beams)),
    "neural.dt": Probe(1.0, 0.5, spec(lambda made: made.dt)),
    "neural.steps_per_tick": Probe(10, 12, lambda s, lab: new(s, lab).design.steps),
    "neural.learning_rate": Probe(0.001, 0.002, spec(lambda made: contacts(made).rule.per_spike)),
    "neural.sparsity": Probe(0.0, 0.5, spec(lambda made: contacts(made).in_degree)),
    "neural.seed": Probe(1, 2, made_by("key")),
    "performance.device": Probe("cpu", "cuda", device),
    "performance.batch_size": Probe(
        1, 8, lambda s, lab: inference.size_of(5, built(s, lab).inference.batch_size)
    ),
    "performance.kernels": Probe("xla", "native", made_by("backend")),
    "performance.threads": Probe(3, 5, variable("OMP_NUM_THREADS")),
    "performance.memory_pool_enabled": Probe(True, False, pool),
    "performance.memory_pool_size": Probe("20GB", "10GB", pool),
    "performance.memory_limit": Probe("28GB", "100MB", fits),
    "performance.garbage_collection_threshold": Probe(1.0, 0.5, markets(idle=True), PER_MARKET),
    "performance.weight_dtype": Probe("float32", "uint16", spec(lambda m: contacts(m).dtype)),
    "training.method": Probe(
        "climbing_fiber", "stdp", planned(lambda plan, lab: plan.method_of(0))
    ),
    "training.optimizer": Probe("sgd", "adam", planned(update)),
    "training.loss": Probe("mse", "cross_entropy", planned(loss)),
    "training.epochs": Probe(1, 2, planned(steps)),
    "training.batch_size": Probe(4, 8, lambda s, lab: new(s, lab).run.data["streams"]),
    "training.window": Probe(4, 1, lambda s, lab: new(s, lab).run.data["window"]),
    "training.learning_rate": Probe(0.01, 0.02, planned(update)),
    "training.gradient_clipping": Probe(1.0, 2.0, planned(update), SGD),
    "training.gradient_checkpointing": Probe(True, False, planned(recomputed)),
    "training.validation_split": Probe(0.2, 0.4, lambda s, lab: new(s, lab).data.validation),
    "training.early_stopping_patience": Probe(1, 2, planned(steps)),
    "training.checkpoint_interval": Probe(99.0, 101.0, saves),
    "training.max_checkpoints": Probe(1, 2, saved),
    "training.microzones": Probe(1, 2, lambda s, lab: new(s, lab).plan.microzones),
    "training.swap_noise": Probe(0.0, 0.2, lambda s, lab: new(s, lab).plan.swap_noise),
    "training.dropout": Probe(0.0, 0.2, lambda s, lab: new(s, lab).plan.dropout),
    "training.rate_epochs": Probe(0, 3, lambda s, lab: new(s, lab).plan.rate_epochs),
    "training.fields": Probe(6, 12, lambda s, lab: new(s, lab).design.mossy_fibers),
    "training.field_width": Probe(0.6, 1.2, lambda s, lab: new(s, lab).design.width),
    "training.rank_blur": Probe(0.1, 0.01, lambda s, lab: narrowest(new(s, lab).data)),
    "training.code": Probe("rate", "regular", lambda s, lab: new(s, lab).design.code),
    "training.burst": Probe(8, 10, designed(most_spikes)),
    "training.readout_tau": Probe(4.0, 8.0, lambda s, lab: new(s, lab).design.tau),
    "training.refractory": Probe(2.0, 1.0, designed(refractory)),
    "training.largest_weight": Probe(10.0, 20.0, lambda s, lab: new(s, lab).design.largest_weight),
    "training.class_weights": Probe("none", "balanced", planned(steps)),
    "training.stdp.tau_pre": Probe(20.0, 10.0, planned(taught)),
    "training.stdp.tau_post": Probe(20.0, 10.0, planned(taught)),
    "training.stdp.a_plus": Probe(0.01, 0.02, planned(taught)),
    "training.stdp.a_minus": Probe(0.0, 0.02, planned(taught)),
    "training.stdp.w_min": Probe(0.0, 0.2, planned(taught)),
    "training.stdp.w_max": Probe(1.0, 0.05, planned(taught)),
    "training.columns": Probe({"price": "last"}, {"price": "price"}, priced),
    "training.data": Probe("a", "b", lambda s, lab: Trainer(s, None)._data(Start())),
    "server.host": Probe(
        "127.0.0.1", "127.0.0.2", address, {"server.api_key_file": "k", "server.port": 20_991}
    ),
    "server.port": Probe(20_992, 20_993, address),
    "server.worker_threads": Probe(2, 3, threads),
    "server.latency_slo": Probe(0.1, 0.2, lambda s, lab: statistics.slo_of(s)),
    "server.connection_timeout": Probe(3.0, 4.0, server(lambda made: made.http.timeout_s)),
    "server.keep_alive_timeout": Probe(3.0, 4.0, server(lambda made: made.timeout_keep_alive)),
    "server.max_connections": Probe(3, 4, places),
    "server.max_body_size": Probe(1_000, 3_000, refusal),
    "server.max_markets": Probe(3, 4, markets(idle=False)),
    "server.clock_tolerance": Probe(1.0, 10.0, future),
    "server.allowed_hosts": Probe(["other.example"], ["Signals.example"], named),
    "server.api_key_file": Probe("{folder}/one", "{folder}/other", keys),
    "logging.level": Probe("DEBUG", "INFO", logged, LOG),
    "logging.format": Probe("json", "human", logged, LOG),
    "logging.file": Probe("{folder}/log/a.log", "{folder}/log/b.log", logged),
    "logging.max_files": Probe(1, 2, logged, SMALL_FILES),
    "logging.max_size": Probe(300, 10**6, logged, LOG),
    "logging.compression": Probe("gzip", "none", logged, SMALL_FILES),
    "storage.models": Probe("a", "b", lambda s, lab: Trainer(s, None).folder),
    "storage.backups": Probe("a", "b", backups),
    "storage.data": Probe("{folder}/a", "{folder}/b", data_of),
}


def leaves() -> list[str]:
    schema = config.schema()

    def below(properties: dict[str, Any], path: str) -> list[str]:
        found = []
        for key, value in properties.items():
            table = value.get("$ref", "").split("/")[-1]
            inner = below(schema["$defs"][table]["properties"], f"{path}{key}.") if table else []
            found += inner or [f"{path}{key}"]
        return found

    return below(schema["properties"], "")


def test_every_key_has_a_probe():
    assert sorted(PROBES) == sorted(leaves())


def loaded(flags: dict[str, Any], folder: Path) -> Settings:
    """Settings of these flags, in whose texts {folder} stands for a folder."""
    filled = {
        name: value.replace("{folder}", str(folder)) if isinstance(value, str) else value
        for name, value in flags.items()
    }
    return config.load(None, filled)


@pytest.mark.parametrize("key", PROBES)
def test_a_key_acts(key, lab, tmp_path):
    """The same value twice gives the same effect, another value another one."""
    probe, seen, folder = PROBES[key], [], tmp_path / "lab"
    lab.folder = folder
    for value in (probe.one, probe.one, probe.other):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        flags = {"storage.models": "{folder}/models", **probe.base, key: value}
        seen.append(str(probe.see(loaded(flags, folder), lab)))
    assert seen[0] == seen[1]
    assert seen[1] != seen[2]


@pytest.mark.parametrize("key", [key for key in PROBES if key.startswith(("training", "neural"))])
def test_a_resumed_run_names_the_settings_that_it_does_not_follow(key, lab, tmp_path):
    """A value by which a new run would be another one is named, and no other is."""
    probe, lab.folder = PROBES[key], tmp_path
    flags = {"storage.models": "{folder}/models", **probe.base}
    began, asked = (loaded({**flags, key: each}, tmp_path) for each in (probe.one, probe.other))
    one, other = new(began, lab), new(asked, lab)
    model = replace(one.run.model, net=replace(lab.net, design=one.design))
    run, identity = replace(one.run, model=model), one.run.data
    sizes = identity["streams"], identity["window"]
    found = new_run.not_followed(asked, run, one.data, *sizes)
    differs = (one.plan, one.design, identity) != (other.plan, other.design, other.run.data)
    assert list(found) == ([key] if differs else [])


CONTRACT = """
[neural]
granule_size = 1000
purkinje_size = 12
golgi_size = 12
stellate_size = 12
basket_size = 12
dcn_size = 12
inferior_olive_size = 12
mossy_fiber_size = 50
dt = 1.0
steps_per_tick = 10
learning_rate = 0.001
sparsity = 0.05
seed = 1
[neural.model]
granule = "current"
[performance]
device = "cpu"
batch_size = 4
cuda_streams = 4
kernels = "auto"
memory_pool_enabled = true
memory_pool_size = "20GB"
memory_limit = "28GB"
garbage_collection_threshold = 0.8
weight_dtype = "uint16"
[training]
method = "stdp"
optimizer = "adam"
loss = "cross_entropy"
epochs = 10
batch_size = 32
learning_rate = 0.001
gradient_clipping = 1.0
gradient_checkpointing = true
validation_split = 0.2
early_stopping_patience = 5
checkpoint_interval = 600
max_checkpoints = 5
data = "data"
[training.stdp]
tau_pre = 20.0
tau_post = 20.0
a_plus = 0.01
a_minus = 0.001
w_min = 0.0
w_max = 1.0
[server]
host = "127.0.0.1"
port = 8080
worker_threads = 4
latency_slo = 10e-6
connection_timeout = 30
keep_alive_timeout = 5
max_connections = 1000
max_body_size = "1MB"
max_markets = 100
[logging]
level = "INFO"
format = "json"
file = "application.log"
max_files = 30
max_size = "100MB"
compression = "gzip"
[storage]
models = "models"
backups = "backups"
data = "data"
"""
"""Every key that operators were ever told of."""


def test_a_file_of_every_key_loads_but_for_those_that_are_gone(tmp_path):
    path = tmp_path / "all.toml"
    path.write_text(CONTRACT)
    with pytest.raises(UsageError) as caught:
        config.load(path)
    lines = [line.removeprefix(f"{path}: ") for line in str(caught.value).splitlines()]
    gone = ("neural.model", "performance.cuda_streams")
    assert sorted(line.partition(":")[0] for line in lines) == sorted(gone)
    assert all("no longer a" in line and ";" in line for line in lines)


def test_a_pool_that_the_gpu_cannot_hold_is_refused(monkeypatch):
    monkeypatch.setattr(configure, "gpu_memory", lambda: 16 * 10**9)
    settings = config.load(None, {"performance.memory_pool_size": "20GB"})
    with pytest.raises(UsageError, match=r"memory_pool_size: more than the GPU has \(20,000,"):
        configure.choose_device(settings)


def test_the_environment_of_jax_comes_before_the_file(monkeypatch):
    monkeypatch.setattr(configure, "gpu_memory", lambda: 40 * 10**9)
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    monkeypatch.setenv(configure.POOL, ".5")
    configure.choose_device(config.load(None, {"performance.memory_pool_size": "20GB"}))
    assert os.environ[configure.POOL] == ".5"
    assert os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"


def test_validation_is_the_end_in_time_of_what_is_not_test(made):
    stream, _, prepare = made
    count = len(stream.price)
    for share in (0.05, 0.2, 0.4):
        data = prepare(stream, "event", validation=share)
        borders = (data.train.start, data.train.stop, data.validation.stop, data.test.stop)
        assert borders == (0, round((0.9 - share) * count), round(0.9 * count), count)
        assert (data.validation.start, data.test.start) == borders[1:3]
