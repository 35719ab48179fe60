"""The protocol of a learning rule.

A rule is a hashable frozen dataclass of plain numbers with the methods of `Rule`, and its class is
registered under a name. Its place in the state of the circuit, its division among devices, the
estimate of memory and checkpoints follow from these methods.

Dimensions: N source cells, T target cells, G beams, R targets per beam, F fan-out. Weights are
[N, F] for lists and [N, R] for rows.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import jax.numpy as jnp
from flax import struct
from jax import Array

from cerebellum.model import events, fixed, registry

Axis = Literal["source", "target", "row", "synapse", "none"]
"""The axis along which an array of a rule's state is divided among shards. For "source", "target"
and "row", the last axis of the array belongs to the source cells, the target cells or the entries
of a row in all beams (G R). For "synapse", its last two axes are those of the weights. For "none",
the array is the same in all shards."""

NAMES = ("KEEPS_BOUNDS", "teachers", "history", "problem", "axes", "begin", "learn")
"""The attributes that a rule must have."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Sizes of the synapses of a projection."""

    sources: int
    """number of source cells"""
    targets: int
    """number of target cells"""
    row: int
    """number of entries of a row in all beams, G R"""
    weights: tuple[int, int]
    """shape of the weights"""


@struct.dataclass(kw_only=True)
class Synapses:
    """The synapses of a plastic projection, as a rule uses them."""

    fan: events.Fan
    """wiring of the projection"""
    contacts_key: Array
    """words of the key of `fixed.exists`, which is used where `share` is below one: uint32 [2]"""
    cell_offset: Array | int = 0
    """number of this shard's first source cell in the whole circuit"""
    rule: Any = struct.field(pytree_node=False)
    dt: float = struct.field(pytree_node=False)
    """time step, ms"""
    delay: int = struct.field(pytree_node=False, default=1)
    """conduction delay, in steps"""
    share: float = struct.field(pytree_node=False, default=1.0)
    """the share of the contacts of a row that exist"""
    w_max: float = struct.field(pytree_node=False, default=math.inf)
    """upper bound of the weights; the lower bound is 0"""

    def at_targets(self, values: Array, shape: tuple[int, int]) -> Array:
        """Give each synapse the value of its target, in the shape of the weights.

        Args:
          values: one per target, [T].
          shape: shape of the weights.
        """
        if isinstance(self.fan, events.FanOut):
            return values.at[self.fan.targets].get(mode="fill", fill_value=0)
        sources, width = shape
        beams = self.fan.beams
        by_beam = jnp.pad(values, (0, beams * width - values.size)).reshape(beams, width)
        return by_beam[jnp.arange(sources) // -(-sources // beams)]

    def bounded(self, weights: Array, targets: int) -> Array:
        """Clip weights to their bounds, and set them to zero where there is no contact.

        Args:
          targets: number of target cells.
        """
        return jnp.where(self._exists(weights.shape, targets), jnp.clip(weights, 0, self.w_max), 0)

    def _exists(self, shape: tuple[int, ...], targets: int) -> Array | bool:
        """Whether each entry of the weights is a contact."""
        if isinstance(self.fan, events.FanOut):
            return self.fan.targets < targets
        if self.share == 1:
            return True
        numbers = jnp.asarray(self.cell_offset).astype(jnp.uint32)
        numbers = numbers + jnp.arange(shape[0], dtype=jnp.uint32)
        return fixed.exists(self.contacts_key, numbers, shape[1], self.share)


@struct.dataclass(kw_only=True)
class Closing:
    """The presynaptic spikes whose window closes in a step, and the weight changes for them."""

    words: Array
    """packed spikes, uint32 [W]"""
    change: Array
    """change of the weight of any synapse onto each target, float32 [G R], or [T] for lists"""
    key: Array
    """words of the key that rounds uint16 weights, different ones in every step: uint32 [2]"""


class Settle(Protocol):
    """Apply the pending weight updates; a backend may replace the reference, `window.settle`."""

    def __call__(self, weights: Array, closing: Closing, synapses: Synapses) -> Array: ...


class Incur(Protocol):
    """Add the effect of teaching spikes; a backend may replace the reference, `window.incur`."""

    def __call__(
        self, pending: Array, teaching_spikes: Array, step: Array, rule: Any, dt: float
    ) -> Array: ...


@dataclass(frozen=True, kw_only=True)
class Moment:
    """The quantities of one step that a rule may use."""

    step: Array
    """number of the step, int32 scalar"""
    line: Array
    """The delay line of the source, before the spikes of this step are written into it. It is at
    least as deep as the projection's delay and the rule's history together."""
    arrived: Array
    """spikes of the source cells that arrive at the targets in this step, float32 [N]"""
    fired: Array
    """spikes of the target cells in this step, float32 [T]"""
    cells: Mapping[str, Array]
    """recordable variables of the target cells by name, [T]"""
    teaching_spikes: Mapping[str, Array]
    """teaching spikes that arrive at each target in this step, by teacher, float32 [T]"""
    gain: Array
    """factor on all changes, 0 to learn nothing, scalar"""
    key: Array
    """words of a random key of this run, projection and step, uint32 [2]"""
    settle: Settle
    """the backend's function that applies pending weight updates"""
    incur: Incur
    """the backend's function that adds the effect of teaching spikes to pending weight updates"""


class Rule(Protocol):
    """How the weights of a projection learn."""

    KEEPS_BOUNDS: ClassVar[bool]
    """whether `learn` itself keeps weights within their bounds, and zero where there is no contact;
    otherwise the circuit does it after each step"""

    @property
    def teachers(self) -> tuple[str, ...]:
        """The sources of teaching spikes: projections onto the target, or the target itself."""
        ...

    def history(self, dt: float) -> int:
        """Number of steps, beyond the delay, for which the delay line must keep spikes."""
        ...

    def problem(self, projection: Any) -> str | None:
        """Why the rule cannot be used in a `spec.Projection`, or None.

        The text begins with the name of a field of the rule.
        """
        ...

    def axes(self) -> Any:
        """The `Axis` of each array of the rule's state, as a tree of the same structure."""
        ...

    def begin(self, sizes: Sizes, dt: float) -> Any:
        """The rule's state before the first step: a tree of arrays."""
        ...

    def learn(
        self, weights: Array, state: Any, moment: Moment, synapses: Synapses
    ) -> tuple[Array, Any]:
        """The weights and the rule's state after a step."""
        ...


def wrong(thing: Any) -> str | None:
    """What a class lacks to be a rule, or None."""
    if not isinstance(thing, type):
        return f"{type(thing).__name__}; a class"
    problem = registry.lacking(thing, NAMES, "what plasticity.protocol.Rule asks for")
    return problem or registry.no_record(thing)
