"""The current-based cell against fine integration and the benchmark's own propagators."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cerebellum.model.neurons import current
from cerebellum.model.neurons.current import Input, Params


@given(
    tau_m=st.sampled_from([8.0, 10.0, 20.0]),
    tau_s=st.sampled_from([3.0, 7.9999, 8.0, 10.0, 20.001]),
    h=st.sampled_from([0.1, 1.0]),
)
def test_propagator_is_the_integral(tau_m, tau_s, h):
    """v(h) = integral of e^(-(h - s)/tau_m) e^(-s/tau_s) / tau_m."""
    s = (np.arange(20_000) + 0.5) / 20_000 * h
    want = np.mean(np.exp(-(h - s) / tau_m - s / tau_s)) * h / tau_m
    with jax.enable_x64(True):
        got = float(current.propagator(tau_m, tau_s, h))
    assert got == pytest.approx(want, rel=1e-6)


def test_the_benchmark_s_coefficients():
    """The closed form used by every simulator of the common network."""
    tau_m, tau_s, h = 8.0, 3.0, 1.0
    want = (tau_m * tau_s / (tau_s - tau_m)) * (math.exp(-h / tau_s) - math.exp(-h / tau_m)) / tau_m
    assert float(current.propagator(tau_m, tau_s, h)) == pytest.approx(want, rel=1e-5)


def test_large_steps_land_on_small_ones():
    """Exact integration: ten steps of 0.1 ms are one of 1 ms, below threshold."""
    params = Params(v_th=1e9, drive=3.0)
    states = {}
    for dt, steps in ((1.0, 30), (0.1, 300)):
        state = current.init(params, (1,))
        state, _ = current.step(params, state, Input(exc=26.0, inh=4.0), dt)
        state = state.replace(v=jnp.zeros(1))
        for _ in range(steps):
            state, _ = current.step(params, state, Input(), dt)
        states[dt] = state
    np.testing.assert_allclose(states[1.0].v, states[0.1].v, rtol=1e-4)
    np.testing.assert_allclose(states[1.0].exc, states[0.1].exc, rtol=1e-4)


@pytest.mark.parametrize(("drive", "tau_m"), [(21.95, 20.0), (40.0, 15.0)])
def test_pacemaker_rate(drive, tau_m):
    """Interval = t_ref + tau_m ln(drive / (drive - v_th)) for a constant drive."""
    params = Params(tau_m=tau_m, drive=drive)

    def body(state, _):
        return current.step(params, state, Input(), 0.1)

    _, z = jax.lax.scan(body, current.init(params, (1,)), None, length=5_000)
    intervals = np.diff(np.flatnonzero(np.asarray(z)[:, 0])) * 0.1
    want = 2.0 + tau_m * math.log(drive / (drive - 15.0))
    assert np.abs(intervals - want).max() <= 0.2


def test_silent_while_refractory():
    params = Params(t_ref=3.0)
    state, times = current.init(params, (1,)), []
    for step in range(40):
        state, z = current.step(params, state, Input(current=500.0), 1.0)
        if z[0]:
            times.append(step)
            assert state.v[0] == 0
    assert np.diff(times).min() == 4
