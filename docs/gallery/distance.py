"""Connections by distance.

Cells on a sheet, connected by two rules of distance: a Gaussian fall of the chance, and an
ellipsoid that is long across the sheet, as the field of a Golgi axon is.
"""

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np

import cerebellum as cb

rng = np.random.default_rng(0)
um = {
    "golgi": np.c_[rng.uniform(0, 1_000, (60, 2)), np.zeros(60)],
    "granule": np.c_[rng.uniform(0, 1_000, (4_000, 2)), np.zeros(4_000)],
}
rules = {
    "Gaussian": cb.connect.Distance("gaussian", 100.0, p=0.6),
    "ellipsoid": cb.connect.Distance("ellipsoid", (60.0, 220.0, 100.0), p=0.6),
}
link = cb.Projection("golgi", "granule", "inh", weight=1.0, delay=1.0)
cells = (cb.Population("golgi", 60, "conductance"), cb.Population("granule", 4_000, "conductance"))
figure, axes = plt.subplots(1, 2, figsize=(9, 4.5), sharey=True, layout="constrained")
for axis, (name, rule) in zip(axes, rules.items(), strict=True):
    spec = cb.Spec("sheet", cells, (replace(link, connect=rule),), dt=0.1)
    edges = cb.build(spec, 0, positions=um).edges("golgi_granule")
    axis.scatter(*um["granule"][:, :2].T, s=1, color="#cccccc")
    for golgi, colour in ((0, "#1f77b4"), (1, "#d62728"), (2, "#2ca02c")):
        axis.scatter(*um["granule"][edges.post[edges.pre == golgi], :2].T, s=4, color=colour)
        axis.plot(*um["golgi"][golgi, :2], "*", color=colour, markeredgecolor="white", ms=14)
    axis.set(title=f"{name}: {len(edges.pre) / 60:.0f} granule cells to a Golgi cell", aspect=1)
    axis.set_xlabel("µm")
axes[0].set_ylabel("µm")
figure.savefig("sheet.png", dpi=100)
print("three Golgi cells (stars) and the granule cells that each inhibits")
