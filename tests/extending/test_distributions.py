"""Distributions from a user's own script: cells, weights and delays, and checkpoints."""

from dataclasses import dataclass

import jax
import numpy as np
import pytest

import cerebellum as cb
from cerebellum import store
from cerebellum.model import values
from cerebellum.model.neurons import current
from cerebellum.sim import memory

KEY = jax.random.key(0)


@dataclass(frozen=True)
class Gamma(cb.Distribution):
    mean: float
    shape: float
    most: float = float("inf")

    def draw(self, rng, count):
        return rng.gamma(self.shape, self.mean / self.shape, count)

    @property
    def typical(self):
        return self.mean

    @property
    def bounds(self):
        return 0.0, self.most


@dataclass(frozen=True)
class Without(Gamma):
    def draw(self, rng, count):
        return np.zeros(count + 1)


@pytest.fixture(autouse=True)
def _table_as_it_was():
    before = dict(values.DISTRIBUTIONS)
    yield
    values.DISTRIBUTIONS.clear()
    values.DISTRIBUTIONS.update(before)


def spec(weight=None, delay=None, tau=None) -> cb.Spec:
    params = current.Params(drive=14.0, tau_m=tau or Gamma(20.0, 50.0))
    projection = cb.Projection(
        source="e",
        target="e",
        receptor="exc",
        weight=weight or Gamma(2.0, 4.0),
        delay=delay or Gamma(1.5, 4.0),
        in_degree=9,
    )
    return cb.Spec(
        name="own",
        populations=(cb.Population(name="e", size=200, model="current", params=params),),
        projections=(projection,),
        dt=0.1,
    )


def test_cells_weights_and_delays_are_drawn_and_restored(tmp_path):
    cb.register("distribution", "gamma", Gamma)
    circuit = cb.build(spec(), KEY, path="event")
    edges = circuit.edges("e_e")
    assert abs(edges.weight.mean() - 2.0) < 0.15
    assert abs(edges.weight.std() - 1.0) < 0.15
    assert abs(edges.delay.mean() - 1.5) < 0.15
    assert np.ptp(circuit.params.cells["e"].tau_m) > 5
    assert memory.peak(spec()) > 0
    store.save_circuit(tmp_path, circuit, cb.init(circuit, KEY))
    back, _ = store.load_circuit(tmp_path)
    assert back.spec == circuit.spec
    jax.tree.map(np.testing.assert_array_equal, back.params, circuit.params)


def test_it_is_scaled_as_a_fit_scales_weights(tmp_path):
    cb.register("distribution", "gamma", Gamma)
    thrice = values.scaled(values.scaled(Gamma(2.0, 4.0, most=50.0), 1.5), 2.0)
    assert (thrice.typical, thrice.bounds) == (6.0, (0.0, 150.0))
    first, second = (cb.build(spec(weight=w), KEY, path="event") for w in (Gamma(2.0, 4.0), thrice))
    weights = [circuit.edges("e_e").weight for circuit in (first, second)]
    np.testing.assert_allclose(weights[1], 3 * weights[0], rtol=1e-6)
    store.save_circuit(tmp_path, second, cb.init(second, KEY))
    assert store.load_circuit(tmp_path)[0].spec == second.spec


def test_one_that_is_not_registered_is_not_saved(tmp_path):
    circuit = cb.build(spec(), KEY)
    with pytest.raises(cb.UsageError, match=r'Gamma: not registered; cb\.register\("distribution"'):
        store.save_circuit(tmp_path, circuit, cb.init(circuit, KEY))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weight": Without(1.0, 1.0)}, r"Without\(.*: drew float64 \[1801\]; numbers, \[1800\]"),
        ({"weight": Gamma(1.0, 1.0, most=1.5)}, "drew .*; finite numbers from 0 to 1.5"),
        ({"tau": Gamma(float("nan"), 1.0)}, "tau_m"),
    ],
)
def test_what_it_must_not_draw_is_refused(changes, message):
    with pytest.raises(cb.UsageError, match=message):
        cb.build(spec(**changes), KEY)


def test_what_is_no_distribution_is_not_registered():
    with pytest.raises(cb.UsageError, match=r"Params; a subclass of cb\.Distribution"):
        cb.register("distribution", "x", current.Params)
    with pytest.raises(cb.UsageError, match="'Normal': taken"):
        cb.register("distribution", "Normal", Gamma)
