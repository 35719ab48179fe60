"""Fit a circuit to published rates: find weights and currents with which its populations fire so.

Mossy fibres excite granule cells and Golgi cells, Golgi cells inhibit granule cells, and granule
cells excite Purkinje cells. Before the fit hardly any cell fires.
"""

import jax

import cerebellum as cb

TARGET = {"granule": 3.0, "golgi": 8.0, "purkinje": 60.0}  # Hz
DRIVE = {"mossy": cb.drive.poisson(20.0)}
LINKS = {  # receptor, first weight in mV, in-degree
    ("mossy", "granule"): ("exc", 15.0, 4),
    ("mossy", "golgi"): ("exc", 2.0, 20),
    ("golgi", "granule"): ("inh", 3.0, 6),
    ("granule", "purkinje"): ("exc", 1.5, 100),
}

current = cb.neurons.current.Params
populations = (
    cb.Population(name="mossy", size=100, model="relay", params=cb.neurons.relay.Params()),
    cb.Population(name="granule", size=300, model="current", params=current()),
    cb.Population(name="golgi", size=40, model="current", params=current(tau_m=20.0, drive=8.0)),
    cb.Population(name="purkinje", size=40, model="current", params=current(tau_m=20, drive=14)),
)
projections = tuple(
    cb.Projection(
        source=source, target=target, receptor=receptor, weight=weight, delay=1.0, in_degree=degree
    )
    for (source, target), (receptor, weight, degree) in LINKS.items()
)
spec = cb.Spec(
    name="layer", populations=populations, projections=projections, surrogate=cb.Surrogate()
)
circuit = cb.build(spec, jax.random.key(0))

over = ["mossy_granule.weight", "golgi.drive", "purkinje.drive"]
span = {"duration_ms": 500, "skip_ms": 100}
fitted = cb.fit(circuit, TARGET, DRIVE, over=over, keys=4, steps=60, tolerance=0.03, **span)
print(fitted)

drives = {"golgi.drive": [fitted.values["golgi.drive"]]}
print("\nwith other seeds:")
print(cb.sweep(fitted.circuit, drives, DRIVE, keys=range(10, 20), **span))
