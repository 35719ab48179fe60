"""Independent runs, as many at once as there are processors."""

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def _pin(processors) -> None:
    os.sched_setaffinity(0, {processors.get()})


def spread(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """`function` of each item, in their order, in processes of their own where that is faster.

    Each process keeps to one processor: two that wander take a third longer. XLA's flags come
    with the environment. `function`, items and results must pickle.
    """
    there = sorted(os.sched_getaffinity(0))
    count = min(len(items), len(there))
    if count <= 1:
        return [function(item) for item in items]
    context = multiprocessing.get_context("spawn")
    processors = context.SimpleQueue()
    for processor in there:
        processors.put(processor)
    with ProcessPoolExecutor(
        count, mp_context=context, initializer=_pin, initargs=(processors,)
    ) as pool:
        return list(pool.map(function, items))
