"""The conductance cell against a float64 solution of the same equations, over many inputs.

NEST's recording is one input to each cell. Here each of the five cells gets thirty, drawn at the
rates of that recording, with exponential and with alpha synapses. The reference takes twenty
Runge-Kutta steps to one of ours in float64 and follows NEST's order within a step: integrate, then
reset or threshold, then arrivals. test_conductance.py says that we agree with NEST's recording; the
first test here says that the reference does.
"""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_conductance import CELLS, DT, STEPS, arrivals

from cerebellum.model.neurons import conductance

E_REV_EXC, E_REV_INH = 0.0, -90.0
pytestmark = pytest.mark.usefixtures("broadcasting")
INPUTS, SUBSTEPS = 30, 20


TABLE = SimpleNamespace(
    **{
        name: np.array(column, float)
        for name, *column in (
            ("c_m", 3.0, 76.0, 620.0, 14.6, 89.0),
            ("tau_m", 2.0, 21.0, 88.0, 14.6, 57.0),
            ("e_l", -74.0, -65.0, -62.0, -68.0, -59.0),
            ("v_th", -42.0, -55.0, -47.0, -53.0, -48.0),
            ("v_reset", -84.0, -75.0, -72.0, -78.0, -69.0),
            ("t_ref", 1.5, 2.0, 0.8, 1.6, 3.7),
            ("i_e", 0.0, 36.8, 600.0, 15.6, 55.8),
            ("tau_exc", 0.5, 0.5, 0.5, 0.64, 7.1),
            ("tau_inh", 10.0, 10.0, 1.6, 2.0, 13.6),
            ("w_exc", 9.0, 2.0, 75.0, 0.2, 0.3),
            ("w_inh", 5.0, 8.0, 9.0, 2.5, 0.5),
            ("rate_exc", 120.0, 900.0, 300.0, 2_000.0, 900.0),
            ("rate_inh", 20.0, 60.0, 400.0, 100.0, 600.0),
        )
    }
)
"""Parameters of the recorded cells, [5], in the units of `conductance.Params`; rates in Hz, weights
in nS."""


def reference(exc: np.ndarray, inh: np.ndarray, alpha: bool) -> tuple[np.ndarray, np.ndarray]:
    """Spikes and voltages (mV) after each step, float64 [steps, inputs, cells].

    Args:
      exc, inh: conductance that arrives at the end of each step, nS, [steps, inputs, cells].
      alpha: whether it rises as an alpha function, whose peak it is; otherwise it jumps.
    """
    p = TABLE
    h = DT / SUBSTEPS
    leak = p.c_m / p.tau_m

    with jax.enable_x64(True):

        def at(g, rise, tau, t):
            return (g + (np.e / tau) * rise * t) * jnp.exp(-t / tau)

        def step(carry, arriving):
            v, exc, inh, wait = carry

            def slope(v, t):
                g_exc, g_inh = at(*exc, p.tau_exc, t), at(*inh, p.tau_inh, t)
                current = leak * (p.e_l - v) + g_exc * (E_REV_EXC - v) + g_inh * (E_REV_INH - v)
                return (current + p.i_e) / p.c_m

            def substep(index, v):
                t = index * h
                a = slope(v, t)
                b = slope(v + h / 2 * a, t + h / 2)
                c = slope(v + h / 2 * b, t + h / 2)
                d = slope(v + h * c, t + h)
                return v + h / 6 * (a + 2 * b + 2 * c + d)

            integrated = jax.lax.fori_loop(0, SUBSTEPS, substep, v)
            silent = wait > 0
            fired = ~silent & (integrated >= p.v_th)
            v = jnp.where(silent | fired, p.v_reset, integrated)
            wait = jnp.where(fired, jnp.round(p.t_ref / DT), wait - silent)
            after = []
            for (g, rise), tau, weight in zip(
                (exc, inh), (p.tau_exc, p.tau_inh), arriving, strict=True
            ):
                decayed = at(g, rise, tau, DT), rise * jnp.exp(-DT / tau)
                grown = (decayed[0], decayed[1] + weight)
                after.append(grown if alpha else (decayed[0] + weight, decayed[1]))
            return (v, *after, wait), (fired, v, jnp.where(silent, -jnp.inf, integrated))

        shape = exc.shape[1:]
        zeros = jnp.zeros(shape)
        start = jnp.broadcast_to(p.e_l, shape), (zeros, zeros), (zeros, zeros), zeros
        run = jax.jit(lambda carry, x: jax.lax.scan(step, carry, x)[1])
        fired, v, integrated = run(start, (jnp.asarray(exc), jnp.asarray(inh)))
        return np.asarray(fired), np.asarray(v), np.asarray(integrated)


def ours(exc, inh, alpha, integrator):
    """The same by the cell, float32."""
    names = ["c_m", "tau_m", "e_l", "v_th", "v_reset", "t_ref", "i_e", "tau_exc", "tau_inh"]
    params = conductance.Params(
        **{name: jnp.asarray(vars(TABLE)[name], jnp.float32) for name in names},
        e_exc=E_REV_EXC,
        e_inh=E_REV_INH,
        synapse="alpha" if alpha else "exponential",
        integrator=integrator,
    )

    def body(state, now):
        state, z = conductance.step(params, state, now, DT)
        return state, (z, state.v)

    inputs = conductance.Input(
        current=np.zeros((len(exc), 1, 1), np.float32),
        exc=exc.astype(np.float32),
        inh=inh.astype(np.float32),
    )
    state = conductance.init(params, exc.shape[1:])
    fired, v = jax.jit(lambda s, x: jax.lax.scan(body, s, x)[1])(state, inputs)
    return np.asarray(fired) > 0, np.asarray(v)


def drawn() -> tuple[np.ndarray, np.ndarray]:
    """Conductances that arrive at each step, [steps, inputs, cells]."""
    rng = np.random.default_rng(0)
    counts = [
        rng.poisson(rate * DT * 1e-3, (STEPS, INPUTS, len(CELLS)))
        for rate in (TABLE.rate_exc, TABLE.rate_inh)
    ]
    return counts[0] * TABLE.w_exc, counts[1] * TABLE.w_inh


@pytest.mark.parametrize("synapse", ["exp", "alpha"])
def test_the_reference_is_nest(shared, synapse):
    """Every spike on its step; voltages within what NEST's own tolerance leaves."""
    with np.load(shared / "nest_golden.npz") as file:
        golden = dict(file)
    exc, inh = (
        np.stack([arrivals(golden[f"{c}_{kind}_times_ms"], STEPS) for c in CELLS], axis=1)
        for kind in ("exc", "inh")
    )
    operands = (exc * TABLE.w_exc)[:, None], (inh * TABLE.w_inh)[:, None]
    fired, v, _ = reference(*operands, synapse == "alpha")
    for column, cell in enumerate(CELLS):
        times = (np.flatnonzero(fired[:, 0, column]) + 1) * DT
        want, spikes = golden[f"{cell}_{synapse}_V_mV"], golden[f"{cell}_{synapse}_spikes_ms"]
        np.testing.assert_allclose(times, spikes, atol=1e-6)
        assert np.abs(v[: len(want), 0, column] - want).max() < 0.03, cell


BOUNDS = {
    ("rk4", "granule"): (8, 0.03, 0.25),
    ("rk4", "others"): (0, 0.0, 0.001),
    ("averaged", "granule"): (INPUTS, 0.3, 0.8),
    ("averaged", "others"): (4, 0.002, 0.005),
}
"""How many of thirty spike trains may part from the reference's, how far the reference's voltage
may then be from the threshold (mV), and how far voltages may be apart before that (mV)."""


@pytest.mark.parametrize("synapse", ["exp", "alpha"])
def test_thirty_inputs(synapse):
    """Where a spike is missing, added or on another step, the reference's cell grazed threshold."""
    exc, inh = drawn()
    fired, v, integrated = reference(exc, inh, synapse == "alpha")
    for integrator in conductance.INTEGRATORS:
        mine, mine_v = ours(exc, inh, synapse == "alpha", integrator)
        for column, cell in enumerate(CELLS):
            who = f"{cell}, {synapse}, {integrator}"
            bounds = BOUNDS[integrator, cell if cell == "granule" else "others"]
            apart = fired[..., column] != mine[..., column]
            parted = apart.any(axis=0)
            until = np.where(parted, apart.argmax(axis=0), STEPS)
            margins = np.abs(integrated[until[parted], parted, column] - TABLE.v_th[column])
            together = np.arange(STEPS)[:, None] < until
            difference = np.abs(v[..., column] - mine_v[..., column])[together]
            assert parted.sum() <= bounds[0], who
            assert margins.max(initial=0) <= bounds[1], who
            assert difference.max() <= bounds[2], who
            count = fired[..., column].sum()
            assert count > 90, who
            assert mine[..., column].sum() == pytest.approx(count, rel=0.005), who
