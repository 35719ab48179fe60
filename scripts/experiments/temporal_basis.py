"""Similarity of granule vectors over time for each option of Model B's granular layer.

    python scripts/experiments/temporal_basis.py [SEED ...] [--out FILE]

Prints a table of S(lag) / S(0) of the vectors, the same of their change from rest, and rates (Hz);
draws a picture with a curve for each option. Three tones in the mossy fibres of the eyeblink task,
on 4 Hz in all: 40 Hz Poisson of 500 ms, the published tone "halves" of 280 ms, and the tone that is
"structured" in time, 500 ms. At 1 ms; by default seed 10, and of several the means are shown.
"""

import argparse
from pathlib import Path

import jax
import numpy as np

import cerebellum as cb
from cerebellum.learn import similarity
from cerebellum.learn.tasks import eyeblink, eyeblink_tone
from cerebellum.learn.tasks.eyeblink_trial import Timing
from cerebellum.model.presets.eglif import SIZES
from cerebellum.model.streams import stream

presets = cb.presets
OPTIONS = {
    "published": presets.GranularLayer(),
    "brush cells": presets.GranularLayer(brush_cells=presets.BrushCells()),
    "terminals": presets.GranularLayer(terminals=presets.DiverseTerminals()),
    "slow Golgi": presets.GranularLayer(slow_golgi=presets.SlowGolgi()),
    "together": presets.TEMPORAL_BASIS,
}
ONSET_MS, BIN_MS = 300, 25.0
TONES = {"40 Hz Poisson": 500, "halves": 275, "structured": 500}
"""Length of what is looked at, ms."""
TRIALS, TRIAL_MS = 6, 1_400
LAGS_MS = (50, 100, 150, 200, 250, 300, 400)


def drive(key: jax.Array, tone: str) -> np.ndarray:
    """Spikes of mossy fibres in all trials, [steps, fibres]."""
    rng, carries = stream(key, f"tone {tone}"), eyeblink_tone.carriers(key)
    chance = np.full((TRIALS, TRIAL_MS, SIZES["mossy_fiber"]), eyeblink.BACKGROUND_HZ * 1e-3)
    if tone in eyeblink_tone.TONES:
        isi_ms = TONES[tone] - 25  # the published tone lasts 5 ms longer than whole bins
        timing = Timing(isi_ms=isi_ms, onset_ms=ONSET_MS)
        added = eyeblink_tone.TONES[tone](key, timing)
        chance[:, : len(added)] += added
    else:
        chance[:, ONSET_MS : ONSET_MS + TONES[tone], carries] = 0.04
    spikes = rng.random(chance.shape) < chance
    return spikes.reshape(-1, SIZES["mossy_fiber"]).astype(np.float32)


def measured(circuit: cb.Circuit, seed: int, tone: str) -> dict[str, np.ndarray]:
    """Both similarities, and rates at rest, early and late in the tone, by name."""
    build_key, run_key = jax.random.split(jax.random.key(seed))
    inputs, state = {"mossy_fiber": drive(build_key, tone)}, cb.init(circuit, run_key)
    brush = "brush_on" in circuit.params.cells
    record = ["raster:granule", *(["raster:brush_on"] if brush else [])]
    _, recording = cb.simulate(circuit, state, inputs, record=record, progress=False)
    lasts = TONES[tone]
    onsets = [index * TRIAL_MS + ONSET_MS for index in range(TRIALS)]

    def vectors(name: str, start: float, stop: float) -> np.ndarray:
        return similarity.halves(recording.rasters[name], onsets, (start, stop), BIN_MS)

    granule, rest = vectors("granule", 0.0, lasts), vectors("granule", -200.0, 0.0)
    values = {"S": similarity.similarity(granule), "change": similarity.change(granule, rest)}
    if brush:
        values["S of ON"] = similarity.similarity(vectors("brush_on", 0.0, lasts))
    for name in ("granule", "golgi", "brush_on", "brush_off", "purkinje"):
        if name in recording.spikes:
            hz = recording.spikes[name].reshape(TRIALS, -1) / recording.sizes[name] * 1e3
            windows = (ONSET_MS - 200, ONSET_MS), (ONSET_MS, ONSET_MS + 100)
            windows = (*windows, (ONSET_MS + lasts - 100, ONSET_MS + lasts))
            # The first trial begins at rest, where terminals are full.
            values[name] = np.array([hz[1:, start:stop].mean() for start, stop in windows])
    return values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seeds", nargs="*", type=int, default=[10])
    parser.add_argument("--out", type=Path, default=Path("temporal_basis.png"))
    arguments = parser.parse_args()
    curves: dict[tuple[str, str, str], np.ndarray] = {}
    print(f"lags {LAGS_MS} ms")
    for name, option in OPTIONS.items():
        runs = {tone: [] for tone in TONES}
        for seed in arguments.seeds:
            build_key = jax.random.split(jax.random.key(seed))[0]
            spec = presets.mouse_eglif("awake", dt=1.0, granular=option)
            circuit = cb.build(spec, build_key)
            for tone in TONES:
                runs[tone].append(measured(circuit, seed, tone))
        for tone in TONES:
            means = {
                key: np.mean([run[key] for run in runs[tone]], axis=0) for key in runs[tone][0]
            }
            print(f"{name}, {tone}")
            for kind, values in means.items():
                if kind in ("S", "change", "S of ON"):
                    curves[tone, kind, name] = values
                    lags = [round(lag / BIN_MS) for lag in LAGS_MS if lag / BIN_MS < len(values)]
                    print(f"    {kind:7s}", *(f"{values[lag]:5.2f}" for lag in lags))
                else:
                    rest, early, late = values
                    print(f"    {kind}: {rest:.2f} at rest, {early:.1f} then {late:.1f} Hz")
        print(end="", flush=True)
    draw(curves).savefig(arguments.out, dpi=130)
    print(f"\n{arguments.out}")


def draw(curves: dict[tuple[str, str, str], np.ndarray]):
    """A panel for each tone and each of the two similarities, with a curve for each option."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 10), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(TONES), 2, sharey=True)
    for row, tone in zip(axes, TONES, strict=True):
        for axis, kind in zip(row, ("S", "change"), strict=True):
            for name in OPTIONS:
                curve = curves[tone, kind, name]
                axis.plot(np.arange(len(curve)) * BIN_MS, curve, label=name)
            axis.set(title=f"{tone}: {kind}", xlabel="lag (ms)", ylim=(-0.1, 1.1))
            axis.spines[["top", "right"]].set_visible(False)
    for axis in axes[:, 0]:
        axis.set_ylabel("similarity")
    axes[0, 0].legend(frameon=False, fontsize=8)
    return figure


if __name__ == "__main__":
    main()
