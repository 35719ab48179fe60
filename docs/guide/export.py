"""Recordings for other programs: pandas, Neo with three analyses of Elephant, NWB, SONATA, CSV."""

import sys
import tempfile
from pathlib import Path

import quantities as pq
from elephant.kernels import GaussianKernel
from elephant.spectral import welch_psd
from elephant.spike_train_correlation import spike_time_tiling_coefficient
from elephant.statistics import instantaneous_rate

import cerebellum as cb

folder = Path(sys.argv[1] if len(sys.argv) > 1 else f"{tempfile.mkdtemp()}/run")
spec = cb.Spec(
    "exported",
    (
        cb.Population("mossy", 50, "relay"),
        cb.Population("golgi", 20, "conductance", {"tau_m": 20.0, "c_m": 60.0, "i_e": 80.0}),
    ),
    (cb.Projection("mossy", "golgi", "exc", weight=2.5, delay=1.0, in_degree=20),),
    dt=0.1,
)
circuit = cb.build(spec, 0)
record = ["raster:golgi", cb.record.of("v", "golgi", cells=[0, 3, 7], every_ms=1.0)]
drive = {"mossy": cb.drive.poisson(20.0)}
state, recording = cb.simulate(
    circuit, cb.init(circuit, 1), drive, duration_ms=2_000, record=record
)

spikes = recording.to_pandas()  # also "v:golgi", "rates" and what else was recorded
print(f"pandas: {len(spikes)} spikes of {spikes.cell.nunique()} cells")

(segment,) = recording.to_neo().segments
trains = segment.spiketrains
rate = instantaneous_rate(list(trains), 1 * pq.ms, GaussianKernel(20 * pq.ms))
print(f"Neo, Elephant: rate {rate.magnitude.mean():.1f} Hz", end=", ")
tiling = spike_time_tiling_coefficient(trains[0], trains[1], 5 * pq.ms)
frequencies, power = welch_psd(segment.analogsignals[0], frequency_resolution=5 * pq.Hz)
peak = frequencies[power[0, 1:].argmax() + 1]
print(f"spike time tiling {tiling:.2f}, power of v highest at {peak.item():.0f} Hz")

folder.mkdir()
recording.to_nwb(folder / "recording.nwb", description="twenty Golgi cells", lab="ours")
recording.to_sonata(folder / "sonata")
recording.to_csv(folder / "csv")
again = cb.io.load(folder / "recording.nwb")
same = (again.rasters["golgi"].time_ms == recording.rasters["golgi"].time_ms).all()
print(f"NWB: {folder}/recording.nwb, the same spikes when it is read: {same}")
