"""Stimuli: several sources on a population, and currents of many shapes into parts of another."""

import jax.numpy as jnp

import cerebellum as cb

spec = cb.Spec(
    "stimulated",
    (
        cb.Population("mossy", 50, "relay"),
        cb.Population("golgi", 50, "conductance", {"tau_m": 20.0, "c_m": 60.0, "i_e": 60.0}),
    ),
    (cb.Projection("mossy", "golgi", "exc", weight=0.5, delay=1.0, in_degree=10),),
    dt=0.1,
)
circuit = cb.build(spec, 0)
drive = {
    "mossy": [
        cb.drive.poisson(4.0),
        cb.drive.RateFunction(lambda t_ms: 20 * (1 + jnp.sin(2 * jnp.pi * t_ms / 125))),
        cb.drive.SpikeTimes([3, 3, 7], [100.0, 102.5, 110.0]),
    ],
    "golgi": [
        cb.drive.step_current(80.0, 200, 800, cells=slice(10, 20)),
        cb.drive.ramp(0.0, 160.0, 0, 1_000, cells=slice(20, 30)),
        cb.drive.sine(80.0, frequency_hz=8.0, cells=slice(30, 40)),
        cb.drive.noise(mean=0.0, sd=80.0, tau_ms=5.0, cells=slice(40, 50)),
    ],
}
record = ["raster:mossy", "counts:golgi"]
state = cb.init(circuit, 1)
state, recording = cb.simulate(circuit, state, drive, duration_ms=1_000, record=record)
mossy, golgi = recording.rasters["mossy"], recording.counts["golgi"].reshape(5, 10).mean(axis=1)
print("mossy", round(len(mossy.cell) / 50, 1), "Hz; spikes of cell 3 from 99 to 103 ms:", end=" ")
print(mossy.time_ms[(mossy.cell == 3) & (abs(mossy.time_ms - 101) < 2)])
for group, rate in zip(["no current", "step", "ramp", "sine", "noise"], golgi, strict=True):
    print(f"golgi, {group:10} {rate:6.1f} Hz")
