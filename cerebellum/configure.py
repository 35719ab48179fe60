"""From settings to what they mean on this machine: a circuit's spec, a device, memory."""

import os
from pathlib import Path

import jax

import cerebellum as cb
from cerebellum import config
from cerebellum.config import Settings
from cerebellum.errors import UsageError
from cerebellum.model.spec import Spec
from cerebellum.sim import memory


def spec_of(settings: Settings, learning: bool = True) -> Spec:
    """The circuit that a configuration describes.

    Args:
      learning: whether its parallel fibres are plastic, as configured.

    Raises:
      UsageError: counts, beams or a step that do not go together.
    """
    neural = settings.neural
    sizes = cb.presets.Sizes(
        mossy_fiber=neural.mossy_fiber_size,
        golgi=neural.golgi_size,
        purkinje=neural.purkinje_size,
        basket=neural.basket_size,
        stellate=neural.stellate_size,
        nuclei=neural.dcn_size,
        inferior_olive=neural.inferior_olive_size,
    )
    return cb.presets.beams(
        neural.granule_size,
        beams=neural.beams,
        sizes=sizes,
        dt=neural.dt,
        learning_rate=neural.learning_rate if learning else 0.0,
        sparsity=neural.sparsity,
        dtype=settings.performance.weight_dtype,
    )


def use_device(settings: Settings) -> None:
    """Let JAX compute on the configured device and threads, if it has not started yet.

    Raises:
      UsageError: no such device.
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
    """Bytes of memory that the computing device has: of a GPU, or of the machine."""
    device = jax.devices()[0]
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"]
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    group = Path("/sys/fs/cgroup/memory.max")
    limit = group.read_text().strip() if group.is_file() else "max"
    return min(there, int(limit)) if limit.isdecimal() else there


def check_memory(spec: Spec, limit: int | None = None) -> None:
    """Refuse a circuit that will not fit, before anything of it is allocated.

    Args:
      limit: bytes that it may take; by default all there are.

    Raises:
      UsageError: it needs more.
    """
    needed, there = memory.peak(spec), memory_there()
    allowed = there if limit is None else min(there, limit)
    if needed <= allowed:
        return
    granules = spec.population("granule").size
    of = "this machine has" if allowed == there else "performance.memory_limit allows"
    raise UsageError(
        f"neural.granule_size: needs {needed:,} bytes of memory, {of} {allowed:,} "
        f"({granules}; fewer granule or Purkinje cells)"
    )


def problems(settings: Settings) -> list[str]:
    """What keeps valid settings from working on this machine, a line each."""
    found = []
    try:
        use_device(settings)
    except UsageError as error:
        found.append(str(error))
    try:
        check_memory(spec_of(settings), settings.performance.memory_limit)
    except UsageError as error:
        found.append(_by_key(str(error)))
    paths = {
        "logging.file": settings.logging.file and settings.logging.file.parent,
        "storage.models": settings.storage.models,
        "storage.backups": settings.storage.backups,
        "storage.data": settings.storage.data,
    }
    for key, path in paths.items():
        if path is not None and path.exists() and not os.access(path, os.W_OK):
            found.append(f"{key}: not writable ({path}; a directory that this user may write)")
    readable = {
        "server.api_key_file": settings.server.api_key_file,
        "training.data": settings.training.data,
    }
    for key, path in readable.items():
        if path is not None and not os.access(path, os.R_OK):
            found.append(f"{key}: not readable ({path}; a file that this user may read)")
    return found


_KEYS = {"nuclei": "dcn"}


def _by_key(line: str) -> str:
    """A line about a spec, under the name that its part has in the configuration."""
    if line.startswith(("neural.", "performance.")):
        return line
    name, _, rest = line.partition(".size:")
    if rest:
        return f"neural.{_KEYS.get(name, name)}_size:{rest}"
    return f"neural.{line}"


def configured(path: str | None, flags: dict[str, object]) -> tuple[Settings, Spec]:
    """Settings that are valid and fit this machine, and their circuit.

    Raises:
      UsageError: a line for each problem.
    """
    settings = config.load(path, flags)
    try:
        use_device(settings)
        spec = spec_of(settings)
        check_memory(spec, settings.performance.memory_limit)
    except UsageError as error:
        raise UsageError(_placed(path, _by_key(str(error)))) from None
    return settings, spec


def _placed(path: str | None, line: str) -> str:
    return line if path is None else f"{path}: {line}"


def validate(path: str) -> list[str]:
    """Problems of a configuration file on this machine, a line each.

    Raises:
      UsageError: it cannot be read, or is not valid by itself.
    """
    return [_placed(path, line) for line in problems(config.load(path))]
