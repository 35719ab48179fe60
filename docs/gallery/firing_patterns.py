"""Firing patterns of one neuron model.

The adaptive exponential cell (Brette & Gerstner 2005), defined by its equations. Its parameters
differ from cell to cell (Naud et al. 2008): each of the four has a firing pattern of its own.
"""

import jax.numpy as jnp
import matplotlib.pyplot as plt

import cerebellum as cb


def slopes(p, cell, current):
    """Slopes of the voltage (mV/ms) and of the adaptation (pA/ms)."""
    upswing = p.g_l * p.d_t * jnp.exp((cell.v - p.v_t) / p.d_t)
    return {
        "v": (p.g_l * (p.e_l - cell.v) + upswing - cell.w + current) / p.c_m,
        "w": (p.a * (cell.v - p.e_l) - cell.w) / p.tau_w,
    }


membrane = {"c_m": 200.0, "g_l": 10.0, "e_l": -70.0, "v_t": -50.0, "d_t": 2.0, "v_peak": 0.0}
adaptation = {"a": 2.0, "b": 0.0, "tau_w": 30.0, "v_reset": -58.0}
cb.define_neuron(
    "exponential",
    params=membrane | adaptation,
    start={"v": "e_l", "w": 0.0},
    slopes=slopes,
    reset=lambda p, cell: {"v": p.v_reset, "w": cell.w + p.b},
    units={"v": "mV", "w": "pA"},
)
patterns = ["tonic", "adapting", "initial burst", "regular bursts"]
different = {
    "c_m": [200.0, 200.0, 130.0, 200.0],
    "g_l": [10.0, 12.0, 18.0, 10.0],
    "e_l": [-70.0, -70.0, -58.0, -58.0],
    "a": [2.0, 2.0, 4.0, 2.0],
    "b": [0.0, 60.0, 120.0, 100.0],
    "tau_w": [30.0, 300.0, 150.0, 120.0],
    "v_reset": [-58.0, -58.0, -50.0, -46.0],
}
cells = cb.Population("cells", 4, "exponential", different)
circuit = cb.build(cb.Spec("patterns", (cells,), dt=0.05), 0)
drive = {"cells": cb.drive.step_current([500.0, 500.0, 400.0, 210.0], 50, 550)}
_, recording = cb.simulate(
    circuit, drive=drive, duration_ms=600, record=["v:cells", "raster:cells"]
)

figure, axes = plt.subplots(4, 1, figsize=(8, 6), sharex=True, layout="constrained")
trains, trace = recording.rasters["cells"].trains(), recording.traces["v:cells"]
for cell, (axis, name) in enumerate(zip(axes, patterns, strict=True)):
    axis.plot(trace.time_ms, trace.values[:, cell], linewidth=0.8)
    axis.vlines(trains[cell], -45, 0, linewidth=0.8)
    axis.set(title=name, ylabel="mV", ylim=(-80, 5))
    print(f"{name}: {len(trains[cell])} spikes in 500 ms")
axes[-1].set_xlabel("time (ms)")
figure.savefig("patterns.png", dpi=100)
