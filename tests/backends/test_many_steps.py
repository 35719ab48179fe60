"""Many steps of a circuit in one launch give what a scan over its steps gives.

The kernel runs on the CPU, by the emulation. Voltages differ from those of XLA in their last bits,
because XLA rounds a product and a sum at once.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import chex
import emulated
import jax
import needed
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws import examples
from same import same

import cerebellum as cb
from cerebellum import backends
from cerebellum.backends.cuda import contacts, library, resources, steps_plan
from cerebellum.backends.cuda import steps as many_steps
from cerebellum.backends.cuda.steps_circuit import Room
from cerebellum.model.homeostasis import Threshold
from cerebellum.model.neurons import current
from cerebellum.model.plasticity import Rule
from cerebellum.model.presets.common import Wiring, common
from cerebellum.sim.chunk import OwnChunk, ScanChunk, advance
from cerebellum.sim.loop import Feed, chunk_of

KEY = jax.random.key(3)
TOLERANCE = 2e-5
"""Of a voltage or a current of up to 100 mV, whose sums have up to some hundred terms of which each
is rounded to 2**-24 of the sum; an error decays with the time constants of the cell."""


ONE_LAUNCH, SINGLE = "cuda-emulated", "cuda-step-emulated"


@dataclass(frozen=True)
class SmallRoom(emulated.Emulated):
    """Shared memory for one group of cells and a few events."""

    name: str = "small-room"

    def chunk(self, circuit: cb.Circuit, steps: int, recorders: tuple[Any, ...]) -> Any | None:
        chunk = super().chunk(circuit, steps, recorders)
        return chunk and replace(chunk, room=Room(queue=40, slots=1))


@pytest.fixture(scope="module", autouse=True)
def kernels():
    needed.emulation()
    added: dict[str, backends.Backend] = {**emulated.BACKENDS, "small-room": SmallRoom()}
    backends.BACKENDS.update(added)
    yield
    for name in added:
        del backends.BACKENDS[name]


def cell(**changes) -> current.Params:
    return current.Params(**{"tau_m": 9.0, "drive": 12.0, **changes})


SMALL = cb.presets.Sizes(purkinje=29, nuclei=14)
TWO_BEAMS = cb.presets.beams(701, beams=2, learning_rate=4e-3, sparsity=0.3, sizes=SMALL)


def parallel(name: str, **rule) -> cb.Projection:
    """Rows of uint16 that learn."""
    return cb.Projection(
        *("granule", "purkinje", "exc"),
        label=name,
        weight=0.02,
        delay=2.0,
        in_degree=700.0,
        spread=0.5,
        plastic=True,
        dtype="uint16",
        w_max=0.05,
        rule=Rule(
            **{"per_spike": 2e-4, "per_pair": -(2.0**-9), "tau": 20.0, "window": 30.0, **rule}
        ),
    )


def lists(source: str, target: str, receptor: str = "exc", **changes) -> cb.Projection:
    given = {"weight": 2.0, "delay": 1.0, "in_degree": 3.0, **changes}
    return cb.Projection(source, target, receptor, **given)


def everything() -> cb.Spec:
    """Every kind of connection, of teacher and of window, and cells that differ."""
    return cb.Spec(
        "everything",
        (
            cb.Population("fibre", 70, "relay"),
            cb.Population("relay", 45, "relay"),
            cb.Population("granule", 700, params=cell(v_th=cb.Normal(14.0, 0.5, 12.0, 16.0))),
            cb.Population("purkinje", 33, params=cell(tau_m=15.0)),
            cb.Population("slow", 5, params=cell(drive=16.0, t_ref=300.0)),
        ),
        (
            lists("fibre", "relay", "spikes", in_degree=1.0, weight=1.0, delay=3.0),
            lists("relay", "granule", weight=8.0, delay=2.0),
            lists("fibre", "granule", weight=cb.Uniform(4.0, 9.0), in_degree=2.0),
            lists("granule", "slow", weight=0.3, in_degree=600.0),
            lists("slow", "purkinje", weight=3.0, in_degree=2.0, delay=5.0),
            lists("relay", "purkinje", weight=0.5, in_degree=40.0),
            lists("purkinje", "granule", "inh", weight=0.4, in_degree=2.0, delay=2.0),
            lists("granule", "purkinje", "inh", label="direct", weight=0.4, in_degree=20.0),
            parallel("a", teacher="slow_purkinje", kernel="exponential"),
            parallel("b", teacher="relay_purkinje", kernel="sine", window=202.0),
            parallel("c", teacher="purkinje", kernel="pair", back=30.0),
            parallel("d", teacher="granule_direct_purkinje", kernel="cosine", back=4.0),
        ),
        dt=1.0,
    )


def common_like(wiring: Wiring) -> cb.Spec:
    """The common network with a fifth of the cells of size S."""
    spec = common("S", wiring=wiring)
    populations = tuple(replace(p, size=max(8, p.size // 5)) for p in spec.populations)
    sizes = {p.name: p.size for p in populations}
    projections = tuple(
        replace(
            p,
            in_degree=min(p.in_degree, sizes[p.source] * (1.0 if p.dtype == "uint16" else 0.4)),
            weight=p.mean_weight * max(1.0, p.in_degree / sizes[p.source]),
            w_max=p.w_max and p.w_max * p.in_degree / sizes[p.source],
        )
        for p in spec.projections
    )
    return replace(spec, populations=populations, projections=projections)


BURST = cb.drive.burst(70, 20.0, 200.0, 30.0, 60.0, 25)
SPIKES = cb.drive.SpikeTimes([3, 3, 44, 20], [2.0, 9.0, 30.0, 31.0])
HALF = np.random.default_rng(1).random((300, 70)) < 0.03

TINY = cb.Spec(
    "tiny",
    (cb.Population("fibre", 70, "relay"), cb.Population("cells", 300, params=cell(drive=14.0))),
    (lists("fibre", "cells", weight=7.0), lists("fibre", "cells", "inh", label="inh", delay=3.0)),
    dt=1.0,
)
CASES = {
    "learning": (lambda: TWO_BEAMS, {"mossy_fiber": cb.drive.poisson(40.0)}, 230),
    "everything": (everything, {"fibre": [BURST, cb.drive.poisson(2.0)], "relay": SPIKES}, 300),
    "given spikes": (lambda: TINY, {"fibre": HALF.astype(np.float32)}, 200),
    "random": (lambda: common_like("random"), {"mossy_fiber": cb.drive.poisson(25.0)}, 80),
    "anatomical": (lambda: common_like("anatomical"), {"mossy_fiber": cb.drive.poisson(25.0)}, 80),
}
RECORD = {
    "purkinje": ("v:purkinje", cb.record.of("raster", "purkinje", [7, 2])),
    "granule": (
        *("raster:granule:3:40", "counts:granule", "i_exc:granule:5:29", "i_inh:granule:2"),
        cb.record.of("v", "granule", [9, 0, 600]),
    ),
    "cells": ("counts:cells",),
}


def run(spec, drive, ms, backend, *, record=("rates",), limit=1_000, state=None, silenced=()):
    circuit = cb.build(spec, KEY, path="event", backend=backend)
    for name, cells in silenced:
        circuit = cb.silence(circuit, name, cells)
    assert many_steps.unsuitable(circuit, ()) is None
    if state is None:
        state = cb.init(circuit, KEY, spread=True)
    options = {"duration_ms": ms, "record": record, "chunk_steps": limit, "progress": False}
    return cb.simulate(circuit, state, drive, **options)


@pytest.mark.parametrize(
    "name",
    [
        *("learning", "anatomical", "given spikes"),
        pytest.param("everything", marks=pytest.mark.slow),
        pytest.param("random", marks=pytest.mark.soak),
    ],
)
def test_it_is_a_scan_over_steps(name):
    spec, drive, ms = CASES[name]
    spec = spec()
    names = [p.name for p in spec.populations if p.name in RECORD]
    options: dict[str, Any] = {"record": tuple(r for name in names for r in RECORD[name])}
    options["silenced"] = [(names[0], [0, 20, 21])]
    ours, theirs = (run(spec, drive, ms, b, **options) for b in (ONE_LAUNCH, "xla"))
    spikes = theirs[1].spikes
    assert all(spikes[name].sum() > 5 for name in names)
    same(ours[1].spikes, spikes)
    same(ours[1].counts, theirs[1].counts)
    for label, raster in theirs[1].rasters.items():
        same(vars(ours[1].rasters[label]), vars(raster))
    exact = ("delay_lines", "weights", "rule_states", "step", "key")
    for field in exact:
        same(getattr(ours[0], field), getattr(theirs[0], field))
    chex.assert_trees_all_close(ours[0].cells, theirs[0].cells, rtol=0, atol=TOLERANCE)
    for label, trace in theirs[1].traces.items():
        values = ours[1].traces[label].values, trace.values
        np.testing.assert_allclose(*values, rtol=0, atol=TOLERANCE, err_msg=label)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["everything", "random"])
def test_it_is_the_kernels_of_single_steps(name):
    """Bit for bit, where XLA rounds a product and a sum at once."""
    spec, drive, ms = CASES[name]
    spec = spec()
    ours, theirs = (run(spec, drive, ms, backend) for backend in (ONE_LAUNCH, SINGLE))
    same(ours[0], theirs[0])
    same(ours[1].spikes, theirs[1].spikes)


def test_alike_cells_need_no_shared_memory():
    drive = CASES["given spikes"][1]
    ours, theirs = (run(TINY, drive, 100, backend) for backend in ("small-room", ONE_LAUNCH))
    assert ours[1].spikes["cells"].sum() > 100
    same(ours[0], theirs[0])


@examples(9)
@given(limit=st.sampled_from([1, 7, 50]), cut=st.integers(1, 59), seed=st.sampled_from("012"))
def test_how_it_is_cut_changes_no_bit(limit, cut, seed):
    """Nor the order of threads and blocks, nor how much fits into the shared memory of a block."""
    drive, record = CASES["learning"][1], ("rates", "raster:granule", "v:nuclei")
    whole = run(TWO_BEAMS, drive, 60, ONE_LAUNCH, record=record)
    assert whole[1].spikes["granule"].sum() > 100
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CEREBELLUM_EMULATE_SEED", seed)
        backend = "small-room" if seed == "2" else ONE_LAUNCH
        options = {"record": record, "limit": limit}
        state, first = run(TWO_BEAMS, drive, cut, backend, **options)
        state, second = run(TWO_BEAMS, drive, 60 - cut, backend, state=state, **options)
    same(state, whole[0])
    parts = [np.concatenate([a, b]) for a, b in zip(*map(values, (first, second)), strict=True)]
    for part, value in zip(parts, values(whole[1]), strict=True):
        np.testing.assert_array_equal(part, value)


def values(recording) -> list[np.ndarray]:
    return [*recording.spikes.values(), *(trace.values for trace in recording.traces.values())]


def test_what_it_cannot_run_is_said_and_runs_step_by_step():
    drive = {"fibre": cb.drive.poisson(40.0), "cells": 0.5}
    ours, theirs = (run(TINY, drive, 20, backend) for backend in (ONE_LAUNCH, "xla"))
    same(ours[0], theirs[0])
    circuit = cb.build(TINY, KEY, path="event", backend=ONE_LAUNCH)
    chunk = chunk_of(circuit, 5)
    assert isinstance(chunk, OwnChunk)
    operands = circuit.params, circuit.wiring, cb.init(circuit, KEY)
    for sources, launched in ((drive, False), ({"fibre": drive["fibre"]}, True)):
        inputs = Feed(circuit, sources, 0, False).inputs({})
        text = advance.lower(chunk, *operands, inputs).as_text()
        assert ("cerebellum_cuda_steps" in text) == launched


def test_a_batch_is_its_members():
    drive = {"fibre": cb.drive.poisson(40.0)}
    circuit = cb.build(TINY, KEY, path="event", backend=ONE_LAUNCH)
    keys = jax.random.split(KEY, 3)
    states = jax.vmap(lambda key: cb.init(circuit, key, spread=True))(keys)
    _, batch = cb.simulate_batch(circuit, states, drive, duration_ms=30, progress=False)
    alone = [run(TINY, drive, 30, ONE_LAUNCH, state=cb.init(circuit, k, spread=True)) for k in keys]
    for together, (_, recording) in zip(batch, alone, strict=True):
        same(together.spikes, recording.spikes)
    assert len({int(recording.spikes["cells"].sum()) for recording in batch}) > 1


UNSUITABLE = {
    "path: 'dense'": (TINY, {"path": "dense"}),
    "cells: conductance cells": (TINY.with_population("cells", model="conductance", params={}), {}),
    "granule_a_purkinje: rows of floats that learn": (
        everything().with_projection("granule_a_purkinje", dtype="float32"),
        {},
    ),
    "fibre_granule: a delay for each synapse": (
        everything().with_projection("fibre_granule", delay=cb.Uniform(1.0, 5.0)),
        {},
    ),
    "granule: threshold homeostasis": (
        everything().with_population("granule", homeostasis=Threshold(target=5.0)),
        {},
    ),
}


@pytest.mark.parametrize("why", UNSUITABLE)
def test_a_circuit_that_needs_single_steps_is_said(why):
    spec, options = UNSUITABLE[why]
    circuit = cb.build(spec, KEY, **{"path": "event", "backend": ONE_LAUNCH, **options})
    assert (many_steps.unsuitable(circuit, ()) or "").startswith(why)
    assert isinstance(chunk_of(circuit, 5), ScanChunk)


@pytest.mark.slow
def test_it_fits_on_a_gpu():
    """A block of 1,024 threads, whose spilled registers stay in the first cache, on each."""
    found = needed.nvcc()
    units = [unit for unit in library.units() if unit.stem == "steps"]
    kernels = resources.of_units(found, resources.ARCHITECTURES, units)
    assert len(kernels) == len(resources.ARCHITECTURES)
    for kernel in kernels:
        assert 1_024 * kernel.registers <= 65_536, kernel
        assert kernel.spill_stores <= 1_024, kernel
        assert kernel.stack <= 512, kernel


@pytest.mark.parametrize(("most", "bits"), [(0, 4), (15, 4), (16, 8), (255, 8), (70_000, 32)])
def test_a_counter_holds_all_spikes_of_a_step(most, bits):
    assert contacts.bits_for(most) == bits


def test_records_are_as_long_as_those_of_the_kernel():
    text = Path(steps_plan.__file__).with_name("steps").joinpath("plan.h").read_text()
    for name in ("Population", "Projection", "Rule", "Drive", "Recorder", "Header"):
        (fields,) = re.findall(rf"sizeof\({name}\) == 8 \* (\d+)", text)
        assert int(fields) == len(getattr(steps_plan, name.upper())), name
