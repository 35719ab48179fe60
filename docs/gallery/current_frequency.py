"""The rate of cells against their current.

One hundred Golgi-like cells, each with a current of its own: one run is the whole curve. A longer
refractory period bends it.
"""

import matplotlib.pyplot as plt
import numpy as np

import cerebellum as cb

currents = np.linspace(0, 400, 100)  # pA
figure, axis = plt.subplots(figsize=(6, 3.5), layout="constrained")
for t_ref in (2.0, 10.0):
    cell = {"tau_m": 20.0, "c_m": 60.0, "e_l": -65.0, "v_th": -50.0, "v_reset": -70.0}
    cells = cb.Population("cells", 100, "conductance", cell | {"t_ref": t_ref})
    circuit = cb.build(cb.Spec("curve", (cells,), dt=0.1), 0)
    drive = {"cells": cb.drive.current(currents)}
    _, recording = cb.simulate(circuit, drive=drive, duration_ms=2_000, record="counts:cells")
    rates = recording.counts["cells"] / 2.0
    axis.plot(currents, rates, label=f"refractory for {t_ref:.0f} ms")
    print(f"{t_ref:.0f} ms: from {currents[rates > 0][0]:.0f} pA, {rates[-1]:.0f} Hz at 400 pA")
axis.set(xlabel="current (pA)", ylabel="rate (Hz)")
axis.legend(frameon=False)
figure.savefig("curve.png", dpi=120)
