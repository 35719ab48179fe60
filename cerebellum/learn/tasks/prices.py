"""Lone prices that are far from both their neighbours: typing errors, which are left out.

One such price is a hundred times what a return usually is, in both directions. A price that is
followed by others like it is kept.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, pairwise

import numpy as np

FAR = 10.0
"""Factor between a lone price and both its neighbours, which are nearer to each other: a digit, or
a decimal point that is in the wrong place."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """Consecutive rows of a file."""

    columns: dict[str, np.ndarray]
    """float64 [rows] by kind of column"""
    numbers: np.ndarray
    """Number of each row's line, int64 [rows]."""


def lone(blocks: Iterable[Block]) -> Iterator[tuple[Block, list[tuple[int, str]]]]:
    """Each block without its lone prices, and the line of each of these with what is wrong there.

    The first and the last row of a file are compared with the two rows that are nearest.
    """
    above = np.empty(0)
    for block, following in pairwise(chain(blocks, [None])):
        assert block is not None
        prices = block.columns["price"]
        below = np.empty(0) if following is None else following.columns["price"][:2]
        series = np.concatenate([above, prices, below])
        far = _far(series, first=not above.size, last=following is None)
        far = far[len(above) : len(above) + len(prices)]
        faults = []
        if far.any():
            faults = [(int(block.numbers[k]), _fault(prices[k])) for k in np.flatnonzero(far)]
            kept = {kind: column[~far] for kind, column in block.columns.items()}
            block = Block(columns=kept, numbers=block.numbers[~far])
        above = np.concatenate([above, block.columns["price"]])[-2:]
        yield block, faults


def _far(prices: np.ndarray, first: bool, last: bool) -> np.ndarray:
    """Which prices are lone, bool [rows].

    Args:
      first, last: whether the first and the last price are those of the file.
    """
    result = np.zeros(len(prices), bool)
    if len(prices) < 3:
        return result
    ratio = np.abs(np.log(prices[1:] / prices[:-1])) >= np.log(FAR)
    if not ratio.any():
        return result
    near = np.abs(np.log(prices[2:] / prices[:-2])) < np.log(FAR)
    result[1:-1] = ratio[:-1] & ratio[1:] & near
    result[0] = first and ratio[0] and not ratio[1] and not near[0]
    result[-1] = last and ratio[-1] and not ratio[-2] and not near[-1]
    return result


def _fault(price: float) -> str:
    return f"price: {price:.15g}; within a factor of {FAR:g} of the rows beside it"
