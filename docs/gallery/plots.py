"""Plots of a recording in one figure of your own.

Every plot of `cb.plot` takes a figure, a part of one, or axes. Here four share a figure: a raster,
rates, voltages, and a plot of one's own in the same look.
"""

import matplotlib.pyplot as plt
import numpy as np

import cerebellum as cb

spec = cb.presets.mouse(scale=0.05)
drive = cb.drive.standard(cb.presets.PRESETS["mouse"].protocol, spec, 0)
record = ["raster:golgi", "raster:basket", "v:golgi:0:2", "counts:granule"]
_, recording = cb.simulate(cb.build(spec, 0), drive=drive, duration_ms=450, record=record)
burst = {"burst": (300, 350)}
with cb.plot.style():
    figure = plt.figure(figsize=(12, 8), layout="constrained")
    (one, two), (three, four) = figure.subfigures(2, 2)
    cb.plot.raster(recording, burst, ax=one)
    cb.plot.rates(recording, bin_ms=10, windows=burst, ax=two)
    cb.plot.traces(recording, burst, ax=three)
    axis = four.subplots()
    spikes = recording.counts["granule"]
    axis.hist(spikes, bins=np.arange(20) - 0.5, color=cb.plot.COLOURS["granule"])
    axis.set(xlabel="spikes of a granule cell", ylabel="cells", yscale="log")
    figure.savefig("plots.png", dpi=100)
silent = 100 * (spikes == 0).mean()
print(f"granule cells: {spikes.mean() / 0.45:.1f} Hz, {silent:.0f} % of them silent")
