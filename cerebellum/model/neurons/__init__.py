"""Neuron models. Each is a module with the same names:

    Params, State                        pytrees of arrays [..., n]
    init(params, shape, dtype) -> State
    step(params, state, input, dt) -> (State, spikes)

Models that a circuit may use follow `protocol.NeuronModel` and are in `CIRCUIT_MODELS`;
`cerebellum.register("neuron", name, model)` adds one from a user's script.
"""

from typing import Any

from cerebellum.model import registry
from cerebellum.model.neurons import (
    conductance,
    current,
    eglif,
    izhikevich,
    leaky_integrator,
    lif,
    lif_adex,
    lif_ex,
    lif_refrac,
    lsnn,
    protocol,
    relay,
)

CIRCUIT_MODELS: dict[str, Any] = {
    "relay": relay,
    "conductance": conductance,
    "current": current,
    "eglif": eglif,
}
"""The models that a population of a circuit may have, by the name used in its spec."""


def _wrong(thing: Any) -> str | None:
    return registry.lacking(thing, protocol.NAMES, "what a NeuronModel has")


registry.table("neuron", CIRCUIT_MODELS, _wrong)

__all__ = [
    "CIRCUIT_MODELS",
    "conductance",
    "current",
    "eglif",
    "izhikevich",
    "leaky_integrator",
    "lif",
    "lif_adex",
    "lif_ex",
    "lif_refrac",
    "lsnn",
    "protocol",
    "relay",
]
