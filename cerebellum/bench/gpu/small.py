"""Small circuits on the CUDA backends, for NVIDIA's `compute-sanitizer` to watch.

Every kind of cell, projection and rule is among them. Prints the spikes of each run.
"""

import sys

import jax

from cerebellum import backends
from cerebellum.model import anatomy, presets
from cerebellum.model import circuit as circuits
from cerebellum.model.presets import common
from cerebellum.sim import drive as drives
from cerebellum.sim.simulate import simulate

STEPS = 30

SPECS = {
    "beams, learning": lambda: presets.beams(1_200, beams=2, learning_rate=2e-3),
    "common, lists": lambda: common.common("S"),
    "mouse": lambda: presets.mouse(scale=0.02),
    "mouse-eglif, dynamic terminals": lambda: presets.mouse_eglif(dt=1.0, short_term=True),
}


def main(names: list[str]) -> int:
    """Run every circuit on each of these backends; returns the exit code."""
    for backend in names:
        why = backends.BACKENDS[backend].unavailable(jax.default_backend())
        if why is not None:
            print(f"{backend}: {why}", file=sys.stderr)
            return 2
        for name, spec_of in SPECS.items():
            spec = spec_of()
            circuit = anatomy.build(spec, jax.random.key(0), path="event", backend=backend)
            state = circuits.init(circuit, 1, spread=True)
            drive = {spec.populations[0].name: drives.poisson(60.0)}
            span = STEPS * spec.dt
            _, recording = simulate(circuit, state, drive, duration_ms=span, progress=False)
            print(f"{backend}, {name}: {int(recording.spikes['granule'].sum())} granule spikes")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["cuda", "cuda-step"]))
