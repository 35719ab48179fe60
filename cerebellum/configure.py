"""Apply settings on this machine: the circuit's spec, the device, and the memory it needs."""

import ctypes
import os
import stat
from pathlib import Path

import jax
import psutil

from cerebellum import config
from cerebellum.config import Performance, Settings, shown
from cerebellum.errors import UsageError
from cerebellum.model import presets
from cerebellum.model.part import Part
from cerebellum.model.spec import Spec
from cerebellum.sim import memory


def spec_of(settings: Settings, learning: bool = True) -> Spec:
    """The circuit that a configuration describes.

    Args:
      learning: whether the parallel fibres are plastic, with the configured learning rate.

    Raises:
      UsageError: the numbers of cells, the beams or the step do not go together.
    """
    neural = settings.neural
    sizes = presets.Sizes(
        mossy_fiber=neural.mossy_fiber_size,
        golgi=neural.golgi_size,
        purkinje=neural.purkinje_size,
        basket=neural.basket_size,
        stellate=neural.stellate_size,
        nuclei=neural.dcn_size,
        inferior_olive=neural.inferior_olive_size,
    )
    return presets.beams(
        neural.granule_size,
        beams=neural.beams,
        sizes=sizes,
        dt=neural.dt,
        learning_rate=neural.learning_rate if learning else 0.0,
        sparsity=neural.sparsity,
        dtype=settings.performance.weight_dtype,
    )


def choose_device(settings: Settings) -> None:
    """Tell JAX, before it starts, the configured device, threads and pool of memory.

    Raises:
      UsageError: the GPU has less memory than the pool is to have.
    """
    if settings.performance.threads:
        os.environ["OMP_NUM_THREADS"] = str(settings.performance.threads)
    device = settings.performance.device
    if device == "cpu":
        jax.config.update("jax_platforms", "cpu")
    else:
        _use_pool(settings.performance)


def use_device(settings: Settings) -> None:
    """Make JAX compute on the configured device, and start it; see `choose_device`.

    Raises:
      UsageError: there is no such device, or it has less memory than the pool is to have.
    """
    choose_device(settings)
    if settings.performance.device != "cuda":
        return
    try:
        jax.devices("cuda")
    except RuntimeError:
        raise UsageError(
            'performance.device: no CUDA device on this machine ("cuda"; "auto" or "cpu")'
        ) from None


POOL = "XLA_PYTHON_CLIENT_MEM_FRACTION"
"""The variable by which JAX takes the size of a GPU's pool, as a share of its memory."""


def _use_pool(performance: Performance) -> None:
    """Tell JAX, by the variables that it reads at its start, how to keep a GPU's memory.

    A variable that is set already is left as it is: the environment comes before a file.
    """
    if not performance.memory_pool_enabled:
        os.environ.setdefault("XLA_PYTHON_CLIENT_ALLOCATOR", "platform")
    size = performance.memory_pool_size
    total = None if size is None else gpu_memory()
    if size is None or total is None:
        return
    if size > total:
        raise UsageError(
            f"performance.memory_pool_size: more than the GPU has ({size:,}; at most {total:,})"
        )
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "true")
    if "XLA_CLIENT_MEM_FRACTION" not in os.environ:
        os.environ.setdefault(POOL, f"{size / total:.6f}")


def gpu_memory() -> int | None:
    """The memory of the first GPU, bytes, as its driver says before JAX starts; None without."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    device, total = ctypes.c_int(), ctypes.c_size_t()
    if driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(device), 0):
        return None
    failed = driver.cuDeviceTotalMem_v2(ctypes.byref(total), device)
    return None if failed else total.value


def notes(settings: Settings) -> list[str]:
    """Settings that have no effect on the device of this machine, a line each."""
    keys = ("memory_pool_enabled", "memory_pool_size")
    performance = settings.performance
    given = [key for key in keys if key in performance.model_fields_set]
    if not given or jax.default_backend() != "cpu":
        return []
    return [f"performance.{', '.join(given)}: no effect on a CPU; XLA keeps pools on GPUs alone"]


def memory_there() -> int:
    """The memory of the computing device, bytes: that of the GPU, or that of the machine."""
    device = jax.devices()[0]
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"]
    of_gpu = gpu_memory() if device.platform != "cpu" else None
    if of_gpu is not None:
        # Without a pool XLA tells no limit.
        return of_gpu
    total = psutil.virtual_memory().total
    group = Path("/sys/fs/cgroup/memory.max")
    limit = group.read_text().strip() if group.is_file() else "max"
    return min(total, int(limit)) if limit.isdecimal() else total


def memory_allowed(limit: int | None) -> int:
    """The memory that a circuit may use, bytes: all there is, or the limit if that is less."""
    return memory_there() if limit is None else min(memory_there(), limit)


def check_memory(spec: Spec, limit: int | None = None) -> None:
    """Refuse a circuit that does not fit into memory, before any of it is allocated.

    Args:
      limit: memory that the circuit may use, bytes; by default all of it.

    Raises:
      UsageError: the circuit needs more.
    """
    needed, allowed = memory.peak(spec), memory_allowed(limit)
    if needed <= allowed:
        return
    granules, sizes = spec.population("granule").size, memory.arrays(Part(spec=spec))
    largest = max(sizes, key=lambda name: sizes[name])
    source = "performance.memory_limit allows" if allowed == limit else "this machine has"
    raise UsageError(
        f"neural.granule_size: needs {needed:,} bytes of memory, {source} {allowed:,} "
        f"({granules}; fewer cells: most of it is {largest})"
    )


def problems(settings: Settings) -> list[str]:
    """The problems that valid settings have on this machine, a line each."""
    lines = []
    try:
        use_device(settings)
    except UsageError as error:
        lines.append(str(error))
    try:
        check_memory(spec_of(settings), settings.performance.memory_limit)
    except UsageError as error:
        lines.append(_by_key(str(error)))
    return lines + _path_problems(settings)


def _path_problems(settings: Settings) -> list[str]:
    """The configured paths that cannot be read, written or made, a line each."""
    file, data, lines = settings.logging.file, settings.training.data, []
    for name, path in settings.storage:
        # A start makes the directory of models; the others may be missing.
        if name == "models" or _kind(path) != "missing":
            lines += _unusable(f"storage.{name}", path)
    if file is not None:
        no_folder = _unusable("logging.file", file.parent)
        lines += no_folder or _no_file("logging.file", file, ("file", "missing"), os.W_OK)
    if data is not None:
        lines += _no_file("training.data", data, ("file", "folder"), os.R_OK)
    return lines


def _kind(path: Path) -> str:
    """What lies at a path: "file", "folder", "missing", or why that cannot be said."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "missing"
    except OSError as error:
        return str(error.strerror)
    except ValueError:
        return "a zero byte in the name"
    return "folder" if stat.S_ISDIR(mode) else "file"


def _unusable(key: str, path: Path) -> list[str]:
    """A line if a directory can neither be written nor made."""
    places = (path, *path.parents)
    kind, existing = next((_kind(p), p) for p in places if _kind(p) != "missing")
    if kind == "folder" and os.access(existing, os.W_OK | os.X_OK):
        return []
    problem = {"folder": "not writable", "file": "not a directory"}.get(kind, kind)
    return [f"{key}: {problem} ({shown(path)}; a directory that this user may write)"]


def _no_file(key: str, path: Path, kinds: tuple[str, ...], right: int) -> list[str]:
    """A line if a path is none of some kinds, or if this user lacks the right to it."""
    kind, verb = _kind(path), "write" if right == os.W_OK else "read"
    if kind in kinds and (kind == "missing" or os.access(path, right)):
        return []
    problem = "not writable" if right == os.W_OK else "not readable"
    return [f"{key}: {problem} ({shown(path)}; a file that this user may {verb})"]


_KEYS = {"nuclei": "dcn"}
"""Names in the configuration of populations that it calls by another name."""


def _by_key(line: str) -> str:
    """A line about a spec, with the name of the configuration's key instead of the spec's."""
    if line.startswith(("neural.", "performance.")):
        return line
    name, _, rest = line.partition(".size:")
    if rest:
        return f"neural.{_KEYS.get(name, name)}_size:{rest}"
    return f"neural.{line}"


def configured(path: str | None, flags: dict[str, object]) -> tuple[Settings, Spec]:
    """Load settings and check that they work on this machine; returns them and their circuit.

    Raises:
      UsageError: the message has a line for each problem.
    """
    settings = config.load(path, flags)
    try:
        use_device(settings)
        spec = spec_of(settings)
        check_memory(spec, settings.performance.memory_limit)
    except UsageError as error:
        raise UsageError(in_file(path, _by_key(str(error)))) from None
    return settings, spec


def in_file(path: str | None, line: str) -> str:
    """A line with the name of the file that it is about."""
    return line if path is None else f"{path}: {line}"
