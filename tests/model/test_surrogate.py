"""The spike function: a strict step forward, the named formula backward."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cerebellum.errors import UsageError
from cerebellum.model.surrogate import SURROGATES, Surrogate, spike, through

X = jnp.linspace(-2.0, 2.0, 41)
FORMULAS = {
    "superspike": lambda x, a: 1 / (a * np.abs(x) + 1) ** 2,
    "triangle": lambda x, a: a * np.maximum(0, 1 - np.abs(x)),
    "tanh": lambda x, a: 1 - np.tanh(a * x) ** 2,
    "circ": lambda x, a: (
        2 * a * (1 / (2 * np.sqrt(x**2 + a**2)) - x**2 / (2 * (x**2 + a**2) ** 1.5))
    ),
    "erfc": lambda x, a: 2 * np.exp(-((a * x) ** 2)) / np.sqrt(np.pi),
    "arctan": lambda x, a: a / (2 * (1 + (np.pi / 2 * a * x) ** 2)),
    "sigmoid": lambda x, a: a * np.exp(-a * x) / (1 + np.exp(-a * x)) ** 2,
}


def test_every_surrogate_has_a_formula_here():
    assert FORMULAS.keys() == SURROGATES.keys()


@pytest.mark.parametrize("alpha", [0.3, 1.0, 10.0])
@pytest.mark.parametrize("name", SURROGATES)
def test_derivative(name, alpha):
    got = jax.vmap(jax.grad(lambda x: spike(x, name, alpha)))(X)
    np.testing.assert_allclose(got, FORMULAS[name](np.asarray(X), alpha), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("name", SURROGATES)
def test_forward_is_a_strict_step(name):
    assert spike(jnp.array([-1.0, 0.0, 1e-30, 1.0]), name).tolist() == [0, 0, 1, 1]


def test_unknown_surrogate_is_refused():
    with pytest.raises(KeyError, match="relu"):
        jax.grad(lambda x: spike(x, "relu"))(jnp.array(1.0))


@pytest.mark.parametrize("soft", [False, True])
def test_gain_is_a_factor_of_the_gradient_alone(soft):
    def spikes(distance, gain):
        rule = Surrogate(gain=gain, soft=soft)
        return through((distance >= 0).astype(jnp.float32), distance, rule)

    slopes = [jax.vmap(jax.grad(lambda x, g=gain: spikes(x, g)))(X) for gain in (1.0, 0.1)]
    np.testing.assert_allclose(slopes[1], 0.1 * slopes[0], rtol=1e-5)
    assert soft or (spikes(X, 0.1) == spikes(X, 1.0)).all()


def test_a_gain_of_zero_is_refused():
    with pytest.raises(UsageError, match=r"surrogate\.gain: 0; above zero"):
        Surrogate(gain=0)
