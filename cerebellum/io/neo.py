"""Recordings as objects of Neo (Garcia et al. 2014, Frontiers in Neuroinformatics 8:10), optional.

A block has a segment for each recording and a group for each population. A segment has a
`neo.SpikeTrain` for each cell of a raster, silent ones too, and a `neo.AnalogSignal` for each
trace and for the number of spikes of each population in each step. Elephant reads all of them.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from cerebellum.errors import UsageError, nearest
from cerebellum.io import tables
from cerebellum.parts import optional
from cerebellum.sim import record as records
from cerebellum.sim.record import Recording, Trace
from cerebellum.sim.recorders import WEIGHTS

__all__ = ["block"]

Positions = Mapping[str, Any]
"""Positions of cells by population, um [cells, 3], as for `cb.build`."""


def block(
    recordings: Recording | Sequence[Recording], *, positions: Positions | None = None
) -> Any:
    """Recordings of one circuit as a block: one recording, or those of a batch.

    Segment i is recording i. Times are in ms from step zero of the state; a spike has the time at
    which its step ends. The annotations of a train are `population`, `cell` and, where it is
    known, `position_um`; a signal has the cells of its columns, or the `source` and `target` of
    synapses, as array annotations. Counts of spikes, and the counted cells, are annotations of the
    segment.

    Args:
      positions: um [cells, 3] by population, those that the circuit was built with.

    Returns:
      A neo.Block.

    Raises:
      UsageError: neo is not installed, something is no recording, the recordings are of different
        circuits, or positions do not fit the populations.
    """
    listed = [recordings] if isinstance(recordings, Recording) else list(recordings)
    if not listed:
        raise UsageError("recordings: none; at least one")
    for each in listed:
        records.check(each)
        if (each.sizes, each.dt) != (listed[0].sizes, listed[0].dt):
            raise UsageError(
                f"recordings: {each.sizes}, dt {each.dt:g} ms; {listed[0].sizes}, dt "
                f"{listed[0].dt:g} ms, as in the first"
            )
    neo = optional("neo", "neo", "to_neo")
    placed = placed_um(listed[0], positions)
    about = {"dt_ms": listed[0].dt, "sizes": dict(listed[0].sizes)}
    made = neo.Block(name="cerebellum", **about)
    segments = [_segment(neo, each, index, placed) for index, each in enumerate(listed)]
    made.segments.extend(segments)
    spiking = _by_population(train for segment in segments for train in segment.spiketrains)
    sampled = _by_population(signal for segment in segments for signal in segment.analogsignals)
    for name in listed[0].sizes:
        group = neo.Group(name=name)
        # At once: Neo compares each with all that were there before.
        group.spiketrains.extend(spiking.get(name, []))
        group.analogsignals.extend(sampled.get(name, []))
        made.groups.append(group)
    return made


def _by_population(items: Iterable[Any]) -> dict[str, list[Any]]:
    """Trains or signals by the population that their annotation names."""
    grouped: dict[str, list[Any]] = {}
    for item in items:
        if "population" in item.annotations:
            grouped.setdefault(item.annotations["population"], []).append(item)
    return grouped


def placed_um(recording: Recording, positions: Positions | None) -> dict[str, np.ndarray]:
    """Positions that fit the populations of a recording, um, float64 [cells, 3].

    Raises:
      UsageError: a population is not in the recording, or has another number of cells.
    """
    placed = {}
    for name, given in (positions or {}).items():
        if name not in recording.sizes:
            known = nearest(name, list(recording.sizes), "the recording")
            raise UsageError(f"positions: population {name!r}; {known}")
        um, size = np.asarray(given), recording.sizes[name]
        if um.shape != (size, 3) or um.dtype.kind not in "iuf" or not np.isfinite(um).all():
            raise UsageError(
                f"positions {name!r}: {um.dtype} {list(um.shape)}; finite numbers, um [{size}, 3]"
            )
        placed[name] = um.astype(np.float64)
    return placed


def trains(neo: Any, recording: Recording, population: str, **annotations: Any) -> list[Any]:
    """The spikes of each recorded cell of a population as `neo.SpikeTrain`, in ms, by cell.

    Args:
      neo: the module.
      annotations: for each train, besides `population` and `cell`.
    """
    # Objects, not numbers and text: Neo parses the name of a unit anew for each train.
    ms = optional("quantities", "neo", "to_neo").ms
    start, stop = recording.start_ms * ms, tables.stop_ms(recording) * ms
    return [
        neo.SpikeTrain(
            times,
            units=ms,
            t_start=start,
            t_stop=stop,
            name=f"{population} {cell}",
            population=population,
            cell=cell,
            **annotations,
        )
        for cell, times in recording.rasters[population].trains().items()
    ]


def _segment(neo: Any, recording: Recording, index: int, placed: dict[str, np.ndarray]) -> Any:
    """A recording as a segment."""
    segment = neo.Segment(name=f"recording {index}", index=index)
    segment.annotate(backend=recording.backend, path=recording.path)
    segment.annotate(**{f"counts:{name}": counts for name, counts in recording.counts.items()})
    segment.annotate(**{f"counted:{name}": cells for name, cells in recording.counted.items()})
    made = [train for name in recording.rasters for train in trains(neo, recording, name)]
    for train in made:
        name, cell = train.annotations["population"], train.annotations["cell"]
        if name in placed:
            train.annotate(position_um=placed[name][cell].tolist())
    segment.spiketrains.extend(made)
    for label, trace in recording.traces.items():
        segment.analogsignals.append(_signal(neo, recording, label, trace))
    for name, spikes in recording.spikes.items():
        segment.analogsignals.append(
            _sampled(neo, recording, spikes[:, None], "", 1, name=f"rates:{name}", population=name)
        )
    return segment


def _signal(neo: Any, recording: Recording, label: str, trace: Trace) -> Any:
    """A trace as a signal, one column a cell or a synapse."""
    kind, _, owner = label.partition(":")
    columns: dict[str, np.ndarray] = {}
    if kind != WEIGHTS:
        columns, whose = {"cell": np.asarray(trace.cells)}, {"population": owner}
    else:
        whose = {"projection": owner}
        if len(trace.cells):
            columns = {"source": trace.cells[:, 0], "target": trace.cells[:, 1]}
    return _sampled(
        neo,
        recording,
        trace.values,
        trace.unit,
        trace.every,
        name=label,
        array_annotations=columns,
        **whose,
    )


def _sampled(
    neo: Any, recording: Recording, values: np.ndarray, unit: str, every: int, **about: Any
) -> Any:
    """Samples of every so many steps as a signal; a unit that Neo cannot read is an annotation."""
    quantities = optional("quantities", "neo", "to_neo")
    try:
        units = quantities.unit_registry[unit or "dimensionless"]
    except LookupError:
        units, about = quantities.dimensionless, {**about, "unit": unit}
    interval = every * recording.dt
    first = (tables.start_step(recording) + every) * recording.dt
    # Neo does not copy: a signal that is changed must not change the recording.
    own = np.array(values) if values.flags.writeable else np.asarray(values)
    return neo.AnalogSignal(
        own,
        units=units,
        t_start=first * quantities.ms,
        sampling_period=interval * quantities.ms,
        **about,
    )
