"""Prediction tasks on a market's ticks: features, coded for receptive fields, and labels.

    event   at each change of the price, whether the next change is up or down
    h10     at each tick, whether the price ten ticks on is higher, lower or about the same

Choices are 0 buy (up), 1 hold, 2 sell (down). Rows are split by time into training, validation and
test: 70, 20 and 10 %, or another share for validation. Receptive fields and the dead band of h10
are fitted on the training split only. A label that becomes known only in a later split is not used.

Most of what can be predicted here is microstructure, such as the bid-ask bounce and slow queues.
It cannot be traded at a profit: what a trade gains by it is a small part of the spread.

Dimensions: T ticks, F features.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args

import jax
import numpy as np

from cerebellum.errors import UsageError
from cerebellum.learn import encode, features
from cerebellum.learn.features import Fields, Tick
from cerebellum.learn.tasks import csv

Task = Literal["event", "h10"]
TASKS = get_args(Task)
BUY, HOLD, SELL = 0, 1, 2
NONE = -1
CHOICES: dict[str, tuple[int, ...]] = {"event": (BUY, SELL), "h10": (BUY, HOLD, SELL)}
"""Choices that occur as labels, by task."""

VALIDATION = 0.2
"""Share of the rows in the validation split, between those of training and those of the test."""
BEFORE_TEST = 0.9
"""End of the validation split, as a share of the rows."""
HORIZON = 10
"""Ticks from a question of h10 to its answer."""
DEAD_BAND = 0.33
"""Quantile of the absolute moves in the training split, which is the dead band of h10."""
ENOUGH = 10_000
"""Samples of a class below which there is a warning."""
CHUNK = 16_384
"""Ticks whose features are computed at once."""
WIDEST = 10.0
"""Limit to which the spread is clipped, as a share of the price. Beyond it a quote is nonsense."""
GROWTH = 1.2
"""Factor by which the arrays of columns grow when they are full."""
SAMPLE = 200_000
"""Most ticks on which receptive fields are fitted."""


@dataclass(frozen=True, kw_only=True)
class Stream:
    """All ticks of a market in order, each relative to the one before it."""

    ticks: Tick
    """float32 [T] each"""
    price: np.ndarray
    """float64 [T]"""
    day: np.ndarray
    """days since 1970, int32 [T]"""
    fields: Fields
    bad: csv.Bad


@dataclass(frozen=True, kw_only=True)
class Split:
    """A share of the data: the ticks from start to stop."""

    start: int
    stop: int


@dataclass(frozen=True, kw_only=True)
class Data:
    """The data of a task."""

    ranks: np.ndarray
    """Ranks of features among those of the training split, see `encode.levels`, uint8 [T, F]."""
    labels: np.ndarray
    """BUY, HOLD, SELL, or NONE where there is no question, int8 [T]."""
    known: np.ndarray
    """Tick at which the label becomes known, int32 [T]."""
    last: np.ndarray
    """Direction of the last change, BUY or SELL, int8 [T]; a naive prediction repeats it."""
    day: np.ndarray
    """Days since 1970, int32 [T]."""
    receptive: encode.Fields
    fields: Fields
    band: float
    """Dead band of h10, in units of the price."""
    task: Task
    train: Split
    validation: Split
    test: Split

    def asked(self, split: Split) -> np.ndarray:
        """Ticks of a split that are questions with an answer known within it, int [n]."""
        inside = slice(split.start, split.stop)
        valid = (self.labels[inside] != NONE) & (self.known[inside] < split.stop)
        return split.start + np.flatnonzero(valid)


def load(pattern: str | Path, columns: Mapping[str, str] | None = None) -> Stream:
    """Read the ticks of a file, a folder or a glob.

    Raises:
      UsageError: see `csv.read` and `csv.check_headers`; files that overlap in time.
    """
    bad, before, fields, count = csv.Bad(), None, None, 0
    arrays: dict[str, Any] = {}
    paths = csv.files(pattern)
    csv.check_headers(paths, columns)
    for path in paths:
        for block in csv.read(path, columns, bad):
            if before is not None and block["timestamp"][0] < before["timestamp"][0]:
                raise UsageError(f"{path}: begins before the file before it ends; in order of time")
            fields = _fields(block)
            rows = vars(differences(block, shifted(block, before)))
            rows["price"] = block["price"]
            rows["whole_day"] = (block["timestamp"] // 86_400_000).astype(np.int32)
            _append(arrays, count, rows)
            count += len(block["price"])
            before = {name: column[-1:] for name, column in block.items()}
    assert fields is not None
    for column in arrays.values():
        column.resize(count, refcheck=False)
    price, day = arrays.pop("price"), arrays.pop("whole_day")
    return Stream(ticks=Tick(**arrays), price=price, day=day, fields=fields, bad=bad)


def _append(arrays: dict[str, Any], count: int, rows: Mapping[str, np.ndarray]) -> None:
    """Write rows after the first `count` rows of arrays, which grow where necessary.

    The arrays are resized in place, so that the system can move their pages instead of copying.
    """
    for name, column in rows.items():
        array = arrays.setdefault(name, np.empty(0, column.dtype))
        end = count + len(column)
        if end > len(array):
            array.resize(max(end, int(GROWTH * len(array))), refcheck=False)
        array[count:end] = column


def _fields(block: Mapping[str, np.ndarray]) -> Fields:
    """The kinds of columns that a block of rows has."""
    return Fields(
        quote="bid" in block and "ask" in block,
        sizes="bid_size" in block and "ask_size" in block,
        side="signed_volume" in block or "side" in block,
    )


def differences(now: Mapping[str, np.ndarray], then: Mapping[str, np.ndarray]) -> Tick:
    """Rows relative to the rows before them.

    Args:
      now: float64 [T] by column, see `header.NAMES`; missing columns count as zero.
      then: price and timestamp of the row before each, [T].
    """
    zero = np.zeros_like(now["price"])
    volume = now.get("volume", zero)
    signed = now.get("signed_volume", now.get("side", zero) * volume)
    bid, ask = now.get("bid", zero), now.get("ask", zero)
    bid_size, ask_size = now.get("bid_size", zero), now.get("ask_size", zero)
    total = bid_size + ask_size
    columns = {
        "log_return": np.log(now["price"] / then["price"]),
        "interval": now["timestamp"] - then["timestamp"],
        "volume": volume,
        "spread": np.clip((ask - bid) / now["price"], -WIDEST, WIDEST),
        "imbalance": np.where(total > 0, (bid_size - ask_size) / np.where(total > 0, total, 1), 0),
        "signed_volume": signed,
        "day": now["timestamp"] / 86_400_000 % 1,
    }
    return Tick(**{name: column.astype(np.float32) for name, column in columns.items()})


def shifted(
    block: Mapping[str, np.ndarray], before: Mapping[str, np.ndarray] | None
) -> dict[str, np.ndarray]:
    """Price and timestamp of the row before each row of a block.

    Args:
      before: the row before the block, [1]. Where it is None, the block's first row stands for it.
    """
    previous = block if before is None else before
    return {
        name: np.concatenate([previous[name][:1], block[name][:-1]])
        for name in ("price", "timestamp")
    }


def prepare(
    stream: Stream,
    task: Task,
    receptive: encode.Fields | None = None,
    band: float | None = None,
    validation: float = VALIDATION,
    blur: float = encode.BLUR,
) -> Data:
    """Labels, splits and features as ranks. The features need a byte each of memory.

    Args:
      receptive, band: those of a trained model; by default fitted on the training split.
      validation: share of the rows in the validation split.
      blur: of the ranks, where they are fitted; see `encode.BLUR`.

    Raises:
      UsageError: an unknown task; too few ticks for three splits.
    """
    if task not in TASKS:
        raise UsageError(f"--task: {task!r}; one of {', '.join(TASKS)}")
    count = len(stream.price)
    # Rounded, so that 0.9 - 0.2 is 0.7.
    shares = round(BEFORE_TEST - validation, 9), BEFORE_TEST
    borders = [0, *(int(share * count) for share in shares), count]
    train, selection, test = (Split(start=start, stop=stop) for start, stop in pairwise(borders))
    if count <= HORIZON or train.stop == 0:
        raise UsageError(f"--data: {count} ticks; more than {HORIZON}, and some to learn from")
    labels, known, band = label(stream.price, task, train.stop, band)
    if receptive is None:
        stride = max(1, train.stop // SAMPLE)
        # Copies, because a view would keep its whole chunk in memory.
        samples = [chunk[::stride].copy() for chunk in raw(stream, 0, train.stop)]
        receptive = encode.fit(np.concatenate(samples), blur)
    data = Data(
        ranks=_ranks(stream, receptive),
        labels=labels,
        known=known,
        last=_last_direction(stream.price),
        day=stream.day,
        receptive=receptive,
        fields=stream.fields,
        band=band,
        task=task,
        train=train,
        validation=selection,
        test=test,
    )
    for name in ("train", "validation", "test"):
        if len(np.unique(data.labels[data.asked(getattr(data, name))])) < 2:
            raise UsageError(
                f"--data: {count} ticks; too few for both directions in the {name} part"
            )
    return data


def _ranks(stream: Stream, receptive: encode.Fields) -> np.ndarray:
    """Features of all ticks as ranks, uint8 [T, F]."""
    levels, start = jax.jit(encode.levels), 0
    ranks = np.empty((len(stream.price), len(stream.fields.names)), np.uint8)
    for chunk in raw(stream, 0, len(stream.price)):
        ranks[start : start + len(chunk)] = levels(receptive, chunk)
        start += len(chunk)
    return ranks


def _last_direction(price: np.ndarray) -> np.ndarray:
    """Direction of the last change up to each tick, BUY or SELL, int8 [T]."""
    down, changed = _down(price), _changed(price)
    last_change = np.where(changed, np.arange(len(price), dtype=np.int32), np.int32(0))
    np.maximum.accumulate(last_change, out=last_change)
    return np.where(down[last_change], np.int8(SELL), np.int8(BUY))


def raw(stream: Stream, start: int, stop: int) -> Iterator[np.ndarray]:
    """Features of the ticks from `start` to `stop`, one chunk at a time, float32 [k, F].

    The features of a tick depend on all ticks before it, including those before `start`.
    """
    state = features.init()
    for chunk_start in range(0, stop, CHUNK):
        chunk_stop = min(chunk_start + CHUNK, stop)
        chunk = jax.tree.map(lambda x, a=chunk_start, b=chunk_stop: x[a:b], stream.ticks)
        state, values = features.run(state, chunk, stream.fields)
        if chunk_stop > start:
            yield np.asarray(values)[max(0, start - chunk_start) :]


def label(
    price: np.ndarray, task: Task, train_stop: int, band: float | None = None
) -> tuple[np.ndarray, np.ndarray, float]:
    """Labels int8 [T], the ticks at which they become known int32 [T], and the dead band.

    Args:
      train_stop: end of the ticks on which the dead band is fitted if `band` is None.
      band: dead band of h10; that of event is 0.
    """
    count = len(price)
    labels, known = np.full(count, NONE, np.int8), np.full(count, count, np.int32)
    if task == "event":
        changes = np.flatnonzero(_changed(price)).astype(np.int32)
        questions, answers = changes[:-1], changes[1:]
        labels[questions] = np.where(_down(price)[answers], np.int8(SELL), np.int8(BUY))
        known[questions] = answers
        return labels, known, 0.0
    move = price[HORIZON:] - price[:-HORIZON]
    if band is None:
        band = float(np.quantile(np.abs(move[: max(1, train_stop - HORIZON)]), DEAD_BAND))
    labels[:-HORIZON] = np.where(move > band, BUY, np.where(move < -band, SELL, HOLD))
    known[:-HORIZON] = np.arange(HORIZON, count)
    return labels, known, band


def _changed(price: np.ndarray) -> np.ndarray:
    """Whether each price differs from the one before, bool [T]."""
    return np.concatenate([[False], price[1:] != price[:-1]])


def _down(price: np.ndarray) -> np.ndarray:
    """Whether each price is below the one before, bool [T]."""
    return np.concatenate([[False], price[1:] < price[:-1]])


def few(data: Data) -> list[str]:
    """Warnings about classes with fewer than ENOUGH samples in the training split."""
    labels = data.labels[data.asked(data.train)]
    names = {BUY: "buy", HOLD: "hold", SELL: "sell"}
    counts = {name: int((labels == k).sum()) for k, name in names.items()}
    return [
        f"{name}: {count:,} samples to learn from; {ENOUGH:,} or more are better"
        for name, count in counts.items()
        if count < ENOUGH and not (name == "hold" and data.task == "event")
    ]
