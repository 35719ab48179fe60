"""Model A against its references."""

import jax
import numpy as np
import pytest

import cerebellum as cb
from cerebellum.model.presets.casali import PROTOCOL, PUBLISHED_LOW_HZ, SIZES
from cerebellum.reproduce.casali import GRANULAR_LAYER
from cerebellum.reproduce.time_step import TOLERANCE, WIDER

NUCLEI_HZ = 3.0


def measured(seed: int, source) -> dict[str, dict[str, float]]:
    """Rates (Hz) of one wiring in the two windows."""
    circuit = cb.build(cb.presets.mouse(), jax.random.key(seed))
    state = cb.init(circuit, jax.random.key(seed + 1_000))
    _, recording = cb.simulate(circuit, state, {"glomerulus": source}, duration_ms=350)
    windows = PROTOCOL.windows.items()
    return {name: cb.record.rates(recording, start, stop) for name, (start, stop) in windows}


def assert_reference(rates, share: float) -> None:
    for window, references in PROTOCOL.reference_hz.items():
        for population, want in references.items():
            got = rates[window][population]
            allowed = NUCLEI_HZ if population == "nuclei" else share * want
            assert abs(got - want) <= allowed, f"{window} {population}: {got:.2f}, not {want}"


@pytest.mark.slow
@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.soak) for seed in (1, 2, 3, 4))]
)
def test_published_stimulus_gives_reference_rates(shared, seed):
    """Every wiring by itself, not only their mean."""
    size = cb.presets.mouse().population("glomerulus").size
    source = cb.drive.read_spike_times(shared / "spinncer_glomerulus_spikes.npz", size)
    rates = measured(seed, source)
    assert_reference(rates, 0.10)
    assert rates["background"]["inferior_olive"] == 0


@pytest.mark.soak
@pytest.mark.slow
def test_own_stimulus_gives_reference_rates():
    """The same protocol drawn by ourselves: needs no reference data."""
    source = cb.drive.standard(PROTOCOL, cb.presets.mouse(), jax.random.key(0))["glomerulus"]
    assert_reference(measured(0, source), 0.15)


@pytest.mark.soak
@pytest.mark.slow
def test_a_step_of_1_ms_keeps_background_rates():
    """The averaged integrator at 1 ms beside 0.1 ms, but for what `time_step.WIDER` says."""
    rates = {}
    for dt in (0.1, 1.0):
        circuit = cb.build(cb.presets.mouse(dt=dt), jax.random.key(0), path="event")
        drive = {"glomerulus": cb.drive.poisson(1.0)}
        state = cb.init(circuit, jax.random.key(1))
        _, recording = cb.simulate(circuit, state, drive, duration_ms=1_000)
        rates[dt] = cb.record.rates(recording, 50, 1_000)
    for name in ("granule", "golgi", "purkinje", "basket", "stellate", "nuclei"):
        rel = WIDER.get((name, "Model A"), TOLERANCE)
        assert rates[1.0][name] == pytest.approx(rates[0.1][name], rel=rel), name


SCAFFOLD_DEGREES = {
    # in-degrees of the published scaffold: mean, largest
    "glomerulus_granule": (4.0, 4),
    "glomerulus_golgi": (65.8, 110),
    "golgi_granule": (2.34, 4),
    "golgi_golgi": (33.8, 50),
    "granule_ascending_golgi": (361.0, 400),
    "granule_parallel_golgi": (1_600.0, 1_600),
    "granule_ascending_purkinje": (250.0, 278),
    "granule_parallel_purkinje": (28_363.0, 29_196),
    "granule_parallel_basket": (995.0, 1_343),
    "granule_parallel_stellate": (1_028.0, 1_379),
    "basket_purkinje": (19.9, 20),
    "stellate_purkinje": (20.0, 20),
    "basket_basket": (4.0, 12),
    "stellate_stellate": (4.0, 11),
}


@pytest.fixture(scope="module")
def in_space():
    place = cb.presets.mouse(wiring="space").place
    assert place is not None
    return place(jax.random.key(0))


def test_rules_in_space_give_the_published_in_degrees(in_space):
    """Mean within 8 %; the largest within a quarter, though cells are placed more evenly."""
    for name, (mean, largest) in SCAFFOLD_DEGREES.items():
        source, target, contacts = in_space[name].T
        degrees = np.bincount(target, minlength=SIZES[name.rsplit("_", 1)[1]])
        assert degrees.mean() == pytest.approx(mean, rel=0.08), name
        assert degrees.max() == pytest.approx(largest, rel=0.26), name
        assert np.unique(np.stack([source, target]), axis=1).shape[1] == source.size, name
        assert (contacts == 1).all()


def test_an_ascending_axon_has_one_golgi_and_one_purkinje_cell(in_space):
    for name in ("granule_ascending_golgi", "granule_ascending_purkinje"):
        source = in_space[name][:, 0]
        assert np.unique(source).size == source.size, name
    fibres = set(map(tuple, in_space["granule_parallel_golgi"][:, :2].tolist()))
    assert fibres.issuperset(map(tuple, in_space["granule_ascending_golgi"][:, :2].tolist()))


def test_interneurons_make_at_most_four_contacts_on_others(in_space):
    for name in ("basket_basket", "stellate_stellate"):
        source, target, _ = in_space[name].T
        assert np.bincount(source).max() == 4
        assert (source != target).all()


def test_random_wiring_is_the_default():
    assert cb.presets.mouse() == cb.presets.mouse(wiring="random")
    assert cb.presets.mouse().place is None
    assert cb.presets.mouse(wiring="space") == cb.presets.mouse(wiring="space")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"wiring": "spatial"}, "wiring: 'spatial'; one of random, space"),
        ({"wiring": "space", "scale": 0.5}, "scale: 0.5; 1 with wiring='space'"),
    ],
)
def test_wiring_is_refused_by_name(changes, message):
    with pytest.raises(cb.UsageError, match=message):
        cb.presets.mouse(**changes)


@pytest.mark.slow
def test_in_space_the_published_rates_are_met():
    """Granule and Golgi cells are 18 % too slow and 21 % too fast; docs/reproductions.md says why.

    Purkinje cells fire at 70 Hz with random wiring, 48 are published.
    """
    circuit = cb.build(cb.presets.mouse(wiring="space"), 0)
    drive = {"glomerulus": cb.drive.poisson(PUBLISHED_LOW_HZ["glomerulus"])}
    _, recording = cb.simulate(circuit, cb.init(circuit, 1), drive, duration_ms=500)
    rates = cb.record.rates(recording, 50, 500)
    for name, published in PUBLISHED_LOW_HZ.items():
        rel = 0.25 if name in GRANULAR_LAYER else 0.15
        assert rates[name] == pytest.approx(published, rel=rel), name
