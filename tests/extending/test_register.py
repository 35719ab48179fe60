"""What a user's own script adds is as good as what is built in."""

from dataclasses import dataclass, replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import quadratic

import cerebellum as cb
from cerebellum import backends, store
from cerebellum.model import neurons, plasticity, registry
from cerebellum.model.neurons import protocol, relay
from cerebellum.model.part import Part
from cerebellum.model.primitives import REFERENCE
from cerebellum.model.surrogate import Surrogate
from cerebellum.sim import memory, shard
from cerebellum.sim.chunk import ScanChunk
from cerebellum.store import equations, snapshot

KEY = jax.random.key(0)
DRIVE = {"input": cb.drive.poisson(80.0)}


@pytest.fixture(autouse=True)
def _tables_as_they_were():
    tables = neurons.CIRCUIT_MODELS, plasticity.WINDOWS, backends.BACKENDS
    before = [dict(table) for table in tables]
    cb.register("neuron", "quadratic", quadratic)
    yield
    for table, entries in zip(tables, before, strict=True):
        table.clear()
        table.update(entries)


def spec(cells=None, beams: int = 2, **changes) -> cb.Spec:
    population = cb.Population(
        name="cells", size=40, model="quadratic", params=cells or quadratic.Params()
    )
    return cb.Spec(
        name="mine",
        populations=(
            cb.Population(name="input", size=60, model="relay", params=relay.Params()),
            population,
        ),
        projections=(
            cb.Projection(
                source="input", target="cells", receptor="exc", weight=9.0, delay=2.0, in_degree=12
            ),
        ),
        beams=beams,
        **changes,
    )


def run(circuit, duration_ms=200.0, **more):
    return cb.simulate(
        circuit, cb.init(circuit, KEY, spread=True), DRIVE, duration_ms=duration_ms, **more
    )


def test_a_model_runs_records_and_says_its_units():
    circuit = cb.build(spec(), KEY, path="event")
    assert np.ptp(cb.init(circuit, KEY, spread=True).cells["cells"].v) > 10
    _, recording = run(circuit, record=("v:cells:0:3", "i_exc:cells:0:3", "raster:cells"))
    assert recording.spikes["cells"].sum() > 20
    assert recording.traces["v:cells"].unit == "mV"
    labels = [axis.get_ylabel() for axis in cb.plot.traces(recording).axes]
    assert "(pA)" in labels[1]


def test_a_model_s_units_are_saved(tmp_path):
    _, recording = run(cb.build(spec(), KEY, path="event"), record="i_exc:cells:0:2")
    cb.io.save(recording, tmp_path / "r.npz")
    assert cb.io.load(tmp_path / "r.npz").traces["i_exc:cells"].unit == "pA"


def test_an_edited_function_is_run_without_being_registered_again():
    """As in a notebook, where a cell is run again: the circuit may be the old one."""
    names = {name: getattr(quadratic, name) for name in vars(quadratic) if name[0] != "_"}
    mine = SimpleNamespace(**names)
    cb.register("neuron", "edited", mine)
    circuit = cb.build(
        cb.Spec(
            name="one",
            populations=(
                cb.Population(name="cells", size=4, model="edited", params=quadratic.Params()),
            ),
            projections=(),
        ),
        KEY,
    )

    def voltage():
        state = cb.simulate(circuit, cb.init(circuit, KEY), {}, duration_ms=2)[0]
        return np.asarray(state.cells["cells"].v)

    before = voltage()

    def step(params, state, input, dt, surrogate=None):
        after, spikes = quadratic.step(params, state, input, dt, surrogate)
        return replace(after, v=after.v + 1.0), spikes

    mine.step = step
    np.testing.assert_allclose(voltage(), before + 2.0, atol=0.5)


def test_a_model_that_came_in_by_another_way_is_checked():
    neurons.CIRCUIT_MODELS["half"] = SimpleNamespace(Params=quadratic.Params)
    with pytest.raises(cb.UsageError, match="'half': without State, Input, "):
        cb.Spec(
            name="one",
            populations=(
                cb.Population(name="cells", size=4, model="half", params=quadratic.Params()),
            ),
            projections=(),
        )


def test_a_model_has_noise():
    """Its cells, driven alike, come apart."""
    circuit = cb.build(spec(beams=1), KEY, path="event")
    drive = {"cells": np.full((100, 1), 20.0, np.float32)}
    _, recording = cb.simulate(circuit, cb.init(circuit, KEY), drive, record="v:cells")
    assert np.ptp(recording.traces["v:cells"].values[-1]) > 0


def test_a_model_passes_gradients():
    circuit = cb.build(spec(beams=1, surrogate=Surrogate()), KEY, path="dense")
    state = cb.init(circuit, KEY, spread=True)
    input_spikes = jnp.asarray(np.random.default_rng(0).random((50, 60)) < 0.1, jnp.float32)

    def loss(weight):
        weights = {**circuit.params.weights, "input_cells": weight}
        params = replace(circuit.params, weights=weights)

        def body(state, now):
            state, activity = cb.step(params, circuit.wiring, state, {"input": now})
            return state, activity.spikes["cells"].sum()

        return jnp.sum(jax.lax.scan(body, state, input_spikes)[1])

    gradient = jax.jit(jax.grad(loss))(circuit.params.weights["input_cells"])
    assert float(jnp.abs(gradient).sum()) > 0


def test_a_model_is_cut_among_devices():
    whole = cb.build(spec(), KEY, path="event")
    cut = shard.split(whole, shard.mesh(2))
    initial = jax.tree.map(np.asarray, cb.init(whole, KEY, spread=True))
    state = jax.tree.map(jnp.asarray, initial)
    _, recording = cb.simulate(whole, state, DRIVE, duration_ms=60, record="v:cells")
    divided = shard.split_state(cut, initial)
    _, recording_of_shards = cb.simulate(cut, divided, DRIVE, duration_ms=60, record="v:cells")
    np.testing.assert_array_equal(
        recording.traces["v:cells"].values, recording_of_shards.traces["v:cells"].values
    )


def test_a_model_s_memory_is_estimated():
    state = cb.init(cb.build(spec(), KEY, path="event"), KEY)
    bytes_of_state = sum(leaf.nbytes for leaf in jax.tree.leaves(state.cells["cells"]))
    assert memory.arrays(Part(spec=spec()))["cells.cells"] == bytes_of_state


def test_a_model_goes_into_a_checkpoint(tmp_path):
    circuit = cb.build(spec(), KEY, path="event")
    state, _ = run(circuit)
    path = store.write(tmp_path, 1, snapshot.tree(circuit, state), snapshot.about(circuit))
    state, want = cb.simulate(circuit, state, DRIVE, duration_ms=50)
    restored_circuit, restored = snapshot.restore(store.load(path))
    restored, recording = cb.simulate(restored_circuit, restored, DRIVE, duration_ms=50)
    jax.tree.map(np.testing.assert_array_equal, recording.spikes, want.spikes)
    jax.tree.map(np.testing.assert_array_equal, restored, state)


@pytest.fixture
def edit():
    """Register the model again with some of its functions replaced."""

    def register(**functions):
        edited = SimpleNamespace(**{name: getattr(quadratic, name) for name in protocol.NAMES})
        vars(edited).update(functions)
        cb.register("neuron", "quadratic", edited, replace=True)

    return register


def test_a_checkpoint_notices_an_edited_model(tmp_path, edit):
    circuit = cb.build(spec(), KEY, path="event")
    tree, about = snapshot.tree(circuit, cb.init(circuit, KEY)), snapshot.about(circuit)
    checkpoint = store.load(store.write(tmp_path, 1, tree, about))
    # Written differently, it is the same model: rounding alone differs.
    edit(
        step=lambda params, state, input, dt, surrogate=None: quadratic.step(
            params, state, replace(input, current=(input.current + 1e-4) - 1e-4), dt, surrogate
        )
    )
    snapshot.restore(checkpoint)
    # The same parameters, but an equation with a tenth of a percent more leak.
    edit(
        step=lambda params, state, input, dt, surrogate=None: quadratic.step(
            replace(params, k=params.k * 1.001), state, input, dt, surrogate
        )
    )
    with pytest.raises(
        cb.UsageError, match=r"neuron 'quadratic' \(cells\): computes something else"
    ):
        snapshot.restore(checkpoint)
    restored, _ = snapshot.restore(checkpoint, edited=True)
    assert restored.spec == circuit.spec


def test_a_checkpoint_notices_an_edited_window(tmp_path):
    cb.register("window", "step", cb.Window(lambda lag, tau: (lag >= 0) * 1.0))
    rule = cb.Rule(teacher="cells", per_pair=0.5, kernel="step", tau=8.0, window=20.0)
    plastic = spec(beams=1).with_projection("input_cells", plastic=True, w_max=50.0, rule=rule)
    probes = equations.probes(plastic)
    assert equations.changed(probes, plastic) == []
    cb.register("window", "step", cb.Window(lambda lag, tau: (lag > 2.0) * 1.0), replace=True)
    assert equations.changed(probes, plastic) == ["window 'step' (input_cells)"]


def test_what_the_package_has_is_not_compared():
    own = replace(spec(), populations=(spec().populations[0],), projections=())
    assert equations.probes(own) == {}


def test_an_edited_model_is_run():
    """What was compiled of the one before is not run in its place."""
    _, before = run(cb.build(spec(), KEY, path="event"))
    edited = SimpleNamespace(**{name: getattr(quadratic, name) for name in protocol.NAMES})
    edited.step = lambda params, state, *_, **__: (state, 0 * state.v)
    cb.register("neuron", "quadratic", edited, replace=True)
    _, after = run(cb.build(spec(), KEY, path="event"))
    assert before.spikes["cells"].sum() > 0
    assert after.spikes["cells"].sum() == 0


def test_a_window_is_learned_by():
    def shape(lag: np.ndarray, tau: float) -> np.ndarray:
        return ((lag >= 0) & (lag < tau)).astype(float)

    cb.register("window", "step", cb.Window(shape))
    rule = cb.Rule(teacher="cells", per_pair=0.5, kernel="step", tau=8.0, window=20.0)
    plastic = spec(beams=1).with_projection("input_cells", plastic=True, w_max=50.0, rule=rule)
    circuit = cb.build(plastic, KEY, path="event")
    initial = np.asarray(cb.init(circuit, KEY).weights["input_cells"])
    state, recording = run(circuit)
    assert recording.spikes["cells"].sum() > 0
    change = np.asarray(state.weights["input_cells"]) - initial
    assert change.max() > 0
    # Pairs count all alike, so that weights move in whole steps.
    np.testing.assert_allclose(change / 0.5, np.round(change / 0.5), atol=1e-3)


@dataclass(frozen=True)
class Counting:
    """A backend that does what the reference does, and counts how often it was asked."""

    name: str = "counting"

    def unavailable(self, platform: str) -> str | None:
        return None

    def suits(self, circuit: cb.Circuit) -> bool:
        return circuit.spec.name == "mine"

    def primitives(self, circuit: cb.Circuit):
        ASKED.append("primitives")
        return REFERENCE

    def chunk(self, circuit: cb.Circuit, steps: int, recorders):
        return None


@dataclass(frozen=True)
class Looping(Counting):
    """One with a loop of its own: two halves of a chunk, one after the other."""

    name: str = "looping"

    def chunk(self, circuit: cb.Circuit, steps: int, recorders):
        ASKED.append("chunk")
        return Halves(ScanChunk(steps=steps, recorders=recorders))


@dataclass(frozen=True)
class Halves:
    scan: ScanChunk

    def __call__(self, params, wiring, state, inputs):
        middle = self.scan.steps // 2
        records = []
        for steps, steps_of_half in (
            (middle, slice(middle)),
            (self.scan.steps - middle, slice(middle, None)),
        ):
            arrays = {name: x[steps_of_half] for name, x in inputs.arrays.items()}
            half = replace(self.scan, steps=steps)
            state, half_records = half(params, wiring, state, replace(inputs, arrays=arrays))
            records.append(half_records)
        return state, jax.tree.map(lambda *x: jnp.concatenate(x), *records)


ASKED: list[str] = []


@pytest.mark.parametrize(("backend", "asked"), [(Counting(), "primitives"), (Looping(), "chunk")])
def test_a_backend_runs_a_circuit(backend, asked):
    _, want = run(cb.build(spec(), KEY, backend="xla", path="event"), record="raster:cells")
    cb.register("backend", backend.name, backend)
    ASKED.clear()
    circuit = cb.build(spec(), KEY, path="event")
    assert backends.of(circuit) is backend
    _, got = run(circuit, record="raster:cells")
    assert asked in ASKED
    assert got.loop == ("a loop of its own" if asked == "chunk" else backends.SCAN)
    np.testing.assert_array_equal(got.rasters["cells"].cell, want.rasters["cells"].cell)
    np.testing.assert_array_equal(got.spikes["cells"], want.spikes["cells"])


@dataclass(frozen=True)
class Explaining(Looping):
    """One that says how it takes its steps."""

    name: str = "explaining"

    def explain(self, circuit: cb.Circuit, recorders, inputs):
        return f"halves, {len(recorders)} recorder, drive {sorted(inputs.sources)}"


def test_a_backend_says_how_it_took_the_steps():
    cb.register("backend", "explaining", Explaining())
    _, recording = run(cb.build(spec(), KEY, path="event"), record="raster:cells")
    assert (recording.backend, recording.loop) == (
        "explaining",
        "halves, 1 recorder, drive ['input']",
    )
    joined = cb.record.join([recording])
    assert joined.loop == recording.loop


class Merging(Counting):
    """One whose lists do not depend on the length of a chunk."""

    def merged(self, circuit: cb.Circuit):
        return None


class Asking(Counting):
    """One that wants to know more than it is told."""

    def suits(self, circuit: cb.Circuit, platform: str) -> bool:
        return platform == "gpu"


class Loopless(Counting):
    chunk = None


class Told(Counting):
    """One that says how it runs where a method is wanted."""

    explain = "one by one"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("neurone", "x", quadratic),
            "kind 'neurone'; one of backend, connection, distribution, neuron, rule, window, ",
        ),
        (("neuron", "x y", quadratic), "neuron 'x y'; letters"),
        (("neuron", "current", quadratic), "neuron 'current': taken; another name"),
        (("neuron", "x", SimpleNamespace(init=1)), "neuron 'x': without Params, State, Input"),
        (("window", "x", lambda lag, tau: lag), "window 'x': function; a plasticity.Window"),
        (("backend", "x", object()), "backend 'x': without name, unavailable"),
        (
            ("backend", "x", Merging()),
            "backend 'x': merged: too many positional arguments; a method merged(circuit, steps)",
        ),
        (
            ("backend", "x", Asking()),
            "backend 'x': suits: missing a required argument: 'platform'; a method suits(circuit)",
        ),
        (
            ("backend", "x", Loopless()),
            "backend 'x': chunk None; a method chunk(circuit, steps, recorders)",
        ),
        (
            ("backend", "x", Told()),
            "backend 'x': explain 'one by one'; a method explain(circuit, recorders, inputs)",
        ),
    ],
)
def test_what_cannot_be_registered_is_refused_by_name(arguments, message):
    with pytest.raises(cb.UsageError) as error:
        cb.register(*arguments)
    assert message in str(error.value)
    assert registry.revision() >= 0


def test_a_backend_that_is_not_there_is_refused_when_it_is_to_run():
    circuit = cb.build(spec(), KEY, backend="tpu", path="event")
    with pytest.raises(cb.UsageError, match=r"backend: 'tpu'; one of auto, .*xla, native"):
        run(circuit)
