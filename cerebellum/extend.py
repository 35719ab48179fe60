"""Extending the package from a user's own script.

    cb.register("neuron", "adex", adex)                      a neuron model: a module or an object
    cb.register("window", "step", cb.Window(shape))          the weight of a pair of spikes
    cb.register("rule", "triplet", Triplet)                  a learning rule: a class
    cb.register("connection", "ring", Ring)                  a rule of connection: a class
    cb.register("distribution", "gamma", Gamma)              numbers of cells or synapses: a class
    cb.register("backend", "mine", backend)                  a way to run circuits
    cb.register("writer", "csv", writer)                     a format of recordings

Registered things work like built-in ones; docs/extending.md has a section for each kind.
"""

from typing import Any, Literal

from cerebellum import backends, io
from cerebellum.model import connect, neurons, plasticity, registry, values

Kind = Literal["neuron", "window", "rule", "connection", "distribution", "backend", "writer"]

OWNERS = (backends, connect, io, neurons, plasticity, values)
"""The modules to which the tables of registered things belong."""


def register(kind: Kind, name: str, thing: Any, *, replace: bool = False) -> None:
    """Register a thing of one of these kinds under a name.

    Args:
      thing: for "neuron" an implementation of `neurons.protocol.NeuronModel`; for "window" a
        `plasticity.Window`; for "rule" a class that implements `plasticity.protocol.Rule`; for
        "connection" a class that implements `connect.Connect`; for "distribution" a subclass of
        `cb.Distribution`; for "backend" an implementation of `backends.Backend`; for "writer" one
        of `io.Writer`.
      replace: whether it may replace another thing of that name. Circuits that are built afterwards
        use the new one; circuits that were built before must be built again.

    Raises:
      UsageError: the kind is unknown, the name is taken, or the thing lacks an attribute or has a
        method that cannot be called as it will be, which the message names.
    """
    registry.add(kind, name, thing, replace)
