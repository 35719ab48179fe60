"""Learning rules by name, and the protocol for rules that a user adds."""

from cerebellum.model import registry
from cerebellum.model.plasticity import protocol
from cerebellum.model.plasticity.protocol import Closing, Moment, Settle, Sizes, Synapses
from cerebellum.model.plasticity.window import (
    LATENCY_MS,
    WINDOWS,
    Rule,
    Window,
    incur,
    kernel,
    mossy_fibre_nuclei,
    owed,
    pair_stdp,
    parallel_fibre_interneuron,
    parallel_fibre_purkinje,
    ring_steps,
    settle,
)

RULES: dict[str, type] = {"window": Rule}
"""Classes of learning rules by name; `cerebellum.register("rule", name, class)` adds one."""

registry.table("rule", RULES, protocol.wrong)

__all__ = [
    "LATENCY_MS",
    "RULES",
    "WINDOWS",
    "Closing",
    "Moment",
    "Rule",
    "Settle",
    "Sizes",
    "Synapses",
    "Window",
    "incur",
    "kernel",
    "mossy_fibre_nuclei",
    "owed",
    "pair_stdp",
    "parallel_fibre_interneuron",
    "parallel_fibre_purkinje",
    "ring_steps",
    "settle",
]
