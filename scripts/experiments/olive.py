"""The firing olive of Model B: prints its rates, held down by the nuclei, and with gap junctions.

    python scripts/experiments/olive.py

The awake circuit at 1 ms under 4 Hz in all mossy fibres, 4 s from 0.5 s on, two circuits. In the
first table a current drives or silences the inhibitory nuclei. The second has gap junctions; what
is closer than 5 ms is counted beside what independent cells would have.
"""

from dataclasses import replace

import jax
import numpy as np

import cerebellum as cb
from cerebellum.sim.record import Recording

SEEDS = (10, 11)
START_MS, DURATION_MS = 500.0, 4_500.0
CURRENTS = (-60.0, -30.0, 0.0, 30.0, 60.0, 120.0)
"""into each inhibitory nuclear cell, pA"""
COUPLINGS = (0.0, 0.3, 1.0, 3.0)
"""conductance of a gap junction of the olive, nS"""
NEAR_MS = 5.0


def run(circuit: cb.Circuit, seed: int, pa: float) -> Recording:
    """A run with a current into the inhibitory nuclei."""
    drive = {"mossy_fiber": cb.drive.poisson(4.0), "nuclei_inhibitory": cb.drive.current(pa)}
    state = cb.init(circuit, jax.random.fold_in(jax.random.key(seed), 1))
    return cb.simulate(
        circuit,
        state,
        drive,
        duration_ms=DURATION_MS,
        record=("raster:inferior_olive",),
        progress=False,
    )[1]


def near(recording: Recording) -> float:
    """Spikes of other cells within 5 ms of a spike, in units of what is expected by chance."""
    raster, cells = recording.rasters["inferior_olive"], recording.sizes["inferior_olive"]
    times = raster.time_ms[raster.time_ms > START_MS]
    own = raster.cell[raster.time_ms > START_MS]
    pairs = (np.abs(times[:, None] - times) < NEAR_MS) & (own[:, None] != own)
    hz = times.size / cells / (DURATION_MS - START_MS) * 1e3
    expected = times.size * (cells - 1) * hz * 2 * NEAR_MS * 1e-3
    return float(pairs.sum() / expected) if expected else float("nan")


def main() -> None:
    spec = cb.presets.mouse_eglif("awake", dt=1.0, olive="firing")
    circuits = {seed: cb.build(spec, seed) for seed in SEEDS}
    print("current into inhibitory nuclei (pA), their rate, rate of the olive (Hz)")
    for pa in CURRENTS:
        rates = [cb.record.rates(run(circuits[s], s, pa), START_MS, DURATION_MS) for s in SEEDS]
        means = [np.mean([r[n] for r in rates]) for n in ("nuclei_inhibitory", "inferior_olive")]
        print(f"{pa:7.0f} {means[0]:8.1f} {means[1]:8.2f}", flush=True)
    print("gap junctions of the olive (nS), its rate (Hz), spikes within 5 ms, times chance")
    for g in COUPLINGS:
        rates, closeness = [], []
        for seed in SEEDS:
            coupled = cb.presets.mouse_eglif("awake", dt=1.0, olive="firing", olive_coupling=g)
            circuit = cb.build(replace(coupled, name=f"{g} nS"), seed)
            recording = run(circuit, seed, 0.0)
            rates.append(cb.record.rates(recording, START_MS, DURATION_MS)["inferior_olive"])
            closeness.append(near(recording))
        print(f"{g:7.1f} {np.mean(rates):8.2f} {np.mean(closeness):8.2f}", flush=True)


if __name__ == "__main__":
    main()
