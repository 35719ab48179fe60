"""Pictures of a circuit and of its weights.

The mouse circuit as a diagram and as a matrix of projections; then a small circuit whose synapses
learn, with its weights before and after.
"""

import matplotlib.pyplot as plt

import cerebellum as cb
from cerebellum.model.plasticity import pair_stdp

mouse = cb.build(cb.presets.mouse(scale=0.05), 0)
cb.plot.diagram(mouse).figure.savefig("diagram.png", dpi=80)
cb.plot.projections(mouse).figure.savefig("projections.png", dpi=80)

spec = cb.Spec(
    "learning",
    (
        cb.Population("mossy", 100, "relay"),
        cb.Population(
            "golgi", 40, "conductance", {"tau_m": 20.0, "c_m": 60.0, "i_e": 60.0, "tau_exc": 2.0}
        ),
    ),
    (
        cb.Projection(
            "mossy",
            "golgi",
            "exc",
            weight=cb.Normal(1.0, 0.2, low=0.0),
            delay=1.0,
            w_max=2.0,
            connect=cb.connect.Probability(0.3),
            rule=pair_stdp("golgi", a=0.03),
        ),
    ),
    dt=1.0,
)
circuit = cb.build(spec, 0)
state, _ = cb.simulate(circuit, drive={"mossy": cb.drive.poisson(40.0)}, duration_ms=4_000)
with cb.plot.style():
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    cb.plot.weights(circuit, "mossy_golgi", state, ax=axes[0])
    cb.plot.weight_matrix(circuit, "mossy_golgi", state=state, ax=axes[1])
    figure.savefig("weights.png", dpi=100)
before, after = (circuit.edges("mossy_golgi", *given).weight for given in ((), (state,)))
print(f"{len(before)} synapses, {before.mean():.2f} +- {before.std():.2f} nS before", end=", ")
print(f"{after.mean():.2f} +- {after.std():.2f} nS after 4 s")
