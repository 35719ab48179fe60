"""A circuit goes to NIR and comes back.

A current-based circuit becomes a graph of NIR, which Norse, snnTorch, Lava and others read, is
written to a file, read again, and fires the same spikes.
"""

import matplotlib.pyplot as plt
import nir
import numpy as np

import cerebellum as cb

cells = (
    cb.Population("input", 40, "relay"),
    cb.Population("hidden", 60, "current", {"t_ref": 0.0}),
)
links = (
    cb.Projection("input", "hidden", "exc", weight=10.0, delay=1.0, in_degree=8),
    cb.Projection("hidden", "hidden", "inh", weight=1.0, delay=2.0, in_degree=10),
)
first = cb.build(cb.Spec("circuit", cells, links, dt=0.5), 0)
nir.write("circuit.nir", cb.io.nir.graph(first))
second = cb.io.nir.circuit(nir.read("circuit.nir"))

rasters = []
for circuit in (first, second):
    _, recording = cb.simulate(
        circuit, drive={"input": cb.drive.poisson(40.0)}, duration_ms=300, record="raster:hidden"
    )
    rasters.append(recording.rasters["hidden"])
same = all(
    np.array_equal(getattr(rasters[0], x), getattr(rasters[1], x)) for x in ("time_ms", "cell")
)
print(f"{len(rasters[0].cell)} spikes, the same after the round trip: {same}")
for name, node in nir.read("circuit.nir").nodes.items():
    print(f"{name}: {type(node).__name__}")
figure, axis = plt.subplots(figsize=(8, 3.5), layout="constrained")
axis.plot(rasters[0].time_ms, rasters[0].cell, "o", markersize=6, mfc="none", label="before")
axis.plot(rasters[1].time_ms, rasters[1].cell, ".", markersize=3, label="after")
axis.set(xlabel="time (ms)", ylabel="cell")
axis.legend(loc="upper right")
figure.savefig("spikes.png", dpi=100)
