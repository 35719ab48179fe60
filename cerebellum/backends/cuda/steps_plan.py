"""The plan of a launch of steps.cu: what it runs, as records of 64-bit integers, and the arrays.

steps/plan.h has the same records, with what their fields mean.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

OFFSET_BITS = 40
"""Bits of an address that are the offset in a buffer."""

SCRATCH = -1
"""The number of the scratch memory among the results, before all others."""

ALIGNMENT = 256
"""Of the parts of the scratch memory, bytes."""

BUFFERS = 448
"""Most operands and results of a launch."""

LIMITS = {"populations": 48, "projections": 96, "rules": 16, "drives": 48}
"""Most records of a kind."""

HEADER = (
    *("start", "counter", "steps", "populations", "projections", "arrivals", "rules", "drives"),
    *("recorders", "row_projections"),
)
POPULATION = (
    *("v", "exc", "inh", "refractory", "constants", "bias", "line", "front", "alive", "raster"),
    *("totals", "size", "words", "depth", "relay", "repeats", "own_constants", "own_bias", "wide"),
    *("first_arrival", "arrivals", "first_drive", "drives", "first_trace", "traces"),
)
PROJECTION = (
    *(
        "targets",
        "weights",
        "sums",
        "taught",
        "kind",
        "source",
        "target",
        "receptor",
        "delay",
        "wide",
    ),
    *("fan", "pieces", "piece", "bits", "copies", "copy_bytes", "beams", "beam_sources", "unit"),
    "rule",
)
RULE = (
    *("pending", "window", "gain", "rounding", "contacts", "taught", "bits", "copies"),
    *("copy_bytes", "depth", "ahead", "back", "age", "per_spike", "per_pair", "inverse", "share"),
)
DRIVE = ("values", "starts", "key", "rows", "stride")
RECORDER = ("out", "index", "chosen", "population", "variable", "choice", "room")


@dataclass(frozen=True)
class Address:
    """Where an array is: a number of an operand or of a result, and an offset in it, bytes."""

    result: bool
    number: int
    offset: int = 0


Record = dict[str, Any]
"""The fields of a record: whole numbers, addresses, or None for no address."""


@dataclass
class Arrays:
    """The operands and results of a launch, as they are added."""

    given: list[Array] = field(default_factory=list)
    """operands, without the plan and the scratch memory"""
    made: list[jax.ShapeDtypeStruct] = field(default_factory=list)
    """results, without the scratch memory"""
    changed: list[int] = field(default_factory=list)
    """for each result the operand that it is aliased with, or -1"""
    scratch_bytes: int = 0

    @property
    def count(self) -> int:
        """All operands and results, with the plan and the scratch memory."""
        return 3 + len(self.given) + len(self.made)

    def read(self, array: Any) -> Address:
        """An array that is only read."""
        self.given.append(jnp.asarray(array))
        return Address(False, len(self.given) - 1)

    def change(self, array: Array) -> Address:
        """An array that is changed in place; the result is that of its number."""
        self.given.append(array)
        self.changed.append(len(self.given) - 1)
        self.made.append(jax.ShapeDtypeStruct(array.shape, array.dtype))
        return Address(True, len(self.made) - 1)

    def write(self, shape: tuple[int, ...], dtype: Any) -> Address:
        """A result that the kernel writes as a whole."""
        self.changed.append(-1)
        self.made.append(jax.ShapeDtypeStruct(shape, dtype))
        return Address(True, len(self.made) - 1)

    def scratch(self, size: int) -> Address:
        """Memory of the launch, `size` bytes of zeros."""
        offset = self.scratch_bytes
        self.scratch_bytes += -(-size // ALIGNMENT) * ALIGNMENT
        return Address(True, SCRATCH, offset)


def run(
    target: str,
    arrays: Arrays,
    plan: Sequence[tuple[tuple[str, ...], Record]],
    **attributes: Any,
) -> Sequence[Array]:
    """Launch, and return the results by number.

    Args:
      plan: the records, with the names of their fields, in the order of steps/plan.h.
      attributes: as steps.cu documents them.
    """
    zeros = jnp.zeros(arrays.scratch_bytes // 4, jnp.uint32)
    # The plan and the scratch memory come first.
    changed = [1, *(number if number < 0 else 2 + number for number in arrays.changed)]
    results = 2 + len(arrays.given)

    def number(value: Any) -> int:
        if value is None:
            return -1
        if isinstance(value, Address):
            buffer = results + 1 + value.number if value.result else 2 + value.number
            return (buffer << OFFSET_BITS) + value.offset
        return int(value)

    numbers = [number(record[name]) for names, record in plan for name in names]
    call = jax.ffi.ffi_call(
        target,
        (jax.ShapeDtypeStruct(zeros.shape, zeros.dtype), *arrays.made),
        input_output_aliases={g: r for r, g in enumerate(changed) if g >= 0},
        vmap_method="sequential",
    )
    words = jnp.asarray(np.array(numbers, np.int64).view(np.uint32))
    attributes["changed"] = np.array(changed, np.int64)
    return call(words, zeros, *arrays.given, **attributes)[1:]


def bits_of(value: Any) -> int:
    """The bits of a float32, as an integer."""
    return int(np.float32(value).view(np.uint32))
