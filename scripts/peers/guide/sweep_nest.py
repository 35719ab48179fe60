"""A sweep: a loop of granule and Golgi cells with each of some values of two numbers, as a table.

The mouse circuit does not come with NEST; the loop of granule and Golgi cells stands for it.
"""

from itertools import product

import nest

cell = {"E_L": -74.0, "V_reset": -84.0, "V_m": -74.0, "t_ref": 1.5, "E_ex": 0.0, "E_in": -90.0}
cell |= {"tau_syn_ex": 5.0, "tau_syn_in": 10.0, "V_th": -42.0}


def run(weight, v_th):
    nest.ResetKernel()
    nest.resolution = 0.1
    mossy = nest.Create("parrot_neuron", 50)
    granule = nest.Create("iaf_cond_exp", 400, {**cell, "C_m": 10.0, "g_L": 0.5, "V_th": v_th})
    golgi = nest.Create("iaf_cond_exp", 20, {**cell, "C_m": 60.0, "g_L": 3.0, "I_e": 40.0})
    nest.Connect(nest.Create("poisson_generator", params={"rate": 40.0}), mossy)
    nest.Connect(mossy, granule, {"rule": "fixed_indegree", "indegree": 4}, {"weight": 0.4})
    nest.Connect(granule, golgi, {"rule": "fixed_indegree", "indegree": 40}, {"weight": 0.4})
    nest.Connect(golgi, granule, {"rule": "fixed_indegree", "indegree": 4}, {"weight": -weight})
    recorders = nest.Create("spike_recorder", 2, {"start": 100.0})
    nest.Connect(granule, recorders[0])
    nest.Connect(golgi, recorders[1])
    nest.Simulate(300.0)
    return recorders[0].n_events / 400 / 0.2, recorders[1].n_events / 20 / 0.2


for weight, v_th in product([0.0, 0.1, 0.2], [-44.0, -42.0]):
    granule, golgi = run(weight, v_th)
    print(f"weight {weight:.1f} nS, threshold {v_th:.0f} mV: ", end="")
    print(f"granule {granule:.2f} Hz, golgi {golgi:.2f} Hz")
