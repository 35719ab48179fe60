"""A network of one's own: three populations, and a measured weight and delay for every synapse."""

import numpy as np

import cerebellum as cb

rng = np.random.default_rng(0)


def measured(sources, targets, synapses, weight, delay):
    """A table of synapses, made here: source, target, weight (nS) and delay (ms) of each."""
    pre, post = rng.integers(0, sources, synapses), rng.integers(0, targets, synapses)
    delays = np.round(rng.uniform(0.5 * delay, 1.5 * delay, synapses), 1)
    return cb.Edges(pre, post, rng.lognormal(np.log(weight), 0.3, synapses), delays)


cell = {"tau_m": 20.0, "tau_exc": 5.0}
spec = cb.Spec(
    "measured",
    (
        cb.Population("mossy", 50, "relay"),
        cb.Population("granule", 400, "conductance", cell | {"c_m": 10.0}),
        cb.Population("golgi", 20, "conductance", cell | {"c_m": 60.0, "i_e": 40.0}),
    ),
    dt=0.1,
)
edges = {
    ("mossy", "granule", "exc"): measured(50, 400, 1_600, 0.4, 1.0),
    ("granule", "golgi", "exc"): measured(400, 20, 800, 0.4, 2.0),
    ("golgi", "granule", "inh"): measured(20, 400, 1_600, 0.2, 2.0),
}
circuit = cb.build(spec, 0, edges)
drive = {"mossy": cb.drive.poisson(40.0)}
state, recording = cb.simulate(circuit, cb.init(circuit, 1), drive, duration_ms=1_000)
for population, rate in cb.record.rates(recording, 200, 1_000).items():
    print(f"{population:8} {rate:6.2f} Hz")
