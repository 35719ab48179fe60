"""Recording: chosen cells, their voltages and conductances, chosen synapses; into a folder."""

import sys
import tempfile

import cerebellum as cb

folder = sys.argv[1] if len(sys.argv) > 1 else f"{tempfile.mkdtemp()}/run"
stdp = cb.Rule(teacher="golgi", per_spike=-0.002, per_pair=0.02, tau=20.0, window=100.0)
spec = cb.Spec(
    "recorded",
    (
        cb.Population("mossy", 50, "relay"),
        cb.Population("golgi", 20, "conductance", {"tau_m": 20.0, "c_m": 60.0, "i_e": 80.0}),
    ),
    (cb.Projection("mossy", "golgi", "exc", weight=1.0, delay=1.0, in_degree=50, rule=stdp),),
    dt=0.1,
)
circuit = cb.build(spec, 0)
record = [
    cb.record.of("raster", "golgi"),
    cb.record.of("v", "golgi", cells=[0, 3, 7], every_ms=1.0),
    cb.record.of("g_exc", "golgi", cells=[0, 3, 7], every_ms=1.0),
    cb.record.weights("mossy_golgi", synapses=[(12, 0), (15, 2)], every_ms=10.0),
]
drive = {"mossy": cb.drive.poisson(20.0)}
cb.simulate(circuit, cb.init(circuit, 1), drive, duration_ms=1_000, record=record, to=folder)
recording = cb.io.load(folder)
print("golgi", len(recording.rasters["golgi"].time_ms) / 20, "Hz")
for name, trace in recording.traces.items():
    samples, columns = trace.values.shape
    print(f"{name} [{trace.unit}]: {samples} samples of {columns}, mean {trace.values.mean():.3f}")
