"""What training is fed with: ticks in parallel streams, or trials of spikes.

The same step of the same epoch gives the same batch, whenever it is asked for.

Dimensions: L ticks, B streams or trials, S steps to a tick, M mossy fibres, C choices.
"""

from dataclasses import dataclass
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from cerebellum.learn import network
from cerebellum.learn.network import Learner, Net
from cerebellum.learn.tasks.ticks import NONE, Data, Part

WARM_UP = 30
"""ticks before those that are evaluated, from which membranes forget where they began"""
STREAMS = 64
CHUNK = 20


@dataclass(frozen=True)
class Batch:
    inputs: np.ndarray
    """[L, B, ...]: see `network.sense`"""
    labels: np.ndarray
    """int32 [L, B]; 0 where nothing is asked"""
    weights: np.ndarray
    """float32 [L, B]; 0 where nothing is asked"""


class Feed(Protocol):
    """What `train` needs of a task."""

    @property
    def apart(self) -> bool:
        """Whether every batch starts with fresh circuits."""
        ...

    @property
    def steps(self) -> int:
        """Batches to an epoch."""
        ...

    @property
    def size(self) -> int:
        """B."""
        ...

    def batch(self, epoch: int, step: int) -> Batch: ...

    def sample(self) -> np.ndarray:
        """Inputs [L, B, ...] to balance cells on."""
        ...

    def examples(self) -> tuple[np.ndarray, np.ndarray]:
        """Inputs [n, L, ...] that end where something is asked, and the labels [n]."""
        ...

    def rates(self, net: Net, learner: Learner, what: str) -> tuple[np.ndarray, np.ndarray]:
        """Nuclear rates [n, N] where something is asked, and labels [n].

        Args:
          what: "train", "validation" or "test".
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Ticks:
    """A tick task in streams side by side, each a stretch of the first part."""

    data: Data
    size: int = 32
    window: int = 4
    """L"""
    seed: int = 0
    apart: bool = False

    @property
    def steps(self) -> int:
        return max(1, (self._stretch - self.window) // self.window)

    @property
    def _stretch(self) -> int:
        return self.data.train.stop // self.size

    def batch(self, epoch: int, step: int) -> Batch:
        offset = np.random.default_rng((self.seed, epoch)).integers(self.window)
        first = offset + step * self.window
        at = np.arange(self.size) * self._stretch + first + np.arange(self.window)[:, None]
        at = np.minimum(at, self.data.train.stop - 1)
        labels = self.data.labels[at]
        asked = (labels != NONE) & (self.data.known[at] < self.data.train.stop)
        inputs = self.data.ranks[at]
        return Batch(inputs, np.where(asked, labels, 0).astype(np.int32), asked.astype(np.float32))

    def sample(self) -> np.ndarray:
        rng = np.random.default_rng(self.seed)
        last = max(1, self.data.train.stop - CHUNK)
        return self.data.ranks[rng.integers(0, last, STREAMS) + np.arange(CHUNK)[:, None]]

    def examples(self) -> tuple[np.ndarray, np.ndarray]:
        asked = self.data.asked(self.data.train)
        return self.data.ranks[asked][:, None], self.data.labels[asked].astype(np.int32)

    def rates(self, net: Net, learner: Learner, what: str) -> tuple[np.ndarray, np.ndarray]:
        part: Part = getattr(self.data, what)
        asked = self.data.asked(part)
        found = run(net, learner, self.data.ranks, part)
        return found[asked - part.start], self.data.labels[asked].astype(np.int32)


def run(net: Net, learner: Learner, ranks: np.ndarray, part: Part) -> np.ndarray:
    """Nuclear rates at the end of every tick of a part, [n, N]; in stretches side by side."""
    count = part.stop - part.start
    streams = max(1, min(STREAMS, count // WARM_UP))
    stretch = -(-count // streams)
    steps = -(-(stretch + WARM_UP) // CHUNK) * CHUNK
    at = part.start - WARM_UP + np.arange(steps)[:, None] + np.arange(streams) * stretch
    at = np.clip(at, 0, part.stop - 1)
    carry = network.fresh(net, jax.random.key(0), streams)
    found = []
    for start in range(0, steps, CHUNK):
        given = jnp.asarray(ranks[at[start : start + CHUNK]])
        carry, ends = network.respond(net.design, net.circuit, learner, carry, given)
        found.append(np.asarray(ends.rates))
    own = np.concatenate(found)[WARM_UP : WARM_UP + stretch]
    return own.swapaxes(0, 1).reshape(streams * stretch, -1)[:count]


@dataclass(frozen=True, kw_only=True)
class Trials:
    """Trials of mossy-fibre spikes with a label each, asked at their end."""

    spikes: np.ndarray
    """uint8 [n, L, S, M]"""
    labels: np.ndarray
    """int [n]"""
    parts: tuple[int, int]
    """trials at which validation and test begin"""
    size: int = 32
    seed: int = 0
    apart: bool = True

    @property
    def steps(self) -> int:
        return max(1, self.parts[0] // self.size)

    def batch(self, epoch: int, step: int) -> Batch:
        order = np.random.default_rng((self.seed, epoch)).permutation(self.parts[0])
        at = order[step * self.size : (step + 1) * self.size]
        inputs = self.spikes[at].swapaxes(0, 1)
        labels = np.zeros(inputs.shape[:2], np.int32)
        labels[-1] = self.labels[at]
        weights = np.zeros(inputs.shape[:2], np.float32)
        weights[-1] = 1
        return Batch(inputs, labels, weights)

    def sample(self) -> np.ndarray:
        return self.spikes[: min(STREAMS, self.parts[0])].swapaxes(0, 1)

    def examples(self) -> tuple[np.ndarray, np.ndarray]:
        stop = self.parts[0]
        return self.spikes[:stop], self.labels[:stop].astype(np.int32)

    def rates(self, net: Net, learner: Learner, what: str) -> tuple[np.ndarray, np.ndarray]:
        borders = {
            "train": (0, self.parts[0]),
            "validation": self.parts,
            "test": (self.parts[1], len(self.labels)),
        }
        start, stop = borders[what]
        found = []
        for first in range(start, stop, STREAMS):
            given = self.spikes[first : min(stop, first + STREAMS)].swapaxes(0, 1)
            carry = network.fresh(net, jax.random.key(0), given.shape[1])
            given = jnp.asarray(given)
            _, ends = network.respond(net.design, net.circuit, learner, carry, given)
            found.append(np.asarray(ends.rates[-1]))
        return np.concatenate(found), self.labels[start:stop].astype(np.int32)
