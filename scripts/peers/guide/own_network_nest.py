"""A network of one's own: three populations, and a measured weight and delay for every synapse."""

import nest
import numpy as np

rng = np.random.default_rng(0)


def connect_measured(sources, targets, synapses, weight, delay):
    """Connect by a table of synapses, made here: source, target, weight (nS), delay (ms)."""
    pre = rng.choice(sources.tolist(), synapses)
    post = rng.choice(targets.tolist(), synapses)
    weights = np.sign(weight) * rng.lognormal(np.log(abs(weight)), 0.3, synapses)
    delays = np.round(rng.uniform(0.5 * delay, 1.5 * delay, synapses), 1)
    nest.Connect(pre, post, "one_to_one", {"weight": weights, "delay": delays})


nest.resolution = 0.1
cell = {"E_L": -74.0, "V_th": -42.0, "V_reset": -84.0, "V_m": -74.0, "t_ref": 1.5, "E_ex": 0.0}
cell |= {"E_in": -90.0, "tau_syn_ex": 5.0, "tau_syn_in": 10.0}
stimulus = nest.Create("poisson_generator", params={"rate": 40.0})
populations = {
    "mossy": nest.Create("parrot_neuron", 50),
    "granule": nest.Create("iaf_cond_exp", 400, {**cell, "C_m": 10.0, "g_L": 0.5}),
    "golgi": nest.Create("iaf_cond_exp", 20, {**cell, "C_m": 60.0, "g_L": 3.0, "I_e": 40.0}),
}
mossy, granule, golgi = populations.values()
nest.Connect(stimulus, mossy)
connect_measured(mossy, granule, 1_600, 0.4, 1.0)
connect_measured(granule, golgi, 800, 0.4, 2.0)
connect_measured(golgi, granule, 1_600, -0.2, 2.0)
recorders = {name: nest.Create("spike_recorder", params={"start": 200.0}) for name in populations}
for name, cells in populations.items():
    nest.Connect(cells, recorders[name])
nest.Simulate(1_000.0)
for name, cells in populations.items():
    print(f"{name:8} {recorders[name].n_events / len(cells) / 0.8:6.2f} Hz")
