"""The olive of Model B that fires: its rates, and how the nuclei hold it down."""

import jax
import numpy as np
import pytest

import cerebellum as cb
from cerebellum.model.presets.eglif_space import microzone

KEY = jax.random.key(3)
LOOP = (
    "purkinje",
    "nuclei_inhibitory",
    "inferior_olive",
    "olivary_afferent",
    "olivary_background",
)
PURKINJE_HZ = {"vitro": 47.0, "awake": 91.0}


def loop(condition: str = "awake", **options) -> cb.Spec:
    """Olive and inhibitory nuclei alone, at 1 ms; Purkinje cells are relays of Poisson spikes."""
    spec = cb.presets.mouse_eglif(condition, dt=1.0, olive="firing", **options)  # pyright: ignore[reportArgumentType]
    cells = [spec.population(name) for name in LOOP]
    cells[0] = cb.Population("purkinje", cells[0].size, "relay")
    ends = {*LOOP}
    inside = [p for p in spec.projections if {p.source, p.target} <= ends]
    inside = [p for p in inside if p.target != "purkinje"]
    return cb.Spec("loop", tuple(cells), tuple(inside), dt=1.0)


def olive(spec: cb.Spec, seed: int, ms: float, condition: str = "awake", **drive):
    """The raster of the olive, and the rate of the inhibitory nuclei, Hz."""
    circuit = cb.build(spec, seed)
    drive = {"purkinje": cb.drive.poisson(PURKINJE_HZ[condition]), **drive}
    _, recording = cb.simulate(
        circuit,
        cb.init(circuit, seed + 1),
        drive,
        duration_ms=ms,
        record=("raster:inferior_olive",),
        progress=False,
    )
    rates = cb.record.rates(recording, 500, ms)
    return recording.rasters["inferior_olive"], rates


@pytest.mark.parametrize("condition", ["vitro", "awake"])
def test_fires_irregularly_at_one_to_two_hz(condition):
    """Targets: 1.79 +- 0.63 Hz; four circuits of 14 cells, 8 s."""
    hz, variation = [], []
    for seed in range(4):
        raster, rates = olive(loop(condition), seed, 8_000.0, condition)
        hz.append(rates["inferior_olive"])
        for cell in range(14):
            intervals = np.diff(raster.time_ms[raster.cell == cell])
            if intervals.size > 5:
                variation.append(intervals.std() / intervals.mean())
    assert np.mean(hz) == pytest.approx(1.79, abs=0.63)
    # A clock has 0, Poisson spikes have 1.
    assert np.mean(variation) > 0.6


@pytest.mark.parametrize("condition", ["vitro", "awake"])
def test_answers_a_puff_about_once(condition):
    """Target: 18.4 +- 2.8 Hz, counted over 50 ms from the onset; in the loop alone it is wider."""
    starts = np.arange(1_000, 7_900, 400)
    spikes = np.zeros((8_000, 1), np.float32)
    spikes[(starts[:, None] + 2 * np.arange(5)).ravel()] = 1
    circuit = cb.build(loop(condition), 0)
    drive = {"purkinje": cb.drive.poisson(PURKINJE_HZ[condition]), "olivary_afferent": spikes}
    _, recording = cb.simulate(
        circuit, cb.init(circuit, 1), drive, record=("raster:inferior_olive",), progress=False
    )
    times = recording.rasters["inferior_olive"].time_ms
    count = np.mean([((times > start) & (times <= start + 50)).sum() for start in starts])
    assert count / 14 / 0.05 == pytest.approx(18.4, abs=5.0)


def test_the_nuclei_hold_the_olive_down():
    """The more the inhibitory nuclei are driven, the less the olive fires."""
    measured = []
    for pa in (-30.0, 0.0, 40.0):
        _, rates = olive(loop(), 0, 6_000.0, nuclei_inhibitory=cb.drive.current(pa))
        measured.append((rates["nuclei_inhibitory"], rates["inferior_olive"]))
    nuclei, hz = np.transpose(measured)
    assert (np.diff(nuclei) > 3).all()
    assert hz[0] > 2 * hz[1] > 4 * hz[2]
    blocked = loop().with_projection("nuclei_inhibitory_inferior_olive", weight=0.0)
    assert olive(blocked, 0, 3_000.0)[1]["inferior_olive"] > 10


def test_the_option_adds_a_background_and_changes_one_weight():
    silent, firing = (cb.presets.mouse_eglif("awake", olive=kind) for kind in ("silent", "firing"))
    assert silent == cb.presets.mouse_eglif("awake")
    assert firing.populations[:-1] == silent.populations
    assert firing.projections[-1].source == firing.populations[-1].name == "olivary_background"
    changed = [
        ours.name
        for ours, theirs in zip(firing.projections, silent.projections, strict=False)
        if ours != theirs
    ]
    assert changed == ["olivary_afferent_inferior_olive"]


def test_gap_junctions_stay_in_a_microzone_and_leave_the_rest_as_it_is():
    coupled = cb.presets.mouse_eglif("awake", microzones=2, olive_coupling=0.5)
    junctions = coupled.population("inferior_olive").gap_junctions
    assert junctions == cb.GapJunctions(0.5)
    plain = cb.presets.mouse_eglif("awake", microzones=2)
    assert coupled.place is not None
    assert plain.place is not None
    edges, without = dict(coupled.place(KEY)), plain.place(KEY)
    pairs = edges.pop("inferior_olive")
    assert edges.keys() == without.keys()
    for name, each in without.items():
        np.testing.assert_array_equal(edges[name], each)
    zone = microzone(14, 2)
    assert (zone[pairs[:, 0]] == zone[pairs[:, 1]]).all()
    # 42 pairs with a chance of a half: the SD is 3.2.
    assert 8 <= len(pairs) <= 34


def test_coupled_cells_of_the_olive_are_closer_in_voltage():
    spec = loop()
    apart = []
    for g in (0.0, 3.0):
        rule = cb.GapJunctions(g, cb.connect.Probability(0.5))
        circuit = cb.build(spec.with_population("inferior_olive", gap_junctions=rule), 0)
        _, recording = cb.simulate(
            circuit,
            cb.init(circuit, 1),
            {"purkinje": cb.drive.poisson(91.0)},
            duration_ms=1_000,
            record=("v:inferior_olive",),
            progress=False,
        )
        v = recording.traces["v:inferior_olive"].values[300:]
        apart.append(np.median(v.std(axis=1)))
    assert apart[1] < 0.8 * apart[0]


def test_wrong_olives_are_refused():
    with pytest.raises(cb.UsageError, match="olive: 'loud'; one of silent, firing"):
        cb.presets.mouse_eglif(olive="loud")  # pyright: ignore[reportArgumentType]
    with pytest.raises(cb.UsageError, match="olive_coupling: -1; a conductance, nS"):
        cb.presets.mouse_eglif(olive_coupling=-1)
