"""A cerebellum that people can run.

    import cerebellum as cb

    circuit = cb.build(cb.presets.mouse(), key)
    state = cb.init(circuit, key)
    drive = {"glomerulus": cb.drive.poisson(1.0)}
    state, recording = cb.simulate(circuit, state, drive, duration_ms=500)

Names are loaded when they are first used, so that programs which only parse arguments start fast.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from cerebellum import xla

if TYPE_CHECKING:
    from cerebellum import analysis, io, plot, store
    from cerebellum.compiled import compilation_cache
    from cerebellum.errors import UsageError
    from cerebellum.extend import register
    from cerebellum.learn import arrays, losses, tasks
    from cerebellum.learn.fit import FitInterrupted, fit
    from cerebellum.model import connect, layers, neurons, presets
    from cerebellum.model.anatomy import build
    from cerebellum.model.circuit import Circuit, init
    from cerebellum.model.consolidation import consolidate
    from cerebellum.model.edges import Edges
    from cerebellum.model.gap_junctions import GapJunctions
    from cerebellum.model.manipulate import scale_weights, silence, with_params
    from cerebellum.model.neurons.equations import define_neuron
    from cerebellum.model.plasticity import Rule, Window
    from cerebellum.model.plasticity.traces import define_rule
    from cerebellum.model.population import Population
    from cerebellum.model.projection import Projection
    from cerebellum.model.spec import Spec
    from cerebellum.model.step import step
    from cerebellum.model.surrogate import Surrogate
    from cerebellum.model.values import Distribution, LogNormal, Normal, Uniform
    from cerebellum.program import __version__
    from cerebellum.sim import drive, record, shard
    from cerebellum.sim.interrupt import Interrupted
    from cerebellum.sim.simulate import simulate, simulate_batch
    from cerebellum.sim.sweep import sweep


xla.guard()
xla.command_buffers()

_HOMES = {
    "__version__": "cerebellum.program",
    "Circuit": "cerebellum.model.circuit",
    "Distribution": "cerebellum.model.values",
    "Edges": "cerebellum.model.edges",
    "FitInterrupted": "cerebellum.learn.fit",
    "GapJunctions": "cerebellum.model.gap_junctions",
    "Interrupted": "cerebellum.sim.interrupt",
    "LogNormal": "cerebellum.model.values",
    "Normal": "cerebellum.model.values",
    "Population": "cerebellum.model.population",
    "Projection": "cerebellum.model.projection",
    "Rule": "cerebellum.model.plasticity",
    "Spec": "cerebellum.model.spec",
    "Surrogate": "cerebellum.model.surrogate",
    "Uniform": "cerebellum.model.values",
    "UsageError": "cerebellum.errors",
    "Window": "cerebellum.model.plasticity",
    "analysis": "cerebellum",
    "arrays": "cerebellum.learn",
    "build": "cerebellum.model.anatomy",
    "connect": "cerebellum.model",
    "compilation_cache": "cerebellum.compiled",
    "consolidate": "cerebellum.model.consolidation",
    "define_neuron": "cerebellum.model.neurons.equations",
    "define_rule": "cerebellum.model.plasticity.traces",
    "drive": "cerebellum.sim",
    "fit": "cerebellum.learn.fit",
    "init": "cerebellum.model.circuit",
    "io": "cerebellum",
    "layers": "cerebellum.model",
    "losses": "cerebellum.learn",
    "neurons": "cerebellum.model",
    "plot": "cerebellum",
    "presets": "cerebellum.model",
    "record": "cerebellum.sim",
    "register": "cerebellum.extend",
    "scale_weights": "cerebellum.model.manipulate",
    "shard": "cerebellum.sim",
    "silence": "cerebellum.model.manipulate",
    "simulate": "cerebellum.sim.simulate",
    "simulate_batch": "cerebellum.sim.simulate",
    "step": "cerebellum.model.step",
    "store": "cerebellum",
    "sweep": "cerebellum.sim.sweep",
    "tasks": "cerebellum.learn",
    "with_params": "cerebellum.model.manipulate",
}

_MODULES = {
    "analysis",
    "arrays",
    "connect",
    "drive",
    "io",
    "layers",
    "losses",
    "neurons",
    "plot",
    "presets",
    "record",
    "shard",
    "store",
    "tasks",
}
"""Names that are modules, not things in them."""

__all__ = [
    "Circuit",
    "Distribution",
    "Edges",
    "FitInterrupted",
    "GapJunctions",
    "Interrupted",
    "LogNormal",
    "Normal",
    "Population",
    "Projection",
    "Rule",
    "Spec",
    "Surrogate",
    "Uniform",
    "UsageError",
    "Window",
    "__version__",
    "analysis",
    "arrays",
    "build",
    "compilation_cache",
    "connect",
    "consolidate",
    "define_neuron",
    "define_rule",
    "drive",
    "fit",
    "init",
    "io",
    "layers",
    "losses",
    "neurons",
    "plot",
    "presets",
    "record",
    "register",
    "scale_weights",
    "shard",
    "silence",
    "simulate",
    "simulate_batch",
    "step",
    "store",
    "sweep",
    "tasks",
    "with_params",
]


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOMES[name]
    if name in _MODULES:
        return import_module(f"{home}.{name}")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted(__all__)
