"""The protocol of a neuron model that a circuit may use.

A module or an object with these names is a model. Gradients through spikes, noise, random initial
voltages, records and their units, the division into shards, the estimate of memory, and checkpoints
follow from them.

Arrays are [..., n], times are in ms.
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
"""The attributes that a model must have."""


class NeuronModel(Protocol):
    """A neuron model that a population of a circuit may have."""

    Params: Any
    """Parameters, floats or arrays: a frozen, keyword-only `flax.struct` dataclass with defaults.
    If it has v_th (mV), its threshold may be homeostatic; if it has t_ref (ms), the number of
    refractory steps is checked."""
    State: Any
    """the variables that a step changes"""
    Input: Any
    """the input of cells in a step; it has `uniform` if the model draws noise"""
    TAKES_SPIKES: bool
    """whether the drive from outside is spikes, 0 or 1; otherwise it is a current"""
    PASSES_GRADIENTS: bool
    """whether `step` accepts a `surrogate`, through which spikes pass gradients"""
    DRAWS_NOISE: bool
    """whether `Input.uniform` is a draw from (0, 1) for each cell in each step"""

    def init(self, params: Any, shape: tuple[int, ...], dtype: Any = ...) -> Any:
        """The initial state of cells [..., n]."""
        ...

    def step(self, params: Any, state: Any, input: Any, dt: float) -> tuple[Any, Array]:
        """Advance cells by `dt` ms: returns the state, and the spikes (0 or 1, [..., n])."""
        ...

    def outside(self, drive: Any) -> Any:
        """The input for a drive from outside, [..., n]: spikes, or a current."""
        ...

    def spread(self, params: Any, state: Any, uniform: Array) -> Any:
        """An initial state in which cells are not in step with each other.

        Args:
          uniform: random numbers from (0, 1), [n].
        """
        ...

    def receptors(self, state: Any) -> dict[str, Array]:
        """The arrays to which the weights of arriving spikes are added, by name."""
        ...

    def with_receptors(self, state: Any, values: dict[str, Array]) -> Any:
        """The state with these arrays after arrivals: the inverse of `receptors`."""
        ...

    def variables(self, state: Any) -> dict[str, Array]:
        """The variables that can be recorded, by name."""
        ...

    def unit(self, variable: str) -> str:
        """The unit of a variable."""
        ...
