"""Inference: compiled calls for a tick of each market of a batch.

Few sizes of call are compiled: 1, 2, 4 and 8 markets, then 64 and 512. A batch of at most eight
ticks goes into one call, with padding; of a larger one each call takes as many as it can without
padding. When a call fails, each of its ticks gets a call of its own, so that only the tick that
causes it fails.
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
from cerebellum.service.packed import Packed
from cerebellum.service.served import Served
from cerebellum.service.stacking import GROUP

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
        """Answer a tick of each of some markets, in as few calls as there are sizes for.

        Args:
          rows: ticks of different markets.
          memories: what is remembered of each market.
          count: ticks that were answered before a call; asked before every call.

        Yields:
          The range of ticks of a call, and what came of it. A Failure is always of one tick.
        """
        for part in ranges(len(rows), self.batch_size):
            result = self._call(rows[part], memories[part], count())
            if isinstance(result, Result) or len(rows[part]) == 1:
                yield part, result
                continue
            for index in range(part.start, part.stop):
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


def sizes(most: int) -> list[int]:
    """The numbers of markets that compiled calls take, in order, for batches of at most `most`."""
    small = {min(1 << k, most) for k in range(GROUP.bit_length())}
    large = {GROUP**k for k in range(2, most.bit_length()) if GROUP**k <= most}
    return sorted(small | large)


def size_of(count: int, most: int) -> int:
    """Markets that the first call for `count` takes: with padding if they are at most GROUP."""
    compiled = sizes(most)
    if count <= GROUP:
        return next((size for size in compiled if size >= count), compiled[-1])
    return max(size for size in compiled if size <= count)


def ranges(count: int, most: int) -> Iterator[slice]:
    """The range of each call for a batch of `count` ticks."""
    start = 0
    while start < count:
        stop = min(count, start + size_of(count - start, most))
        yield slice(start, stop)
        start = stop


def warm(model: Served, batch_size: int) -> None:
    """Compile every size of call and prove one inference of each.

    Raises:
      FailedError: an answer is not finite.
    """
    for size in sizes(batch_size):
        began = time.monotonic()
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
        fields = {"markets": size, "seconds": round(time.monotonic() - began, 1)}
        log.info("compiled for %d markets a call", size, extra={"fields": fields})
