"""Lesions: silence a population, halve a weight, change a parameter in mid-run.

The mouse circuit does not come with NEST; the loop of granule and Golgi cells stands for it.
"""

import nest

nest.resolution = 0.1
cell = {"E_L": -74.0, "V_th": -42.0, "V_reset": -84.0, "V_m": -74.0, "t_ref": 1.5, "E_ex": 0.0}
cell |= {"E_in": -90.0, "tau_syn_ex": 5.0, "tau_syn_in": 10.0}
stimulus = nest.Create("poisson_generator", params={"rate": 40.0})
mossy = nest.Create("parrot_neuron", 50)
granule = nest.Create("iaf_cond_exp", 400, {**cell, "C_m": 10.0, "g_L": 0.5})
golgi = nest.Create("iaf_cond_exp", 20, {**cell, "C_m": 60.0, "g_L": 3.0, "I_e": 40.0})
recorder = nest.Create("spike_recorder")
nest.Connect(stimulus, mossy)
nest.Connect(mossy, granule, {"rule": "fixed_indegree", "indegree": 4}, {"weight": 0.4})
nest.Connect(granule, golgi, {"rule": "fixed_indegree", "indegree": 40}, {"weight": 0.4})
nest.Connect(golgi, granule, {"rule": "fixed_indegree", "indegree": 4}, {"weight": -0.2})
nest.Connect(granule, recorder)
inhibition = nest.GetConnections(golgi, granule)
nest.Simulate(200.0)


def run(name):
    recorder.n_events = 0
    nest.Simulate(200.0)
    print(f"{name:26} granule {recorder.n_events / 400 / 0.2:5.2f} Hz")


run("control")
golgi.frozen = True
run("golgi cells silenced")
golgi.frozen = False
inhibition.weight = -0.1
run("golgi to granule halved")
inhibition.weight = -0.2
granule.V_th = -45.0
run("granule threshold -45 mV")
