"""The granular layer of Model B as a filter: what a patch of mossy fibres makes of it.

Only mossy fibres, glomeruli, granule and Golgi cells of the circuit run; nothing in it projects
back to them from the rest. Synapses are those of the slice.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import pairwise
from typing import TYPE_CHECKING

import jax
import numpy as np
from jax import Array

from cerebellum.model import anatomy, manipulate, presets, streams
from cerebellum.model import circuit as circuits
from cerebellum.model.circuit import Circuit
from cerebellum.model.presets.eglif import SIZES
from cerebellum.model.presets.eglif_space import EXTENT, positions
from cerebellum.model.spec import Spec
from cerebellum.reproduce.report import Report, bounded, close
from cerebellum.reproduce.workers import spread
from cerebellum.sim.record import Raster
from cerebellum.sim.simulate import simulate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SEEDS = (10, 11, 12, 13, 14)
LAYER = ("mossy_fiber", "glomerulus", "granule", "golgi")
DT = 0.5
"""Time step, ms."""
BACKGROUND_HZ = 4.0
SPOT_UM = 35.0
"""Radius of the spot in which glomeruli are excited, um."""
WITHIN_UM = 40.0
"""Radius about the centre within which granule cells respond to that spot, um."""
PERIOD_MS = 250.0
"""Time from one stimulus to the next."""
START_MS = 100.0
"""Time of a stimulus in its period."""
FREQUENCIES_HZ = (10.0, 20.0, 50.0, 100.0, 200.0, 400.0)
"""Frequencies of the pulses of a burst."""
PULSES = 5
"""Pulses of a burst."""
MODULATION_HZ = (1.0, 2.0, 4.0, 6.0, 8.0, 12.0, 20.0)
"""Frequencies at which the rate of mossy fibres is modulated."""
MEAN_HZ = 10.0
"""Mean rate of mossy fibres when it is modulated, fully and as a sine."""
RINGS_UM = np.arange(0.0, 141.0, 20.0)
"""Edges of rings about the centre in which granule cells are counted, um."""


@dataclass(frozen=True)
class Amounts:
    """How often each stimulus is repeated."""

    bursts: int = 12
    """bursts in the spot on a background, for the centre and its surround"""
    volleys: int = 8
    """single pulses in the spot"""
    trains: int = 3
    """bursts of each frequency"""
    modulated_ms: float = 1_000.0
    """time for which each frequency of modulation lasts"""


@dataclass(frozen=True)
class Measured:
    """What was measured in one circuit."""

    rings_hz: np.ndarray
    """rates of granule cells by ring before, in and after a burst, Hz [3, rings]"""
    course_hz: dict[str, np.ndarray]
    """rate of the granule cells at the centre around a volley by condition, Hz [steps]"""
    window_ms: dict[str, float]
    """time from the first to the last tenth of the spikes that a volley evokes, by condition"""
    per_pulse: np.ndarray
    """spikes of a granule cell at the centre for each pulse of a burst, by frequency"""
    gain: dict[str, np.ndarray]
    """modulation of granule cells over that of mossy fibres, by condition and frequency"""


def _within(key: Array, *, whole: Spec, names: frozenset[str]) -> dict[str, np.ndarray]:
    """The edges of some projections of a circuit that is laid out in space."""
    assert whole.place is not None
    return {name: edges for name, edges in whole.place(key).items() if name in names}


@cache
def layer() -> Spec:
    """The spec of the granular layer alone."""
    whole = presets.mouse_eglif("vitro", dt=DT)
    kept = tuple(p for p in whole.projections if p.source in LAYER and p.target in LAYER)
    return replace(
        whole,
        name="granular-layer",
        populations=tuple(p for p in whole.populations if p.name in LAYER),
        projections=kept,
        place=partial(_within, whole=whole, names=frozenset(p.name for p in kept)),
    )


def _distances(key: Array) -> dict[str, np.ndarray]:
    """Horizontal distance of each cell from the centre, um, by population."""
    cells = positions(key, SIZES)
    centre = np.array(EXTENT) / 2
    return {name: np.linalg.norm(cells[name][:, :2] - centre, axis=1) for name in LAYER}


def _run(circuit: Circuit, key: Array, drive: dict[str, np.ndarray]) -> dict[str, Raster]:
    """The spikes of granule cells and mossy fibres under a drive of spikes, [steps, cells]."""
    state = circuits.init(circuit, key)
    record = ["raster:granule", "raster:mossy_fiber"]
    return simulate(circuit, state, drive, record=record, progress=False)[1].rasters


def _steps(ms: float) -> int:
    return round(ms / DT)


def _counts(raster: Raster, cells: np.ndarray, periods: int, period_ms: float) -> np.ndarray:
    """Number of spikes of some cells in each step of each period, [periods, steps]."""
    chosen = np.isin(raster.cell, cells)
    step = np.round(raster.time_ms[chosen] / DT).astype(int) - 1
    width = _steps(period_ms)
    return np.bincount(step, minlength=periods * width).reshape(periods, width)


def _rings(circuit: Circuit, key: Array, away: dict[str, np.ndarray], bursts: int, rng):
    """Rates by ring before, in and after bursts of 150 Hz in the spot, 50 ms each, on 4 Hz."""
    width, spot = _steps(PERIOD_MS), np.flatnonzero(away["glomerulus"] <= SPOT_UM)
    background = rng.random((bursts * width, SIZES["mossy_fiber"])) < BACKGROUND_HZ * DT * 1e-3
    drive = np.zeros((bursts, width, SIZES["glomerulus"]), np.float32)
    in_burst = slice(_steps(START_MS), _steps(START_MS + 50))
    shape = bursts, _steps(50), len(spot)
    drive[:, in_burst, spot] = rng.random(shape) < 150 * DT * 1e-3
    raster = _run(
        circuit,
        key,
        {
            "mossy_fiber": background.astype(np.float32),
            "glomerulus": drive.reshape(bursts * width, -1),
        },
    )["granule"]
    windows = (START_MS - 80, START_MS), (START_MS, START_MS + 50), (START_MS + 50, START_MS + 90)
    rates = []
    for near, far in pairwise(RINGS_UM):
        cells = np.flatnonzero((away["granule"] >= near) & (away["granule"] < far))
        counts = _counts(raster, cells, bursts, PERIOD_MS)[1:]
        course = counts.mean(axis=0) / len(cells) / DT * 1e3
        windows = (
            (START_MS - 80, START_MS),
            (START_MS, START_MS + 50),
            (START_MS + 50, START_MS + 90),
        )
        rates.append([course[_steps(a) : _steps(b)].mean() for a, b in windows])
    return np.array(rates).T


def _trains(frequency_hz: float, pulses: int, spot: np.ndarray, repeats: int) -> np.ndarray:
    """Bursts of pulses in the glomeruli of the spot, one to a period, [steps, glomeruli]."""
    lasts = START_MS + pulses * 1e3 / frequency_hz + 150
    drive = np.zeros((repeats, _steps(max(PERIOD_MS, lasts)), SIZES["glomerulus"]), np.float32)
    times = np.round((START_MS + np.arange(pulses) * 1e3 / frequency_hz) / DT).astype(int)
    drive[:, times[:, None], spot] = 1
    return drive


def _evoked(raster: Raster, cells: np.ndarray, drive: np.ndarray) -> np.ndarray:
    """Rate of some cells in each step of a period above that before the stimulus, Hz [steps]."""
    repeats, width = drive.shape[:2]
    course = _counts(raster, cells, repeats, width * DT).mean(axis=0) / len(cells) / DT * 1e3
    return course - course[_steps(20) : _steps(START_MS)].mean()


def _window(course: np.ndarray) -> float:
    """Time from the first to the last tenth of the spikes within 60 ms after a volley, ms."""
    spikes = np.cumsum(np.maximum(course[_steps(START_MS) : _steps(START_MS + 60)], 0))
    if spikes[-1] <= 0:
        return float("nan")
    first, last = np.searchsorted(spikes / spikes[-1], [0.1, 0.9])
    return float((last - first) * DT)


def _modulated(circuit: Circuit, key: Array, lasts_ms: float, rng) -> np.ndarray:
    """Amplitude of granule cells over that of mossy fibres at each frequency of modulation.

    Both are Fourier components of the rate of the population; the first 200 ms are left out.
    """
    settle, steps = _steps(200), _steps(lasts_ms)
    gains = []
    for frequency in MODULATION_HZ:
        time = np.arange(settle + steps) * DT * 1e-3
        rate = MEAN_HZ * (1 + np.sin(2 * np.pi * frequency * time))
        draws = rng.random((len(time), SIZES["mossy_fiber"]))
        drive = (draws < (rate * DT * 1e-3)[:, None]).astype(np.float32)
        raster = _run(circuit, key, {"mossy_fiber": drive})["granule"]
        step = np.round(raster.time_ms / DT).astype(int) - 1
        granule = np.bincount(step, minlength=len(time)) / SIZES["granule"]
        wave = np.exp(-2j * np.pi * frequency * time[settle:])
        sent, answer = drive.mean(axis=1)[settle:] @ wave, granule[settle:] @ wave
        gains.append(abs(answer) / abs(sent))
    return np.array(gains)


def measure(seed: int, amounts: Amounts) -> Measured:
    """All measurements in the circuit of a seed."""
    build_key, run_key = jax.random.split(jax.random.key(seed))
    rng = streams.stream(build_key, "stimuli")
    control = anatomy.build(layer(), build_key)
    blocked = manipulate.scale_weights(control, "golgi_granule", 0.0)
    circuit_of = {"control": control, "no inhibition": blocked}
    away = _distances(build_key)
    spot = np.flatnonzero(away["glomerulus"] <= SPOT_UM)
    centre = np.flatnonzero(away["granule"] <= WITHIN_UM)

    def response(circuit: Circuit, frequency: float, pulses: int, repeats: int) -> np.ndarray:
        drive = _trains(frequency, pulses, spot, repeats)
        flat = {"glomerulus": drive.reshape(-1, SIZES["glomerulus"])}
        return _evoked(_run(circuit, run_key, flat)["granule"], centre, drive)

    courses = {n: response(c, 1e3, 1, amounts.volleys) for n, c in circuit_of.items()}
    per_pulse = []
    for frequency in FREQUENCIES_HZ:
        course = response(control, frequency, PULSES, amounts.trains)
        stop = START_MS + (PULSES - 1) * 1e3 / frequency + 30
        per_pulse.append(course[_steps(START_MS) : _steps(stop)].sum() * DT * 1e-3 / PULSES)
    return Measured(
        rings_hz=_rings(control, run_key, away, amounts.bursts, rng),
        course_hz=courses,
        window_ms={name: _window(course) for name, course in courses.items()},
        per_pulse=np.array(per_pulse),
        gain={n: _modulated(c, run_key, amounts.modulated_ms, rng) for n, c in circuit_of.items()},
    )


def half_radius(rates: np.ndarray) -> float:
    """Distance at which the excess over the rate before falls to half of that at the centre, um.

    Args:
      rates: `Measured.rings_hz`.
    """
    excess = (rates[1] - rates[0]) / (rates[1, 0] - rates[0, 0])
    middle = (RINGS_UM[:-1] + RINGS_UM[1:]) / 2
    below = int(np.argmax(excess < 0.5))
    if below == 0:
        return float("nan")
    return float(np.interp(0.5, excess[[below, below - 1]], middle[[below, below - 1]]))


def cut_off(per_pulse: np.ndarray) -> float:
    """Frequency at which the response is half way from its least to its largest value, Hz.

    It is NaN where the response to the fastest bursts is not the largest.

    Args:
      per_pulse: response by frequency of `FREQUENCIES_HZ`.
    """
    if per_pulse[-1] < per_pulse.max():
        return float("nan")
    least = int(per_pulse.argmin())
    half = (per_pulse[least] + per_pulse[-1]) / 2
    above = least + int(np.argmax(per_pulse[least:] >= half))
    ends = slice(above - 1, above + 1)
    return float(np.exp(np.interp(half, per_pulse[ends], np.log(FREQUENCIES_HZ[ends]))))


def resonance(gain: np.ndarray) -> float:
    """Frequency of the largest modulation, Hz; NaN where it is no peak.

    It is a peak if it lies between the slowest and the fastest frequency and is a tenth over both.

    Args:
      gain: modulation by frequency of `MODULATION_HZ`.
    """
    peak = gain.max() > 1.1 * max(gain[0], gain[-1])
    return MODULATION_HZ[int(gain.argmax())] if peak else float("nan")


def report(measured: list[Measured], seeds: list[int]) -> Report:
    """The rows and pictures of what was measured in the circuits of some seeds."""
    rings = np.array([each.rings_hz for each in measured])
    surround = rings[:, :, 4:6].mean(axis=2)
    gain = {name: np.array([each.gain[name] for each in measured]) for name in measured[0].gain}
    rows = [
        close("radius of the centre", "um", [half_radius(x) for x in rings], 50.0, rel=0.5),
        bounded("rate within 20 um in a burst", "Hz", rings[:, 1, 0], above=20),
        bounded(
            "rate at 80 to 120 um in a burst, share of that before",
            "",
            surround[:, 1] / surround[:, 0],
            below=0.8,
        ),
        *(
            bounded(f"resonance, {name}", "Hz", [resonance(one) for one in x], above=3.9, below=8.1)
            for name, x in gain.items()
        ),
        *(
            bounded(
                f"modulation at 6 Hz over that at 1 Hz, {name}", "", x[:, 3] / x[:, 0], above=1.1
            )
            for name, x in gain.items()
        ),
        close(
            "time window", "ms", [each.window_ms["control"] for each in measured], 5.0, least=2.0
        ),
        close(
            "cut-off of bursts",
            "Hz",
            [cut_off(each.per_pulse) for each in measured],
            100.0,
            rel=0.5,
        ),
    ]
    window = np.mean([each.window_ms["no inhibition"] for each in measured])
    after = rings[:, 2, 0].mean()
    return Report(
        rows=rows,
        source="centre and surround: Mapelli & D'Angelo 2007, with the radius from memory; "
        "resonance: Gandolfi et al. 2013; time window and cut-off: Solinas, Nieus & D'Angelo 2010",
        seeds=seeds,
        note=f"Without inhibition the time window is {window:.1f} ms. In the 40 ms after a burst "
        f"granule cells within 20 um fire {after:.0f} Hz. A cut-off of none means that the fastest "
        "bursts do not have the largest response, a resonance of none that no frequency between "
        "1 and 20 Hz has a modulation a tenth over that at both.",
        figures={"granular-layer.png": _picture(measured)},
    )


def _picture(measured: list[Measured]) -> "Figure":
    """The four measurements, each as its mean over circuits."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 7), layout="constrained")
    FigureCanvasAgg(figure)
    (space, course), (bursts, waves) = figure.subplots(2, 2)
    middle = (RINGS_UM[:-1] + RINGS_UM[1:]) / 2
    for label, rates in zip(
        ("before", "in the burst", "40 ms after"),
        np.mean([each.rings_hz for each in measured], axis=0),
        strict=True,
    ):
        space.semilogy(middle, rates, "o-", label=label)
    space.set(xlabel="distance from the centre (um)", ylabel="granule cells (Hz)")
    shown = slice(_steps(START_MS - 10), _steps(START_MS + 60))
    time = np.arange(shown.start, shown.stop) * DT - START_MS
    for name in measured[0].course_hz:
        mean = np.mean([each.course_hz[name] for each in measured], axis=0)
        course.plot(time, mean[shown], label=name)
    course.set(xlabel="time after a volley (ms)", ylabel="granule cells (Hz)")
    bursts.semilogx(FREQUENCIES_HZ, np.mean([each.per_pulse for each in measured], axis=0), "o-")
    bursts.axvline(100, color="#999999", linewidth=0.8)
    bursts.set(xlabel="frequency of 5 pulses (Hz)", ylabel="spikes of a granule cell a pulse")
    bursts.set_ylim(0, None)
    for name in measured[0].gain:
        mean = np.mean([each.gain[name] for each in measured], axis=0)
        waves.semilogx(MODULATION_HZ, mean / mean[0], "o-", label=name)
    waves.axvspan(4, 8, color="#f2d7a0", alpha=0.5, linewidth=0)
    waves.set(xlabel="frequency of modulation (Hz)", ylabel="modulation, that at 1 Hz is 1")
    for axis in (space, course, waves):
        axis.legend(frameon=False)
    for axis in (space, course, bursts, waves):
        axis.spines[["top", "right"]].set_visible(False)
    return figure


def layer_as_filter(seed: int | None, say: Callable[[str], None]) -> Report:
    """Centre and surround, time window, bursts by frequency, and modulation by frequency."""
    seeds: list[int] = [*SEEDS] if seed is None else [seed]
    say(f"{len(seeds)} circuits, each some 40 s at {DT} ms: some minutes")
    return report(spread(partial(measure, amounts=Amounts()), seeds), seeds)
