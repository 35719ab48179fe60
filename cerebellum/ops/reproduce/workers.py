"""Independent runs, as many at once as there are processors."""

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def spread(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """`function` of each item, in their order, in processes of their own where that is faster.

    XLA's flags come with the environment. `function`, items and results must pickle.
    """
    count = min(len(items), len(os.sched_getaffinity(0)))
    if count <= 1:
        return [function(item) for item in items]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, mp_context=context) as pool:
        return list(pool.map(function, items))
