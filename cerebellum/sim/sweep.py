"""Sweeps: a circuit run with many values of its parameters, several at once in one program."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from cerebellum import system
from cerebellum.documented import documented
from cerebellum.errors import UsageError, is_number, is_whole, nearest
from cerebellum.model import anatomy
from cerebellum.model import circuit as circuits
from cerebellum.model.circuit import Circuit, Params, State
from cerebellum.parts import optional
from cerebellum.sim import drive as drives
from cerebellum.sim import memory, numbers, simulate
from cerebellum.sim.numbers import Target
from cerebellum.sim.progress import bar_of_times
from cerebellum.sim.record import Recording
from cerebellum.sim.record import rates as mean_rates

PAIRINGS = ("grid", "zip")
MEMORY_SHARE = 0.25
"""The share of the free memory that the members which run at once may take."""
COPIES = 3
"""Copies of the arrays of a member that exist at the same time: the operand, the result, one more
while they are stacked."""


@documented
@dataclass(frozen=True)
class Table:
    """The result of a sweep: columns of equal length, a row for each run."""

    columns: dict[str, np.ndarray]
    """the values by name, "key", mean rates in Hz as "rate.POPULATION", and what was measured"""

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self.columns:
            raise UsageError(f"column {name!r}; {nearest(name, list(self.columns), 'the table')}")
        return self.columns[name]

    def to_pandas(self) -> Any:
        """The table as a DataFrame; UsageError if pandas is not installed."""
        return optional("pandas", "pandas", "to_pandas").DataFrame(self.columns)

    def __repr__(self) -> str:
        shown = min(len(self), 20)
        rows = [[_text(c[i]) for c in self.columns.values()] for i in range(shown)]
        table = [list(self.columns), *rows]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = ["  ".join(x.rjust(w) for x, w in zip(r, widths, strict=True)) for r in table]
        if shown < len(self):
            lines.append(f"... {len(self)} rows in all")
        return "\n".join(lines)


class SweepInterrupted(KeyboardInterrupt):
    """A sweep was interrupted; the exception holds the table of the runs that were done."""

    def __init__(self, table: Table, planned: int):
        super().__init__(
            f"after {len(table)} of {planned} runs; this exception has their table, as .table"
        )
        self.table = table
        """a row for each run that was done"""


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float | np.floating) else str(value)


def sweep(
    circuit: Circuit,
    values: Mapping[str, Sequence[float] | np.ndarray],
    drive: drives.Drive | None = None,
    *,
    duration_ms: float,
    keys: int | Sequence[int] | Array = 1,
    pairing: str = "grid",
    skip_ms: float = 0.0,
    record: simulate.Record = ("rates",),
    measure: Callable[[Recording], Any] | None = None,
    at_once: int | None = None,
    threads: int | None = None,
    progress: bool | None = None,
) -> Table:
    """Run a circuit with every value of some of its numbers, and tabulate what it does.

    Every run equals `simulate` from `init` with the same numbers and key. All runs share one
    program. `at_once` of them share a call of it, and `threads` calls run at the same time.

    Ctrl-C ends the sweep with `SweepInterrupted`, which holds the table of the runs so far.

    Args:
      values: numbers by name: "POPULATION.PARAMETER" such as "golgi.v_th", for all its cells;
        "PROJECTION.weight", the weight of one contact as in the spec, by which all weights of the
        projection are scaled; "POPULATION.gap_conductance" (nS, of its gap junctions); or
        "NAME.learning_gain". With one name, its values are run one by one.
      drive: as in `simulate`, the same for all runs.
      duration_ms: duration of each run.
      keys: seeds of runs, or how many there are (0, 1, ...), or keys of JAX. Every combination of
        values is run with each.
      pairing: "grid" runs every combination of values; "zip" runs the first values of all names
        together, then the second ones, and so on.
      skip_ms: rates are of the time after this one.
      record: as in `simulate`, for `measure`.
      measure: a function of the recording of a run that returns a number, which is the column
        "measure", or a dictionary of numbers, which are columns.
      at_once: how many runs share a call of the program; by default `default_at_once`. A program
        for several takes longer to compile. On a CPU it pays for long runs of small circuits.
      threads: how many calls of the program run at the same time, each in a thread of its own; by
        default `default_threads`.
      progress: as in `simulate`.

    Raises:
      UsageError: a name is not of the circuit, a value cannot be, or as for `simulate`.
    """
    _check(circuit, pairing, skip_ms, duration_ms)
    circuit = anatomy.current(circuit)
    targets = {name: numbers.target(circuit, name) for name in values}
    combinations = _combine(values, pairing)
    words, seeds = words_of(keys)
    members = [(row, k) for row in range(len(combinations)) for k in range(len(seeds))]
    params = [numbers.with_values(circuit, targets, row) for row in combinations]
    for row in params:
        numbers.check(circuit, row)
    _check_counts(at_once=at_once, threads=threads)
    size = at_once or default_at_once(circuit, list(targets.values()), len(members))
    parts = [members[i : i + size] for i in range(0, len(members), size)]
    threads = threads or default_threads(circuit, list(targets.values()), size)
    inner = progress if len(parts) == 1 else False
    options = simulate.Options(duration_ms, record, simulate.CHUNK_STEPS, inner)

    def run_part(part: Sequence[tuple[int, int]]) -> list[Recording]:
        return _run(circuit, targets, part, (params, words), drive, options)

    names = [population.name for population in circuit.spec.populations]
    rows: list[dict[str, Any]] = []
    try:
        with bar_of_times(progress if len(parts) > 1 else False) as show:
            show(0.0, len(members) * duration_ms)
            for part, recordings in zip(parts, _in_order(run_part, parts, threads), strict=True):
                for (row, k), recording in zip(part, recordings, strict=True):
                    rates = mean_rates(recording, recording.start_ms + skip_ms)
                    known = {
                        **dict(zip(values, combinations[row], strict=True)),
                        "key": seeds[k],
                        **{f"rate.{name}": rates[name] for name in names},
                    }
                    rows.append(_row(known, _measured(measure, recording), rows[:1]))
                show(len(rows) * duration_ms, len(members) * duration_ms)
    except KeyboardInterrupt:
        if not rows:
            raise
        raise SweepInterrupted(_table(rows), len(members)) from None
    return _table(rows)


def _row(
    known: dict[str, Any], measured: dict[str, Any], first: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """A row of the table; UsageError if its columns are not those of the first row."""
    for name in measured:
        if name in known:
            raise UsageError(f"measure: {name!r}, which the table has already; another name")
    row = {**known, **measured}
    for before in first:
        if row.keys() != before.keys():
            names = ", ".join(map(str, measured))
            raise UsageError(f"measure: {names}; the same names in every run")
    return row


def _table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """A table of rows, all with the same names."""
    return Table({name: np.array([row[name] for row in rows]) for name in rows[0]})


def _in_order(
    run_part: Callable[[Any], list[Recording]], parts: Sequence[Any], threads: int
) -> Iterator[list[Recording]]:
    """The recordings of each part, of which several run at the same time.

    The first part runs alone, so that the program is compiled once.
    """
    yield run_part(parts[0])
    if threads == 1 or len(parts) <= 2:
        yield from map(run_part, parts[1:])
        return
    pool = ThreadPoolExecutor(threads)
    try:
        # Few are submitted at a time, because the recordings of those that are done wait here.
        waiting = [pool.submit(run_part, part) for part in parts[1 : 1 + 2 * threads]]
        for index in range(1, len(parts)):
            recordings = waiting.pop(0).result()
            if index + 2 * threads < len(parts):
                waiting.append(pool.submit(run_part, parts[index + 2 * threads]))
            yield recordings
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _check_counts(**counts: Any) -> None:
    """Raise UsageError if one of these is no number of runs or threads."""
    for name, count in counts.items():
        if count is not None and not (is_whole(count) and count >= 1):
            raise UsageError(f"{name}: {count!r}; a whole number, at least 1")


def _measured(measure: Callable[[Recording], Any] | None, recording: Recording) -> dict[str, Any]:
    """What the caller's function returns of a recording, as columns."""
    if measure is None:
        return {}
    result = measure(recording)
    result = result if isinstance(result, Mapping) else {"measure": result}
    for name, value in result.items():
        if np.ndim(value):
            raise UsageError(
                f"measure: {name!r} is {list(np.shape(value))}; one number a run, or a dictionary "
                "of numbers"
            )
    return {name: np.asarray(value).item() for name, value in result.items()}


def _check(circuit: Any, pairing: Any, skip_ms: Any, duration_ms: Any) -> None:
    """Raise UsageError if an argument is of another kind than it is to be."""
    if not isinstance(circuit, Circuit):
        raise UsageError(f"circuit: {type(circuit).__name__}; what cb.build(spec, key) returns")
    if circuit.wiring.shard is not None:
        raise UsageError("circuit: a divided one; sweeps run whole circuits")
    if pairing not in PAIRINGS:
        raise UsageError(f"pairing: {pairing!r}; one of {', '.join(PAIRINGS)}")
    check_times(duration_ms, skip_ms)


def check_times(duration_ms: Any, skip_ms: Any) -> None:
    """Raise UsageError if these are no duration, or no shorter time that is left out, ms."""
    if not is_number(duration_ms):
        raise UsageError(f"duration_ms: {duration_ms!r}; a number, ms")
    if not is_number(skip_ms) or not 0 <= skip_ms < duration_ms:
        raise UsageError(f"skip_ms: {skip_ms!r}; ms, from 0 to less than duration_ms")


def _combine(values: Any, pairing: str) -> list[tuple[float, ...]]:
    """The combinations of values that are run."""
    if not isinstance(values, Mapping) or not values:
        raise UsageError("values: none; a dictionary of numbers by name, such as 'golgi.v_th'")
    lists = []
    for name, each in values.items():
        array = np.asarray(each)
        if array.dtype.kind not in "iuf" or array.ndim != 1 or not array.size:
            raise UsageError(f"values: {name!r}: {each!r}; a list of numbers, at least one")
        if not np.isfinite(array).all():
            raise UsageError(f"values: {name!r}: {array[~np.isfinite(array)][0]}; finite numbers")
        lists.append([float(x) for x in array])
    if pairing == "grid":
        return list(itertools.product(*lists))
    if len({len(each) for each in lists}) > 1:
        lengths = ", ".join(str(len(each)) for each in lists)
        raise UsageError(f"values: lists of {lengths} numbers; of equal length with pairing 'zip'")
    return list(zip(*lists, strict=True))


def words_of(keys: Any) -> tuple[np.ndarray, list[int]]:
    """The words of the keys of runs, uint32 [K, 2], and a number for each."""
    if isinstance(keys, Array) and jnp.issubdtype(keys.dtype, jax.dtypes.prng_key):
        words = np.asarray(jax.random.key_data(jnp.atleast_1d(keys)))
        return words, list(range(len(words)))
    seeds = list(range(keys)) if is_whole(keys) else keys
    if not isinstance(seeds, Sequence | range) or not seeds or not all(map(is_whole, seeds)):
        raise UsageError(f"keys: {keys!r}; their number, at least 1, a list of seeds, or JAX keys")
    words = [np.asarray(jax.random.key_data(jax.random.key(int(seed)))) for seed in seeds]
    return np.stack(words), [int(seed) for seed in seeds]


def default_at_once(circuit: Circuit, targets: Sequence[Target], members: int) -> int:
    """How many runs of a sweep share a call of the program.

    On a CPU one run of the event path, whose work is proportional to the spikes: its calls share
    the cores (see `default_threads`) and its program compiles faster. Elsewhere as many as
    `MEMORY_SHARE` of the memory holds.
    """
    if _one_by_one(circuit):
        return 1
    return min(members, _room(circuit, targets))


def default_threads(circuit: Circuit, targets: Sequence[Target], at_once: int) -> int:
    """How many calls of the program run at the same time.

    On a CPU the event path uses one core a call, so that there is a thread for each core, as far
    as `MEMORY_SHARE` of the memory holds their runs. Elsewhere one call uses the whole device.
    """
    if not _one_by_one(circuit):
        return 1
    cores = len(system.processors())
    return max(1, min(cores, _room(circuit, targets) // at_once))


def _one_by_one(circuit: Circuit) -> bool:
    """Whether a call of the program uses one core of a CPU."""
    return jax.default_backend() == "cpu" and circuit.wiring.path == "event"


def _room(circuit: Circuit, targets: Sequence[Target]) -> int:
    """How many runs `MEMORY_SHARE` of the free memory holds, at least one."""
    there = memory.available()
    state = jax.eval_shape(lambda: circuits.initial(circuit, jnp.zeros(2, jnp.uint32), False))
    arrays = [*jax.tree.leaves(state)]
    arrays += [circuit.params.weights[t.owner] for t in targets if t.group == "weights"]
    size = COPIES * sum(np.size(x) * np.dtype(x.dtype).itemsize for x in arrays)
    return max(1, int(MEMORY_SHARE * there / max(1, size)))


def _run(
    circuit: Circuit,
    targets: Mapping[str, Target],
    part: Sequence[tuple[int, int]],
    operands: tuple[Sequence[Params], np.ndarray],
    drive: drives.Drive | None,
    options: simulate.Options,
) -> list[Recording]:
    """The recordings of some runs.

    Args:
      part: the row of the parameters and that of the keys of each run.
      operands: parameters by row, and the words of keys.
    """
    params, words = operands
    if len(part) == 1:
        (row, k) = part[0]
        alone = replace(circuit, params=params[row])
        state = circuits.initial(alone, words[k], False)
        return simulate.run(alone, state, drive, None, options)[1]
    swept = tuple(sorted({(t.group, t.owner) for t in targets.values()}))
    stacked: dict[str, dict[str, Any]] = {}
    for group, owner in swept:
        trees = [getattr(params[row], group)[owner] for row, _ in part]
        stacked.setdefault(group, {})[owner] = jax.tree.map(lambda *x: jnp.stack(x), *trees)
    keys = jnp.asarray(words[[k for _, k in part]])

    def begin(stacked: dict[str, dict[str, Any]], key: Array) -> State:
        own = {g: {**getattr(circuit.params, g), **those} for g, those in stacked.items()}
        changed = replace(circuit, params=replace(circuit.params, **own))
        return circuits.initial(changed, key, False)

    states = jax.vmap(begin)(stacked, keys)
    return simulate.run(circuit, states, drive, len(part), options, stacked)[1]
