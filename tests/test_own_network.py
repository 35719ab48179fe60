"""A network of one's own, with a weight and a delay for every synapse, against NEST's spikes."""

import importlib.util
import sys
from dataclasses import replace
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT

import cerebellum as cb
from cerebellum.model.neurons import current, relay


def script(name: str) -> ModuleType:
    """A script of `scripts/peers`, and those that it imports, as modules."""
    found = importlib.util.spec_from_file_location(name, ROOT / f"scripts/peers/{name}.py")
    assert found is not None
    assert found.loader is not None
    sys.modules[name] = module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def golden(monkeypatch_module) -> ModuleType:
    monkeypatch_module.syspath_prepend(str(ROOT / "scripts/peers"))
    return script("golden_delays")


@pytest.fixture(scope="module")
def monkeypatch_module():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def nest(golden) -> dict[str, np.ndarray]:
    """The spikes of NEST by population: step and cell, [2, spikes]."""
    with np.load(golden.FIXTURE) as held:
        assert str(held["digest"]) == golden.digest(), "NumPy draws another network here"
        return {name: held[name] for name in golden.params.TAU_M_AND_DRIVE}


def test_the_reference_integrator_fires_as_nest_did(golden, nest):
    """So the conventions that the script names are those of NEST."""
    spikes, _ = golden.in_reference()
    assert golden.first_difference(spikes, nest) is None
    late = {name: x + np.array([[0], [1]], np.uint16) for name, x in spikes.items()}
    assert golden.first_difference(late, nest) is not None


def test_nest_golden(golden, nest):
    """200 ms of 10,769 cells and 222,750 synapses, each with its own weight and delay."""
    cells, drawn = golden.params.cells(golden.SIZE), golden.edges()
    populations = [
        cb.Population(
            name="mossy_fiber", size=cells["mossy_fiber"], model="relay", params=relay.Params()
        ),
        *(
            cb.Population(
                name=name,
                size=cells[name],
                model="current",
                params=current.Params(tau_m=tau_m, drive=drive),
            )
            for name, (tau_m, drive) in golden.params.TAU_M_AND_DRIVE.items()
        ),
    ]
    projections = [
        cb.Projection(
            source=source,
            target=target,
            receptor=golden.receptor(f"{source}_{target}"),
            weight=abs(weight),
            delay=1.0,
            in_degree=degree,
        )
        for source, target, _, weight, degree, _ in golden.params.projections(golden.SIZE)
    ]
    spec = cb.Spec(
        name="golden",
        populations=tuple(populations),
        projections=tuple(projections),
        dt=golden.DT,
    )
    edges = {
        name: cb.Edges(pre, post, weight=weight, delay=delay)
        for name, (pre, post, weight, delay) in drawn.items()
    }
    circuit = cb.build(spec, jax.random.key(0), edges=edges, path="event")
    state = cb.init(circuit, jax.random.key(1))
    started = {n: replace(state.cells[n], v=jnp.asarray(v)) for n, v in golden.voltages().items()}
    state = replace(state, cells={**state.cells, **started})
    _, recording = cb.simulate(
        circuit,
        state,
        {"mossy_fiber": golden.inputs().astype(np.float32)},
        duration_ms=golden.STEPS * golden.DT,
        record=[f"raster:{name}" for name in nest],
        progress=False,
    )
    spikes = {}
    for name, raster in recording.rasters.items():
        step = np.round(raster.time_ms / golden.DT).astype(int) - 1
        spikes[name] = golden.ordered(step, raster.cell)
    assert golden.first_difference(spikes, nest) is None
