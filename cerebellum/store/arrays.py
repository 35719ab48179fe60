"""Save and read the arrays of a checkpoint in Orbax's format.

Every array is compared with the manifest before it is used. Large arrays are stored as pieces of
rows, so that no array is ever in memory twice.
"""

import logging
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from orbax.checkpoint import v1 as ocp

from cerebellum.store import alone, manifest
from cerebellum.store.manifest import DamagedError, Problem

FOLDER = "arrays"
DTYPES = {
    "bool",
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
    *("float16", "float32", "float64", "bfloat16"),
}
"""The types that are read: only numbers and booleans, which cannot hold a program."""

PIECE = 2**26
"""Size of a piece, bytes: larger arrays are stored as several pieces."""

CONCURRENT_BYTES = 2**28
"""Most bytes that Orbax reads or writes at the same time."""

Place = Callable[[str, tuple[int, ...]], jax.sharding.Sharding]
"""The sharding of an array, from its name and shape."""


@dataclass(frozen=True)
class Declaration:
    """What the manifest declares about an array."""

    shape: tuple[int, ...]
    dtype: str
    rows: int | None = None
    """rows in a piece; None where the array is one piece"""

    @property
    def bytes(self) -> int:
        """Size of the array, bytes; exact also for absurdly large shapes."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    @property
    def count(self) -> int:
        """The number of pieces."""
        if 0 in self.shape:
            return 0
        return -(-self.shape[0] // self.rows) if self.rows else 1

    def pieces(self, name: str) -> list[tuple[str, slice]]:
        """The name and the rows of each piece."""
        if not self.rows:
            return [(name, slice(None))] * self.count
        starts = range(0, self.shape[0], self.rows)
        return [(f"{name}#{start}", slice(start, start + self.rows)) for start in starts]

    def piece_shape(self, rows: slice) -> tuple[int, ...]:
        """The shape of the piece that holds these rows."""
        if not self.rows:
            return self.shape
        return (min(rows.stop, self.shape[0]) - rows.start, *self.shape[1:])


def _declare(array: np.ndarray) -> Declaration:
    """The declaration of an array: in pieces where it is large and has at least two rows."""
    shape, dtype = array.shape, array.dtype.name
    if array.nbytes <= PIECE or shape[0] < 2:
        return Declaration(shape, dtype)
    return Declaration(shape, dtype, max(1, shape[0] * PIECE // array.nbytes))


def save(path: Path, arrays: Mapping[str, np.ndarray]) -> dict[str, Declaration]:
    """Write arrays by name; returns the declarations for the manifest.

    Raises:
      OSError: the disk refused.
    """
    declarations = {name: _declare(array) for name, array in arrays.items()}
    pieces = {
        piece: arrays[name][rows] if declaration.rows else arrays[name]
        for name, declaration in declarations.items()
        for piece, rows in declaration.pieces(name)
    }
    _save_pieces(path, pieces)
    return declarations


def _save_pieces(path: Path, arrays: dict[str, np.ndarray]) -> None:
    context = _local_context()
    context.array.saving.storage_options.chunk_byte_size = PIECE
    context.array.saving.use_compression = False
    context.memory.write_concurrent_bytes = CONCURRENT_BYTES
    context.memory.deepcopy_host_arrays = False
    try:
        with context, alone.saving(jax.process_count()), _without_thread_tracebacks():
            ocp.save(str(path.absolute()), arrays)
    except ValueError as error:  # TensorStore reports errors of the disk as ValueError.
        code = re.search(r"os_error_code='(\d+)'", str(error))
        if code is None:
            raise OSError(f"{path}: {error}") from error
        raise OSError(int(code[1]), os.strerror(int(code[1])), str(path)) from error


def _local_context() -> ocp.Context:
    """An Orbax context for this process alone, which waits for no other process."""
    context, process = ocp.Context(), jax.process_index()
    context.multiprocessing.primary_host = process
    context.multiprocessing.active_processes = {process}
    return context


@contextmanager
def _without_thread_tracebacks() -> Iterator[None]:
    """Drop the tracebacks that Orbax logs from its threads; it raises the same errors."""
    logger = logging.getLogger("absl")
    logger.addFilter(_is_not_from_thread)
    try:
        yield
    finally:
        logger.removeFilter(_is_not_from_thread)


def _is_not_from_thread(record: logging.LogRecord) -> bool:
    return "_SignalingThread" not in record.getMessage()


def read(
    path: Path,
    declarations: Mapping[str, Declaration],
    wanted: Callable[[str], bool],
    place: Place | None,
    limit: int | None,
) -> dict[str, Any]:
    """Read arrays that `save` wrote; the arguments are those of `checkpoint.load`.

    Raises:
      DamagedError: the arrays are not the declared ones, or the declarations are impossible.
    """
    _check_declarations(declarations, limit)
    index = _read_index(path, declarations)
    chosen = {name: each for name, each in declarations.items() if wanted(name)}
    return _read_all(index, chosen, place)


def _check_declarations(declarations: Mapping[str, Declaration], limit: int | None) -> None:
    """Raise DamagedError where a declaration is impossible, or all arrays are over the limit."""
    total = 0
    for name, declaration in declarations.items():
        shape, dtype, rows = declaration.shape, declaration.dtype, declaration.rows
        if dtype not in DTYPES or not all(type(n) is int and n >= 0 for n in shape):
            raise DamagedError([Problem(name, f"{dtype} {list(shape)}; numbers in a shape")])
        if rows is not None and not (type(rows) is int and rows > 0 and shape):
            raise DamagedError([Problem(name, f"pieces of {rows!r} rows; one or more")])
        total += declaration.bytes
    if limit is not None and total > limit:
        raise DamagedError([Problem(manifest.NAME, f"arrays of {total} bytes; at most {limit}")])


@dataclass(frozen=True)
class _Index:
    """Orbax's own list of the pieces in a folder."""

    path: Path
    entries: dict[str, Any]

    def read(self, names: set[str]) -> dict[str, np.ndarray]:
        """Read the pieces of these names."""
        abstract = {
            name: entry if name in names else ocp.PLACEHOLDER
            for name, entry in self.entries.items()
        }
        context = _local_context()
        context.memory.read_concurrent_bytes = CONCURRENT_BYTES
        try:
            with context:
                pieces: Any = ocp.load(str(self.path.absolute()), abstract)
        except Exception as error:
            raise _damage("data", f"cannot be read ({error})".splitlines()[0]) from error
        return {name: pieces[name] for name in names}


def _damage(name: str, problem: str) -> DamagedError:
    """The error for a problem with the arrays of a checkpoint."""
    return DamagedError([Problem(f"{FOLDER}: {name}", problem)])


def _read_index(path: Path, declarations: Mapping[str, Declaration]) -> _Index:
    """Orbax's list of the pieces, compared with the declarations."""
    count = sum(declaration.count for declaration in declarations.values())
    try:
        with _local_context():
            entries: Any = ocp.metadata(str(path.absolute())).metadata if count else {}
        stored = {name: (tuple(x.shape), np.dtype(x.dtype).name) for name, x in entries.items()}
    except Exception as error:  # A parser may raise anything on bytes that Orbax did not write.
        raise _damage("index", f"not Orbax's ({type(error).__name__})") from error
    if count > len(stored):
        raise _damage("index", f"{len(stored)} pieces; {count} are declared")
    expected = {
        piece: (declaration.piece_shape(rows), declaration.dtype)
        for name, declaration in declarations.items()
        for piece, rows in declaration.pieces(name)
    }
    for name in expected.keys() | stored.keys():
        if stored.get(name) != expected.get(name):
            raise _damage(name, f"holds {stored.get(name)}; {expected.get(name)} is declared")
    return _Index(path, dict(entries))


def _read_all(
    index: _Index, declarations: dict[str, Declaration], place: Place | None
) -> dict[str, Any]:
    """Read the arrays: the small ones together, each large one piece by piece into its place."""
    small = index.read({name for name, x in declarations.items() if x.count and not x.rows})
    arrays: dict[str, Any] = {}
    for name, declaration in declarations.items():
        shape = declaration.shape
        if declaration.rows and declaration.count:
            sharding = place(name, shape) if place else None
            pieces = (
                (rows, index.read({piece})[piece]) for piece, rows in declaration.pieces(name)
            )
            arrays[name] = (
                _assemble(declaration, pieces)
                if sharding is None
                else _assemble_on_devices(declaration, pieces, sharding)
            )
            continue
        array = small[name] if declaration.count else np.zeros(shape, declaration.dtype)
        arrays[name] = jax.device_put(array, place(name, shape)) if place else array
    for array in arrays.values():
        if isinstance(array, np.ndarray):  # What is restored from it may share its memory.
            array.setflags(write=False)
    return arrays


Pieces = Iterator[tuple[slice, np.ndarray]]
"""The rows of each piece, and its values."""


def _assemble(declaration: Declaration, pieces: Pieces) -> np.ndarray:
    """A NumPy array from its pieces."""
    array = np.empty(declaration.shape, declaration.dtype)
    for rows, piece in pieces:
        array[rows] = piece
    return array


def _assemble_on_devices(
    declaration: Declaration, pieces: Pieces, sharding: jax.sharding.Sharding
) -> jax.Array:
    """A JAX array from its pieces, written in place: one piece at a time is in host memory."""
    shape, dtype = declaration.shape, declaration.dtype
    by_device = sharding.addressable_devices_indices_map(shape)
    indices = {device: index for device, index in by_device.items() if index is not None}
    shards = {
        device: jnp.zeros(sharding.shard_shape(shape), dtype, device=device) for device in indices
    }
    for rows, piece in pieces:
        for device, index in indices.items():
            shard_start, shard_stop, _ = index[0].indices(shape[0])
            start = max(shard_start, rows.start)
            stop = min(shard_stop, rows.start + len(piece))
            if start < stop:
                block = piece[(slice(start - rows.start, stop - rows.start), *index[1:])]
                shards[device] = _write_rows(shards[device], block, start - shard_start)
    return jax.make_array_from_single_device_arrays(shape, sharding, [*shards.values()])


@partial(jax.jit, donate_argnums=0)
def _write_rows(array: jax.Array, rows: jax.Array, start: int) -> jax.Array:
    return jax.lax.dynamic_update_slice_in_dim(array, rows, start, axis=0)
