"""Currents of many shapes.

Four cells of a population get a step, a ramp, a sine and noise, each in one line; the pictures
are their voltages.
"""

import matplotlib.pyplot as plt

import cerebellum as cb

cell = {"tau_m": 20.0, "c_m": 60.0, "e_l": -65.0, "v_th": -50.0, "v_reset": -65.0}
cells = cb.Population("golgi", 4, "conductance", cell)
circuit = cb.build(cb.Spec("currents", (cells,), dt=0.1), 0)
drive = {
    "golgi": [
        cb.drive.step_current(60.0, 100, 400, cells=[0]),
        cb.drive.ramp(0.0, 120.0, 0, 500, cells=[1]),
        cb.drive.sine(60.0, frequency_hz=8.0, offset=20.0, cells=[2]),
        cb.drive.noise(mean=40.0, sd=60.0, tau_ms=5.0, cells=[3]),
    ]
}
_, recording = cb.simulate(
    circuit, drive=drive, duration_ms=500, record=["v:golgi", "raster:golgi"]
)
trace, trains = recording.traces["v:golgi"], recording.rasters["golgi"].trains()
figure, axes = plt.subplots(4, 1, figsize=(8, 5.5), sharex=True, layout="constrained")
for cell, (axis, name) in enumerate(zip(axes, ("step", "ramp", "sine", "noise"), strict=True)):
    axis.plot(trace.time_ms, trace.values[:, cell], linewidth=0.9)
    axis.vlines(trains[cell], -48, -30, linewidth=0.9)
    axis.set(title=name, ylabel="mV", ylim=(-80, -28))
    print(f"{name:6} {len(trains[cell])} spikes, the first at {trains[cell][0]:.1f} ms")
axes[-1].set_xlabel("time (ms)")
figure.savefig("voltages.png", dpi=100)
