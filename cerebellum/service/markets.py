"""The markets of the service: the arrays of each, and what the host remembers of it.

A limited number of markets is in memory, by count and by the bytes that they take. When there is no
place for a new market, the one that was used least recently is written to disk. It is read again
when its next tick comes. From a share of the memory on, an idle market leaves for each that comes.
"""

import hashlib
import json
import logging
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cerebellum import store
from cerebellum.learn.tasks import live, ticks
from cerebellum.learn.tasks.live import News, Open
from cerebellum.service.requests import Tick
from cerebellum.service.served import Inputs, Packed, Served, forget_start

NO_QUESTIONS = Open()
MOST_AWAY = 10_000
"""The most markets on disk."""
CHECKED = 100
"""The markets on disk are counted each time that so many more were written."""
IDLE_S = 10.0
"""A market that was used within so many seconds is not written to disk."""
COPIES = 3
"""Times that a market's memory is held while a checkpoint is written: the library that writes the
copy holds all of it once more until it is on the disk."""

log = logging.getLogger("cerebellum.service.markets")


class FullError(Exception):
    """Too many markets are active."""


class RefusedError(ValueError):
    """A tick that cannot follow the ones before it, or that lacks what the model reads."""


@dataclass(frozen=True)
class MarketState:
    """What is known of a market after its last tick."""

    memory: Packed
    price: float | None = None
    """of the last tick; None before the first"""
    timestamp: float | None = None
    """of the last tick, ms"""
    open: Open = NO_QUESTIONS
    """questions without an answer yet"""
    ticks: int = 0
    """ticks so far"""


@dataclass(frozen=True)
class Row:
    """A tick of a market, with what the host knows of the tick before it."""

    tick: Tick
    previous_price: float
    """of the tick before; of this tick if it is the market's first"""
    previous_timestamp: float
    """likewise, ms"""
    news: News
    """what the tick asks and makes known"""
    after: MarketState
    """the market after the tick, but for its memory"""


@dataclass
class Markets:
    """The markets in memory, and those on disk."""

    served: Served
    folder: Path
    """of the markets on disk"""
    most: int
    """markets in memory"""
    allowed: int = 2**63
    """bytes that the model and the markets may take together"""
    threshold: float = 1.0
    """share of `allowed` from which idle markets leave for new ones"""
    states: OrderedDict[str, MarketState] = field(default_factory=OrderedDict)
    """by name, the least recently used market first"""
    lost: Callable[[str, int], None] = lambda reason, count: None
    """called with a reason and how many markets have lost their memory for it"""
    used: dict[str, float] = field(default_factory=dict)
    """when each market was last used, monotonic s"""
    _written: int = 0
    """markets that were written to disk since the start"""

    def room(self, share: float = 1.0) -> int:
        """The most markets that a share of the memory holds beside the model, at least one."""
        each = COPIES * sum(x.nbytes for x in self.served.fresh)
        return max(1, int(share * self.allowed - self.served.needs) // each)

    def find(self, name: str) -> MarketState:
        """The state of a market. If the market is new, a place is made for it.

        Raises:
          FullError: every market in memory was used within the last IDLE_S.
        """
        if name not in self.states:
            self._make_place()
            self.states[name] = self._bring_back(name) or MarketState(self.served.fresh)
        self.touch(name)
        return self.states[name]

    def touch(self, name: str) -> None:
        """Note that a market is used now."""
        self.states.move_to_end(name)
        self.used[name] = time.monotonic()

    def _remove_oldest(self) -> None:
        """Delete the markets on disk but for the newest MOST_AWAY."""
        paths = sorted(self.folder.glob("*.npz"), key=lambda path: path.stat().st_mtime)
        for path in paths[:-MOST_AWAY]:
            path.unlink(missing_ok=True)
            self.lost("forgotten", 1)
            log.warning("%s: forgotten, %d markets were put away later", path.name, MOST_AWAY)

    def reset(self, name: str) -> None:
        """Forget what the circuit remembers of a market; its clock stays."""
        self.states[name] = replace(self.states[name], memory=self.served.fresh, open=NO_QUESTIONS)

    def forget(self, name: str) -> bool:
        """Let a market start fresh at its next tick, its clock too; whether it was known.

        That is written to disk at once, as a tick that is newer than what a checkpoint holds, so
        that the market does not come back with another start.
        """
        state = self.states.get(name) or self._bring_back(name)
        if state is None:
            return False
        self.states[name] = MarketState(self.served.fresh, ticks=state.ticks + 1)
        self.touch(name)
        self._put_away(name)
        return True

    def take_over(self, model: Served, known: Callable[[], Served | None]) -> Served:
        """Use another model: clocks stay; circuits start anew, or go on from where it left them.

        Args:
          known: restores the markets that the model has known before, and returns the model with
            what it had learned; None where it has known none.

        Returns:
          The model.
        """
        clocks, self.states = self.states, OrderedDict()
        self.served = model
        self.served = known() or model
        self.lost("model", len(clocks.keys() - self.states.keys()))
        for name, clock in clocks.items():
            memory = self.states[name].memory if name in self.states else self.served.fresh
            self.states[name] = replace(clock, memory=memory, open=NO_QUESTIONS)
            self.states.move_to_end(name)
        self.shrink()
        return self.served

    def restore(self, name: str, saved: MarketState) -> None:
        """Add a market of a checkpoint, or its state on disk if that is newer."""
        self.states[name] = self._newer(name, saved)
        self.used[name] = -IDLE_S

    def _make_place(self) -> None:
        """Let the least recently used market go, if a new one needs its place.

        Raises:
          FullError: it was used within the last IDLE_S.
        """
        count, room, comfortable = len(self.states), self.room(), self.room(self.threshold)
        if count < min(self.most, comfortable):
            return
        if count >= comfortable:
            forget_start()
        name = next(iter(self.states))
        if time.monotonic() - self.used[name] >= IDLE_S:
            self._put_away(name)
        elif count >= min(self.most, room):
            key = "server.max_markets" if self.most <= room else "performance.memory_limit"
            raise FullError(f"{count} markets are active; {key}")

    def shrink(self) -> None:
        """Write markets to disk, the least recently used first, until there is room for more."""
        for name in list(self.states)[: -min(self.most, self.room(self.threshold))]:
            self._put_away(name)

    def _put_away(self, name: str) -> None:
        """Write a market to disk."""
        self.folder.mkdir(parents=True, exist_ok=True)
        state = self.states[name]
        path = self.path_of(name)
        work = path.with_suffix(f".{os.getpid()}")
        arrays = self.stacked([state.memory])
        text = json.dumps({**about(state), "digest": self.served.digest})
        with work.open("wb") as file:
            np.savez(file, allow_pickle=False, about=np.array(text), **arrays)
            file.flush()
            os.fsync(file.fileno())
        work.replace(path)
        self._written += 1
        if self._written % CHECKED == 0:
            self._remove_oldest()
        del self.states[name], self.used[name]

    def _newer(self, name: str, saved: MarketState) -> MarketState:
        """A market's saved state, or its state on disk if that is newer."""
        on_disk = self._bring_back(name)
        return on_disk if on_disk is not None and on_disk.ticks > saved.ticks else saved

    def _bring_back(self, name: str) -> MarketState | None:
        """The state of a market on disk; None if there is none for this model.

        The file stays until the market is written again, so that a kill before the next
        checkpoint does not lose it.
        """
        path = self.path_of(name)
        try:
            with np.load(path, allow_pickle=False) as file:
                description = json.loads(str(file["about"]))
                arrays = {name: file[name] for name in file.files if name != "about"}
            if description.pop("digest") not in self.served.digests:
                return None
            return from_json(description, self.row(arrays, 0))
        except FileNotFoundError:
            return None
        except Exception as error:
            # NumPy and zipfile raise many types of error for bytes that they cannot read.
            log.error("%s: not whole (%s); the market starts fresh", path, error)
            self.lost("damaged", 1)
            return None

    def stacked(self, memories: Sequence[Packed]) -> dict[str, np.ndarray]:
        """The memories of B markets as they are saved: arrays [B, ...] by number."""
        columns = enumerate(zip(*memories, strict=True))
        return {str(i): np.stack([np.asarray(x) for x in arrays]) for i, arrays in columns}

    def row(self, arrays: Mapping[str, Any], index: int) -> Packed:
        """The memory of one market, from the arrays of `stacked`.

        Raises:
          UsageError: the arrays are not of this model.
        """
        fresh = enumerate(self.served.fresh)
        template = {str(i): jax.ShapeDtypeStruct(x.shape, x.dtype) for i, x in fresh}
        saved = {name: np.asarray(stack)[index] for name, stack in arrays.items()}
        memory = store.unflatten(template, saved)
        return tuple(jnp.asarray(memory[str(i)]) for i in range(len(template)))

    def path_of(self, name: str) -> Path:
        """The file of a market on disk."""
        return self.folder / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.npz"


def rows(state: MarketState, requested: list[Tick], served: Served) -> Iterator[Row]:
    """The rows of a market's ticks, in order.

    Raises:
      RefusedError: names the field.
    """
    for tick in requested:
        _check(state, tick, served)
        price, timestamp = tick.price, tick.timestamp
        if state.price is not None and state.timestamp is not None:
            price, timestamp = state.price, state.timestamp
        open_, news = live.observe(state.open, tick.price, served.task, served.band)
        state = replace(
            state,
            price=tick.price,
            timestamp=tick.timestamp,
            open=open_,
            ticks=state.ticks + 1,
        )
        yield Row(
            tick=tick,
            previous_price=price,
            previous_timestamp=timestamp,
            news=news,
            after=state,
        )


def _check(state: MarketState, tick: Tick, served: Served) -> None:
    """Raise RefusedError if a tick cannot follow a market's state."""
    if state.timestamp is not None and tick.timestamp < state.timestamp:
        raise RefusedError(
            f"timestamp: {tick.timestamp:.0f} is before the market's last tick "
            f"({state.timestamp:.0f}); time does not run backwards"
        )
    if tick.bid is not None and tick.ask is not None and tick.bid > tick.ask:
        raise RefusedError(f"bid: {tick.bid:g} is above the ask ({tick.ask:g})")
    needed = []
    if served.form.fields.quote:
        needed += ["bid", "ask"]
    if served.form.fields.sizes:
        needed += ["bid_size", "ask_size"]
    if served.form.fields.side:
        needed += ["side"]
    for name in needed:
        if getattr(tick, name) is None:
            raise RefusedError(f"{name}: missing; the model that is served reads it")


def _columns(tick: Tick) -> dict[str, float]:
    """The values of a tick under the names by which `ticks.differences` reads columns."""
    sides = {"buy": 1.0, "sell": -1.0, None: 0.0}
    return {
        "price": tick.price,
        "timestamp": float(tick.timestamp),
        "volume": tick.volume,
        "bid": tick.bid or tick.price,
        "ask": tick.ask or tick.price,
        "bid_size": tick.bid_size or 0.0,
        "ask_size": tick.ask_size or 0.0,
        "side": sides[tick.side],
    }


def inputs(rows: Sequence[Row], size: int) -> Inputs:
    """One tick of each of some markets as the compiled call takes them, NumPy.

    Args:
      size: markets of the call. The places that are left repeat the first tick and ask nothing.
    """
    padding = [replace(rows[0], news=News())] * (size - len(rows))
    batch = [*rows, *padding]
    values = [_columns(row.tick) for row in batch]
    previous = {
        "price": np.array([row.previous_price for row in batch]),
        "timestamp": np.array([row.previous_timestamp for row in batch]),
    }
    now = {name: np.array([row[name] for row in values]) for name in values[0]}
    return Inputs(
        tick=ticks.differences(now, previous),
        back=np.array([row.news.back for row in batch], np.int32),
        label=np.array([row.news.label for row in batch], np.int32),
        asks=np.array([row.news.asks for row in batch], np.int32),
    )


def about(state: MarketState) -> dict[str, Any]:
    """What the host remembers of a market, JSON."""
    return {
        "price": state.price,
        "timestamp": state.timestamp,
        "open": asdict(state.open),
        "ticks": state.ticks,
    }


def from_json(description: Mapping[str, Any], memory: Packed) -> MarketState:
    """The state of a market from the JSON that `about` gives and its memory."""
    open_ = Open(prices=tuple(description["open"]["prices"]), last=description["open"]["last"])
    return MarketState(
        memory=memory,
        price=description["price"],
        timestamp=description["timestamp"],
        open=open_,
        ticks=description["ticks"],
    )
