"""HDF5 files of other programs, read by h5py, which is an optional package."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from cerebellum.errors import UsageError, nearest
from cerebellum.parts import optional


@contextmanager
def opened(path: str | Path, reader: str) -> Iterator[Any]:
    """Open an HDF5 file for reading.

    Args:
      reader: the name of the format, which is that of the optional extra too, for messages.

    Raises:
      UsageError: h5py is not installed, or this is no HDF5 file that can be read.
    """
    h5py = optional("h5py", reader, reader)
    if not isinstance(path, str | os.PathLike):
        raise UsageError(f"{reader}: {type(path).__name__}; the path of an HDF5 file")
    if not Path(path).is_file():
        raise UsageError(f"{path}: no such file; an HDF5 file")
    try:
        file = h5py.File(path, "r")
    except OSError:
        raise UsageError(f"{path}: not read by h5py; an HDF5 file") from None
    with file:
        yield file


def child(group: Any, name: str, where: str) -> Any:
    """A group or a dataset of a group.

    Args:
      where: the file, for the message.

    Raises:
      UsageError: there is none of that name; the message has the nearest.
    """
    if not isinstance(name, str):
        raise UsageError(f"{where}: {name!r}; a name in {group.name}")
    if not hasattr(group, "keys"):
        raise UsageError(f"{where}: {group.name} is a dataset; a group with {name!r}")
    if name not in group:
        raise UsageError(f"{where}: {name!r}; {nearest(name, sorted(group), group.name)}")
    return group[name]


def array(group: Any, name: str, where: str, shape: tuple[int | None, ...]) -> np.ndarray:
    """The numbers of a dataset.

    Args:
      where: the file, for messages.
      shape: length of each axis; None for any.

    Raises:
      UsageError: there is no such dataset, or it has another shape or is not of numbers.
    """
    dataset = child(group, name, where)
    if not hasattr(dataset, "dtype"):
        raise UsageError(f"{where}: {dataset.name} is a group; a dataset")
    fits = len(dataset.shape) == len(shape) and all(
        want in (None, size) for size, want in zip(dataset.shape, shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise UsageError(f"{where}: {dataset.name} {list(dataset.shape)}; [{wanted}]")
    if dataset.dtype.kind not in "iuf":
        raise UsageError(f"{where}: {dataset.name} is {dataset.dtype}; numbers")
    try:
        return np.asarray(dataset[()])
    except OSError as error:
        raise UsageError(f"{where}: {dataset.name}: damaged ({error}); a whole file") from None


def whole_numbers(
    group: Any, name: str, where: str, shape: tuple[int | None, ...] = (None,)
) -> np.ndarray:
    """As `array`, int64; floats that are whole numbers are accepted."""
    values = array(group, name, where, shape)
    if values.dtype.kind == "f":
        off = values[values != np.round(values)]
        if off.size:
            raise UsageError(f"{where}: {group.name}/{name} has {off.flat[0]}; whole numbers")
    return values.astype(np.int64)


def text(value: Any) -> str | None:
    """An attribute as text; None if it is none."""
    value = value.item() if isinstance(value, np.ndarray) and value.size == 1 else value
    value = value.decode(errors="replace") if isinstance(value, bytes) else value
    return value if isinstance(value, str) else None
