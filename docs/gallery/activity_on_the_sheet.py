"""Activity on the sheet, as an animation.

A wave runs over mossy fibres, whose granule cells and Golgi cells lie near them. A cell lights up
when it fires, and fades.
"""

import jax.numpy as jnp
import numpy as np

import cerebellum as cb

rng = np.random.default_rng(0)
sizes = {"mossy": 300, "granule": 1_200, "golgi": 40}
um = {name: rng.uniform((0, 0, 0), (600, 300, 1), (size, 3)) for name, size in sizes.items()}


def near(source, target, receptor, weight, p):
    """Synapses between cells that lie near each other."""
    rule = cb.connect.Distance("gaussian", 30.0, p=p)
    return cb.Projection(source, target, receptor, weight=weight, delay=1.0, connect=rule)


cells = (
    cb.Population("mossy", sizes["mossy"], "relay"),
    cb.Population("granule", sizes["granule"], "conductance"),
    cb.Population(
        "golgi", sizes["golgi"], "conductance", {"tau_m": 20.0, "c_m": 60.0, "tau_exc": 5.0}
    ),
)
links = (
    near("mossy", "granule", "exc", 12.0, 0.5),
    near("mossy", "golgi", "exc", 4.0, 0.8),
    near("golgi", "granule", "inh", 1.0, 0.8),
)
circuit = cb.build(cb.Spec("sheet", cells, links, dt=0.1), 0, positions=um)


def wave(t_ms, x):
    """Rates of the mossy fibres, Hz: a front that moves at 6 um a ms."""
    return 150.0 * jnp.exp(-(((x - 6.0 * t_ms) / 50.0) ** 2))


drive = {"mossy": cb.drive.RateFunction(wave, (um["mossy"][:, 0],))}
_, recording = cb.simulate(
    circuit, drive=drive, duration_ms=110, record=[f"raster:{name}" for name in sizes]
)
film = cb.plot.animate(recording, um, frame_ms=4.0, fade_ms=8.0)
film.save("activity.gif", writer="pillow", dpi=70)
print({name: int(recording.spikes[name].sum()) for name in sizes}, "spikes")
