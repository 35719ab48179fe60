"""A recording goes through three analyses of Elephant.

Golgi cells in a rhythmic input, as a block of Neo: the instantaneous rate, the intervals, and the
spike time tiling of every pair. `cb.analysis` has the same by the name of a population.
"""

import matplotlib.pyplot as plt
import numpy as np
import quantities as pq
from elephant.kernels import GaussianKernel
from elephant.spike_train_correlation import spike_time_tiling_coefficient
from elephant.statistics import instantaneous_rate, isi

import cerebellum as cb

cells = (
    cb.Population("mossy", 50, "relay"),
    cb.Population("golgi", 12, "conductance", {"tau_m": 20.0, "c_m": 60.0, "i_e": 80.0}),
)
link = cb.Projection("mossy", "golgi", "exc", weight=1.5, delay=1.0, in_degree=20)
circuit = cb.build(cb.Spec("rhythm", cells, (link,), dt=0.1), 0)
rhythm = cb.drive.RateFunction(lambda t_ms: 60.0 * (t_ms < 40), period_ms=200.0)
_, recording = cb.simulate(
    circuit, drive={"mossy": rhythm}, duration_ms=3_000, record="raster:golgi"
)
(segment,) = recording.to_neo().segments
trains = list(segment.spiketrains)

rate = instantaneous_rate(trains, 2 * pq.ms, GaussianKernel(10 * pq.ms))
intervals = np.concatenate([isi(train).rescale("ms").magnitude for train in trains])
tiling = np.array(
    [[spike_time_tiling_coefficient(one, other, 5 * pq.ms) for one in trains] for other in trains]
)
figure, axes = plt.subplots(1, 3, figsize=(10, 3.2), layout="constrained")
axes[0].plot(rate.times.rescale("ms")[:400], rate.magnitude[:400].mean(axis=1))
axes[0].set(xlabel="time (ms)", ylabel="rate of a cell (Hz)", title="instantaneous rate")
axes[1].hist(intervals, bins=np.arange(0, 250, 5))
axes[1].set(xlabel="interval (ms)", ylabel="count", title="intervals")
image = axes[2].imshow(tiling, vmin=-1, vmax=1, cmap="RdBu_r")
axes[2].set(xlabel="cell", ylabel="cell", title="spike time tiling")
figure.colorbar(image, ax=axes[2])
figure.savefig("analyses.png", dpi=100)
print(f"{len(trains)} trains, {len(intervals)} intervals of {intervals.mean():.0f} ms (mean)")
print(f"spike time tiling of two cells: {tiling[np.triu_indices(12, 1)].mean():.2f} (mean)")
