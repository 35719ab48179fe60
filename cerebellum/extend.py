"""Adding to the package from a user's own script.

    cb.register("neuron", "adex", adex)                      a module, or an object, of its names
    cb.register("window", "step", cb.Window(shape))          how a pair of spikes counts
    cb.register("rule", "triplet", Triplet)                  how weights learn, a class
    cb.register("backend", "mine", backend)                  what a circuit can run on
    cb.register("writer", "csv", writer)                     a format of recordings

What is registered is as good as what is built in; docs/extending.md has a page for each.
"""

from typing import Any, Literal

from cerebellum import backends, io
from cerebellum.model import neurons, plasticity, registry

Kind = Literal["neuron", "window", "rule", "backend", "writer"]

OWNERS = (backends, io, neurons, plasticity)
"""modules that own a table"""


def register(kind: Kind, name: str, thing: Any, *, replace: bool = False) -> None:
    """Give a model, a window, a rule, a backend or a writer a name that circuits can say.

    Args:
      thing: for "neuron" what `neurons.protocol.NeuronModel` asks for; for "window" a
        `plasticity.Window`; for "rule" a class of what `plasticity.protocol.Rule` asks for; for
        "backend" what `backends.Backend` asks for;
        for "writer" what `io.Writer` asks for.
      replace: whether it may take the place of another of that name. Circuits that are built
        afterwards run it; those that were built before are to be built again.

    Raises:
      UsageError: no such kind, a name that is taken, or something lacking, by name.
    """
    registry.add(kind, name, thing, replace)
