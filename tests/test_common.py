"""The common network: ours and the peers' numbers are the same, and it fires as theirs do."""

import importlib.util
import math

import jax
import pytest
from conftest import ROOT

import cerebellum as cb
from cerebellum.model.neurons import current
from cerebellum.model.presets import common

LOADED = importlib.util.spec_from_file_location("params", ROOT / "scripts/peers/params.py")
assert LOADED is not None
assert LOADED.loader is not None
params = importlib.util.module_from_spec(LOADED)
LOADED.loader.exec_module(params)


@pytest.mark.parametrize("wiring", ["random", "anatomical"])
@pytest.mark.parametrize("size", ["S", "M", "L"])
def test_the_peers_run_the_same_network(size, wiring):
    spec = common.common(size, wiring=wiring)
    size += params.ANATOMICAL if wiring == "anatomical" else ""
    assert {p.name: p.size for p in spec.populations} == params.cells(size)
    theirs = {
        f"{a}_{b}": (receptor, weight, degree, individual)
        for a, b, receptor, weight, degree, individual in params.projections(size)
    }
    assert set(theirs) == {p.name for p in spec.projections}
    for p in spec.projections:
        receptor, weight, degree, individual = theirs[p.name]
        parallel = individual and wiring == "anatomical"
        assert p.in_degree == min(degree, spec.beam_size(p.source) - (not parallel))
        assert p.weight * p.in_degree == pytest.approx(abs(weight) * degree)
        assert p.receptor == {"E": "exc", "I": "inh"}[receptor]
        assert p.spread == (params.SPREAD if individual else 0)
        assert p.delay == params.DT
    for name, cells in common.CELLS.items():
        assert (cells.tau_m, cells.drive) == params.TAU_M_AND_DRIVE[name]
        factors = params.propagators(name)
        assert float(current.propagator(cells.tau_m, cells.tau_exc, 1.0)) == pytest.approx(
            factors["from_exc"], rel=1e-5
        )
        assert math.exp(-1 / cells.tau_m) == pytest.approx(factors["held"])


def test_size_and_wiring_are_refused_by_name():
    with pytest.raises(cb.UsageError, match="size: 'XL'; one of S, M, L"):
        common.common("XL")  # pyright: ignore[reportArgumentType]
    with pytest.raises(cb.UsageError, match="wiring: 'local'; one of random, anatomical"):
        common.common("S", wiring="local")  # pyright: ignore[reportArgumentType]


@pytest.mark.slow
@pytest.mark.parametrize("wiring", ["random", "anatomical"])
def test_it_fires_as_in_six_simulators(wiring):
    """At M, within a fifth of the middle of the peers; the 40 nuclear cells differ by wiring."""
    spec, key = common.common("M", wiring=wiring), jax.random.key(0)
    circuit = cb.build(spec, key, path="event")
    drive = cb.drive.standard(common.PROTOCOL, spec, key)
    _, recording = cb.simulate(circuit, cb.init(circuit, key, spread=True), drive, duration_ms=500)
    for window, span in common.PROTOCOL.windows.items():
        rates = cb.record.rates(recording, *span)
        for name, want in common.PROTOCOL.reference_hz[window].items():
            if name != "nuclei":
                assert rates[name] == pytest.approx(want, rel=0.2, abs=0.2), (window, name)
