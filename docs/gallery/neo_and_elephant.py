"""A recording in Neo, and three analyses of Elephant.

A twentieth of the mouse circuit, its mossy fibres driven at 40 waves a second. `recording.to_neo()`
is what Elephant takes: rates of Golgi and Purkinje cells by a kernel, the spike time tiling
coefficient of pairs of Golgi cells (Cutts & Eglen 2014), and power spectra of the populations.
"""

import itertools

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import quantities as pq
from elephant.kernels import GaussianKernel
from elephant.spectral import welch_psd
from elephant.spike_train_correlation import spike_time_tiling_coefficient
from elephant.statistics import instantaneous_rate

import cerebellum as cb

circuit = cb.build(cb.presets.mouse(scale=0.05), 0)
wave = cb.drive.RateFunction(lambda t_ms: 4 * (1 + jnp.sin(2 * jnp.pi * t_ms / 25)))
state, recording = cb.simulate(
    circuit,
    drive={"glomerulus": wave},
    duration_ms=1_000,
    record=["raster:golgi", "raster:purkinje"],
)
block = recording.to_neo()
groups = {group.name: group for group in block.groups}
figure, axes = plt.subplots(1, 3, figsize=(11, 3), layout="constrained")

for name in ("golgi", "purkinje"):
    rate = instantaneous_rate(list(groups[name].spiketrains), pq.ms, GaussianKernel(4 * pq.ms))
    mean_hz = rate.magnitude.mean(axis=1)
    axes[0].plot(rate.times.rescale("ms").magnitude, mean_hz, color=cb.plot.COLOURS[name])
    signal = next(each for each in groups[name].analogsignals if each.name == f"rates:{name}")
    frequencies, power = welch_psd(signal, frequency_resolution=4 * pq.Hz)
    shown = frequencies.magnitude <= 200
    share = power.magnitude[0, shown] / power.magnitude[0, shown].sum()
    axes[2].plot(frequencies[shown], share, color=cb.plot.COLOURS[name], label=name)
    peak_hz = frequencies[shown][1 + share[1:].argmax()].item()
    print(f"{name}: {mean_hz.mean():.1f} Hz, power highest at {peak_hz:.0f} Hz")

pairs = itertools.combinations(groups["golgi"].spiketrains, 2)
tiling = np.array([spike_time_tiling_coefficient(*pair, dt=2 * pq.ms) for pair in pairs])
axes[1].hist(tiling, 20, color=cb.plot.COLOURS["golgi"])
print(f"golgi: tiling coefficient of {len(tiling)} pairs, mean {tiling.mean():.2f}")
axes[0].set(xlabel="time (ms)", ylabel="rate (Hz)", xlim=(500, 750), ylim=(0, None))
axes[1].set(xlabel="spike time tiling coefficient", ylabel="pairs of Golgi cells")
axes[2].set(xlabel="frequency (Hz)", ylabel="share of power")
axes[2].legend(frameon=False)
figure.savefig("neo_and_elephant.png", dpi=100)
