"""Recording: chosen cells, their voltages and conductances, chosen synapses; into a folder."""

import sys
import tempfile
from pathlib import Path

import nest
import numpy as np

folder = sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()
nest.set(resolution=0.1, data_path=folder, overwrite_files=True)
cell = {"C_m": 60.0, "g_L": 3.0, "E_L": -74.0, "V_th": -42.0, "V_reset": -84.0, "t_ref": 1.5}
cell |= {"E_ex": 0.0, "tau_syn_ex": 0.5, "I_e": 80.0, "V_m": -74.0}
mossy = nest.Create("parrot_neuron", 50)
golgi = nest.Create("iaf_cond_exp", 20, cell)
nest.Connect(nest.Create("poisson_generator", params={"rate": 20.0}), mossy)
chosen = {"senders": mossy[[12, 15]], "targets": golgi[[0, 2]], "record_to": "ascii"}
weights = nest.Create("weight_recorder", params=chosen | {"label": "weights"})
nest.CopyModel("stdp_synapse", "recorded_synapse", {"weight_recorder": weights})
synapse = {"synapse_model": "recorded_synapse", "weight": 1.0, "Wmax": 2.0, "lambda": 0.01}
nest.Connect(mossy, golgi, "all_to_all", synapse)
spikes = nest.Create("spike_recorder", params={"record_to": "ascii", "label": "spikes"})
nest.Connect(golgi, spikes)
record = {"record_from": ["V_m", "g_ex"], "interval": 1.0, "record_to": "ascii", "label": "traces"}
meter = nest.Create("multimeter", params=record)
nest.Connect(meter, golgi[[0, 3, 7]])
nest.Simulate(1_000.0)


def read(label):
    (path,) = Path(folder).glob(f"{label}-*.dat")
    return np.loadtxt(path, skiprows=3, ndmin=2)


traces, changes = read("traces"), read("weights")
print("golgi", len(read("spikes")) / 20, "Hz")
for name, unit, column in (("v:golgi", "mV", 2), ("g_exc:golgi", "nS", 3)):
    print(f"{name} [{unit}]: {len(traces) // 3} samples of 3, mean {traces[:, column].mean():.3f}")
print(f"weights [nS]: {len(changes)} samples, mean {changes[:, 2].mean():.3f}")
