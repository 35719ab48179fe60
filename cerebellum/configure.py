"""Apply settings on this machine: the circuit's spec, the device, and the memory it needs."""

import os
from pathlib import Path

import jax

from cerebellum import config
from cerebellum.config import Settings
from cerebellum.errors import UsageError
from cerebellum.model import presets
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


def use_device(settings: Settings) -> None:
    """Make JAX compute on the configured device and threads; no effect once JAX has started.

    Raises:
      UsageError: there is no such device.
    """
    if settings.performance.threads:
        os.environ["OMP_NUM_THREADS"] = str(settings.performance.threads)
    device = settings.performance.device
    if device == "auto":
        return
    if device == "cpu":
        jax.config.update("jax_platforms", "cpu")
        return
    try:
        jax.devices("cuda")
    except RuntimeError:
        raise UsageError(
            'performance.device: no CUDA device on this machine ("cuda"; "auto" or "cpu")'
        ) from None


def memory_there() -> int:
    """The memory of the computing device, bytes: that of the GPU, or that of the machine."""
    device = jax.devices()[0]
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"]
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    group = Path("/sys/fs/cgroup/memory.max")
    limit = group.read_text().strip() if group.is_file() else "max"
    return min(total, int(limit)) if limit.isdecimal() else total


def check_memory(spec: Spec, limit: int | None = None) -> None:
    """Refuse a circuit that does not fit into memory, before any of it is allocated.

    Args:
      limit: memory that the circuit may use, bytes; by default all of it.

    Raises:
      UsageError: the circuit needs more.
    """
    needed, total = memory.peak(spec), memory_there()
    allowed = total if limit is None else min(total, limit)
    if needed <= allowed:
        return
    granules = spec.population("granule").size
    source = "this machine has" if allowed == total else "performance.memory_limit allows"
    raise UsageError(
        f"neural.granule_size: needs {needed:,} bytes of memory, {source} {allowed:,} "
        f"({granules}; fewer granule or Purkinje cells)"
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
    paths = {
        "logging.file": settings.logging.file and settings.logging.file.parent,
        "storage.models": settings.storage.models,
        "storage.backups": settings.storage.backups,
        "storage.data": settings.storage.data,
    }
    for key, path in paths.items():
        if path is not None and path.exists() and not os.access(path, os.W_OK):
            lines.append(f"{key}: not writable ({path}; a directory that this user may write)")
    readable = {
        "server.api_key_file": settings.server.api_key_file,
        "training.data": settings.training.data,
    }
    for key, path in readable.items():
        if path is not None and not os.access(path, os.R_OK):
            lines.append(f"{key}: not readable ({path}; a file that this user may read)")
    return lines


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
        raise UsageError(_in_file(path, _by_key(str(error)))) from None
    return settings, spec


def _in_file(path: str | None, line: str) -> str:
    """A line with the name of the file that it is about."""
    return line if path is None else f"{path}: {line}"


def validate(path: str) -> list[str]:
    """The problems of a configuration file on this machine, a line each.

    Raises:
      UsageError: the file cannot be read, or its settings are not valid on any machine.
    """
    return [_in_file(path, line) for line in problems(config.load(path))]
