"""A neuron model of one's own: adaptive exponential cells (Brette & Gerstner 2005) in a network."""

import jax.numpy as jnp

import cerebellum as cb


def slopes(p, cell, current):
    """Slopes of the voltage (mV/ms) and of the adaptation (pA/ms)."""
    upswing = p.g_l * p.d_t * jnp.exp((cell.v - p.v_t) / p.d_t)
    inward = p.g_l * (p.e_l - cell.v) + upswing - cell.w + cell.exc + current
    return {"v": inward / p.c_m, "w": (p.a * (cell.v - p.e_l) - cell.w) / p.tau_w}


membrane = {"c_m": 200.0, "g_l": 10.0, "e_l": -70.0, "v_t": -50.0, "d_t": 2.0, "v_peak": 0.0}
adaptation = {"a": 2.0, "b": 60.0, "tau_w": 100.0, "v_reset": -58.0, "tau_exc": 5.0}
cb.define_neuron(
    "adex",
    params=membrane | adaptation,
    start={"v": "e_l", "w": 0.0},
    slopes=slopes,
    reset=lambda p, cell: {"v": p.v_reset, "w": cell.w + p.b},
)
spec = cb.Spec(
    "own neurons",
    (cb.Population("mossy", 50, "relay"), cb.Population("cells", 100, "adex")),
    (cb.Projection("mossy", "cells", "exc", weight=120.0, delay=1.0, in_degree=20),),
    dt=0.1,
)
drive = {"mossy": cb.drive.poisson(20.0), "cells": cb.drive.current(500.0, cells=slice(0, 50))}
_, recording = cb.simulate(cb.build(spec, 0), drive=drive, duration_ms=500, record="raster:cells")
trains = list(recording.rasters["cells"].trains().values())
for name, group in (("with current", trains[:50]), ("without", trains[50:])):
    print(f"{name:12} {sum(map(len, group)) / 50 / 0.5:5.1f} Hz", end=", ")
    print(f"intervals {(group[0][1:] - group[0][:-1])[:5].round(1)} ms")
