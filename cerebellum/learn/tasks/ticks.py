"""A market's ticks as a task: features as receptive fields see them, and what came after.

    event   at each change of the price, whether the next change is up or down
    h10     at each tick, whether the price ten ticks on is higher, lower or about the same

Choices are 0 buy (up), 1 hold, 2 sell (down). Parts are cut by time, 70, 20 and 10 of 100 rows;
whatever is fitted (receptive fields, the dead band of h10) sees the first part alone, and a label
that is known only in a later part belongs to none.

Much of what can be foretold here is microstructure: the bid-ask bounce, queues that stick. It is
not money: what a trade gains by it is a small part of the spread.

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
"""that a task asks for"""

SHARES = (0.7, 0.9)
"""Where the parts end: to learn from, to choose by, to test on."""
HORIZON = 10
DEAD_BAND = 0.33
"""quantile of absolute moves of the first part"""
ENOUGH = 10_000
"""Samples of a class below which a warning says how many there are."""
CHUNK = 16_384
WIDEST = 10.0
"""Spread as a share of the price at which a quote is nonsense, and no wider."""
GROWTH = 1.2
"""of columns that are read, when they are full"""
SAMPLE = 200_000
"""Most ticks that receptive fields are fitted on."""


@dataclass(frozen=True, kw_only=True)
class Stream:
    """Ticks beside the ones before them, all of a market, in order."""

    ticks: Tick
    """float32 [T] each"""
    price: np.ndarray
    """float64 [T]"""
    day: np.ndarray
    """days since 1970, int32 [T]"""
    fields: Fields
    bad: csv.Bad


@dataclass(frozen=True, kw_only=True)
class Part:
    """Ticks start to stop."""

    start: int
    stop: int


@dataclass(frozen=True, kw_only=True)
class Data:
    """A task."""

    ranks: np.ndarray
    """features as ranks among those of the first part, see `encode.levels`, uint8 [T, F]"""
    labels: np.ndarray
    """BUY, HOLD, SELL, or NONE where nothing is asked, int8 [T]"""
    known: np.ndarray
    """tick at which the label is known, int32 [T]"""
    last: np.ndarray
    """the last change's direction, BUY or SELL, int8 [T]: what a naive guess repeats"""
    day: np.ndarray
    """int32 [T]"""
    receptive: encode.Fields
    fields: Fields
    band: float
    """dead band of h10"""
    task: Task
    train: Part
    validation: Part
    test: Part

    def asked(self, part: Part) -> np.ndarray:
        """Ticks of a part whose label is asked for and known within it: int [n]."""
        inside = slice(part.start, part.stop)
        good = (self.labels[inside] != NONE) & (self.known[inside] < part.stop)
        return part.start + np.flatnonzero(good)


def load(pattern: str | Path, columns: Mapping[str, str] | None = None) -> Stream:
    """Ticks of a file, a folder or a glob.

    Raises:
      UsageError: see `csv.read`; files that overlap in time.
    """
    bad, before, fields, count = csv.Bad(), None, None, 0
    whole: dict[str, Any] = {}
    for path in csv.files(pattern):
        for block in csv.read(path, columns, bad):
            has = _fields(block)
            if fields is not None and has != fields:
                raise UsageError(f"{path}: other columns than the file before; the same in all")
            if before is not None and block["timestamp"][0] < before["timestamp"][0]:
                raise UsageError(f"{path}: begins before the file before it ends; in order of time")
            fields = has
            some = vars(differences(block, shifted(block, before)))
            some["price"] = block["price"]
            some["whole_day"] = (block["timestamp"] // 86_400_000).astype(np.int32)
            _append(whole, count, some)
            count += len(block["price"])
            before = {name: column[-1:] for name, column in block.items()}
    assert fields is not None
    for column in whole.values():
        column.resize(count, refcheck=False)
    price, day = whole.pop("price"), whole.pop("whole_day")
    return Stream(ticks=Tick(**whole), price=price, day=day, fields=fields, bad=bad)


def _append(whole: dict[str, Any], count: int, some: Mapping[str, np.ndarray]) -> None:
    """Put rows behind the first `count` of growing columns, which the system moves, not copies."""
    for name, part in some.items():
        held = whole.setdefault(name, np.empty(0, part.dtype))
        if count + len(part) > len(held):
            held.resize(max(count + len(part), int(GROWTH * len(held))), refcheck=False)
        held[count : count + len(part)] = part


def _fields(block: Mapping[str, np.ndarray]) -> Fields:
    return Fields(
        quote="bid" in block and "ask" in block,
        sizes="bid_size" in block and "ask_size" in block,
        side="signed_volume" in block or "side" in block,
    )


def differences(now: Mapping[str, np.ndarray], then: Mapping[str, np.ndarray]) -> Tick:
    """Rows beside the ones before them.

    Args:
      now: by column, float64 [T], see `csv.NAMES`; those that are missing count as zero.
      then: price and timestamp of the row before each, [T].
    """
    zero = np.zeros_like(now["price"])
    volume = now.get("volume", zero)
    signed = now.get("signed_volume", now.get("side", zero) * volume)
    bid, ask = now.get("bid", zero), now.get("ask", zero)
    sizes = now.get("bid_size", zero), now.get("ask_size", zero)
    total = sizes[0] + sizes[1]
    parts = {
        "log_return": np.log(now["price"] / then["price"]),
        "interval": now["timestamp"] - then["timestamp"],
        "volume": volume,
        "spread": np.clip((ask - bid) / now["price"], -WIDEST, WIDEST),
        "imbalance": np.where(total > 0, (sizes[0] - sizes[1]) / np.where(total > 0, total, 1), 0),
        "signed_volume": signed,
        "day": now["timestamp"] / 86_400_000 % 1,
    }
    return Tick(**{name: part.astype(np.float32) for name, part in parts.items()})


def shifted(
    block: Mapping[str, np.ndarray], before: Mapping[str, np.ndarray] | None
) -> dict[str, np.ndarray]:
    """Price and timestamp of the row before each of a block; the first's own where there is none.

    Args:
      before: the row before the first, [1].
    """
    first = block if before is None else before
    return {
        name: np.concatenate([first[name][:1], block[name][:-1]]) for name in ("price", "timestamp")
    }


def prepare(
    stream: Stream, task: Task, receptive: encode.Fields | None = None, band: float | None = None
) -> Data:
    """Labels, parts, and features as ranks; needs memory for a byte a feature, no more.

    Args:
      receptive, band: of a model that has learned; otherwise fitted on the first part.

    Raises:
      UsageError: another task; too few ticks to have three parts.
    """
    if task not in TASKS:
        raise UsageError(f"--task: {task!r}; one of {', '.join(TASKS)}")
    count = len(stream.price)
    borders = [0, *(int(share * count) for share in SHARES), count]
    train, validation, test = (Part(start=start, stop=stop) for start, stop in pairwise(borders))
    labels, known, band = label(stream.price, task, train.stop, band)
    if receptive is None:
        stride = max(1, train.stop // SAMPLE)
        # Copies: a view would keep all of its chunk.
        seen = [chunk[::stride].copy() for chunk in raw(stream, 0, train.stop)]
        receptive = encode.fit(np.concatenate(seen))
    ranked, start = jax.jit(encode.levels), 0
    ranks = np.empty((count, len(stream.fields.names)), np.uint8)
    for chunk in raw(stream, 0, count):
        ranks[start : start + len(chunk)] = ranked(receptive, chunk)
        start += len(chunk)
    down, changed = _down(stream.price), _changed(stream.price)
    changed = np.where(changed, np.arange(count, dtype=np.int32), np.int32(0))
    np.maximum.accumulate(changed, out=changed)
    data = Data(
        ranks=ranks,
        labels=labels,
        known=known,
        last=np.where(down[changed], np.int8(SELL), np.int8(BUY)),
        day=stream.day,
        receptive=receptive,
        fields=stream.fields,
        band=band,
        task=task,
        train=train,
        validation=validation,
        test=test,
    )
    for name in ("train", "validation", "test"):
        if len(np.unique(data.labels[data.asked(getattr(data, name))])) < 2:
            raise UsageError(
                f"--data: {count} ticks; too few for both directions in the {name} part"
            )
    return data


def raw(stream: Stream, start: int, stop: int) -> Iterator[np.ndarray]:
    """Features of the ticks from `start` to `stop`, a chunk at a time: float32 [k, F].

    The features of a tick come from all ticks before it, also those before `start`.
    """
    state = features.init()
    for first in range(0, stop, CHUNK):
        last = min(first + CHUNK, stop)
        part = jax.tree.map(lambda x, a=first, b=last: x[a:b], stream.ticks)
        state, found = features.run(state, part, stream.fields)
        if last > start:
            yield np.asarray(found)[max(0, start - first) :]


def label(
    price: np.ndarray, task: Task, train_stop: int, band: float | None = None
) -> tuple[np.ndarray, np.ndarray, float]:
    """Labels int8 [T], when each is known int32 [T], and the dead band (0 for event).

    Args:
      train_stop: ticks from which the dead band is fitted, unless it is given.
    """
    count = len(price)
    labels, known = np.full(count, NONE, np.int8), np.full(count, count, np.int32)
    if task == "event":
        changed = np.flatnonzero(_changed(price)).astype(np.int32)
        here, after = changed[:-1], changed[1:]
        labels[here] = np.where(_down(price)[after], np.int8(SELL), np.int8(BUY))
        known[here] = after
        return labels, known, 0.0
    move = price[HORIZON:] - price[:-HORIZON]
    if band is None:
        band = float(np.quantile(np.abs(move[: max(1, train_stop - HORIZON)]), DEAD_BAND))
    labels[:-HORIZON] = np.where(move > band, BUY, np.where(move < -band, SELL, HOLD))
    known[:-HORIZON] = np.arange(HORIZON, count)
    return labels, known, band


def _changed(price: np.ndarray) -> np.ndarray:
    """Whether each differs from the one before, bool [T]."""
    return np.concatenate([[False], price[1:] != price[:-1]])


def _down(price: np.ndarray) -> np.ndarray:
    """Whether each is below the one before, bool [T]."""
    return np.concatenate([[False], price[1:] < price[:-1]])


def few(data: Data) -> list[str]:
    """Warnings: classes of the first part with fewer than ENOUGH samples."""
    labels = data.labels[data.asked(data.train)]
    names = {BUY: "buy", HOLD: "hold", SELL: "sell"}
    counts = {name: int((labels == k).sum()) for k, name in names.items()}
    return [
        f"{name}: {count:,} samples to learn from; {ENOUGH:,} or more are better"
        for name, count in counts.items()
        if count < ENOUGH and not (name == "hold" and data.task == "event")
    ]
