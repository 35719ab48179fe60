"""Rates of Model B at rest with static and with dynamic terminals: prints Hz, Hz and percent.

    python scripts/experiments/terminals.py

Two circuits for each condition, 3 s at 1 ms under 4 Hz in all mossy fibres.
"""

from typing import get_args

import jax

import cerebellum as cb
from cerebellum.model.presets.eglif import Condition
from cerebellum.sim import record

DURATION_MS = 3_000.0
CELLS = ("granule", "golgi", "purkinje", "basket", "stellate", "nuclei", "nuclei_inhibitory")


def rates(condition: Condition, short_term: bool, seed: int) -> dict[str, float]:
    """Mean rates, Hz, by population."""
    spec = cb.presets.mouse_eglif(condition, dt=1.0, short_term=short_term)
    build_key, run_key = jax.random.split(jax.random.key(seed))
    circuit = cb.build(spec, build_key, path="event")
    drive = {"mossy_fiber": cb.drive.poisson(4.0)}
    state = cb.init(circuit, run_key)
    _, recording = cb.simulate(circuit, state, drive, duration_ms=DURATION_MS, progress=False)
    return record.rates(recording, 0, DURATION_MS)


for condition in get_args(Condition):
    for seed in (0, 1):
        static, dynamic = (rates(condition, kind, seed) for kind in (False, True))
        for name in CELLS:
            change = 100 * (dynamic[name] / static[name] - 1)
            print(
                f"{condition} {seed} {name:18s} {static[name]:6.2f} {dynamic[name]:6.2f} "
                f"{change:+6.1f} %"
            )
