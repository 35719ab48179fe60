"""Gap junctions bring Golgi cells together.

Pairs of Golgi cells of Model B, with a little current. Twenty pairs are coupled by a junction of
1 nS, twenty are not; the picture shows how far apart the spikes of a pair are.
"""

import matplotlib.pyplot as plt
import numpy as np

import cerebellum as cb

golgi = cb.presets.mouse_eglif("vitro").population("golgi").params
pairs = cb.Edges(np.arange(0, 40, 2), np.arange(1, 40, 2))
cells = cb.Population("coupled", 40, params=golgi, gap_junctions=cb.GapJunctions(1.0))
alone = cb.Population("alone", 40, params=golgi)
circuit = cb.build(cb.Spec("pairs", (cells, alone), dt=0.1), 0, {"coupled": pairs})
first = np.random.default_rng(0).uniform(20.0, 60.0, 40)  # pA, by which cells start out of step
drive = {
    name: [cb.drive.current(40.0), cb.drive.step_current(first, 0, 100)]
    for name in ("coupled", "alone")
}
_, recording = cb.simulate(
    circuit, drive=drive, duration_ms=1_500, record=["raster:coupled", "raster:alone"]
)
figure, axes = plt.subplots(1, 2, figsize=(8, 3.5), sharey=True, layout="constrained")
for axis, (name, raster) in zip(axes, recording.rasters.items(), strict=True):
    trains = raster.trains()
    for one in range(0, 40, 2):
        apart = np.abs(trains[one][:, None] - trains[one + 1]).min(axis=1)
        axis.plot(trains[one], apart, color="#1f77b4", alpha=0.4, linewidth=0.8)
    late = [
        np.abs(trains[one][trains[one] > 1_000][:, None] - trains[one + 1]).min(axis=1)
        for one in range(0, 40, 2)
    ]
    print(f"{name}: {np.median(np.concatenate(late)):.1f} ms apart after 1 s (median)")
    axis.set(title=name, xlabel="time (ms)")
axes[0].set_ylabel("to the nearest spike of the partner (ms)")
figure.savefig("pairs.png", dpi=100)
