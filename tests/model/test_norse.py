"""Cells against recordings of Norse 1.1.0, spike for spike, eager and jitted."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cerebellum.model.neurons import (
    izhikevich,
    leaky_integrator,
    lif,
    lif_adex,
    lif_ex,
    lif_refrac,
    lsnn,
)

STEPS = 600
CELLS = {
    "lif": (lif, lif.Params()),
    "lif_refrac": (lif_refrac, lif_refrac.Params()),
    "lif_adex": (lif_adex, lif_adex.Params()),
    "lif_ex": (lif_ex, lif_ex.Params()),
    "lsnn": (lsnn, lsnn.Params()),
    "li": (leaky_integrator, leaky_integrator.Params()),
}
IZHIKEVICH = (
    "tonic_spiking",
    "phasic_bursting",
    "class_1_exc",
    "dap",
    "accomodation",
    "inhibition_induced_spiking",
)


@pytest.fixture(scope="module")
def golden(shared):
    with np.load(shared / "norse_golden.npz") as file:
        return dict(file)


def run(step, state, inputs, jitted: bool):
    """Outputs and voltages [steps, n] of a cell under dt 1 ms."""

    def body(state, now):
        state, z = step(state, now)
        return state, (z, getattr(state, "membrane", state).v)

    if jitted:
        _, (z, v) = jax.jit(lambda s, x: jax.lax.scan(body, s, x))(state, inputs)
        return np.asarray(z), np.asarray(v)
    outputs = []
    for now in inputs:
        state, out = body(state, now)
        outputs.append(out)
    return tuple(np.stack([np.asarray(out[i]) for out in outputs]) for i in range(2))


def assert_voltages(got, want):
    assert np.abs(got - want).max() <= 1e-6 * np.abs(want).max()


@pytest.mark.parametrize("jitted", [True, False], ids=["jitted", "eager"])
@pytest.mark.parametrize("name", CELLS)
def test_cell(golden, name, jitted):
    model, params = CELLS[name]
    inputs = golden[f"{name}_input"]
    state = model.init(params, inputs.shape[1:])
    z, v = run(lambda s, x: model.step(params, s, x, 1.0), state, inputs, jitted)
    if name == "li":
        assert_voltages(z, golden["li_output"])
    else:
        assert golden[f"{name}_spikes"].sum() > 100
        assert (z == golden[f"{name}_spikes"]).all()
    assert_voltages(v, golden[f"{name}_v"])


@pytest.mark.parametrize("jitted", [True, False], ids=["jitted", "eager"])
@pytest.mark.parametrize("name", IZHIKEVICH)
def test_izhikevich(golden, name, jitted):
    key = f"izhikevich_{name}"
    a, b, c, d, sq, mn, bias, v_th, tau_inv = golden[f"{key}_params"].tolist()
    v, u = golden[f"{key}_init"].tolist()
    params = izhikevich.Params(
        a=a, b=b, c=c, d=d, sq=sq, mn=mn, bias=bias, v_th=v_th, rate=tau_inv * 1e-3, v_init=v
    )
    inputs = golden[f"{key}_input"]
    size = inputs.shape[1]
    state = izhikevich.State(v=jnp.full(size, v), u=jnp.full(size, u))
    z, v = run(lambda s, x: izhikevich.step(params, s, x, 1.0), state, inputs, jitted)
    assert (z == golden[f"{key}_spikes"]).all()
    assert_voltages(v, golden[f"{key}_v"])


@pytest.mark.parametrize("jitted", [True, False], ids=["jitted", "eager"])
def test_recurrent_lif(golden, jitted):
    params = lif.Params()
    weights = lif.Recurrent(
        w_in=jnp.asarray(golden["lif_recurrent_input_weights"]),
        w_rec=jnp.asarray(golden["lif_recurrent_recurrent_weights"]),
    )
    z = jnp.zeros(weights.w_rec.shape[0])
    state = lif.init(params, z.shape)

    def body(carry, now):
        state, z = lif.recurrent_step(params, weights, *carry, now, 1.0)
        return (state, z), (z, state.v)

    if jitted:
        body = jax.jit(body)
    carry, outputs = (state, z), []
    for now in golden["lif_recurrent_input"]:
        carry, out = body(carry, now)
        outputs.append(out)
    assert (np.stack([o[0] for o in outputs]) == golden["lif_recurrent_spikes"]).all()
    assert_voltages(np.stack([o[1] for o in outputs]), golden["lif_recurrent_v"])


def test_lif_by_hand():
    """Norse's own unit test: constant input 1; needs no recording."""
    state, voltages = lif.init(lif.Params(), (1,)), []
    for _ in range(9):
        state, _ = lif.step(lif.Params(), state, jnp.ones(1), 1.0)
        voltages.append(float(state.v[0]))
    want = [0.1, 0.27, 0.487, 0.7335, 0.9963, 0.0, 0.3951, 0.7717, 0.0]
    np.testing.assert_allclose(voltages, want, atol=1e-4)


def test_reset_is_detached_in_recurrent_cells_only():
    """Norse 1.1.0, measured: dv'/dv at v = 1.05 is 0.90 recurrent and 0.14 feed-forward."""
    weights = lif.Recurrent(w_in=jnp.zeros((1, 1)), w_rec=jnp.zeros((1, 1)))
    params, none = lif.Params(alpha=1.0), jnp.zeros(1)

    def forward(v):
        return lif.step(params, lif.State(v=v, i=none), none, 1.0)[0].v[0]

    def recurrent(v):
        state = lif.State(v=v, i=none)
        return lif.recurrent_step(params, weights, state, none, none, 1.0)[0].v[0]

    v = jnp.array([1.05])
    assert jax.grad(recurrent)(v)[0] == pytest.approx(0.90, abs=0.005)
    assert jax.grad(forward)(v)[0] == pytest.approx(0.14, abs=0.005)
