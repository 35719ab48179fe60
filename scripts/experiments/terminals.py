"""Rates of Model B at rest with static and with dynamic terminals: prints Hz, Hz and percent.

    python scripts/experiments/terminals.py

Two circuits for each condition, 3 s at 1 ms under 4 Hz in all mossy fibres. The last two columns
are dynamic terminals, where the weights of two projections of stellate cells are not the published
ones but those of static terminals over U, as in the other projections. The published ones are 0.19
to 0.45 and 0.04 of that.
"""

from dataclasses import replace
from typing import get_args

import jax

import cerebellum as cb
from cerebellum.model.presets.eglif import Condition
from cerebellum.sim import record

DURATION_MS = 3_000.0
CELLS = ("granule", "golgi", "purkinje", "basket", "stellate", "nuclei", "nuclei_inhibitory")
STELLATE = ("granule_parallel_stellate", "stellate_stellate")


def spec_of(condition: Condition, short_term: bool, corrected: bool) -> cb.Spec:
    """Model B; `corrected` with weights of static terminals over U where `STELLATE` says so."""
    static = cb.presets.mouse_eglif(condition, dt=1.0)
    spec = cb.presets.mouse_eglif(condition, dt=1.0, short_term=short_term)
    weights = {p.name: p.mean_weight for p in static.projections}
    for projection in spec.projections:
        rule = projection.short_term
        if corrected and rule is not None and projection.name in STELLATE:
            weight = weights[projection.name] / rule.utilisation
            spec = spec.with_projection(projection.name, weight=weight)
    return replace(spec, name=f"{condition} {short_term} {corrected}")


def rates(spec: cb.Spec, seed: int) -> dict[str, float]:
    """Mean rates, Hz, by population."""
    build_key, run_key = jax.random.split(jax.random.key(seed))
    circuit = cb.build(spec, build_key, path="event")
    drive = {"mossy_fiber": cb.drive.poisson(4.0)}
    state = cb.init(circuit, run_key)
    _, recording = cb.simulate(circuit, state, drive, duration_ms=DURATION_MS, progress=False)
    return record.rates(recording, 0, DURATION_MS)


for condition in get_args(Condition):
    for seed in (0, 1):
        kinds = ((False, False), (True, False), (True, True))
        static, dynamic, corrected = (rates(spec_of(condition, *kind), seed) for kind in kinds)
        for name in CELLS:
            columns = [f"{condition} {seed} {name:18s} {static[name]:6.2f}"]
            for other in (dynamic, corrected):
                change = 100 * (other[name] / static[name] - 1)
                columns.append(f"{other[name]:6.2f} {change:+6.1f} %")
            print("  ".join(columns), flush=True)
