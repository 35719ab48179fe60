"""Stimuli: several sources on a population, and currents of many shapes into parts of another."""

import nest
import numpy as np

nest.resolution = 0.1
cell = {"C_m": 60.0, "g_L": 3.0, "E_L": -74.0, "V_th": -42.0, "V_reset": -84.0, "t_ref": 1.5}
cell |= {"E_ex": 0.0, "tau_syn_ex": 0.5, "I_e": 60.0, "V_m": -74.0}
mossy = nest.Create("parrot_neuron", 50)
golgi = nest.Create("iaf_cond_exp", 50, cell)
nest.Connect(mossy, golgi, {"rule": "fixed_indegree", "indegree": 10}, {"weight": 0.5})
nest.Connect(nest.Create("poisson_generator", params={"rate": 4.0}), mossy)
theta = {"rate": 20.0, "amplitude": 20.0, "frequency": 8.0}
nest.Connect(nest.Create("sinusoidal_poisson_generator", params=theta), mossy)
nest.Connect(nest.Create("spike_generator", params={"spike_times": [99.0, 101.5]}), mossy[3])
nest.Connect(nest.Create("spike_generator", params={"spike_times": [109.0]}), mossy[7])
step = {"amplitude": 80.0, "start": 200.0, "stop": 800.0}
times = np.arange(1.0, 1_000.0)
ramp = {"amplitude_times": times, "amplitude_values": 0.16 * times}
nest.Connect(nest.Create("dc_generator", params=step), golgi[10:20])
nest.Connect(nest.Create("step_current_generator", params=ramp), golgi[20:30])
sine = nest.Create("ac_generator", params={"amplitude": 80.0, "frequency": 8.0})
nest.Connect(sine, golgi[30:40])
noise = nest.Create("noise_generator", params={"std": 80.0, "dt": 10.0})
nest.Connect(noise, golgi[40:50])
recorder, golgi_recorder = nest.Create("spike_recorder", 2)
nest.Connect(mossy, recorder)
nest.Connect(golgi, golgi_recorder)
nest.Simulate(1_000.0)
senders, spikes = recorder.events["senders"], recorder.events["times"]
print("mossy", round(recorder.n_events / 50, 1), "Hz; spikes of cell 3 from 99 to 103 ms:", end=" ")
print(spikes[(senders == mossy[3].global_id) & (abs(spikes - 101) < 2)])
counts = np.bincount(golgi_recorder.events["senders"] - golgi[0].global_id, minlength=50)
rates = counts.reshape(5, 10).mean(axis=1)
for group, rate in zip(["no current", "step", "ramp", "sine", "noise"], rates, strict=True):
    print(f"golgi, {group:10} {rate:6.1f} Hz")
