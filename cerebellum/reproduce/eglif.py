"""Model B: isolated cells, and the circuit at rest and in a burst."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cerebellum import plot
from cerebellum.model import anatomy, noise, presets
from cerebellum.model import circuit as circuits
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
from cerebellum.reproduce.report import Report, Row, close, picture
from cerebellum.reproduce.workers import spread
from cerebellum.sim import drive as drives
from cerebellum.sim import record
from cerebellum.sim.record import Recording
from cerebellum.sim.simulate import simulate

CONDITIONS: tuple[Condition, ...] = ("vitro", "awake")

COPIES = 24
"""Isolated cells of each kind."""

CIRCUITS = 6
"""Circuits to a condition."""
BASAL_MS = 5_000.0
BURST_MS = 1_200.0, 50.0
"""Start and length of the burst."""


def isolated(dt: float, seconds: float, seed: int) -> dict[tuple[Condition, str], np.ndarray]:
    """Rates (Hz) of `COPIES` cells of each kind without synapses, by condition and population."""
    kinds: list[tuple[Condition, str]] = [(c, name) for c in CONDITIONS for name in ISOLATED_HZ[c]]
    of_kinds = [replace(CELLS[c][name], e_rev=(0.0,), tau_syn=(1.0,)) for c, name in kinds]
    params = jax.tree.map(lambda *x: jnp.repeat(jnp.asarray(x, jnp.float32), COPIES), *of_kinds)
    n = COPIES * len(kinds)

    @jax.jit
    def run(params, state, key):
        def body(carry, step):
            state, counts = carry
            uniform = noise.uniform(noise.fold(key, step), noise.CellRange(size=n).numbers)
            input = eglif.Input(uniform=uniform)
            state, spikes = eglif.step(params, state, input, dt)
            return (state, counts + spikes), None

        steps = jnp.arange(round(seconds * 1e3 / dt))
        return lax.scan(body, (state, jnp.zeros(n)), steps)[0][1]

    key = jax.random.key_data(jax.random.key(seed))
    counts = np.asarray(run(params, eglif.init(params, (n,)), key))
    return dict(zip(kinds, counts.reshape(-1, COPIES) / seconds, strict=True))


def cells(seed: int | None, say: Callable[[str], None]) -> Report:
    """Isolated cells, 9 s at 0.1 ms."""
    say(f"{COPIES} cells of each kind, 9 s")
    rows: list[Row] = []
    for (condition, name), rates in isolated(0.1, 9.0, seed or 0).items():
        reference = ISOLATED_HZ[condition][name]
        # Some cells are bistable. Of a kind that fires only the firing cells are averaged, and of a
        # silent kind the median is taken, which a few firing cells do not change.
        measured = rates[rates > 0] if reference else float(np.median(rates))
        label = f"{name}, {condition}"
        rows.append(close(label, "Hz", measured, reference, rel=0.05, published=False))
    return Report(
        rows=rows,
        source="isolated E-GLIF cells with the published sign (cerebellar-models 0.7, "
        "eglif_cond_alpha_multisyn); reference: an independent run at 0.1 ms by Runge-Kutta, 9 s",
        seeds=[seed or 0],
        note="Means over the cells that fired, SD between them; for silent kinds the median. A "
        "Golgi cell may rest for good, and an olivary cell that once escapes goes on.",
    )


def at_rest(item: tuple[Condition, int], dt: float) -> Recording:
    """Spike counts of all cells in 5 s of 4 Hz in all mossy fibres, for a condition and seed."""
    condition, seed = item
    build_key, run_key = jax.random.split(jax.random.key(seed))
    circuit = anatomy.build(presets.mouse_eglif(condition, dt=dt), build_key)
    _, recording = simulate(
        circuit,
        circuits.init(circuit, run_key),
        {"mossy_fiber": drives.poisson(4.0)},
        duration_ms=BASAL_MS,
        record=[f"counts:{name}" for name in SIZES],
        progress=False,
    )
    return recording


def mean_of_active(recording: Recording, name: str) -> float:
    """Mean rate of those cells of a population that fired, Hz; 0 where none did."""
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
        by_seed = [recordings[condition, each] for each in seeds]
        for name, published in BASAL_HZ[condition].items():
            measured = [mean_of_active(recording, name) for recording in by_seed]
            label = f"{name}, {condition}"
            rows.append(close(label, "Hz", measured, published, rel=0.15, least=1.0))
        all_cells_hz = {
            name: np.mean([record.rates(recording)[name] for recording in by_seed])
            for name in BASAL_HZ[condition]
        }
        listed = ", ".join(f"{name} {hz:.1f}" for name, hz in all_cells_hz.items())
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
        figures={"rates.png": picture(plot.compare, compared, "Hz")},
    )


def _burst(item: tuple[Condition, int]) -> Recording:
    """Spikes of a circuit in a burst, for a condition and seed."""
    condition, seed = item
    build_key, run_key = jax.random.split(jax.random.key(seed))
    circuit = anatomy.build(presets.mouse_eglif(condition), build_key)
    start, length = BURST_MS
    background = np.full(SIZES["mossy_fiber"], 4.0)
    in_burst = background + 150.0 * bursting(build_key)
    rates = np.array([background, in_burst, background], np.float32)
    source = drives.Poisson(jnp.asarray(rates), jnp.array([0.0, start, start + length]))
    _, recording = simulate(
        circuit,
        circuits.init(circuit, run_key),
        {"mossy_fiber": source},
        duration_ms=start + length + 50,
        record=[f"raster:{name}:::{-(-size // 500)}" for name, size in SIZES.items()],
        progress=False,
    )
    return recording


def burst(seed: int | None, say: Callable[[str], None]) -> Report:
    """A burst of 150 Hz in the mossy fibres of a sphere from 1,200 to 1,250 ms, at 0.1 ms."""
    seeds = list(range(seed or 0, (seed or 0) + CIRCUITS))
    items: list[tuple[Condition, int]] = [(c, each) for c in CONDITIONS for each in seeds]
    say(f"{len(items)} circuits, 1.3 s each at 0.1 ms: some minutes")
    recordings = dict(zip(items, spread(_burst, items), strict=True))
    span = BURST_MS[0], sum(BURST_MS)
    rows: list[Row] = []
    notes: list[str] = []
    for condition in CONDITIONS:
        rates = [record.rates(recordings[condition, each], *span) for each in seeds]
        rest, published = BASAL_HZ[condition], BURST_HZ[condition]
        hertz = float(np.mean([rate["mossy_fiber"] for rate in rates]))
        rise = published["mossy_fiber"] - rest["mossy_fiber"]
        share = (hertz - rest["mossy_fiber"]) / rise
        notes.append(f"{condition}: mossy fibres at {hertz:.1f} Hz, {published['mossy_fiber']:g}")
        for name, in_burst in published.items():
            if name == "mossy_fiber":
                continue
            scaled = rest[name] + (in_burst - rest[name]) * share
            measured = [rate[name] for rate in rates]
            rows.append(close(f"{name}, {condition}", "Hz", measured, scaled, rel=0.15))
    windows = {"burst": span}
    example = recordings["awake", seeds[0]]
    return Report(
        rows=rows,
        source="cerebellar-models 0.7, nest.rst and dcn.rst: means over 50 ms",
        seeds=seeds,
        note="Published rises are scaled by the mossy fibres' own, whose stimulated share differs "
        f"between circuits (measured, published): {'; '.join(notes)}.",
        figures={
            "raster.png": picture(plot.raster, example, windows),
            "rates.png": picture(plot.rates, example, windows=windows),
        },
    )
