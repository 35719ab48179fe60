"""What a run says about its steps: many in one launch, or one by one and why."""

import numpy as np
import pytest

import cerebellum as cb
from cerebellum import backends
from cerebellum.backends import cuda
from cerebellum.sim import chunk as chunks
from cerebellum.sim import drive as drives
from cerebellum.sim import requests as asked
from cerebellum.sim.chunk import Inputs
from cerebellum.sim.watches import watches_of

BEAMS = cb.presets.beams(600, learning_rate=1e-3)
ONE_LAUNCH = "many steps in one launch"
SINGLE = "single steps by kernels"


@pytest.fixture(autouse=True)
def _on_a_gpu(monkeypatch):
    """The CUDA backends as on a machine that has what they need."""
    monkeypatch.setattr(cuda.Cuda, "unavailable", lambda self, platform: None)


def said(spec, backend, drive, record=(), path="event", batched=()) -> str:
    """What a backend says about a circuit with this drive and these records."""
    circuit = cb.build(spec, 0, path=path, backend=backend)
    requests = asked.parse(record, spec)
    watches = watches_of(requests, circuit.wiring, {}, {})
    arrays = {name: x for name, x in drive.items() if isinstance(x, np.ndarray)}
    sources = {name: x for name, x in drive.items() if name not in arrays}
    inputs = Inputs(sources=drives.plan(sources, spec).drawn, arrays=arrays)
    return chunks.explain(circuit, tuple(w.recorder for w in watches), inputs, batched)


def test_one_launch_is_said_where_the_circuit_and_its_drive_allow_it():
    mossy = BEAMS.population("mossy_fiber").size
    spikes = np.zeros((5, mossy), np.float32)
    poisson = {"mossy_fiber": cb.drive.poisson(30.0)}
    assert said(BEAMS, "cuda", poisson, ("raster:granule",)) == ONE_LAUNCH
    assert said(BEAMS, "cuda", {"mossy_fiber": spikes}) == ONE_LAUNCH
    each = {"mossy_fiber": np.stack([spikes] * 3)}
    assert said(BEAMS, "cuda", each, batched=("mossy_fiber",)) == ONE_LAUNCH
    assert said(BEAMS, "cuda-step", poisson) == SINGLE


@pytest.mark.parametrize(
    ("spec", "drive", "record", "why"),
    [
        (BEAMS, {"granule": np.zeros((5, 600), np.float32)}, (), "drive 'granule': not spikes"),
        (BEAMS, {}, ("weights:granule_purkinje",), "record 'weights:granule_purkinje': one"),
        (cb.presets.mouse(scale=0.02), {}, (), "granule: conductance cells; one launch runs"),
    ],
)
def test_what_prevents_one_launch_is_said(spec, drive, record, why):
    assert said(spec, "cuda", drive, record).startswith(f"{SINGLE}: {why}")


def test_without_kernels_it_is_a_scan():
    assert said(BEAMS, "xla", {}) == backends.SCAN
    assert said(cb.presets.mouse(scale=0.02), "cuda", {}, path="dense") == backends.SCAN
