"""The circuits that are measured: specs, drives, and files of built ones.

A circuit is built once, by a program of its own on the processor, while the device has other work:
`python -m cerebellum.bench.gpu.circuits NAME FILE [--quick]`.
"""

import pickle
import sys
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from cerebellum.bench.network import MOSSY_HZ, PRODUCTION
from cerebellum.model import anatomy, presets
from cerebellum.model import circuit as circuits
from cerebellum.model.circuit import Circuit
from cerebellum.model.presets import common
from cerebellum.model.spec import Spec
from cerebellum.sim import drive as drives
from cerebellum.sim.drive import Drive

LEARNING_RATE = 2e-4

INPUT_HZ = {
    "production": MOSSY_HZ,
    "mouse": {1.0: 0.292, 2.0: 0.735, 5.0: 3.016},
    "mouse-eglif": {1.0: 1.72, 2.0: 2.46, 5.0: 8.89},
    "random": {1.0: 10.87, 2.0: 14.5, 5.0: 21.1},
    "anatomical": {1.0: 10.87, 2.0: 14.5, 5.0: 21.1},
}
"""Rate of the input population, Hz, by the rate of granule cells that it causes, Hz: measured on
a CPU from 100 ms on, for 100 ms (mouse) or 300 ms (common networks, at size M). They meet it to
within a sixth; the results have the rate that a run had."""


def spec_of(name: str, learning: bool, quick: bool) -> Spec:
    """The spec of a circuit in `cases.CIRCUITS`, or with `quick` of a tiny one of its kind."""
    if name == "production":
        rate = LEARNING_RATE if learning else 0.0
        if quick:
            return presets.beams(2_000, beams=2, learning_rate=rate)
        return presets.beams(4_000_000, sizes=PRODUCTION, learning_rate=rate)
    if name == "mouse":
        return presets.mouse(scale=0.02) if quick else presets.mouse()
    if name == "mouse-eglif":
        return presets.mouse_eglif()
    size, wiring = name.split("-")
    return common.common("S" if quick else size, wiring=wiring)  # pyright: ignore


def drive_of(name: str, rate: float) -> Drive:
    """The drive that makes granule cells of a circuit fire at about `rate`, Hz."""
    key = name.split("-")[-1] if name[:2] in ("M-", "L-") else name
    population = "glomerulus" if name.startswith("mouse") else "mossy_fiber"
    return {population: drives.poisson(INPUT_HZ[key][rate])}


def build(name: str, quick: bool) -> Circuit:
    """A circuit whose plastic projections learn, on the event path."""
    return anatomy.build(spec_of(name, True, quick), jax.random.key(0), path="event")


def without_learning(circuit: Circuit, name: str, quick: bool) -> Circuit:
    """The circuit that `build` would draw without rules: its lists and weights are the same."""
    spec, wiring = spec_of(name, False, quick), circuit.wiring
    part = replace(wiring.part, spec=spec)
    return replace(
        circuit,
        params=replace(
            circuit.params,
            learning_gain={name: jnp.float32(1) for name in circuits.learning(spec)},
        ),
        wiring=replace(wiring, part=part, equations=anatomy.equations(spec)),
    )


def save(circuit: Circuit, path: Path) -> None:
    """Write a circuit to a file that appears when it is complete."""
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        pickle.dump(jax.tree.map(np.asarray, circuit), file, protocol=5)
    partial.replace(path)


def load(path: Path) -> Circuit:
    """A circuit that `save` wrote, on the device. The file must be one of our own."""
    with path.open("rb") as file:
        return jax.tree.map(jnp.asarray, pickle.load(file))


if __name__ == "__main__":
    save(build(sys.argv[1], "--quick" in sys.argv), Path(sys.argv[2]))
