"""Checkpoints: a run that is saved, loaded and continued equals, bit for bit, one in one piece."""

import sys
import tempfile

import numpy as np

import cerebellum as cb

folder = sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()
circuit = cb.build(cb.presets.mouse(scale=0.05), 0)
run = {"drive": {"glomerulus": cb.drive.poisson(4.0)}, "record": "raster:granule"}
_, whole = cb.simulate(circuit, cb.init(circuit, 1), **run, duration_ms=200)
state, first = cb.simulate(circuit, cb.init(circuit, 1), **run, duration_ms=100)
cb.store.save_circuit(folder, circuit, state)

circuit, state = cb.store.load_circuit(folder)
_, second = cb.simulate(circuit, state, **run, duration_ms=100)
cut = cb.record.join([first, second]).rasters["granule"]
whole = whole.rasters["granule"]
same = np.array_equal(cut.time_ms, whole.time_ms) and np.array_equal(cut.cell, whole.cell)
print(f"{len(cut.cell)} spikes; the same as in one run: {same}")
