"""Inference: one compiled call for a tick of each market of a batch.

A call takes a power of two of markets, so that few sizes are compiled. When the call for a batch
fails, each of its ticks gets a call of its own, so that only the tick that causes it fails.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

from cerebellum.errors import FailedError
from cerebellum.service import faults, markets, served
from cerebellum.service.markets import Row
from cerebellum.service.served import Packed, Served

log = logging.getLogger("cerebellum.service.engine")


@dataclass(frozen=True)
class Result:
    """What a call has computed for B ticks."""

    answer: Any
    """a `served.Answer` of NumPy arrays"""
    memories: tuple[Packed, ...]
    """of the markets after their ticks; may be longer than B"""
    processing_ns: int
    """for one tick"""


@dataclass(frozen=True)
class Failure:
    """A call that failed."""

    code: str
    """see `faults.name`"""


@dataclass
class Inference:
    """The model that is served, and how it is called."""

    served: Served
    batch_size: int

    def calls(
        self, rows: Sequence[Row], memories: Sequence[Packed], count: Callable[[], int]
    ) -> Iterator[tuple[slice, Result | Failure]]:
        """Answer a tick of each of some markets: in one call, or in one call each if that fails.

        Args:
          rows: ticks of different markets.
          memories: what is remembered of each market.
          count: ticks that were answered before a call; asked before every call.

        Yields:
          The range of ticks of a call, and what came of it. A Failure is always of one tick.
        """
        result = self._call(rows, memories, count())
        if isinstance(result, Result) or len(rows) == 1:
            yield slice(0, len(rows)), result
            return
        for index in range(len(rows)):
            one = slice(index, index + 1)
            yield one, self._call(rows[one], memories[one], count())

    def _call(
        self, rows: Sequence[Row], memories: Sequence[Packed], count: int
    ) -> Result | Failure:
        began = time.perf_counter_ns()
        try:
            answer, after = self._compiled(rows, tuple(memories), count)
        except Exception as error:
            faults.report(log, error)
            return Failure(faults.name(error))
        return Result(answer, after, (time.perf_counter_ns() - began) // len(rows))

    def _compiled(
        self, rows: Sequence[Row], memories: tuple[Packed, ...], count: int
    ) -> tuple[Any, tuple[Packed, ...]]:
        """The compiled call. What is learned is taken over if every memory is finite."""
        size = size_of(len(rows), self.batch_size)
        learner, after, answer = served.answer(
            self.served.form,
            self.served.arrays,
            self.served.learner,
            memories + (self.served.fresh,) * (size - len(rows)),
            markets.inputs(rows, size),
            np.int32(count % 2**31),
        )
        answer = jax.device_get(answer)
        if self.served.learns and answer.finite.all():
            self.served = replace(self.served, learner=learner)
        return answer, after


def size_of(count: int, most: int) -> int:
    """Markets that a compiled call takes for `count`: the next power of two, at most `most`."""
    return min(most, 1 << (count - 1).bit_length())


def warm(model: Served, batch_size: int) -> None:
    """Compile every size of call and prove one inference of each.

    Raises:
      FailedError: an answer is not finite.
    """
    sizes = {size_of(count, batch_size) for count in range(1, batch_size + 1)}
    for size in sorted(sizes):
        _, _, answer = served.answer(
            model.form,
            model.arrays,
            model.learner,
            (model.fresh,) * size,
            served.zero_inputs(size),
            np.int32(0),
        )
        if not np.asarray(answer.finite).all():
            raise FailedError(f"{model.name}: what it says is not finite; another model")
