"""Independent runs in parallel, one to a processor."""

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

from cerebellum import system

Item = TypeVar("Item")
Result = TypeVar("Result")


def _pin(processors) -> None:
    """Pin this process to a processor, which it takes from a queue."""
    system.pin([processors.get()])


def spread(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """The results of a function for each item, in their order.

    Where there is more than one item and processor, the calls run in worker processes. Each is
    pinned to one processor, because two processes that migrate take a third longer. XLA's flags are
    inherited through the environment. The function, the items and the results must be picklable.
    """
    available = system.processors()
    count = min(len(items), len(available))
    if count <= 1:
        return [function(item) for item in items]
    context = multiprocessing.get_context("spawn")
    processors = context.SimpleQueue()
    for processor in available:
        processors.put(processor)
    with ProcessPoolExecutor(
        count, mp_context=context, initializer=_pin, initargs=(processors,)
    ) as pool:
        return list(pool.map(function, items))
