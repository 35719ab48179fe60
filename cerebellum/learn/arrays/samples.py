"""Samples and labels: arrays that are checked, and batches of them.

Dimensions: n samples, B samples of a batch, T steps, F features, N cells, C classes.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from jax import Array
from jax.core import Tracer

from cerebellum.errors import UsageError
from cerebellum.model import noise
from cerebellum.model.streams import stream

AXES = {2: "[n, features]", 3: "[n, time, features]"}


def numbers(values: Any, name: str, axes: int) -> np.ndarray:
    """An array of finite real numbers with this number of axes, of which none is empty."""
    if isinstance(values, Tracer):
        raise UsageError(f"{name}: traced by JAX; arrays with values, outside of jax.jit")
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise UsageError(f"{name}: {array.dtype}; real numbers")
    if array.ndim != axes or 0 in array.shape:
        raise UsageError(f"{name}: {list(array.shape)}; {AXES[axes]}, none of them 0")
    if not np.isfinite(array).all():
        raise UsageError(f"{name}: {int((~np.isfinite(array)).sum()):,} not finite; finite numbers")
    return array


def check(samples: Any, labels: Any, classes: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Samples [n, T, F] and labels int32 [n] as arrays.

    Args:
      samples: X, finite numbers.
      labels: y, whole numbers from 0.
      classes: number of classes C; labels are below it.

    Raises:
      UsageError: shapes, data types or labels are not these.
    """
    x, y = numbers(samples, "X", 3), np.asarray(labels)
    if y.dtype.kind not in "iu":
        raise UsageError(f"y: {y.dtype}; whole numbers 0 to C - 1, such as y.astype(int)")
    if y.shape != x.shape[:1]:
        raise UsageError(f"y: {list(y.shape)}; [{len(x)}], one label for each of X {list(x.shape)}")
    low, high = int(y.min()), int(y.max())
    if low < 0 or (classes is not None and high >= classes):
        most = "C - 1" if classes is None else classes - 1
        raise UsageError(f"y: labels {low} to {high}; 0 to {most}")
    return x, y.astype(np.int32)


def batches(
    samples: Any, labels: Any, size: int, key: Array | int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Batches of an epoch in random order: (X [B, T, F], y int32 [B]).

    All have `size` samples, so that one compiled program is enough. Samples that do not fill one
    more batch are left out of this epoch; with another key they are others.

    Raises:
      UsageError: as `check`, or there are fewer samples than a batch has; at the call.
    """
    x, y = check(samples, labels)
    if type(size) is not int or not 1 <= size <= len(x):
        raise UsageError(f"size: {size!r}; a whole number, 1 to the {len(x)} samples")
    order = stream(noise.key_of(key), "batches").permutation(len(x))
    chosen = (order[first : first + size] for first in range(0, len(x) - size + 1, size))
    return ((x[some], y[some]) for some in chosen)
