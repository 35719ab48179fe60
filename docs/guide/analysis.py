"""Analysis: rates, intervals, their CV, a PSTH, a cross-correlation, and a picture of a raster."""

import sys
import tempfile

import jax.numpy as jnp
import numpy as np

import cerebellum as cb

picture = sys.argv[1] if len(sys.argv) > 1 else f"{tempfile.mkdtemp()}/raster.png"
spec = cb.Spec(
    "analysed",
    (
        cb.Population("mossy", 50, "relay"),
        cb.Population("golgi", 20, "conductance", {"tau_m": 20.0, "c_m": 60.0, "i_e": 80.0}),
    ),
    (cb.Projection("mossy", "golgi", "exc", weight=2.5, delay=1.0, in_degree=20),),
    dt=0.1,
)
circuit = cb.build(spec, 0)
puffs = cb.drive.RateFunction(lambda t_ms: jnp.where(t_ms < 20, 80.0, 10.0), period_ms=500.0)
state, recording = cb.simulate(
    circuit, cb.init(circuit, 1), {"mossy": puffs}, duration_ms=10_000, record="raster:golgi"
)
print("rate", cb.record.rates(recording)["golgi"], "Hz")

intervals = cb.analysis.isi(recording, "golgi")  # ms, by cell
print(f"mean interval {np.concatenate([*intervals.values()]).mean():.1f} ms", end=", ")
print(f"mean CV {cb.analysis.cv(recording, 'golgi').mean():.2f}")

psth = cb.analysis.psth(recording, "golgi", 5, onsets_ms=500 * np.arange(20), span_ms=(0, 500))[1]
print(f"PSTH: peak {psth.max():.0f} Hz at {5 * psth.argmax()} ms, then {psth[20:].mean():.1f} Hz")

trains = recording.rasters["golgi"].trains()
counts = np.array([np.histogram(train, np.arange(0, 10_001, 2))[0] for train in trains.values()])
one, other = (half - half.mean() for half in (counts[:10].sum(axis=0), counts[10:].sum(axis=0)))
correlation = np.correlate(one, other[50:-50], "valid") / (len(one) * one.std() * other.std())
print(f"correlation of two halves: {correlation[50]:.2f} at lag 0, {correlation[0]:.2f} at 100 ms")

cb.plot.raster(recording).savefig(picture)
print(f"raster: {picture}")
