"""E-GLIF cells against the published rates, and against a slow integration of the equations."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cerebellum.model import noise
from cerebellum.model.neurons import eglif
from cerebellum.model.neurons.eglif import Input, Params
from cerebellum.model.presets.eglif import CELLS, ISOLATED_HZ
from cerebellum.reproduce.eglif import isolated


@pytest.mark.parametrize("dt", [0.1, 1.0])
def test_isolated_cells_fire_as_published(dt):
    """Means over the cells that fired, as published: a Golgi cell may rest for good."""
    for (condition, name), rates in isolated(dt, 9.0, 7).items():
        want = ISOLATED_HZ[condition][name]
        if want:
            assert np.mean(rates > 0) > 0.75, name
            assert rates[rates > 0].mean() == pytest.approx(want, rel=0.05), (condition, name)
        else:
            # An olivary cell that once escapes its threshold goes on at its resonance.
            assert np.mean(rates > 0) < 0.2, name


def reference(params: Params, weights: list[float], times: list[float], until: float) -> np.ndarray:
    """Voltage at every 0.1 ms without spikes, by Euler steps of 0.5 us in float64."""
    h = 5e-4
    v, w, dep, out = params.e_l, 0.0, params.a_1, []
    every = round(0.1 / h)
    for k in range(round(until / h)):
        t = k * h
        current = params.i_e + dep - w
        for tau, e_rev, weight, at in zip(
            params.tau_syn, params.e_rev, weights, times, strict=True
        ):
            if t >= at:
                g = weight * np.e / tau * (t - at) * np.exp(-(t - at) / tau)
                current += g * (e_rev - v)
        dv = (v - params.e_l) / params.tau_m + current / params.c_m
        dw = params.k_adap * (v - params.e_l) - params.k_2 * w
        v, w, dep = v + h * dv, w + h * dw, dep - h * params.k_1 * dep
        if (k + 1) % every == 0:
            out.append(v)
    return np.array(out)


@pytest.mark.parametrize(("dt", "tolerance"), [(0.1, 0.003), (1.0, 0.5)])
@pytest.mark.parametrize("name", ["golgi", "purkinje", "basket"])
def test_voltage_is_that_of_the_equations(name, dt, tolerance):
    """Every receptor once, with a depolarising current left by an earlier spike; no spikes."""
    params = replace(CELLS["vitro"][name], v_th=1e6)
    weights, times, until = [20.0, 15.0, 10.0], [2.0, 6.0, 11.0], 20.0
    want = reference(params, weights, times, until)
    state = eglif.init(params, (1,))
    state = replace(state, i_dep=jnp.full(1, params.a_1))

    @jax.jit
    def run(state, arrivals):
        def body(state, arriving):
            state, _ = eglif.step(params, state, Input(), dt)
            arrived = eglif.receptors(state)
            names = list(arrived)
            added = {name: arrived[name] + arriving[i] for i, name in enumerate(names)}
            return eglif.with_receptors(state, added), state.v[0]

        return jax.lax.scan(body, state, arrivals)[1]

    arrivals = np.zeros((round(until / dt), 3), np.float32)
    for i, (weight, at) in enumerate(zip(weights, times, strict=True)):
        arrivals[round(at / dt) - 1, i] = weight
    got = np.asarray(run(state, arrivals))
    scale = np.ptp(want)
    np.testing.assert_allclose(
        got, want[round(dt / 0.1) - 1 :: round(dt / 0.1)], atol=tolerance * scale
    )


def test_a_spike_s_consequences():
    params = CELLS["vitro"]["golgi"]
    state = replace(eglif.init(params, (1,)), v=jnp.full(1, -40.0), i_adap=jnp.full(1, 5.0))
    after, z = eglif.step(params, state, Input(), 0.1)
    assert z[0] == 1
    assert after.v[0] == params.v_reset
    assert after.i_dep[0] == pytest.approx(params.a_1)
    kept = replace(params, v_th=1e6)
    no_spike, _ = eglif.step(kept, state, Input(), 0.1)
    assert after.i_adap[0] - no_spike.i_adap[0] == pytest.approx(params.a_2, rel=1e-5)
    for _ in range(20):
        after, z = eglif.step(params, after, Input(current=1e5), 0.1)
        assert z[0] == 0
        assert after.v[0] == params.v_reset
    _, z = eglif.step(params, after, Input(current=1e6), 0.1)
    assert z[0] == 1


def test_chance_of_a_spike():
    """1 - exp(-lambda dt), over many cells held at one voltage."""
    n, dt = 200_000, 0.1
    params = Params(tau_m=1e9, e_l=-41.2, i_e=0.0, k_adap=0.0, lambda_0=1.5)
    draws = noise.uniform(jnp.uint32([3, 11]), noise.CellRange(size=n).numbers)
    _, z = eglif.step(params, eglif.init(params, (n,)), Input(uniform=draws), dt)
    want = 1 - np.exp(-1.5 * np.exp(-0.2 / 0.3) * dt)
    assert float(z.mean()) == pytest.approx(want, abs=4 * np.sqrt(want / n))
