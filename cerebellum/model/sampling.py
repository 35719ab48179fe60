"""Drawing the partners of many cells at once, without repetition."""

import numpy as np


def draw_sources(degrees: np.ndarray, sources: int, rng: np.random.Generator) -> np.ndarray:
    """Draw the sources of each target, all different: int64 [targets, largest degree].

    Only the first `degrees[t]` entries of row t count.
    """
    targets, width = len(degrees), int(degrees.max(initial=0))
    if 8 * width > sources:
        return _draw_many(targets, width, sources, rng)
    table = rng.integers(0, sources, (targets, width))
    unchecked = np.arange(targets)
    while unchecked.size:
        row, column = _repeats(table, unchecked)
        table[unchecked[row], column] = rng.integers(0, sources, row.size)
        unchecked = unchecked[np.unique(row)]
    return table


def _repeats(table: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the entries of `table` that repeat a value of their row.

    It sorts value and column as one number, which NumPy does ten times as fast as an argsort, and
    in blocks that fit into the cache of a core.

    Args:
      rows: the rows of `table` to be searched.

    Returns:
      Of each repeated entry, the index of its row in `rows`, and its column.
    """
    width = max(1, table.shape[1])
    bits, blocks = width.bit_length(), []
    block_rows = max(1, 100_000 // width)
    for start in range(0, rows.size, block_rows):
        keys = (table[rows[start : start + block_rows]] << bits) | np.arange(table.shape[1])
        keys.sort(axis=1)
        # Equal values differ in the bits of their columns alone.
        row, rank = np.nonzero((keys[:, 1:] ^ keys[:, :-1]) < 1 << bits)
        blocks.append((start + row, keys[row, rank + 1] & ((1 << bits) - 1)))
    row, column = zip(*blocks, strict=True)
    return np.concatenate(row), np.concatenate(column)


def _draw_many(targets: int, width: int, sources: int, rng: np.random.Generator) -> np.ndarray:
    """As `draw_sources`, for a large share of the sources: those with the smallest random keys."""
    if width == sources:
        return np.broadcast_to(np.arange(sources), (targets, sources))
    chunk = max(1, 8_000_000 // sources)
    rows = []
    for start in range(0, targets, chunk):
        keys = rng.random((min(chunk, targets - start), sources), dtype=np.float32)
        chosen = np.argpartition(keys, width, axis=1)[:, :width]
        rows.append(rng.permuted(chosen, axis=1))
    return np.concatenate(rows)
