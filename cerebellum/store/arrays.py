"""The arrays of a checkpoint in Orbax's format: every one checked before it is believed.

Large ones are kept in pieces of rows, so that none is ever in memory twice.
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
from orbax.checkpoint.experimental.v1._src.saving import execution

from cerebellum.store import manifest
from cerebellum.store.manifest import DamagedError, Problem

FOLDER = "arrays"
DTYPES = {
    "bool",
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
    *("float16", "float32", "float64", "bfloat16"),
}
"""Types that are read: numbers, nothing that could hold a program."""

PIECE = 2**26
"""Bytes of a piece: larger arrays are kept as several, so that none is ever in memory twice."""

AT_ONCE = 2**28
"""Bytes under way at once."""

Place = Callable[[str, tuple[int, ...]], jax.sharding.Sharding]


@dataclass(frozen=True)
class Declared:
    """What the manifest says of an array."""

    shape: tuple[int, ...]
    dtype: str
    rows: int | None = None
    """to a piece; None: it is one piece"""

    @property
    def bytes(self) -> int:
        """Exact however large it claims to be."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    @property
    def count(self) -> int:
        """Pieces."""
        if 0 in self.shape:
            return 0
        return -(-self.shape[0] // self.rows) if self.rows else 1

    def pieces(self, name: str) -> list[tuple[str, slice]]:
        """Names of the pieces and their rows."""
        if not self.rows:
            return [(name, slice(None))] * self.count
        starts = range(0, self.shape[0], self.rows)
        return [(f"{name}#{start}", slice(start, start + self.rows)) for start in starts]

    def piece_shape(self, rows: slice) -> tuple[int, ...]:
        """Shape of the piece of these rows."""
        if not self.rows:
            return self.shape
        return (min(rows.stop, self.shape[0]) - rows.start, *self.shape[1:])


def _declare(array: np.ndarray) -> Declared:
    shape, dtype = array.shape, array.dtype.name
    if array.nbytes <= PIECE or shape[0] < 2:
        return Declared(shape, dtype)
    return Declared(shape, dtype, max(1, shape[0] * PIECE // array.nbytes))


def save(path: Path, arrays: Mapping[str, np.ndarray]) -> dict[str, Declared]:
    """Write arrays; returns what is to be declared of them.

    Raises:
      OSError: the disk refused.
    """
    declared = {name: _declare(array) for name, array in arrays.items()}
    pieces = {
        piece: arrays[name][rows] if told.rows else arrays[name]
        for name, told in declared.items()
        for piece, rows in told.pieces(name)
    }
    _save_pieces(path, pieces)
    return declared


def _save_pieces(path: Path, arrays: dict[str, np.ndarray]) -> None:
    context = _alone()
    context.array.saving.storage_options.chunk_byte_size = PIECE
    context.array.saving.use_compression = False
    context.memory.write_concurrent_bytes = AT_ONCE
    context.memory.deepcopy_host_arrays = False
    try:
        with context, _quiet():
            ocp.save(str(path.absolute()), arrays)
    except ValueError as error:  # TensorStore's way of saying that the disk refused
        code = re.search(r"os_error_code='(\d+)'", str(error))
        if code is None:
            raise OSError(f"{path}: {error}") from error
        raise OSError(int(code[1]), os.strerror(int(code[1])), str(path)) from error


def _alone() -> ocp.Context:
    """Orbax for this process, whatever others there are: it waits for none of them."""
    context, own = ocp.Context(), jax.process_index()
    context.multiprocessing.primary_host = own
    context.multiprocessing.active_processes = {own}
    # Orbax 0.12 still compares the path among all processes, and would wait for those that do not
    # save.
    if jax.process_count() > 1 and hasattr(execution, "_check_directory_consistency"):
        execution._check_directory_consistency = lambda directory: None
    return context


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the tracebacks that Orbax logs from its threads: what went wrong is raised too."""
    logger = logging.getLogger("absl")
    logger.addFilter(_not_a_thread)
    try:
        yield
    finally:
        logger.removeFilter(_not_a_thread)


def _not_a_thread(record: logging.LogRecord) -> bool:
    return "_SignalingThread" not in record.getMessage()


def read(
    path: Path,
    declared: Mapping[str, Declared],
    wanted: Callable[[str], bool],
    place: Place | None,
    limit: int | None,
) -> dict[str, Any]:
    """What `save` wrote; see `checkpoint.load`.

    Raises:
      DamagedError: it is not what was declared, or that cannot be.
    """
    _check_declared(declared, limit)
    index = _index(path, declared)
    return _read_all(index, {name: x for name, x in declared.items() if wanted(name)}, place)


def _check_declared(declared: Mapping[str, Declared], limit: int | None) -> None:
    total = 0
    for name, told in declared.items():
        numbers = all(type(n) is int and n >= 0 for n in told.shape)
        if told.dtype not in DTYPES or not numbers:
            said = f"{told.dtype} {list(told.shape)}; numbers in a shape"
            raise DamagedError([Problem(name, said)])
        if told.rows is not None and not (type(told.rows) is int and told.rows > 0 and told.shape):
            raise DamagedError([Problem(name, f"pieces of {told.rows!r} rows; one or more")])
        total += told.bytes
    if limit is not None and total > limit:
        raise DamagedError([Problem(manifest.NAME, f"arrays of {total} bytes; at most {limit}")])


@dataclass(frozen=True)
class _Index:
    """Orbax's own list of what there is."""

    path: Path
    entries: dict[str, Any]

    def read(self, names: set[str]) -> dict[str, np.ndarray]:
        """Some of it."""
        abstract = {
            name: each if name in names else ocp.PLACEHOLDER for name, each in self.entries.items()
        }
        context = _alone()
        context.memory.read_concurrent_bytes = AT_ONCE
        try:
            with context:
                loaded: Any = ocp.load(str(self.path.absolute()), abstract)
        except Exception as error:
            raise _bad("data", f"cannot be read ({error})".splitlines()[0]) from error
        return {name: loaded[name] for name in names}


def _bad(name: str, text: str) -> DamagedError:
    return DamagedError([Problem(f"{FOLDER}: {name}", text)])


def _index(path: Path, declared: Mapping[str, Declared]) -> _Index:
    """What there is, compared with what is declared."""
    count = sum(told.count for told in declared.values())
    try:
        with _alone():
            found: Any = ocp.metadata(str(path.absolute())).metadata if count else {}
        there = {name: (tuple(x.shape), np.dtype(x.dtype).name) for name, x in found.items()}
    except Exception as error:  # whatever a parser says of bytes that are none of Orbax's
        raise _bad("index", f"not Orbax's ({type(error).__name__})") from error
    if count > len(there):
        raise _bad("index", f"{len(there)} pieces; {count} are declared")
    wanted = {
        piece: (told.piece_shape(rows), told.dtype)
        for name, told in declared.items()
        for piece, rows in told.pieces(name)
    }
    for name in wanted.keys() | there.keys():
        if there.get(name) != wanted.get(name):
            raise _bad(name, f"holds {there.get(name)}; {wanted.get(name)} is declared")
    return _Index(path, dict(found))


def _read_all(index: _Index, chosen: dict[str, Declared], place: Place | None) -> dict[str, Any]:
    """The arrays: small ones at once, each large one piece by piece to where it will be."""
    small = index.read({name for name, told in chosen.items() if told.count and not told.rows})
    out: dict[str, Any] = {}
    for name, told in chosen.items():
        if told.rows and told.count:
            sharding = place(name, told.shape) if place else None
            pieces = ((rows, index.read({piece})[piece]) for piece, rows in told.pieces(name))
            out[name] = _gather(told, pieces) if sharding is None else _fill(told, pieces, sharding)
            continue
        array = small[name] if told.count else np.zeros(told.shape, told.dtype)
        out[name] = jax.device_put(array, place(name, told.shape)) if place else array
    return out


Pieces = Iterator[tuple[slice, np.ndarray]]


def _gather(told: Declared, pieces: Pieces) -> np.ndarray:
    whole = np.empty(told.shape, told.dtype)
    for rows, piece in pieces:
        whole[rows] = piece
    return whole


def _fill(told: Declared, pieces: Pieces, sharding: jax.sharding.Sharding) -> jax.Array:
    """An array on its devices, filled in place: beside it there is one piece."""
    by_device = sharding.addressable_devices_indices_map(told.shape)
    indices = {device: index for device, index in by_device.items() if index is not None}
    shards = {
        device: jnp.zeros(sharding.shard_shape(told.shape), told.dtype, device=device)
        for device in indices
    }
    for rows, piece in pieces:
        for device, index in indices.items():
            first, last, _ = index[0].indices(told.shape[0])
            start, stop = max(first, rows.start), min(last, rows.start + len(piece))
            if start < stop:
                mine = piece[(slice(start - rows.start, stop - rows.start), *index[1:])]
                shards[device] = _write_rows(shards[device], mine, start - first)
    return jax.make_array_from_single_device_arrays(told.shape, sharding, [*shards.values()])


@partial(jax.jit, donate_argnums=0)
def _write_rows(whole: jax.Array, rows: jax.Array, start: int) -> jax.Array:
    return jax.lax.dynamic_update_slice_in_dim(whole, rows, start, axis=0)
