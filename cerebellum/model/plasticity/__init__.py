"""Learning rules by name, and the protocol for rules that a user adds."""

from cerebellum.model import registry
from cerebellum.model.plasticity import protocol
from cerebellum.model.plasticity.protocol import Closing, Incur, Moment, Settle, Sizes, Synapses
from cerebellum.model.plasticity.window import (
    LATENCY_MS,
    WINDOWS,
    Rule,
    Window,
    incur,
    kernel,
    kernel_by_row,
    mossy_fibre_nuclei,
    owed,
    pair_stdp,
    parallel_fibre_interneuron,
    parallel_fibre_purkinje,
    ring_steps,
    settle,
    updating,
)

RULES: dict[str, type] = {"window": Rule}
"""Classes of learning rules by name; `cerebellum.register("rule", name, class)` adds one."""

registry.table("rule", RULES, protocol.wrong)

__all__ = [
    "LATENCY_MS",
    "RULES",
    "WINDOWS",
    "Closing",
    "Incur",
    "Moment",
    "Rule",
    "Settle",
    "Sizes",
    "Synapses",
    "Window",
    "incur",
    "kernel",
    "kernel_by_row",
    "mossy_fibre_nuclei",
    "owed",
    "pair_stdp",
    "parallel_fibre_interneuron",
    "parallel_fibre_purkinje",
    "ring_steps",
    "settle",
    "updating",
]
