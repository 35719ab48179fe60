"""Circuits on the CUDA backend: on a CPU by emulation, and what is lowered for a GPU."""

from dataclasses import replace

import chex
import emulated
import jax
import jax.numpy as jnp
import needed
import numpy as np
import pytest

import cerebellum as cb
from cerebellum import backends
from cerebellum.backends.cuda import library, operations, resources
from cerebellum.model import events, plasticity
from cerebellum.model.neurons import eglif
from cerebellum.model.primitives import REFERENCE
from cerebellum.sim.chunk import Inputs, ScanChunk, advance

KEY = jax.random.key(0)
OURS = operations.on("cpu")


@pytest.fixture(scope="module")
def kernels():
    """The kernels, on a CPU."""
    needed.emulation()


@pytest.fixture
def registered(kernels, monkeypatch):
    for name, backend in emulated.BACKENDS.items():
        monkeypatch.setitem(backends.BACKENDS, name, backend)


def small(**more) -> cb.Spec:
    """A circuit of cells of three models, with weights and delays of their own, that learns."""
    return cb.Spec(
        "small",
        (
            cb.Population("mossy_fiber", 70, "relay"),
            cb.Population("granule", 300, params=cb.neurons.conductance.Params(v_th=-60.0)),
            cb.Population("golgi", 40, "eglif", params=eglif.Params(i_e=3.0)),
            cb.Population("purkinje", 33, "current", {"drive": cb.Normal(16.0, 0.5)}),
        ),
        (
            cb.Projection(
                "mossy_fiber",
                "granule",
                "exc",
                weight=cb.Normal(9.0, 1.0, low=1.0),
                delay=1.0,
                in_degree=4,
            ),
            cb.Projection(
                "granule", "golgi", "r1", weight=0.4, delay=cb.Uniform(1.0, 9.0), in_degree=20
            ),
            cb.Projection("golgi", "granule", "inh", weight=1.0, delay=2.0, in_degree=2),
            cb.Projection(
                "granule",
                "purkinje",
                "exc",
                weight=0.02,
                delay=2.0,
                in_degree=100,
                w_max=0.05,
                rule=plasticity.pair_stdp("purkinje", 1e-3),
                **more,
            ),
        ),
        dt=0.5,
    )


DRIVE = {"mossy_fiber": cb.drive.poisson(80.0)}


@pytest.fixture(scope="module")
def circuit(kernels) -> cb.Circuit:
    return cb.build(small(), KEY, path="event", backend="cuda-emulated")


def test_each_step_of_a_circuit(circuit):
    """From the states of the reference: the same spikes, and sums within rounding."""
    fired = jax.random.uniform(KEY, (50, 70)) < 0.06

    def body(state, words):
        ours, theirs = (
            cb.step(circuit.params, circuit.wiring, state, {"mossy_fiber": words}, table)
            for table in (OURS, REFERENCE)
        )
        return theirs[0], (ours, theirs)

    start = cb.init(circuit, KEY, spread=True)
    ours, theirs = jax.jit(lambda x, y: jax.lax.scan(body, x, y)[1])(start, events.pack(fired))
    assert all(theirs[1].spikes[name].any() for name in ("granule", "golgi", "purkinje"))
    chex.assert_trees_all_equal(ours[1], theirs[1])
    chex.assert_trees_all_close(ours[0], theirs[0], rtol=1e-5, atol=1e-5)


def test_a_run_may_be_cut_anywhere_and_batched(circuit, registered):
    """Bit for bit: in one piece, in two, and as a member of a batch."""
    spec_dt = circuit.spec.dt
    record = ("raster:granule", "v:purkinje:0:5")

    def start(key):
        return cb.init(circuit, key, spread=True)

    whole, recording = cb.simulate(
        circuit, start(KEY), DRIVE, duration_ms=60 * spec_dt, record=record
    )
    assert all(recording.spikes[name].sum() > 0 for name in ("granule", "golgi"))
    state = start(KEY)
    parts = []
    for steps in (23, 37):
        state, part = cb.simulate(circuit, state, DRIVE, duration_ms=steps * spec_dt, record=record)
        parts.append(np.asarray(part.spikes["granule"]))
    chex.assert_trees_all_equal(state, whole)
    np.testing.assert_array_equal(np.concatenate(parts), recording.spikes["granule"])
    keys = [jax.random.key(7), KEY]
    states = jax.tree.map(lambda *x: jnp.stack(x), *map(start, keys))
    members, _ = cb.simulate_batch(circuit, states, DRIVE, duration_ms=60 * spec_dt)
    chex.assert_trees_all_equal(jax.tree.map(lambda x: x[1], members), whole)


def test_one_launch_and_single_steps_give_the_same_bits(registered):
    """With lists, rows, drawn spikes, and learning, whose window closes after 201 ms."""
    spec = cb.presets.beams(600, beams=2, learning_rate=2e-3)
    circuit = cb.build(spec, KEY, path="event")
    weights = np.asarray(cb.init(circuit, KEY, spread=True).weights["granule_purkinje"])
    states = []
    for name in emulated.BACKENDS:
        own = replace(circuit, backend=name)
        assert backends.explain(own).startswith("many steps") == (name == "cuda-emulated")
        state, recording = cb.simulate(own, cb.init(own, KEY, spread=True), DRIVE, duration_ms=225)
        assert recording.spikes["purkinje"].sum() > 0
        states.append(state)
    chex.assert_trees_all_equal(*states)
    assert (states[0].weights["granule_purkinje"] != weights).any()


def lowered(spec: cb.Spec, platform: str, drive: dict) -> str:
    """The program of five steps of a circuit with the kernels of a GPU, for a platform."""
    circuit = cb.build(spec, KEY, path="event", backend="xla")
    chunk = ScanChunk(steps=5, primitives=operations.on("cuda"))
    operands = circuit.params, circuit.wiring, cb.init(circuit, KEY), Inputs(sources=drive)
    return advance.trace(chunk, *operands).lower(lowering_platforms=(platform,)).as_text()


ALL = ("integrate", "deliver", "settle", "incur", "draw", "take")
CIRCUITS = {
    "small": (small, {"integrate", "deliver", "settle", "incur", "draw", "take"}),
    "beams": (
        lambda: cb.presets.beams(1_000, beams=2, learning_rate=2e-3),
        {"integrate", "deliver", "settle", "incur", "draw"},
    ),
}


@pytest.mark.parametrize("name", CIRCUITS)
def test_a_gpu_gets_kernels_and_no_loop_but_that_over_steps(name):
    make, calls = CIRCUITS[name]
    text = lowered(make(), "cuda", DRIVE)
    assert {call for call in ALL if f"cerebellum_cuda_{call}" in text} == calls
    assert text.count("stablehlo.while") == 1
    elsewhere = lowered(make(), "cpu", DRIVE)
    assert "cerebellum_cuda" not in elsewhere
    assert elsewhere.count("stablehlo.while") > 1


REGISTERS = 65_536
"""Of a multiprocessor, on all of the architectures."""

THREADS = 256
"""Of a block of these kernels: `kBlock` of events.cuh."""


@pytest.mark.slow
def test_no_kernel_of_a_step_spills():
    """And of each, two blocks fit on a multiprocessor, on all architectures."""
    found = needed.nvcc()
    units = [unit for unit in library.units() if unit.stem in ("primitives", "deliver")]
    kernels = resources.of_units(found, resources.ARCHITECTURES, units)
    names = {kernel.kernel for kernel in kernels}
    assert len(units) == 2
    assert len(kernels) == len(names) * len(resources.ARCHITECTURES)
    assert {"find", "take", "draw", "incur"} <= {name.split("::")[-1] for name in names}
    for kernel in kernels:
        assert (kernel.spill_stores, kernel.spill_loads, kernel.stack) == (0, 0, 0), kernel
        assert 2 * THREADS * kernel.registers <= REGISTERS, kernel
        assert kernel.shared == 0, kernel
