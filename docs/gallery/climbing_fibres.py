"""Climbing fibres teach a Purkinje cell when to be silent.

One hundred parallel fibres fire one after the other within half a second, again and again, and a
climbing fibre always fires after the first 300 ms. Fibres that fire up to 200 ms before it lose
their weight, most of all those of 100 ms before; the others gain a little.
"""

import matplotlib.pyplot as plt
import numpy as np

import cerebellum as cb
from cerebellum.model.plasticity import parallel_fibre_purkinje

rule = parallel_fibre_purkinje("climbing_fibre_purkinje", a_plus=0.01, a_minus=-0.03)
cell = {"tau_m": 20.0, "c_m": 100.0, "tau_exc": 2.0}
link = {"delay": 1.0, "connect": cb.connect.AllToAll()}
spec = cb.Spec(
    "one Purkinje cell",
    (
        cb.Population("parallel_fibre", 100, "relay"),
        cb.Population("climbing_fibre", 1, "relay"),
        cb.Population("purkinje", 1, "conductance", cell),
    ),
    (
        cb.Projection(
            "parallel_fibre", "purkinje", "exc", weight=0.5, w_max=1.0, rule=rule, **link
        ),
        cb.Projection("climbing_fibre", "purkinje", "exc", weight=5.0, **link),
    ),
    dt=1.0,
)
fibres, trials = np.arange(100), 500.0 * np.arange(41)[:, None]
drive = {
    "parallel_fibre": cb.drive.SpikeTimes(np.tile(fibres, 41), (trials + 5.0 * fibres).ravel()),
    "climbing_fibre": cb.drive.SpikeTimes(np.zeros(41, int), trials[:, 0] + 300.0),
}
synapses = [(fibre, 0) for fibre in fibres]
record = cb.record.weights("parallel_fibre_purkinje", synapses=synapses, every_ms=500)
_, recording = cb.simulate(cb.build(spec, 0), drive=drive, duration_ms=20_500, record=[record])
weights = recording.traces["weights:parallel_fibre_purkinje"].values  # [trials, fibres], nS
figure, axis = plt.subplots(figsize=(7, 3.5), layout="constrained")
axis.axvline(300, color="#9467bd", label="climbing fibre")
for trial in (1, 5, 10, 20, 40):
    colour = plt.get_cmap("viridis")(trial / 45)
    axis.plot(5 * fibres, weights[trial], color=colour, label=f"after {trial} trials")
    print(f"after {trial:2} trials: {weights[trial].min():.2f} to {weights[trial].max():.2f} nS")
axis.set(xlabel="time at which the fibre fires (ms)", ylabel="weight (nS)")
axis.legend(frameon=False, fontsize=8)
figure.savefig("weights.png", dpi=120)
