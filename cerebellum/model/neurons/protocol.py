"""What a neuron model declares, to stand in a circuit.

A module with these names is a model, and so is an object that has them. From them follow gradients
through spikes, noise, spread first voltages, records and their units, the cut into shards, the
estimate of memory, and checkpoints.

Arrays are [..., n], times are ms.
"""

from typing import Any, Protocol

from jax import Array

NAMES = (
    "Params",
    "State",
    "Input",
    "TAKES_SPIKES",
    "PASSES_GRADIENTS",
    "DRAWS_NOISE",
    "init",
    "step",
    "outside",
    "spread",
    "receptors",
    "with_receptors",
    "variables",
    "unit",
)
"""What a model must have."""


class NeuronModel(Protocol):
    """A neuron model that a population of a circuit may have."""

    Params: Any
    """parameters, floats or arrays: a frozen, keyword-only `flax.struct` dataclass with defaults;
    with v_th (mV) its threshold may be homeostatic, with t_ref (ms) its steps are checked"""
    State: Any
    """what a step changes"""
    Input: Any
    """what reaches cells in a step; with `uniform` where the model draws noise"""
    TAKES_SPIKES: bool
    """whether it is given spikes from outside, 0 or 1; otherwise a current"""
    PASSES_GRADIENTS: bool
    """whether `step` takes a `surrogate`, through which spikes pass gradients"""
    DRAWS_NOISE: bool
    """whether `Input.uniform` is a draw from (0, 1) of each cell in each step"""

    def init(self, params: Any, shape: tuple[int, ...], dtype: Any = ...) -> Any:
        """The first state of cells [..., n]."""
        ...

    def step(self, params: Any, state: Any, input: Any, dt: float) -> tuple[Any, Array]:
        """A step of `dt` ms: the state, and the spikes (0 or 1, [..., n])."""
        ...

    def outside(self, given: Any) -> Any:
        """The input of what is given from outside, [..., n]: spikes, or a current."""
        ...

    def spread(self, params: Any, state: Any, drawn: Array) -> Any:
        """A first state in which cells are not in step with each other.

        Args:
          drawn: from [0, 1), [n].
        """
        ...

    def receptors(self, state: Any) -> dict[str, Array]:
        """The arrays that arriving weights are added to, by name."""
        ...

    def with_receptors(self, state: Any, arrived: dict[str, Array]) -> Any:
        """The state after arrivals: the inverse of `receptors`."""
        ...

    def variables(self, state: Any) -> dict[str, Array]:
        """What can be recorded, by name."""
        ...

    def unit(self, variable: str) -> str:
        """The unit of a variable."""
        ...


def missing(thing: Any) -> list[str]:
    """The names that a thing lacks to be a model."""
    return [name for name in NAMES if not hasattr(thing, name)]
