"""Complex spikes of Model B that leave a pause: what the option adds, and what cells do with it."""

import jax
import numpy as np
import pytest

import cerebellum as cb
from cerebellum.model.presets import eglif_complex_spike as pausing

KEY = jax.random.key(3)
LOOP = ("purkinje", "inferior_olive", "olivary_afferent")


def cells(kind: str) -> cb.Spec:
    """Purkinje cells and olive alone, awake, at 0.1 ms."""
    spec = cb.presets.mouse_eglif("awake", complex_spike=kind)  # pyright: ignore[reportArgumentType]
    inside = tuple(p for p in spec.projections if {p.source, p.target} <= {*LOOP})
    return cb.Spec("cells", tuple(map(spec.population, LOOP)), inside, dt=spec.dt)


def after_a_spike(kind: str, spikes: int = 1) -> np.ndarray:
    """Spikes of all Purkinje cells in each ms from the arrival of a burst of afferent spikes."""
    drive = np.zeros((3_000, 1), np.float32)
    drive[1_000 : 1_000 + 20 * spikes : 20] = 1
    circuit = cb.build(cells(kind), 0)
    _, recording = cb.simulate(
        circuit,
        cb.init(circuit, 1),
        {"olivary_afferent": drive},
        record=("raster:purkinje", "raster:inferior_olive"),
        progress=False,
    )
    first = recording.rasters["inferior_olive"].time_ms.min() + 4.0
    lags = recording.rasters["purkinje"].time_ms - first
    return np.histogram(lags, np.arange(0, 150))[0] / 69


def test_a_single_spike_leaves_a_pause_only_with_the_option():
    with_it, without = after_a_spike("pausing"), after_a_spike("published")
    # As many spikelets or a few more; simple spikes come at about 80 Hz.
    assert 0.95 * without[:4].sum() < with_it[:8].sum() < 2 * without[:4].sum()
    assert without[12:28].sum() > 0.4
    assert with_it[12:28].sum() < 0.4 * without[12:28].sum()
    assert with_it[60:140].mean() == pytest.approx(without[60:140].mean(), rel=0.2)


def test_later_spikes_of_a_burst_count_less():
    with_it, without = after_a_spike("pausing", 5), after_a_spike("published", 5)
    assert with_it[:14].sum() < 0.85 * without[:14].sum()


def test_the_option_adds_two_receptors_and_their_projections():
    plain, changed = (
        cb.presets.mouse_eglif("awake", complex_spike=kind) for kind in ("published", "pausing")
    )
    assert plain == cb.presets.mouse_eglif("awake")
    assert tuple(p.name for p in changed.projections[-2:]) == pausing.NAMES
    others = [
        ours.name
        for ours, theirs in zip(changed.projections, plain.projections, strict=False)
        if ours != theirs
    ]
    assert others == [pausing.CLIMBING]
    assert [p.name for p in changed.populations if p != plain.population(p.name)] == ["purkinje"]
    assert plain.place is not None
    assert changed.place is not None
    edges, without = dict(changed.place(KEY)), plain.place(KEY)
    for name in pausing.NAMES:
        pairs = edges.pop(name)[:, :2]
        np.testing.assert_array_equal(pairs, without[pausing.CLIMBING][:, :2])
    assert edges.keys() == without.keys()
    for name, each in without.items():
        np.testing.assert_array_equal(edges[name], each)


def test_unknown_complex_spikes_are_refused():
    with pytest.raises(cb.UsageError, match="complex_spike: 'long'; one of published, pausing"):
        cb.presets.mouse_eglif(complex_spike="long")  # pyright: ignore[reportArgumentType]
