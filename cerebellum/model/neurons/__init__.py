"""Neuron models, one module each, all of one shape.

    Params, State                        pytrees of arrays [..., n]
    init(params, shape, dtype) -> State
    step(params, state, input, dt) -> (State, spikes)

A model that can stand in a circuit also has

    Input                                what reaches it from outside in a step
    receptors(state) -> {name: array}    where arriving weights are added
    with_receptors(state, {name: array}) -> State
    variables(state) -> {name: array}    what can be recorded

and is listed in `CIRCUIT_MODELS`.
"""

from types import ModuleType

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
    relay,
)

CIRCUIT_MODELS: dict[str, ModuleType] = {
    "relay": relay,
    "conductance": conductance,
    "current": current,
    "eglif": eglif,
}
"""Models that a population of a circuit may have, by the name used in its spec."""

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
    "relay",
]
