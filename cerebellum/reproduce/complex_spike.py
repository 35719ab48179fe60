"""Complex spikes of Model B with an olive that fires: Purkinje cells and nuclei around them.

The published cells have no pause after a single climbing-fibre spike. Here they have the channels
that leave one (`mouse_eglif(complex_spike="pausing")`); the note says what they do without.

There are three kinds. At rest each olivary cell fires alone, and its spike reaches the five
Purkinje cells of one climbing fibre ("lone"). In a puff of air most of the olive fires once, at the
same time ("puff"). With the published weight of its afferents, each cell of the olive fires five
times in a puff ("burst"). Times are from the arrival of a cell's first climbing-fibre spike.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import numpy as np

from cerebellum import plot
from cerebellum.learn.tasks.eyeblink_trial import US_GAP
from cerebellum.model import anatomy, presets
from cerebellum.model import circuit as circuits
from cerebellum.model.presets.eglif_complex_spike import ComplexSpike
from cerebellum.reproduce.report import Report, Row, bounded, close, picture
from cerebellum.reproduce.workers import spread
from cerebellum.sim import drive as drives
from cerebellum.sim.simulate import simulate

SEEDS = (10, 11, 12, 13, 14)
START_MS, REST_MS = 500.0, 2_000.0
"""Lone complex spikes are counted between these times; then puffs and bursts begin."""
PUFFS, APART_MS = 3, 400.0
"""Number of puffs and of bursts, and the time from one to the next."""
PUFF_SPIKES = 5
"""Spikes of each olivary afferent in a puff, 2 ms apart (`learn.tasks.eyeblink`)."""
BURST_NS = 100.0
"""Published weight of an afferent in an awake animal, which bursts have (`presets.eglif`)."""
ANSWER_MS = 50.0
"""The rate in a puff is counted in so long after its onset."""
ALONE_MS = 100.0
"""A lone complex spike is so far from the others of its climbing fibre."""
BEFORE_MS, AFTER_MS = 60, 140
"""Ends of the histograms, whose bins are 1 ms."""
PAUSE_MS = 4.0
"""The first interval after a climbing-fibre spike that is longer is the pause. Intervals in a
complex spike are about 1 ms, those of simple spikes 11 ms."""


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
    bursts_ms: np.ndarray
    """onsets of the bursts"""


def session(
    seed: int,
    dt: float = 0.1,
    rest_ms: float = REST_MS,
    puffs: int = PUFFS,
    kind: ComplexSpike = "pausing",
) -> Session:
    """Run the awake circuit at rest, then with puffs, then with as many bursts.

    Args:
      seed: sets wiring and background.
      dt: time step, ms.
      kind: of complex spikes, as `presets.mouse_eglif` takes it.
    """
    build_key, run_key = jax.random.split(jax.random.key(seed))
    spec = presets.mouse_eglif("awake", dt=dt, olive="firing", complex_spike=kind)
    circuit = anatomy.build(spec, build_key)
    onsets = rest_ms + APART_MS * np.arange(2 * puffs)
    train = np.round((onsets[:, None] + US_GAP * np.arange(PUFF_SPIKES)) / dt).astype(int)
    steps = round((rest_ms + APART_MS * 2 * puffs) / dt)
    spikes, weights = (np.zeros((steps, 1), np.float32) for _ in range(2))
    spikes[train[:puffs]] = 1
    weights[train[puffs:]] = BURST_NS
    names = "inferior_olive", "purkinje", "nuclei"
    _, recording = simulate(
        circuit,
        circuits.init(circuit, run_key),
        {
            "mossy_fiber": drives.poisson(4.0),
            "olivary_afferent": spikes,
            "inferior_olive.r1": weights,
        },
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
        puffs_ms=onsets[:puffs],
        bursts_ms=onsets[puffs:],
    )


def events(of: Session) -> dict[str, list[np.ndarray]]:
    """When complex spikes begin, ms, by kind, one array for each olivary cell."""
    times = [of.olive.of(np.array([cell])) for cell in range(of.olive.size)]
    last = of.puffs_ms[0] - AFTER_MS - of.delay_ms

    def alone(times: np.ndarray) -> np.ndarray:
        gaps = np.diff(times, prepend=-np.inf, append=np.inf)
        apart = (gaps[:-1] > ALONE_MS) & (gaps[1:] > ALONE_MS)
        return times[apart & (times > START_MS) & (times < last)] + of.delay_ms

    def first(times: np.ndarray, onsets: np.ndarray) -> np.ndarray:
        following = np.append(times, np.inf)[np.searchsorted(times, onsets, "right")]
        return following[following <= onsets + ANSWER_MS] + of.delay_ms

    return {
        "lone": [alone(each) for each in times],
        "puff": [first(each, of.puffs_ms) for each in times],
        "burst": [first(each, of.bursts_ms) for each in times],
    }


def histogram(times: np.ndarray, events: np.ndarray) -> np.ndarray:
    """Spikes around each event, summed over events and cells, per second, [bins]."""
    lags = (times[:, None] - events).ravel()
    edges = np.arange(-BEFORE_MS, AFTER_MS + 1)
    # A spike at the end of a step belongs to the step.
    return np.histogram(lags - 1e-6, edges)[0] * 1e3


def courses(of: Session) -> dict[str, dict[str, np.ndarray]]:
    """Mean rates around complex spikes by population and kind of complex spike, Hz, [bins].

    Each Purkinje cell has the times of its own climbing fibre. The nuclei have the times of all
    lone complex spikes, and in puffs and bursts the mean over the olive.
    """
    mine = [np.flatnonzero(of.climbing == cell) for cell in range(of.olive.size)]
    spikes = [of.purkinje.of(cells) for cells in mine]
    rates: dict[str, dict[str, np.ndarray]] = {"purkinje": {}, "nuclei": {}}
    for kind, by_fibre in events(of).items():
        pairs = sum(len(times) * len(cells) for times, cells in zip(by_fibre, mine, strict=True))
        summed = [histogram(each, times) for each, times in zip(spikes, by_fibre, strict=True)]
        rates["purkinje"][kind] = np.sum(summed, axis=0) / max(1, pairs)
        starts = np.sort(np.concatenate(by_fibre))
        if kind != "lone":
            starts = np.array([each.mean() for each in _apart(starts)])
        count = max(1, len(starts)) * of.nuclei.size
        rates["nuclei"][kind] = histogram(of.nuclei.time_ms, starts) / count
    return rates


def _apart(times: np.ndarray) -> list[np.ndarray]:
    """Times in groups that are over 100 ms apart."""
    return np.split(times, np.flatnonzero(np.diff(times) > 2 * ANSWER_MS) + 1)


def pauses(of: Session, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """The pause after each complex spike of a kind (ms), and the spikes in it."""
    found = []
    for cell, times in enumerate(events(of)[kind]):
        for purkinje in np.flatnonzero(of.climbing == cell):
            spikes = of.purkinje.of(np.array([purkinje]))
            first = np.searchsorted(spikes, times)
            gaps = np.diff(spikes, append=np.inf)
            long = np.flatnonzero(gaps > PAUSE_MS)
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
    rates = courses(of)
    found = {
        "rest": rest.sum() / of.olive.size / (of.puffs_ms[0] - START_MS) * 1e3,
        "puff": np.mean(answers) / of.olive.size / ANSWER_MS * 1e3,
        "simple": window(rates["purkinje"]["lone"], -50, 0),
    }
    for kind, course in rates["purkinje"].items():
        pause, spikes = pauses(of, kind)
        found |= {
            f"{kind}: spikes": spikes.mean(),
            f"{kind}: burst": window(course, 0, 5),
            f"{kind}: pause": np.median(pause),
            f"{kind}: after": 100 * window(course, 15, 30) / found["simple"],
            f"{kind}: later": 100 * window(course, 80, 130) / found["simple"],
        }
    for kind, course in rates["nuclei"].items():
        base, even = window(course, -50, 0), smooth(course)
        near = even[BEFORE_MS : BEFORE_MS + 40]
        lowest = int(np.argmin(near))
        highest = smooth(course, 10)[BEFORE_MS + lowest : BEFORE_MS + 100].max()
        found |= {
            f"{kind}: fall": 100 * (1 - near[lowest] / base),
            f"{kind}: half": float((near < base / 2).sum()),
            f"{kind}: rebound": 100 * (highest / base - 1),
        }
    return {name: float(value) for name, value in found.items()}


def one(
    item: tuple[int, ComplexSpike],
) -> tuple[dict[str, float], dict[str, dict[str, np.ndarray]]]:
    """What a seed gives with a kind of complex spikes: its measures and its histograms."""
    seed, kind = item
    spikes = session(seed, kind=kind)
    return measure(spikes), courses(spikes)


def complex_spikes(seed: int | None, say: Callable[[str], None]) -> Report:
    """Purkinje cells and nuclei around lone complex spikes, puffs and bursts."""
    seeds = list(SEEDS) if seed is None else [seed]
    say(f"{len(seeds)} circuits, 4.4 s each at 0.1 ms, and the same without pauses: some minutes")
    kinds: tuple[ComplexSpike, ...] = "pausing", "published"
    found = spread(one, [(seed, kind) for kind in kinds for seed in seeds])
    results, published = found[: len(seeds)], [measures for measures, _ in found[len(seeds) :]]
    by_name = {name: [each[name] for each, _ in results] for name in results[0][0]}
    means = {
        population: {
            kind: np.mean([course[population][kind] for _, course in results], axis=0)
            for kind in kinds
        }
        for population, kinds in results[0][1].items()
    }
    figure = picture(plot.around, np.arange(-BEFORE_MS, AFTER_MS) + 0.5, means)
    return Report(
        rows=rows_of(by_name),
        source="rates of the olive: Kim, Ohmae & Medina 2020; the ranges of the other rows are "
        "approximate, chosen after Luque et al. 2018 (a pause of tens of ms), Tang, Blenkinsop & "
        "Lang 2019 (nuclei: inhibition, then excitation, stronger where complex spikes are "
        "synchronous) and Witter et al. 2013 (rebound)",
        seeds=seeds,
        note="Lone: one olivary cell fires, 100 ms from its other spikes. Puff: five afferent "
        "spikes in 10 ms, counted over 50 ms from its onset. Burst: the same with the published "
        "weight of 100 nS, to which the olive fires five times. PC: Purkinje cells, from the "
        "arrival of the first climbing-fibre spike. The pause is the median first interval over "
        "4 ms; a simple-spike interval is 11 ms. Nuclei: lowest 5 ms within 40 ms, time under half "
        f"of the rate before, and highest 10 ms after that. {_alone(published)}",
        figures={"complex-spike.png": figure},
    )


def _alone(published: list[dict[str, float]]) -> str:
    """What the published cells do without the channels, in a sentence."""
    mean = {name: np.mean([each[name] for each in published]) for name in published[0]}
    return (
        f"The published cells alone: lone complex spikes of {mean['lone: spikes']:.1f} spikes, a "
        f"pause of {mean['lone: pause']:.1f} ms and {mean['lone: after']:.0f} % of the rate before "
        f"at 15 to 30 ms; {mean['burst: spikes']:.1f} spikes in a burst, and a pause of "
        f"{mean['burst: pause']:.0f} ms; nuclei fall by {mean['lone: fall']:.0f}, "
        f"{mean['puff: fall']:.0f} and {mean['burst: fall']:.0f} %."
    )


def rows_of(of: dict[str, list[float]]) -> list[Row]:
    """The rows of the report, from the measures of all seeds by name."""
    rows = [
        close("olive at rest", "Hz", of["rest"], 1.79, least=0.63),
        close("olive in a puff", "Hz", of["puff"], 18.4, least=2.8),
        bounded("PC, simple spikes before", "Hz", of["simple"], above=60, below=120),
    ]
    for kind in ("lone", "burst"):
        rows += [
            bounded(f"PC, {kind}: spikes", "", of[f"{kind}: spikes"], above=2, below=8),
            bounded(f"PC, {kind}: first 5 ms", "Hz", of[f"{kind}: burst"], above=300),
            bounded(f"PC, {kind}: pause", "ms", of[f"{kind}: pause"], above=15, below=60),
            bounded(f"PC, {kind}: at 15 to 30 ms, % of before", "", of[f"{kind}: after"], below=50),
            bounded(
                f"PC, {kind}: at 80 to 130 ms, % of before",
                "",
                of[f"{kind}: later"],
                above=85,
                below=115,
            ),
        ]
    rows.append(bounded("nuclei, lone: fall, %", "", of["lone: fall"], above=5))
    less = np.subtract(of["puff: fall"], of["lone: fall"])
    rows.append(bounded("nuclei, puff: fall less that of lone ones, points", "", less, above=10))
    for kind in ("puff", "burst"):
        rows += [
            bounded(f"nuclei, {kind}: fall, %", "", of[f"{kind}: fall"], above=50),
            bounded(f"nuclei, {kind}: under half", "ms", of[f"{kind}: half"], above=5, below=30),
            bounded(f"nuclei, {kind}: rebound, %", "", of[f"{kind}: rebound"], above=20),
        ]
    return rows
