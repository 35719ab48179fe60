"""Generated ticks: a price whose next step repeats the last one with some probability."""

from pathlib import Path

import numpy as np


def steps(count: int, again: float, seed: int, flip: int | None = None) -> np.ndarray:
    """Steps of -1 and 1 [count], each of which repeats the last with probability `again`.

    From index `flip` on the probability is 1 - `again`.
    """
    rng = np.random.default_rng(seed)
    probability = np.where(np.arange(count) < (count if flip is None else flip), again, 1 - again)
    signs = np.where(rng.random(count) < probability, 1, -1)
    return np.cumprod(signs)


def write(path: Path, moves: np.ndarray, seed: int = 0) -> Path:
    """Write a file of ticks whose price makes these moves."""
    rng = np.random.default_rng(seed)
    time = 1_700_000_000_000 + np.cumsum(rng.integers(1, 400, len(moves)))
    price, volume = 100 + 0.01 * np.cumsum(moves), rng.random(len(moves))
    rows = zip(time, price, volume, strict=True)
    text = "".join(f"{t},{p:.4f},{v:.3f}\n" for t, p, v in rows)
    path.write_text("timestamp,price,volume\n" + text)
    return path
