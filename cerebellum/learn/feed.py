"""Feeds of training data: ticks in parallel streams, or trials of spikes.

The same step of the same epoch always gives the same batch.

Dimensions: L ticks, B streams or trials, S steps to a tick, M mossy fibres, C choices.
"""

from dataclasses import dataclass
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from cerebellum.learn import network
from cerebellum.learn.network import Learner, Net
from cerebellum.learn.tasks.ticks import NONE, Data, Split

WARM_UP = 30
"""Ticks that are run before those that are evaluated, so that membranes forget their initial
state."""
STREAMS = 64
"""Most circuits that run side by side in an evaluation."""
CHUNK = 20
"""Ticks to a compiled call."""
WINDOW = 4
"""Ticks of each stream to an update, through which gradients go."""
LEAST_STRETCH = 64
"""Ticks of the training split to a stream, at least."""


@dataclass(frozen=True)
class Batch:
    """The samples of one training step."""

    inputs: np.ndarray
    """[L, B, ...]; see `network.sense`."""
    labels: np.ndarray
    """int32 [L, B]; 0 where there is no label."""
    weights: np.ndarray
    """float32 [L, B]; 0 where there is no label."""


class Feed(Protocol):
    """What `train` needs of a task."""

    @property
    def resets(self) -> bool:
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
        """Inputs [L, B, ...] on which the cells' rates are balanced."""
        ...

    def examples(self, what: str = "train") -> tuple[np.ndarray, np.ndarray]:
        """Inputs [n, L, ...] that end at a label, and the labels [n].

        Args:
          what: as in `rates`.
        """
        ...

    def rates(self, net: Net, learner: Learner, what: str) -> tuple[np.ndarray, np.ndarray]:
        """Nuclear rates [n, N] where there are labels, and the labels [n].

        Args:
          what: "train", "validation" or "test".
        """
        ...


def streams_of(data: Data, most: int) -> int:
    """How many streams the training split is divided into, where `most` are wanted."""
    return max(1, min(most, data.train.stop // LEAST_STRETCH))


@dataclass(frozen=True, kw_only=True)
class Ticks:
    """A tick task in parallel streams, each of which is a stretch of the training split."""

    data: Data
    size: int = 32
    window: int = WINDOW
    """L"""
    swap_noise: float = 0.0
    """Share of the features that a batch shows with the value of another tick of the training
    split."""
    seed: int = 0
    resets: bool = False

    @property
    def steps(self) -> int:
        return max(1, (self._stretch - self.window) // self.window)

    @property
    def _stretch(self) -> int:
        """Ticks of the training split to a stream."""
        return self.data.train.stop // self.size

    def batch(self, epoch: int, step: int) -> Batch:
        offset = np.random.default_rng((self.seed, epoch)).integers(self.window)
        start = offset + step * self.window
        at = np.arange(self.size) * self._stretch + start + np.arange(self.window)[:, None]
        at = np.minimum(at, self.data.train.stop - 1)
        labels = self.data.labels[at]
        valid = (labels != NONE) & (self.data.known[at] < self.data.train.stop)
        inputs = self._swapped(self.data.ranks[at], epoch, step)
        return Batch(inputs, np.where(valid, labels, 0).astype(np.int32), valid.astype(np.float32))

    def _swapped(self, inputs: np.ndarray, epoch: int, step: int) -> np.ndarray:
        """Inputs [L, B, F], a share of which is replaced by the same feature at other ticks."""
        if not self.swap_noise:
            return inputs
        rng = np.random.default_rng((self.seed, epoch, step))
        return swapped(inputs, self.data.ranks[: self.data.train.stop], self.swap_noise, rng)

    def sample(self) -> np.ndarray:
        rng = np.random.default_rng(self.seed)
        last = max(1, self.data.train.stop - CHUNK)
        return self.data.ranks[rng.integers(0, last, STREAMS) + np.arange(CHUNK)[:, None]]

    def examples(self, what: str = "train") -> tuple[np.ndarray, np.ndarray]:
        at = self.data.asked(getattr(self.data, what))
        return self.data.ranks[at][:, None], self.data.labels[at].astype(np.int32)

    def rates(self, net: Net, learner: Learner, what: str) -> tuple[np.ndarray, np.ndarray]:
        split: Split = getattr(self.data, what)
        at = self.data.asked(split)
        rates = run(net, learner, self.data.ranks, split)
        return rates[at - split.start], self.data.labels[at].astype(np.int32)


def swapped(
    inputs: np.ndarray, others: np.ndarray, share: float, rng: np.random.Generator
) -> np.ndarray:
    """Features [..., F], a share of which is replaced by the same feature of others, [n, F]."""
    at = rng.integers(0, len(others), inputs.shape)
    replaced = rng.random(inputs.shape) < share
    return np.where(replaced, others[at, np.arange(inputs.shape[-1])], inputs)


def run(net: Net, learner: Learner, ranks: np.ndarray, split: Split) -> np.ndarray:
    """Nuclear rates at the end of every tick of a split, [n, N].

    The split is cut into stretches, which run side by side.
    """
    count = split.stop - split.start
    streams = max(1, min(STREAMS, count // WARM_UP))
    stretch = -(-count // streams)
    steps = -(-(stretch + WARM_UP) // CHUNK) * CHUNK
    at = split.start - WARM_UP + np.arange(steps)[:, None] + np.arange(streams) * stretch
    at = np.clip(at, 0, split.stop - 1)
    carry = network.fresh(net, jax.random.key(0), streams)
    chunks = []
    for start in range(0, steps, CHUNK):
        inputs = jnp.asarray(ranks[at[start : start + CHUNK]])
        carry, ends = network.respond(net.design, net.circuit, learner, carry, inputs)
        chunks.append(np.asarray(ends.rates))
    rates = np.concatenate(chunks)[WARM_UP : WARM_UP + stretch]
    return rates.swapaxes(0, 1).reshape(streams * stretch, -1)[:count]


@dataclass(frozen=True, kw_only=True)
class Trials:
    """Trials of mossy-fibre spikes, each with a label at its end."""

    spikes: np.ndarray
    """uint8 [n, L, S, M]"""
    labels: np.ndarray
    """int [n]"""
    parts: tuple[int, int]
    """Trials at which the validation and the test split begin."""
    size: int = 32
    seed: int = 0
    resets: bool = True

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

    def examples(self, what: str = "train") -> tuple[np.ndarray, np.ndarray]:
        start, stop = self._borders(what)
        return self.spikes[start:stop], self.labels[start:stop].astype(np.int32)

    def rates(self, net: Net, learner: Learner, what: str) -> tuple[np.ndarray, np.ndarray]:
        start, stop = self._borders(what)
        chunks = []
        for batch_start in range(start, stop, STREAMS):
            spikes = self.spikes[batch_start : min(stop, batch_start + STREAMS)].swapaxes(0, 1)
            carry = network.fresh(net, jax.random.key(0), spikes.shape[1])
            inputs = jnp.asarray(spikes)
            _, ends = network.respond(net.design, net.circuit, learner, carry, inputs)
            chunks.append(np.asarray(ends.rates[-1]))
        return np.concatenate(chunks), self.labels[start:stop].astype(np.int32)

    def _borders(self, what: str) -> tuple[int, int]:
        """First trial of a split, and the one behind its last."""
        borders = {
            "train": (0, self.parts[0]),
            "validation": self.parts,
            "test": (self.parts[1], len(self.labels)),
        }
        return borders[what]
