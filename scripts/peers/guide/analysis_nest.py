"""Analysis: rates, intervals, their CV, a PSTH, a cross-correlation, and a picture of a raster."""

import sys
import tempfile

import nest
import nest.raster_plot
import numpy as np

picture = sys.argv[1] if len(sys.argv) > 1 else f"{tempfile.mkdtemp()}/raster.png"
nest.resolution = 0.1
cell = {"C_m": 60.0, "g_L": 3.0, "E_L": -74.0, "V_th": -42.0, "V_reset": -84.0, "t_ref": 1.5}
cell |= {"E_ex": 0.0, "tau_syn_ex": 0.5, "I_e": 80.0, "V_m": -74.0}
onsets = np.arange(500.0, 10_000.0, 500.0)
times = np.concatenate([[0.1, 20.0], np.ravel([onsets, onsets + 20], order="F")])
rates = {"rate_times": times, "rate_values": np.tile([80.0, 10.0], len(times) // 2)}
mossy = nest.Create("parrot_neuron", 50)
golgi = nest.Create("iaf_cond_exp", 20, cell)
recorder = nest.Create("spike_recorder")
nest.Connect(nest.Create("inhomogeneous_poisson_generator", params=rates), mossy)
nest.Connect(mossy, golgi, {"rule": "fixed_indegree", "indegree": 20}, {"weight": 2.5})
nest.Connect(golgi, recorder)
nest.Simulate(10_000.0)
senders, spikes = recorder.events["senders"], recorder.events["times"]
trains = [spikes[senders == cell] for cell in golgi.global_id]
print("rate", recorder.n_events / 20 / 10, "Hz")

intervals = [np.diff(train) for train in trains]
print(f"mean interval {np.concatenate(intervals).mean():.1f} ms", end=", ")
print(f"mean CV {np.mean([cell.std() / cell.mean() for cell in intervals]):.2f}")

psth = np.histogram(spikes % 500, np.arange(0, 501, 5))[0] / (20 * 20 * 0.005)
print(f"PSTH: peak {psth.max():.0f} Hz at {5 * psth.argmax()} ms, then {psth[20:].mean():.1f} Hz")

counts = np.array([np.histogram(train, np.arange(0, 10_001, 2))[0] for train in trains])
one, other = (half - half.mean() for half in (counts[:10].sum(axis=0), counts[10:].sum(axis=0)))
correlation = np.correlate(one, other[50:-50], "valid") / (len(one) * one.std() * other.std())
print(f"correlation of two halves: {correlation[50]:.2f} at lag 0, {correlation[0]:.2f} at 100 ms")

nest.raster_plot.from_device(recorder)[0].figure.savefig(picture)
print(f"raster: {picture}")
