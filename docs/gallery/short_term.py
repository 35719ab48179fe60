"""Terminals that depress and terminals that facilitate.

Ten spikes at 50 Hz, and one after a pause, reach three cells through terminals after Tsodyks and
Markram. The membrane is held away from threshold, so that the conductances are all that happens.
"""

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np

import cerebellum as cb
from cerebellum.model.short_term import ShortTerm

terminals = {
    "static": None,
    "depressing": ShortTerm(utilisation=0.5, tau_rec=300.0, tau_fac=0.0),
    "facilitating": ShortTerm(utilisation=0.08, tau_rec=20.0, tau_fac=300.0),
}
cell = {"tau_exc": 3.0, "v_th": 100.0}
link = cb.Projection("fibre", "static", "exc", weight=1.0, delay=0.1, in_degree=1)
spec = cb.Spec(
    "terminals",
    (
        cb.Population("fibre", 1, "relay"),
        *(cb.Population(name, 1, "conductance", cell) for name in terminals),
    ),
    tuple(replace(link, target=name, short_term=kind) for name, kind in terminals.items()),
    dt=0.1,
)
times = np.r_[50.0 + 20.0 * np.arange(10), 600.0]
drive = {"fibre": cb.drive.SpikeTimes(np.zeros(11, int), times)}
_, recording = cb.simulate(
    cb.build(spec, 0), drive=drive, duration_ms=700, record=[f"g_exc:{name}" for name in terminals]
)
figure, axes = plt.subplots(3, 1, figsize=(8, 5), sharex=True, layout="constrained")
for axis, name in zip(axes, terminals, strict=True):
    trace = recording.traces[f"g_exc:{name}"]
    axis.plot(trace.time_ms, trace.values[:, 0], linewidth=1)
    axis.set(title=name, ylabel="nS", ylim=(0, None))
    first, last = (trace.values[int(10 * t) : int(10 * t) + 20, 0].max() for t in times[[0, 10]])
    print(f"{name}: first spike {first:.2f} nS, after the pause {last:.2f} nS")
axes[-1].set_xlabel("time (ms)")
figure.savefig("terminals.png", dpi=100)
