"""Model B: its cells alone, at rest, and in a burst."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import cerebellum as cb
from cerebellum.model import fixed
from cerebellum.model.neurons import eglif
from cerebellum.model.presets.eglif import (
    BASAL_HZ,
    BURST_HZ,
    CELLS,
    ISOLATED_HZ,
    SIZES,
    Condition,
    bursting,
)
from cerebellum.reproduce.report import Report, Row, close
from cerebellum.reproduce.workers import spread
from cerebellum.sim.record import Recording

CONDITIONS: tuple[Condition, ...] = ("vitro", "awake")

COPIES = 24
"""Cells of each kind."""

CIRCUITS = 6
BASAL_MS = 5_000.0
BURST_MS = 1_200.0, 50.0
"""when it begins, and how long it is"""


def isolated(dt: float, seconds: float, seed: int) -> dict[tuple[Condition, str], np.ndarray]:
    """Rates (Hz) of `COPIES` cells of each kind without synapses, by condition and population."""
    kinds: list[tuple[Condition, str]] = [(c, name) for c in CONDITIONS for name in ISOLATED_HZ[c]]
    own = [replace(CELLS[which][name], e_rev=(0.0,), tau_syn=(1.0,)) for which, name in kinds]
    params = jax.tree.map(lambda *x: jnp.repeat(jnp.asarray(x, jnp.float32), COPIES), *own)
    n = COPIES * len(kinds)

    @jax.jit
    def run(params, state, word):
        def body(carry, step):
            state, counts = carry
            input = eglif.Input(uniform=fixed.uniform(word, step, fixed.CellRange(size=n)))
            state, spikes = eglif.step(params, state, input, dt)
            return (state, counts + spikes), None

        steps = jnp.arange(round(seconds * 1e3 / dt))
        return lax.scan(body, (state, jnp.zeros(n)), steps)[0][1]

    word = fixed.mix(jnp.uint32(seed))
    counts = np.asarray(run(params, eglif.init(params, (n,)), word))
    return dict(zip(kinds, counts.reshape(-1, COPIES) / seconds, strict=True))


def cells(seed: int | None, say: Callable[[str], None]) -> Report:
    """Isolated cells, 9 s at 0.1 ms."""
    say(f"{COPIES} cells of each kind, 9 s")
    rows: list[Row] = []
    for (condition, name), rates in isolated(0.1, 9.0, seed or 0).items():
        want = ISOLATED_HZ[condition][name]
        # A cell at rest in one of two stable states, or out of it, is no measure of the other's.
        measured = rates[rates > 0] if want else float(np.median(rates))
        rows.append(close(f"{name}, {condition}", "Hz", measured, want, rel=0.05))
    return Report(
        rows=rows,
        source="isolated E-GLIF cells with the published sign (cerebellar-models 0.7, "
        "eglif_cond_alpha_multisyn): an independent run at 0.1 ms by Runge-Kutta, 9 s",
        seeds=[seed or 0],
        note="Means over the cells that fired, SD between them; for silent kinds the median. A "
        "Golgi cell may rest for good, and an olivary cell that once escapes goes on.",
    )


def at_rest(item: tuple[Condition, int], dt: float) -> Recording:
    """5 s of 4 Hz in all mossy fibres of one condition and seed, spikes of each cell counted."""
    condition, seed = item
    build_key, run_key = jax.random.split(jax.random.key(seed))
    circuit = cb.build(cb.presets.mouse_eglif(condition, dt=dt), build_key)
    _, recording = cb.simulate(
        circuit,
        cb.init(circuit, run_key),
        {"mossy_fiber": cb.drive.poisson(4.0)},
        duration_ms=BASAL_MS,
        record=[f"counts:{name}" for name in SIZES],
        progress=False,
    )
    return recording


def mean_of_active(recording: Recording, name: str) -> float:
    """Mean rate of the cells of a population that fired at all, Hz; 0 where none did."""
    counts = recording.counts[name]
    active = counts[counts > 0]
    return float(active.mean() / (recording.duration_ms * 1e-3)) if active.size else 0.0


def basal(seed: int | None, say: Callable[[str], None]) -> Report:
    """4 Hz in all mossy fibres for 5 s at 0.1 ms."""
    seeds = list(range(seed or 0, (seed or 0) + CIRCUITS))
    items: list[tuple[Condition, int]] = [(c, each) for c in CONDITIONS for each in seeds]
    say(f"{len(items)} circuits, 5 s each at 0.1 ms: some minutes")
    recordings = dict(zip(items, spread(partial(at_rest, dt=0.1), items), strict=True))
    rows: list[Row] = []
    means: list[str] = []
    for condition in CONDITIONS:
        own = [recordings[condition, each] for each in seeds]
        for name, want in BASAL_HZ[condition].items():
            measured = [mean_of_active(recording, name) for recording in own]
            rel = 0.25 if name == "stellate" else 0.15
            rows.append(close(f"{name}, {condition}", "Hz", measured, want, rel=rel, least=1.0))
        over_all = {
            name: np.mean([cb.record.rates(recording)[name] for recording in own])
            for name in BASAL_HZ[condition]
        }
        listed = ", ".join(f"{name} {hz:.1f}" for name, hz in over_all.items())
        means.append(f"Over all cells, {condition}, Hz: {listed}.")
    compared = {
        condition: {
            name: (row.measured, row.published or 0.0)
            for name, row in zip(BASAL_HZ[condition], rows[start:], strict=False)
        }
        for condition, start in zip(CONDITIONS, (0, len(BASAL_HZ["vitro"])), strict=True)
    }
    return Report(
        rows=rows,
        source="cerebellar-models 0.7, nest.rst, dcn.rst and io.rst: means over cells that fire "
        "in 5 s under 4 Hz in all mossy fibres",
        seeds=seeds,
        note=" ".join(means),
        figures={"rates.png": cb.plot.compare(compared, "Hz")},
    )


def _burst(item: tuple[Condition, int]) -> Recording:
    condition, seed = item
    build_key, run_key = jax.random.split(jax.random.key(seed))
    circuit = cb.build(cb.presets.mouse_eglif(condition), build_key)
    begin, length = BURST_MS
    low = np.full(SIZES["mossy_fiber"], 4.0)
    rates = np.array([low, low + 150.0 * bursting(build_key), low], np.float32)
    source = cb.drive.Poisson(jnp.asarray(rates), jnp.array([0.0, begin, begin + length]))
    _, recording = cb.simulate(
        circuit,
        cb.init(circuit, run_key),
        {"mossy_fiber": source},
        duration_ms=begin + length + 50,
        record=[f"raster:{name}:::{-(-size // 500)}" for name, size in SIZES.items()],
        progress=False,
    )
    return recording


def burst(seed: int | None, say: Callable[[str], None]) -> Report:
    """150 Hz more in the mossy fibres of a sphere from 1,200 to 1,250 ms, at 0.1 ms."""
    seeds = list(range(seed or 0, (seed or 0) + CIRCUITS))
    items: list[tuple[Condition, int]] = [(c, each) for c in CONDITIONS for each in seeds]
    say(f"{len(items)} circuits, 1.3 s each at 0.1 ms: some minutes")
    recordings = dict(zip(items, spread(_burst, items), strict=True))
    span = BURST_MS[0], sum(BURST_MS)
    rows: list[Row] = []
    notes: list[str] = []
    for condition in CONDITIONS:
        rates = [cb.record.rates(recordings[condition, each], *span) for each in seeds]
        rest, published = BASAL_HZ[condition], BURST_HZ[condition]
        hertz = float(np.mean([rate["mossy_fiber"] for rate in rates]))
        reached = (hertz - rest["mossy_fiber"]) / (published["mossy_fiber"] - rest["mossy_fiber"])
        notes.append(f"{condition}: mossy fibres at {hertz:.1f} Hz, {published['mossy_fiber']:g}")
        for name, high in published.items():
            if name == "mossy_fiber":
                continue
            want = rest[name] + (high - rest[name]) * reached
            measured = [rate[name] for rate in rates]
            rows.append(close(f"{name}, {condition}", "Hz", measured, want, rel=0.35))
    about = {"burst": span}
    shown = recordings["awake", seeds[0]]
    return Report(
        rows=rows,
        source="cerebellar-models 0.7, nest.rst and dcn.rst: means over 50 ms",
        seeds=seeds,
        note="Published rises are scaled by the mossy fibres' own, whose stimulated share differs "
        f"between circuits (measured, published): {'; '.join(notes)}.",
        figures={
            "raster.png": cb.plot.raster(shown, about),
            "rates.png": cb.plot.rates(shown, windows=about),
        },
    )
