"""The window of a learning rule, measured.

Sixty-one pairs of cells, each with one plastic synapse. In every pair the two cells fire once, at
another interval; what the weights have become is the window of pair-based plasticity.
"""

import matplotlib.pyplot as plt
import numpy as np

import cerebellum as cb

stdp = cb.define_rule(
    "pairs",
    params={"a_plus": 0.10, "a_minus": 0.12, "tau_plus": 15.0, "tau_minus": 25.0},
    pre={"x": "tau_plus"},
    post={"y": "tau_minus"},
    on_pre=lambda p, w, pre, post: -p.a_minus * post.y,
    on_post=lambda p, w, pre, post: p.a_plus * pre.x,
)
lags = np.arange(-60, 61, 2.0)  # ms, from the presynaptic to the postsynaptic spike
pairs = len(lags)
one_to_one = cb.connect.OneToOne()
spec = cb.Spec(
    "pairs",
    (cb.Population("pre", pairs, "relay"), cb.Population("post", pairs, "conductance")),
    (
        cb.Projection(
            "pre",
            "post",
            "exc",
            weight=0.5,
            delay=0.1,
            w_max=1.0,
            connect=one_to_one,
            rule=stdp(),
        ),
    ),
    dt=0.1,
)
cells = np.arange(pairs)
drive = {
    "pre": cb.drive.SpikeTimes(cells, np.full(pairs, 100.0)),
    "post.exc": cb.drive.SpikeTimes(cells, 100.0 + lags, 30.0),  # strong enough for one spike
}
circuit = cb.build(spec, 0)
state, recording = cb.simulate(circuit, drive=drive, duration_ms=200, record="raster:post")
change = circuit.edges("pre_post", state).weight - 0.5
raster = recording.rasters["post"]
measured = raster.time_ms[np.argsort(raster.cell)] - 100.0
print(f"{len(raster.cell)} spikes of {pairs} cells")
figure, axis = plt.subplots(figsize=(6, 3.5), layout="constrained")
axis.axhline(0, color="#999999", linewidth=0.8)
axis.plot(measured, change, "o", markersize=4)
axis.set(xlabel="postsynaptic minus presynaptic spike (ms)", ylabel="change of the weight (nS)")
figure.savefig("window.png", dpi=120)
