"""Fit a circuit to published rates: find weights and currents with which its populations fire so.

Mossy fibres excite granule cells and Golgi cells, Golgi cells inhibit granule cells, and granule
cells excite Purkinje cells. Before the fit hardly any cell fires.
"""

import cerebellum as cb

TARGET = {"granule": 3.0, "golgi": 8.0, "purkinje": 60.0}  # Hz
DRIVE = {"mossy": cb.drive.poisson(20.0)}
cells = (
    cb.Population("mossy", 100, "relay"),
    cb.Population("granule", 300, "current"),
    cb.Population("golgi", 40, "current", {"tau_m": 20.0, "drive": 8.0}),
    cb.Population("purkinje", 40, "current", {"tau_m": 20.0, "drive": 14.0}),
)
links = (
    cb.Projection("mossy", "granule", "exc", weight=15.0, delay=1.0, in_degree=4),
    cb.Projection("mossy", "golgi", "exc", weight=2.0, delay=1.0, in_degree=20),
    cb.Projection("golgi", "granule", "inh", weight=3.0, delay=1.0, in_degree=6),
    cb.Projection("granule", "purkinje", "exc", weight=1.5, delay=1.0, in_degree=100),
)
circuit = cb.build(cb.Spec("layer", cells, links, surrogate=cb.Surrogate()), 0)

over = ["mossy_granule.weight", "golgi.drive", "purkinje.drive"]
span = {"duration_ms": 500, "skip_ms": 100}
fitted = cb.fit(circuit, TARGET, DRIVE, over=over, keys=4, steps=60, tolerance=0.03, **span)
print(fitted)

drives = {"golgi.drive": [fitted.values["golgi.drive"]]}
print("\nwith other seeds:")
print(cb.sweep(fitted.circuit, drives, DRIVE, keys=range(10, 20), **span))
