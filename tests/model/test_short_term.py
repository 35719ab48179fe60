"""Short-term plasticity against the recursion of the papers, on both paths."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from circuits import KEEPS, feed_forward, spikes
from hypothesis import given
from hypothesis import strategies as st
from laws import examples

import cerebellum as cb
from cerebellum.model import short_term
from cerebellum.model.short_term import ShortTerm

KEY = jax.random.key(5)
RULE = ShortTerm(utilisation=0.35, tau_rec=36.0, tau_fac=58.0)


def with_terminals(rule: ShortTerm, **options) -> cb.Spec:
    """Relays onto cells that only count what arrives."""
    spec = feed_forward(40, 9, 12, cell=KEEPS, delays=(3.0,), **options)
    return spec.with_projection("input_p0_cells", short_term=rule)


def arrived(circuit: cb.Circuit, input_spikes: np.ndarray) -> np.ndarray:
    """What has arrived at each cell after each step, [steps, cells]."""
    drive = {"input": input_spikes}
    _, recording = cb.simulate(
        circuit,
        cb.init(circuit, KEY),
        drive,
        duration_ms=len(input_spikes),
        record=("g_exc:cells",),
    )
    return recording.traces["g_exc:cells"].values


def factors(times: np.ndarray, rule: ShortTerm) -> list[float]:
    """u x of each spike (ms): Tsodyks, Uziel & Markram 2000, from spike to spike."""
    x, u, last, values = 1.0, 0.0, None, []
    for time in times:
        if last is not None:
            gap = time - last
            x = 1 + (x - x * u - 1) * np.exp(-gap / rule.tau_rec)
            decay = np.exp(-gap / rule.tau_fac) if rule.tau_fac else 0.0
            u = rule.utilisation + u * (1 - rule.utilisation) * decay
        else:
            u = rule.utilisation
        values.append(u * x)
        last = time
    return values


@examples(12)
@given(
    path=st.sampled_from(["event", "dense"]),
    plastic=st.booleans(),
    rule=st.sampled_from([RULE, ShortTerm(utilisation=0.43, tau_rec=8.0, tau_fac=0.0)]),
    seed=st.integers(0, 99),
)
def test_every_spike_counts_what_the_recursion_says(path, plastic, rule, seed):
    circuit = cb.build(with_terminals(rule, plastic=plastic), jax.random.key(seed), path=path)
    input_spikes = spikes(150, 40, 0.05, seed)
    plain = cb.build(feed_forward(40, 9, 12, cell=KEEPS), jax.random.key(seed), path="dense")
    from circuits import matrix

    weights = matrix(plain, "input_p0_cells")
    want = np.zeros((150, 9))
    for cell in range(40):
        times = np.flatnonzero(input_spikes[:, cell])
        for time, factor in zip(times, factors(times, rule), strict=True):
            want[time + 3 :] += factor * weights[cell]
    np.testing.assert_allclose(arrived(circuit, input_spikes), want, atol=2e-4)


def test_a_steady_train_settles_where_the_closed_form_says():
    """Fixed point of the recursion at 50 Hz (Tsodyks & Markram 1997)."""
    gap = 20.0
    e_fac, e_rec = np.exp(-gap / RULE.tau_fac), np.exp(-gap / RULE.tau_rec)
    u = RULE.utilisation / (1 - (1 - RULE.utilisation) * e_fac)
    x = (1 - e_rec) / (1 - (1 - u) * e_rec)
    input_spikes = np.zeros((2_000, 40), np.float32)
    input_spikes[::20] = 1
    total = arrived(cb.build(with_terminals(RULE), KEY, path="event"), input_spikes)
    jumps = np.diff(total, axis=0).max(axis=1)
    assert jumps[-60:].max() / jumps[:5].max() == pytest.approx(u * x / RULE.utilisation, rel=1e-3)


def test_both_paths_agree_under_a_batch():
    input_spikes = np.stack([spikes(60, 40, 0.1, seed) for seed in range(3)])
    conductances = {}
    for path in ("event", "dense"):
        circuit = cb.build(with_terminals(RULE), KEY, path=path)
        states = jax.vmap(cb.init, (None, 0))(circuit, jax.random.split(KEY, 3))
        _, recordings = cb.simulate_batch(
            circuit, states, {"input": jnp.asarray(input_spikes)}, record=("g_exc:cells",)
        )
        conductances[path] = [r.traces["g_exc:cells"].values for r in recordings]
    np.testing.assert_allclose(conductances["event"], conductances["dense"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"utilisation": 0.0}, "short_term.utilisation: 0.0; above 0, at most 1"),
        ({"tau_rec": -1.0}, "short_term.tau_rec: -1.0 ms; above zero"),
        ({"tau_fac": -1.0}, "short_term.tau_fac: -1.0 ms; zero or more"),
    ],
)
def test_wrong_rules_are_refused_by_name(change, message):
    with pytest.raises(cb.UsageError, match=message):
        with_terminals(replace(RULE, **change))


def test_a_projection_that_is_not_there_is_refused_by_name():
    spec = feed_forward(4, 4, 2)
    with pytest.raises(cb.UsageError, match="'input_cells': feed_forward has input_p0_cells"):
        spec.with_projection("input_cells", weight=2.0)


def mixed(size: int = 40) -> ShortTerm:
    """Terminals that differ from source to source; every other one does not facilitate."""
    rng = np.random.default_rng(3)
    return ShortTerm(
        utilisation=rng.uniform(0.05, 0.9, size),
        tau_rec=rng.uniform(5, 300, size),
        tau_fac=np.where(np.arange(size) % 2, rng.uniform(5, 300, size), 0.0),
    )


@pytest.mark.parametrize("path", ["event", "dense"])
def test_terminals_that_differ_each_follow_the_recursion(path):
    from circuits import matrix

    rule, input_spikes = mixed(), spikes(150, 40, 0.05, 1)
    circuit = cb.build(with_terminals(rule), KEY, path=path)
    plain = cb.build(feed_forward(40, 9, 12, cell=KEEPS), KEY, path="dense")
    weights, want = matrix(plain, "input_p0_cells"), np.zeros((150, 9))
    columns = [np.asarray(value) for value in vars(rule).values()]
    for cell, (u, rec, fac) in enumerate(zip(*columns, strict=True)):
        times = np.flatnonzero(input_spikes[:, cell])
        own = ShortTerm(utilisation=u, tau_rec=rec, tau_fac=fac)
        for time, factor in zip(times, factors(times, own), strict=True):
            want[time + 3 :] += factor * weights[cell]
    np.testing.assert_allclose(arrived(circuit, input_spikes), want, atol=2e-4)


def test_terminals_that_differ_are_kept_with_a_circuit(tmp_path):
    circuit = cb.build(with_terminals(mixed()), KEY, path="event")
    cb.store.save_circuit(tmp_path, circuit, cb.init(circuit, KEY))
    restored, _ = cb.store.load_circuit(tmp_path)
    assert restored.spec == circuit.spec
    input_spikes = spikes(60, 40, 0.1, 2)
    np.testing.assert_array_equal(arrived(restored, input_spikes), arrived(circuit, input_spikes))


@pytest.mark.parametrize("rate_hz", [4.0, 40.0])
def test_the_mean_factor_is_that_of_a_poisson_train(rate_hz):
    """Within 4 %: mean-field leaves out that u and x vary together."""
    rule = ShortTerm(
        utilisation=[0.3, 0.02, 0.6], tau_rec=[100.0, 20.0, 50.0], tau_fac=[50, 300, 0]
    )
    times = np.cumsum(np.random.default_rng(0).exponential(1e3 / rate_hz, 20_000))
    for index, factor in enumerate(short_term.mean_factor(rule, rate_hz)):
        values = (np.asarray(value)[index] for value in vars(rule).values())
        u, rec, fac = map(float, values)
        own = ShortTerm(utilisation=u, tau_rec=rec, tau_fac=fac)
        assert np.mean(factors(times, own)) == pytest.approx(factor, rel=0.04)
        assert short_term.mean_factor(own, rate_hz) == pytest.approx(factor)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tau_rec": [30.0] * 39}, "short_term.tau_rec: 39 values; one or 40"),
        ({"tau_fac": [1.0] * 39 + [-2.0]}, "short_term.tau_fac: -2.0 ms; zero or more"),
        ({"utilisation": [0.5] * 39 + [1.5]}, "short_term.utilisation: 1.5; above 0, at most 1"),
        ({"utilisation": cb.Uniform(0.1, 0.5)}, "a number, or a list of one a source cell"),
    ],
)
def test_wrong_lists_of_terminals_are_one_line(change, message):
    with pytest.raises(cb.UsageError, match=message):
        with_terminals(replace(RULE, **change))
