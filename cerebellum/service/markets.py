"""Markets that the service knows: the arrays of each, and what the host remembers of it.

At most so many have a state at once; the least recently used is put on disk, to come back when a
tick of it does.
"""

import hashlib
import json
import logging
import os
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
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
from cerebellum.service.served import Packed, Served

NOTHING = Open()
MOST_AWAY, CHECKED = 10_000, 100
IDLE_S = 10.0
"""Before that no market gives its place to another."""


log = logging.getLogger("cerebellum.service.markets")


class FullError(Exception):
    """Too many markets are active."""


class RefusedError(ValueError):
    """A tick that cannot follow the ones before it, or that lacks what the model reads."""


@dataclass(frozen=True)
class Known:
    """A market."""

    memory: Packed
    price: float | None = None
    timestamp: float | None = None
    """of the last tick, ms"""
    open: Open = NOTHING
    ticks: int = 0


@dataclass(frozen=True)
class Row:
    """A tick beside the one before it."""

    now: Mapping[str, float]
    then: Mapping[str, float]
    news: News
    after: Known
    """the market after the tick, but for its memory"""


@dataclass
class Markets:
    served: Served
    folder: Path
    """of markets that are put away"""
    most: int
    known: OrderedDict[str, Known] = field(default_factory=OrderedDict)
    """least recently used first"""
    used: dict[str, float] = field(default_factory=dict)
    """when, monotonic s"""
    _away: int = 0

    def find(self, name: str) -> Known:
        """A market; a place is made for one that is new.

        Raises:
          FullError: every place was used a moment ago.
        """
        if name not in self.known:
            if len(self.known) >= self.most:
                self._put_away()
            self.known[name] = self._bring_back(name) or Known(self.served.fresh)
        self.touch(name)
        return self.known[name]

    def touch(self, name: str) -> None:
        """A market is in use."""
        self.known.move_to_end(name)
        self.used[name] = time.monotonic()

    def _remove_oldest(self) -> None:
        """Of the markets that were put away, those beyond the newest MOST_AWAY."""
        found = sorted(self.folder.glob("*.npz"), key=lambda path: path.stat().st_mtime)
        for path in found[:-MOST_AWAY]:
            path.unlink(missing_ok=True)
            log.warning("%s: forgotten, %d markets were put away later", path.name, MOST_AWAY)

    def reset(self, name: str) -> None:
        """Forget what the circuit remembers of a market; its clock stays."""
        self.known[name] = replace(self.known[name], memory=self.served.fresh, open=NOTHING)

    def _put_away(self) -> None:
        name = next(iter(self.known))
        if time.monotonic() - self.used[name] < IDLE_S:
            raise FullError
        self.folder.mkdir(parents=True, exist_ok=True)
        held = self.known[name]
        path = self._path(name)
        work = path.with_suffix(f".{os.getpid()}")
        arrays = self.stacked([held.memory])
        told = json.dumps({**about(held), "digest": self.served.digest})
        with work.open("wb") as file:
            np.savez(file, allow_pickle=False, about=np.array(told), **arrays)
            file.flush()
            os.fsync(file.fileno())
        work.replace(path)
        self._away += 1
        if self._away % CHECKED == 0:
            self._remove_oldest()
        del self.known[name], self.used[name]

    def newer(self, name: str, known: Known) -> Known:
        """A market, or what was put away of it later."""
        away = self._bring_back(name)
        return away if away is not None and away.ticks > known.ticks else known

    def _bring_back(self, name: str) -> Known | None:
        """What was put away. It stays on the disk until it is put away again: a kill before the
        next checkpoint must not lose it."""
        path = self._path(name)
        try:
            with np.load(path, allow_pickle=False) as found:
                told = json.loads(str(found["about"]))
                arrays = {k: found[k] for k in found.files if k != "about"}
            if told.pop("digest") != self.served.digest:
                return None
            return from_json(told, self.row(arrays, 0))
        except FileNotFoundError:
            return None
        except Exception as error:
            # Whatever NumPy or zipfile say of bytes that are none of ours.
            log.error("%s: not whole (%s); the market starts fresh", path, error)
            return None

    def stacked(self, memories: Sequence[Packed]) -> dict[str, np.ndarray]:
        """Some markets' memories as they are saved: a row each of as few arrays as they have."""
        parts = zip(*memories, strict=True)
        return {str(i): np.stack([np.asarray(x) for x in some]) for i, some in enumerate(parts)}

    def row(self, arrays: Mapping[str, Any], index: int) -> Packed:
        """A memory of `stacked`.

        Raises:
          UsageError: it is not one of this model.
        """
        template = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in self.served.fresh]
        held = {name: np.asarray(rows)[index] for name, rows in arrays.items()}
        wanted = {str(i): each for i, each in enumerate(template)}
        found = store.unflatten(wanted, held)
        return tuple(jnp.asarray(found[str(i)]) for i in range(len(template)))

    def _path(self, name: str) -> Path:
        return self.folder / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.npz"


def rows(known: Known, given: list[Tick], served: Served) -> Iterator[Row]:
    """Ticks of a market, each beside the one before.

    Raises:
      RefusedError: names the field.
    """
    for tick in given:
        _check(known, tick, served)
        now = columns(tick)
        then = {name: now[name] for name in ("price", "timestamp")}
        if known.price is not None and known.timestamp is not None:
            then = {"price": known.price, "timestamp": known.timestamp}
        open_, news = live.observe(known.open, tick.price, served.task, served.band)
        known = replace(
            known,
            price=tick.price,
            timestamp=tick.timestamp,
            open=open_,
            ticks=known.ticks + 1,
        )
        yield Row(now=now, then=then, news=news, after=known)


def _check(known: Known, tick: Tick, served: Served) -> None:
    if known.timestamp is not None and tick.timestamp < known.timestamp:
        raise RefusedError(
            f"timestamp: {tick.timestamp:.0f} is before the market's last tick "
            f"({known.timestamp:.0f}); time does not run backwards"
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


def columns(tick: Tick) -> dict[str, float]:
    """A tick as `ticks.differences` reads rows."""
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


def differences(some: list[Row]) -> np.ndarray:
    """Of one tick of each of some markets, float32 [7, B]."""
    now = {name: np.array([row.now[name] for row in some]) for name in some[0].now}
    then = {name: np.array([row.then[name] for row in some]) for name in some[0].then}
    return np.stack(jax.tree.leaves(ticks.differences(now, then)))


def about(known: Known) -> dict[str, Any]:
    """What the host remembers of a market, JSON."""
    return {
        "price": known.price,
        "timestamp": known.timestamp,
        "open": asdict(known.open),
        "ticks": known.ticks,
    }


def from_json(told: Mapping[str, Any], memory: Packed) -> Known:
    """A market of `about`."""
    open_ = Open(prices=tuple(told["open"]["prices"]), last=told["open"]["last"])
    return Known(
        memory=memory,
        price=told["price"],
        timestamp=told["timestamp"],
        open=open_,
        ticks=told["ticks"],
    )
