"""The cells of the mouse cerebellum, one of each.

The E-GLIF cells of Model B without their synapses: what each does by itself, and in a current of
0.2 s.
"""

import matplotlib.pyplot as plt
import numpy as np

import cerebellum as cb

names = {"granule": 15, "golgi": 200, "purkinje": 800, "stellate": 30, "nuclei": 300}  # pA
mouse = cb.presets.mouse_eglif("vitro")
cells = [cb.Population(name, 1, params=mouse.population(name).params) for name in names]
circuit = cb.build(cb.Spec("cells", tuple(cells), dt=0.1), 0)
drive = {name: cb.drive.step_current(pa, 300, 500) for name, pa in names.items()}
_, recording = cb.simulate(
    circuit, drive=drive, duration_ms=800, record=[f"v:{name}" for name in names]
)
figure, axes = plt.subplots(len(names), 1, figsize=(8, 7), sharex=True, layout="constrained")
for axis, (name, pa) in zip(axes, names.items(), strict=True):
    trace, spikes = recording.traces[f"v:{name}"], np.flatnonzero(recording.spikes[name])
    axis.plot(trace.time_ms, trace.values[:, 0], color=cb.plot.COLOURS[name], linewidth=0.8)
    axis.vlines(0.1 * spikes, -40, 0, color=cb.plot.COLOURS[name], linewidth=0.8)
    axis.axvspan(300, 500, color="#f2d7a0", alpha=0.5, linewidth=0)
    axis.set(ylabel="mV", title=f"{name}, {pa} pA", ylim=(-100, 5))
axes[-1].set_xlabel("time (ms)")
figure.savefig("cells.png", dpi=100)
