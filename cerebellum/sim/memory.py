"""Estimates of the memory that a circuit takes, from its spec alone: nothing is allocated."""

import math
import shutil
from collections.abc import Mapping
from pathlib import Path as FilePath

import jax
import numpy as np
import psutil

from cerebellum.backends.cpu import deferred
from cerebellum.errors import UsageError
from cerebellum.model import events, values, widths
from cerebellum.model.anatomy import Path, has_rows, resolve_path
from cerebellum.model.circuit import depths, ring_of
from cerebellum.model.edges import LONGEST_MS
from cerebellum.model.neurons import CIRCUIT_MODELS
from cerebellum.model.part import Part
from cerebellum.model.plasticity import Sizes
from cerebellum.model.population import Population
from cerebellum.model.projection import Projection
from cerebellum.model.spec import Spec
from cerebellum.model.target_lists import list_dtype
from cerebellum.sim.watches import Watch

PROGRAM_BYTES = 480 * 2**20
LIST_PROGRAM_BYTES = 23 * 2**20
RULE_PROGRAM_BYTES = 45 * 2**20
"""Memory of the interpreter, JAX and its compiler on a CPU, in addition to the arrays of a circuit:
in every case, for each projection with lists, and for each projection that learns. The numbers
were fitted to runs of 1,000 to 4,000,000 granule cells with XLA kernels and jax 0.10.1
(`scripts/experiments/scale.py`) and agree with them within 10 %; native kernels need less."""


def arrays(part: Part, path: Path = "auto") -> dict[str, int]:
    """Bytes of the arrays and the state of a built circuit, or of one of its shards, by name.

    Lists are as wide as their largest fan-out, which is random. The estimate is a width that about
    one source cell of the population exceeds.
    """
    spec = part.spec
    resolved_path = resolve_path(spec, path)
    sizes = {}
    for population in spec.populations:
        sizes[f"cells.{population.name}"] = cells(population, part.size(population.name))
    for name, depth in depths(spec).items():
        size = part.size(name)
        row = 4 * size if resolved_path == "dense" else 4 * -(-size // events.BITS)
        shards = part.count if name in spec.crossing() else 1
        sizes[f"delay_lines.{name}"] = depth * row * shards
    for projection in spec.projections:
        sizes |= _projection(projection, part, resolved_path)
    sizes |= _rings(part)
    for population in spec.populations:
        if population.gap_junctions is not None:
            coupled = spec.coupled(population.name)
            mean = coupled.mean_partners
            most = min(coupled.beam - 1, math.ceil(mean + 4 * math.sqrt(mean)))
            sizes[f"gap_junctions.{population.name}"] = 4 * most * part.size(population.name)
    for name, population, _ in spec.homeostatic():
        sizes[f"homeostasis.{name}"] = 8 * part.size(population)
    return sizes


def cells(population: Population, size: int) -> int:
    """Bytes of the state of `size` cells of a population."""
    model, params = CIRCUIT_MODELS[population.model], population.typical
    state = jax.eval_shape(lambda: model.init(params, (size,)))
    return sum(_bytes(leaf) for leaf in jax.tree.leaves(state))


def _bytes(leaf) -> int:
    return math.prod(leaf.shape) * np.dtype(leaf.dtype).itemsize


def _projection(projection: Projection, part: Part, path: events.Path) -> dict[str, int]:
    """Bytes of the wiring, the weights, the rule's state and the terminals of one projection."""
    spec, name, size = part.spec, projection.name, part.sources(projection)
    bytes_by_name = {}
    width = columns = spec.beam_size(projection.target)
    if has_rows(projection, spec, path):
        fixed = projection.dtype == "uint16"
        copies = 1 if fixed else 1 + bool(projection.plastic)
        bytes_by_name[f"weights.{name}"] = size * width * (2 if fixed else 4) * copies
    else:
        columns = widths.width(projection, part)
        entries = size * columns
        targets = part.size(projection.target)
        bytes_by_name[f"wiring.{name}"] = entries * np.dtype(list_dtype(targets)).itemsize
        individual = projection.individual
        if isinstance(projection.delay, values.Distribution):
            wide = 1 if _longest(projection, spec.dt) < 256 else 2
            bytes_by_name[f"delays.{name}"] = entries * wide
        weights = 4 * entries * (1 + bool(projection.plastic)) if individual else 4
        bytes_by_name[f"weights.{name}"] = weights
    rule = projection.rule
    if rule is not None:
        sizes = Sizes(
            sources=part.size(projection.source),
            targets=part.size(projection.target),
            row=part.beams * width,
            weights=(size, columns),
        )
        state = jax.eval_shape(lambda: rule.begin(sizes, spec.dt))
        bytes_by_name[f"rule_states.{name}"] = sum(_bytes(leaf) for leaf in jax.tree.leaves(state))
    if projection.short_term is not None:
        bytes_by_name[f"terminals.{name}"] = 8 * size
    return bytes_by_name


def _longest(projection: Projection, dt: float) -> int:
    """A delay in steps that few synapses of a projection exceed."""
    delay = projection.delay
    if not isinstance(delay, values.Distribution):
        return 0
    most = min(values.largest(delay), LONGEST_MS)
    far = values.typical(delay) + 6 * getattr(delay, "sd", most)
    return max(1, math.ceil(min(most, far) / dt))


def _rings(part: Part) -> dict[str, int]:
    """Bytes of the rings of arrivals, by name."""
    sizes: dict[str, int] = {}
    for projection in part.spec.projections:
        if isinstance(projection.delay, values.Distribution):
            name = f"arrivals.{ring_of(projection)}"
            size = 4 * _longest(projection, part.spec.dt) * part.size(projection.target)
            sizes[name] = max(size, sizes.get(name, 0))
    return sizes


def peak(spec: Spec, path: Path = "auto") -> int:
    """The most bytes that building and running a circuit takes on a CPU, with the program.

    While a list is copied from NumPy to JAX, it exists twice.
    """
    sizes = arrays(Part(spec=spec), path)
    wiring = [size for name, size in sizes.items() if name.startswith("wiring.")]
    rules = sum(projection.rule is not None for projection in spec.projections)
    program = PROGRAM_BYTES + len(wiring) * LIST_PROGRAM_BYTES + rules * RULE_PROGRAM_BYTES
    return sum(sizes.values()) + max(wiring, default=0) + _merged(spec, sizes, path) + program


def _merged(spec: Spec, sizes: Mapping[str, int], path: Path) -> int:
    """Bytes of what native kernels keep to deliver late (see `backends.cpu.deferred`)."""
    late = [p for p in spec.projections if isinstance(p.delay, values.Distribution)]
    arrivals = sum(size for name, size in sizes.items() if name.startswith("arrivals."))
    if (
        path == "dense"
        or arrivals < deferred.LEAST_BYTES
        or any(p.plastic or p.short_term for p in late)
    ):
        return 0
    part = Part(spec=spec)
    synapses = sum(part.sources(p) * widths.width(p, part) for p in late)
    starts = max(_longest(p, spec.dt) for p in late) + 1
    sources = sum(spec.population(name).size for name in {p.source for p in late})
    # The starts of slices, and a table as large of the sources that fired.
    return 8 * synapses + 8 * starts * sources


CHUNKS = 3
"""Chunks whose records exist at the same time: one runs, one is copied, one is the copy."""


def recording(
    watches: tuple[Watch, ...], spec: Spec, steps: int, chunk_steps: int
) -> tuple[int, int]:
    """Bytes of the recording of a run, and the most bytes that collecting it takes.

    The spikes of rasters are not included, because their number is not known before the run.

    Args:
      chunk_steps: number of steps for which a chunk has room.
    """
    size = 4 * len(spec.populations) * steps
    chunk = 4 * len(spec.populations) * chunk_steps
    for watch in watches:
        r = watch.recorder
        if r.traced:
            size += 4 * watch.columns * (steps // r.every)
            chunk += 4 * r.room * -(-chunk_steps // r.every)
        else:
            chunk += 4 * -(-r.room // events.BITS) * chunk_steps
    return size, size + CHUNKS * chunk


def check_recording(
    watches: tuple[Watch, ...],
    spec: Spec,
    steps: int,
    chunk_steps: int,
    copies: int = 1,
    folder: FilePath | None = None,
) -> None:
    """Refuse a recording that does not fit, before the run.

    Args:
      chunk_steps: number of steps for which a chunk has room.
      copies: number of copies of the circuit that are recorded.
      folder: where the recording is written; None if it is kept in memory.

    Raises:
      UsageError: there is less memory than the recording and its chunks take, or less room on the
        disk.
    """
    size, most = (copies * x for x in recording(watches, spec, steps, chunk_steps))
    there, needed = available(), most if folder is None else most - size
    if needed > there:
        right = "fewer cells, a shorter run, or smaller chunks"
        if folder is None:
            right += '; cb.simulate(..., to="folder") writes it to the disk'
        raise UsageError(
            f"record: a recording of {size:,} bytes, {most:,} with its chunks of {chunk_steps:,} "
            f"steps; {there:,} bytes of memory are free ({right})"
        )
    if folder is None:
        return
    free = shutil.disk_usage(folder).free
    if size > free:
        raise UsageError(
            f"record: a recording of {size:,} bytes; {free:,} bytes are free on the disk of "
            f"{str(folder)!r} (fewer cells, a longer every_ms, or a shorter run)"
        )


def available() -> int:
    """Bytes of memory of the machine, or of this process's group, that are free to be used."""
    numbers = [psutil.virtual_memory().available]
    group = FilePath("/sys/fs/cgroup")
    if (group / "memory.max").is_file():
        limit = (group / "memory.max").read_text().strip()
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        if limit.isdecimal():
            used = int((group / "memory.current").read_text()) - int(stat["inactive_file"])
            numbers.append(max(0, int(limit) - used))
    return min(numbers)
