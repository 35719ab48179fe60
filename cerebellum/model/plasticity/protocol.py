"""What a learning rule declares, to stand in a projection.

A rule is a frozen dataclass of plain numbers, hashable, with the methods of `Rule`; its class is
registered under a name. From them follow its state in the circuit's, the cut among devices, the
estimate of memory, and checkpoints.

Dimensions: N source cells, T target cells, G beams, R targets to a beam, F fan-out. Weights are
[N, F] beside lists and [N, R] as rows.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import jax.numpy as jnp
from flax import struct
from jax import Array

from cerebellum.model import events, fixed

Axis = Literal["source", "target", "row", "synapse", "none"]
"""Along what an array of a rule's state lies, for circuits that are cut: its last axis is that of
the source cells, of the target cells, or of the places of a row in all beams (G R); its last two
axes are those of the weights; or it has none of them and is the same everywhere."""

NAMES = ("teachers", "history", "problem", "axes", "begin", "learn")
"""What a rule must have."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Of the synapses of a projection."""

    sources: int
    targets: int
    row: int
    """places of a row in all beams, G R"""
    weights: tuple[int, int]
    """shape of the weights"""


@struct.dataclass(kw_only=True)
class Synapses:
    """The synapses of a plastic projection, as its rule needs to know them."""

    fan: events.Fan
    mask_seed: Array
    """uint32 scalar of `fixed.exists`, where `share` of a row's contacts is below one"""
    cell_offset: Array | int = 0
    """number of the first source cell, where these are a shard's"""
    rule: Any = struct.field(pytree_node=False)
    dt: float = struct.field(pytree_node=False)
    """ms"""
    delay: int = struct.field(pytree_node=False, default=1)
    """steps"""
    share: float = struct.field(pytree_node=False, default=1.0)
    """of a row's contacts that exist"""
    w_max: float = struct.field(pytree_node=False, default=math.inf)
    """bound of the weights; the other one is 0"""

    def at_targets(self, values: Array, shape: tuple[int, int]) -> Array:
        """What each synapse's target has, in the shape of the weights.

        Args:
          values: by target, [T].
          shape: of the weights.
        """
        if isinstance(self.fan, events.FanOut):
            return values.at[self.fan.targets].get(mode="fill", fill_value=0)
        sources, width = shape
        beams = self.fan.beams
        by_beam = jnp.pad(values, (0, beams * width - values.size)).reshape(beams, width)
        return by_beam[jnp.arange(sources) // -(-sources // beams)]

    def bounded(self, weights: Array, targets: int) -> Array:
        """Weights within their bounds, and zero where there is no contact.

        Args:
          targets: number of target cells.
        """
        return jnp.where(self._exists(weights.shape, targets), jnp.clip(weights, 0, self.w_max), 0)

    def _exists(self, shape: tuple[int, ...], targets: int) -> Array | bool:
        """Whether each place of the weights is a contact."""
        if isinstance(self.fan, events.FanOut):
            return self.fan.targets < targets
        if self.share == 1:
            return True
        numbers = jnp.asarray(self.cell_offset).astype(jnp.uint32)
        numbers = numbers + jnp.arange(shape[0], dtype=jnp.uint32)
        return fixed.exists(self.mask_seed, numbers, shape[1], self.share)


@struct.dataclass(kw_only=True)
class Closing:
    """The spikes whose window closes in a step, and what each target owes them."""

    words: Array
    """packed, uint32 [W]"""
    change: Array
    """of a synapse of each target, float32 [G R], or [T] beside lists"""
    seed: Array
    """uint32 scalar for the rounding of uint16, another one in every step"""


class Settle(Protocol):
    """The part of learning that a backend may replace: `window.settle` is the reference."""

    def __call__(self, weights: Array, closing: Closing, synapses: Synapses) -> Array: ...


@dataclass(frozen=True, kw_only=True)
class Moment:
    """What a rule sees of a step."""

    step: Array
    """int32 scalar"""
    line: Array
    """The delay line of the source, before this step is written into it: at least as deep as the
    projection's delay and the rule's history."""
    arrived: Array
    """spikes of the source that arrive at the targets in this step, float32 [N]"""
    fired: Array
    """spikes of the target cells in this step, float32 [T]"""
    cells: Mapping[str, Array]
    """variables of the target cells by name, as they can be recorded, [T]"""
    taught: Mapping[str, Array]
    """by teacher, its spikes that arrive at each target in this step, float32 [T]"""
    gain: Array
    """factor of all changes, 0 to learn nothing, scalar"""
    seed: Array
    """uint32 scalar, of this run and projection"""
    settle: Settle
    """writes the weights of spikes whose window closes, as the backend does"""


class Rule(Protocol):
    """How the weights of a projection learn."""

    @property
    def teachers(self) -> tuple[str, ...]:
        """Whose spikes teach: projections onto the same target, or the target population."""
        ...

    def history(self, dt: float) -> int:
        """Steps beyond the projection's delay for which the source's spikes must be kept."""
        ...

    def problem(self, projection: Any) -> str | None:
        """What is wrong with it in such a `spec.Projection`, beginning with a field's name."""
        ...

    def axes(self) -> Any:
        """For each array of its state an `Axis`, in the same tree."""
        ...

    def begin(self, sizes: Sizes, dt: float) -> Any:
        """Its state before the first step: a tree of arrays."""
        ...

    def learn(
        self, weights: Array, state: Any, moment: Moment, synapses: Synapses
    ) -> tuple[Array, Any]:
        """Weights and its own state after a step."""
        ...


def wrong(thing: Any) -> str | None:
    """What a class lacks to be a rule, or None."""
    lacking = [name for name in NAMES if not hasattr(thing, name)]
    if not isinstance(thing, type):
        return f"{type(thing).__name__}; a class"
    if lacking:
        return f"without {', '.join(lacking)}; what plasticity.protocol.Rule asks for"
    if not hasattr(thing, "__dataclass_fields__") or thing.__hash__ is None:
        return f"{thing.__name__}; a frozen dataclass"
    return None
