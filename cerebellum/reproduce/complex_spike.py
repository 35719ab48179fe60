"""Complex spikes of Model B with an olive that fires: what Purkinje cells and nuclei do around them.

At rest each olivary cell fires alone, so that a complex spike reaches the five Purkinje cells of one
climbing fibre (lone complex spikes). A puff of air makes most of the olive fire at once
(synchronous ones). Times are from the arrival of the climbing-fibre spike at the Purkinje cell.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import numpy as np

from cerebellum import plot
from cerebellum.learn.tasks.eyeblink_trial import US_GAP
from cerebellum.model import anatomy, presets
from cerebellum.model import circuit as circuits
from cerebellum.reproduce.report import Report, Row, bounded, close
from cerebellum.reproduce.workers import spread
from cerebellum.sim import drive as drives
from cerebellum.sim.simulate import simulate

SEEDS = (10, 11, 12, 13, 14)
START_MS, REST_MS = 500.0, 2_500.0
"""Lone complex spikes are counted between these times; then puffs begin."""
PUFFS, APART_MS = 5, 400.0
"""Number of puffs, and the time from one to the next."""
PUFF_SPIKES = 5
"""Spikes of each olivary afferent in a puff, 2 ms apart (`learn.tasks.eyeblink`)."""
ANSWER_MS = 50.0
"""The rate in a puff is counted in so long after its onset."""
ALONE_MS = 100.0
"""A lone complex spike is so far from the others of its climbing fibre."""
BEFORE_MS, AFTER_MS = 60, 140
"""Ends of the histograms, whose bins are 1 ms."""
BURST_MS = 4.0
"""The first interval after a climbing-fibre spike that is longer is the pause. Intervals in a
complex spike are about 1.5 ms, those of simple spikes 11 ms."""


@dataclass(frozen=True)
class Raster:
    """Spikes of a population."""

    time_ms: np.ndarray
    cell: np.ndarray
    size: int
    """number of cells"""

    def of(self, cells: np.ndarray) -> np.ndarray:
        """The times of the spikes of some cells, ms."""
        return self.time_ms[np.isin(self.cell, cells)]


@dataclass(frozen=True)
class Session:
    """The spikes of one circuit."""

    olive: Raster
    purkinje: Raster
    nuclei: Raster
    climbing: np.ndarray
    """the olivary cell of each Purkinje cell"""
    delay_ms: float
    """of climbing fibres"""
    puffs_ms: np.ndarray
    """onsets of the puffs"""


def session(seed: int, dt: float = 0.1, rest_ms: float = REST_MS, puffs: int = PUFFS) -> Session:
    """Run the awake circuit at rest, then with puffs. The seed sets wiring and background."""
    build_key, run_key = jax.random.split(jax.random.key(seed))
    circuit = anatomy.build(presets.mouse_eglif("awake", dt=dt, olive="firing"), build_key)
    onsets = rest_ms + APART_MS * np.arange(puffs)
    spikes = np.zeros((round((rest_ms + APART_MS * puffs) / dt), 1), np.float32)
    train = onsets[:, None] + US_GAP * np.arange(PUFF_SPIKES)
    spikes[np.round(train / dt).astype(int)] = 1
    names = "inferior_olive", "purkinje", "nuclei"
    _, recording = simulate(
        circuit,
        circuits.init(circuit, run_key),
        {"mossy_fiber": drives.poisson(4.0), "olivary_afferent": spikes},
        record=[f"raster:{name}" for name in names],
        progress=False,
    )
    fibres = circuit.edges("inferior_olive_climbing_purkinje")
    rasters = {
        name: Raster(each.time_ms, each.cell, recording.sizes[name])
        for name, each in recording.rasters.items()
    }
    return Session(
        olive=rasters["inferior_olive"],
        purkinje=rasters["purkinje"],
        nuclei=rasters["nuclei"],
        climbing=fibres.pre[np.argsort(fibres.post)],
        delay_ms=float(fibres.delay[0]),
        puffs_ms=onsets,
    )


def lone(of: Session) -> list[np.ndarray]:
    """Times at which lone complex spikes of each olivary cell begin, ms, one array a cell."""
    last = of.puffs_ms[0] - AFTER_MS - of.delay_ms

    def alone(times: np.ndarray) -> np.ndarray:
        gaps = np.diff(times, prepend=-np.inf, append=np.inf)
        apart = (gaps[:-1] > ALONE_MS) & (gaps[1:] > ALONE_MS)
        return times[apart & (times > START_MS) & (times < last)] + of.delay_ms

    return [alone(of.olive.of(np.array([cell]))) for cell in range(of.olive.size)]


def synchronous(of: Session) -> np.ndarray:
    """Times at which the complex spikes of each puff begin, ms: means over the olive."""
    times, answers = of.olive.time_ms, of.puffs_ms
    means = [times[(times > t) & (times <= t + ANSWER_MS)].mean() for t in answers]
    return np.asarray(means) + of.delay_ms


def histogram(times: np.ndarray, events: np.ndarray, cells: int) -> np.ndarray:
    """Spikes of `cells` cells around each event, summed over events, per cell and second, [bins]."""
    lags = (times[:, None] - events).ravel()
    edges = np.arange(-BEFORE_MS, AFTER_MS + 1)
    # A spike at the end of a step belongs to the step.
    return np.histogram(lags - 1e-6, edges)[0] * 1e3 / max(1, cells)


def courses(of: Session) -> dict[str, dict[str, np.ndarray]]:
    """Mean rates around complex spikes by population and kind of complex spike, Hz, [bins]."""
    events, together = lone(of), synchronous(of)
    mine = [np.flatnonzero(of.climbing == cell) for cell in range(of.olive.size)]
    pairs = sum(len(times) * len(cells) for times, cells in zip(events, mine, strict=True))
    by_fibre = [
        histogram(of.purkinje.of(cells), times, 1)
        for times, cells in zip(events, mine, strict=True)
    ]
    every, puffs = np.concatenate(events), len(together)
    return {
        "purkinje": {
            "lone": np.sum(by_fibre, axis=0) / pairs,
            "synchronous": histogram(of.purkinje.time_ms, together, of.purkinje.size) / puffs,
        },
        "nuclei": {
            "lone": histogram(of.nuclei.time_ms, every, of.nuclei.size) / len(every),
            "synchronous": histogram(of.nuclei.time_ms, together, of.nuclei.size) / puffs,
        },
    }


def pauses(of: Session) -> tuple[np.ndarray, np.ndarray]:
    """The pause after each lone complex spike in each Purkinje cell (ms), and the spikes in it."""
    found = []
    for cell, times in enumerate(lone(of)):
        for purkinje in np.flatnonzero(of.climbing == cell):
            spikes = of.purkinje.of(np.array([purkinje]))
            first = np.searchsorted(spikes, times)
            gaps = np.diff(spikes, append=np.inf)
            long = np.flatnonzero(gaps > BURST_MS)
            last = long[np.searchsorted(long, first)]
            found.append(np.stack([gaps[last], last - first + 1]))
    duration, count = np.concatenate(found, axis=1)
    return duration, count


def window(course: np.ndarray, start: int, stop: int) -> float:
    """The mean of a histogram from `start` to `stop` ms after the event."""
    return float(course[start + BEFORE_MS : stop + BEFORE_MS].mean())


def smooth(course: np.ndarray, bins: int = 5) -> np.ndarray:
    """The running mean of a histogram over some bins, centred."""
    return np.convolve(course, np.full(bins, 1 / bins), mode="same")


def measure(of: Session) -> dict[str, float]:
    """What the report has of one circuit."""
    times = of.olive.time_ms
    rest = (times > START_MS) & (times <= of.puffs_ms[0])
    answers = [((times > t) & (times <= t + ANSWER_MS)).sum() for t in of.puffs_ms]
    rates, (pause, spikes) = courses(of), pauses(of)
    purkinje = rates["purkinje"]["lone"]
    found = {
        "rest": rest.sum() / of.olive.size / (of.puffs_ms[0] - START_MS) * 1e3,
        "puff": np.mean(answers) / of.olive.size / ANSWER_MS * 1e3,
        "simple": window(purkinje, -50, 0),
        "spikes": spikes.mean(),
        "burst": window(purkinje, 0, 5),
        "pause": np.median(pause),
        "after": 100 * window(purkinje, 10, 20) / window(purkinje, -50, 0),
        "later": 100 * window(purkinje, 80, 130) / window(purkinje, -50, 0),
    }
    for kind, course in rates["nuclei"].items():
        base, even = window(course, -50, 0), smooth(course)
        near = slice(BEFORE_MS, BEFORE_MS + 40)
        lowest = int(np.argmin(even[near]))
        found |= {
            f"{kind} base": base,
            f"{kind} fall": 100 * (1 - even[near][lowest] / base),
            f"{kind} pause": float((even[near] < base / 2).sum()),
            f"{kind} rebound": 100
            * (smooth(course, 10)[BEFORE_MS + lowest : BEFORE_MS + 100].max() / base - 1),
        }
    return {name: float(value) for name, value in found.items()}


def one(seed: int) -> tuple[dict[str, float], dict[str, dict[str, np.ndarray]]]:
    """What a seed gives: its measures and its histograms."""
    spikes = session(seed)
    return measure(spikes), courses(spikes)


def complex_spikes(seed: int | None, say: Callable[[str], None]) -> Report:
    """Purkinje cells and nuclei around lone and synchronous complex spikes."""
    seeds = list(SEEDS) if seed is None else [seed]
    say(f"{len(seeds)} circuits, 4.5 s each at 0.1 ms: some minutes")
    results = spread(one, seeds)
    by_name = {name: [each[name] for each, _ in results] for name in results[0][0]}
    means = {
        population: {
            kind: np.mean([course[population][kind] for _, course in results], axis=0)
            for kind in kinds
        }
        for population, kinds in results[0][1].items()
    }
    figure = plot.around(np.arange(-BEFORE_MS, AFTER_MS) + 0.5, means)
    return Report(
        rows=_rows(by_name),
        source="rates of the olive: Kim, Ohmae & Medina 2020; the ranges of the other rows are "
        "approximate, chosen after Luque et al. 2018 (a pause of tens of ms), Tang, Blenkinsop & "
        "Lang 2019 (nuclei: inhibition, then excitation, stronger if complex spikes are "
        "synchronous) and Witter et al. 2013 (rebound)",
        seeds=seeds,
        note="Lone complex spikes: one olivary cell fires, 100 ms from its other spikes; "
        "synchronous ones: a puff of five afferent spikes in 10 ms, counted over 50 ms from its "
        "onset. Times are from the arrival of the climbing-fibre spike. The pause is the median "
        "first interval over 4 ms.",
        figures={"complex-spike.png": figure},
    )


def _rows(of: dict[str, list[float]]) -> list[Row]:
    return [
        close("olive at rest", "Hz", of["rest"], 1.79, least=0.63),
        close("olive in a puff", "Hz", of["puff"], 18.4, least=2.8),
        bounded("Purkinje cells, simple spikes before", "Hz", of["simple"], above=60, below=120),
        bounded("spikes of a complex spike", "", of["spikes"], above=2, below=7),
        bounded("Purkinje cells, first 5 ms", "Hz", of["burst"], above=300),
        bounded("pause of simple spikes", "ms", of["pause"], above=15, below=60),
        bounded("Purkinje cells, 10 to 20 ms, % of before", "", of["after"], below=50),
        bounded("Purkinje cells, 80 to 130 ms, % of before", "", of["later"], above=85, below=115),
        bounded("nuclei, fall, lone, %", "", of["lone fall"], above=5),
        bounded("nuclei, fall, synchronous, %", "", of["synchronous fall"], above=50),
        bounded(
            "nuclei, under half, synchronous", "ms", of["synchronous pause"], above=5, below=30
        ),
        bounded("nuclei, rebound, synchronous, %", "", of["synchronous rebound"], above=20),
    ]
