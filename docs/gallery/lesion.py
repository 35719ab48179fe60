"""Golgi cells silenced in mid-run.

The same state goes on with a changed circuit, and again with the first one. Nothing is compiled
anew.
"""

import matplotlib.pyplot as plt
import numpy as np

import cerebellum as cb

circuit = cb.build(cb.presets.mouse(scale=0.05), 0)
lesioned = cb.silence(circuit, "golgi")
state, parts = None, []
for now in (circuit, lesioned, circuit):
    state, part = cb.simulate(now, state, {"glomerulus": cb.drive.poisson(4.0)}, duration_ms=200)
    parts.append(part)
    print(f"granule cells {cb.record.rates(part)['granule']:.1f} Hz")
time_ms, rates = cb.record.rate_course(cb.record.join(parts), bin_ms=5)
figure, axes = plt.subplots(3, 1, figsize=(8, 4.5), sharex=True, layout="constrained")
for axis, name in zip(axes, ("golgi", "granule", "purkinje"), strict=True):
    axis.step(time_ms, rates[name], where="mid", color=cb.plot.COLOURS[name])
    axis.axvspan(200, 400, color="#f2d7a0", alpha=0.5, linewidth=0)
    axis.set(ylabel=f"{name} (Hz)", ylim=(0, 1.1 * np.max(rates[name])))
axes[-1].set_xlabel("time (ms); Golgi cells are silent where it is shaded")
figure.savefig("lesion.png", dpi=100)
