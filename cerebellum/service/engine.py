"""The engine: one thread that owns the device and answers ticks, some markets to a call.

Requests wait in a bounded queue. Whatever waits when a call ends goes into the next, at most
`batch_size` markets and one tick of each; when nothing waits, a tick goes alone and at once. What
markets remember is saved while it goes on and when it ends; a counter in a mapped file, which
outlives the process, says at the next start how many ticks a kill has cost.
"""

import gc
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import numpy as np

from cerebellum import store
from cerebellum.config import Settings
from cerebellum.errors import FailedError
from cerebellum.learn import features
from cerebellum.service import faults, markets, notify, served
from cerebellum.service.markets import FullError, Markets, RefusedError, Row
from cerebellum.service.metrics import QUANTILES_OF, Metrics
from cerebellum.service.packed import unpack
from cerebellum.service.requests import Tick
from cerebellum.service.served import Served

PATIENCE_S = 30.0
"""Without progress while something waits, after which the engine counts as dead."""
SUMMARY_S = 10.0
FRAMES = 20
"""Ticks of the raster."""

log = logging.getLogger("cerebellum.service.engine")


class BusyError(Exception):
    """The queue is full, or the engine is going down."""


class LateError(Exception):
    """The deadline has passed before its turn came."""


class UnsoundError(Exception):
    """A market's memory was not finite, and is reset; or the device failed."""


@dataclass
class Request:
    market: str
    ticks: list[Tick]
    deadline: float
    """monotonic s"""
    future: Future
    queued: float = field(default_factory=time.perf_counter)
    rows: list[Row] = field(default_factory=list)
    done: int = 0
    """ticks"""

    def begin(self) -> bool:
        """Whether it is still wanted; from here on it cannot be taken back."""
        return self.future.running() or self.future.set_running_or_notify_cancel()


@dataclass(frozen=True)
class Said:
    """The answer to a request: of its last tick."""

    chances: np.ndarray
    counts: dict[str, int]
    processing_ns: int


@dataclass
class Engine:
    """A model in service. `start` it; `submit` from any thread; `stop` it."""

    settings: Settings
    served: Served
    metrics: Metrics
    markets: Markets
    keep: store.Store
    ticks: int = 0
    """answered, ever"""
    latencies: deque[int] = field(default_factory=lambda: deque(maxlen=QUANTILES_OF))
    """engine time of the latest ticks, ns"""
    frames: deque[list[list[int]]] = field(default_factory=lambda: deque(maxlen=FRAMES))
    """spikes of each population's first 32 cells in the latest ticks, a word a step"""
    total: dict[str, int] = field(default_factory=dict)
    """spikes since the start, by population"""
    last_counts: dict[str, int] = field(default_factory=dict)
    """in the last tick"""
    answered: int = 0
    failed: int = 0
    progress: float = field(default_factory=time.monotonic)
    ready: bool = False
    draining: bool = False
    _queue: queue.Queue = field(default_factory=queue.Queue)
    _held: deque[Request] = field(default_factory=deque)
    """taken from the queue, waiting for their market's turn"""
    _batch: list[Request] = field(default_factory=list)
    """under way"""
    died: Callable[[BaseException], None] = lambda error: None
    """told when the thread has ended that should not have"""
    _thread: threading.Thread | None = None
    _saved_at: float = field(default_factory=time.monotonic)
    saved_ticks: int = 0
    _said_at: float = field(default_factory=time.monotonic)
    said_ticks: int = 0
    """at the last summary"""
    _failures: int = 0
    _next: Served | None = None
    counter: Any = None
    """the mapped file"""

    @property
    def alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    @property
    def stuck(self) -> bool:
        """Whether it has made no progress for long though there was something to do."""
        busy = self.waiting > 0 or bool(self._batch)
        return busy and time.monotonic() - self.progress > PATIENCE_S

    @property
    def _unsaved(self) -> bool:
        return self.ticks > self.saved_ticks or self.keep.failed is not None

    @property
    def waiting(self) -> int:
        return self._queue.qsize() + len(self._held)

    def start(self) -> None:
        """Compile, warm up, then take requests."""
        self._queue = queue.Queue(self.settings.server.max_connections)
        warm(self.served, self.settings.performance.batch_size)
        # What was traced and compiled stays: looked through again it would cost 0.3 s at a time.
        gc.collect()
        gc.freeze()
        self._thread = threading.Thread(target=self._guarded, name="engine", daemon=True)
        self._thread.start()
        self.ready = True

    def submit(self, market: str, ticks: list[Tick], timeout: float) -> "Future[Said]":
        """Ask for the answer to some ticks of a market.

        Raises:
          BusyError: not now.
        """
        if self.draining or not self.alive:
            raise BusyError("stopping" if self.draining else "the engine is not running")
        request = Request(market, ticks, time.monotonic() + timeout, Future())
        try:
            self._queue.put_nowait(request)
        except queue.Full:
            raise BusyError(f"{self._queue.maxsize} requests wait already") from None
        return request.future

    def replace_by(self, model: Served) -> None:
        """Let another model take over, once it is proven; markets keep their clocks.

        Raises:
          FailedError: it does not prove itself.
        """
        warm(model, self.settings.performance.batch_size)
        self._next = model

    def stop(self) -> None:
        """Answer what was accepted, save, end.

        Raises:
          FailedError: what markets remember could not be saved.
        """
        self.draining = True
        if self._thread is not None:
            self._thread.join()
        self._summarise(time.monotonic())
        self.keep.wait()
        if self._unsaved or self.keep.last_success is None:
            self._save()
        try:
            self.keep.close()
        except OSError as error:
            raise FailedError(f"{self.keep.folder}: not saved: {error}") from None
        log.info("stopped", extra={"fields": {"ticks": self.ticks}})

    def _guarded(self) -> None:
        try:
            self._run()
        except BaseException as error:
            log.critical("the engine ended: %s", error, exc_info=True)
            for request in [*self._batch, *self._waiting_now()]:
                _fail(request, BusyError("the engine is not running"))
            self.died(error)

    def _waiting_now(self) -> list[Request]:
        found = list(self._held)
        self._held.clear()
        while True:
            try:
                found.append(self._queue.get_nowait())
            except queue.Empty:
                return found

    def _run(self) -> None:
        told, pulse = time.monotonic(), notify.watchdog_s()
        while True:
            self.progress = now = time.monotonic()
            if pulse is not None and now - told >= pulse:
                told = now
                notify.tell("WATCHDOG=1")
            if self._next is not None:
                self._take_over(self._next)
            batch = self._take()
            if batch:
                self._batch = batch
                self._answer(batch)
                self._batch = []
            elif self.draining and self.waiting == 0:
                return
            self._look_after(now)

    def _take_over(self, model: Served) -> None:
        self._next = None
        log.info("model replaced", extra={"fields": {"model": model.name, "old": self.served.name}})
        self.served = self.markets.served = model
        self.last_counts, self.total = {}, {}
        self.frames.clear()
        for name in self.markets.known:
            self.markets.reset(name)
        for request in self._held:
            request.rows = request.rows[: request.done]
            request.done = 0
            request.ticks = request.ticks[len(request.rows) :]
            request.rows = []

    def _take(self) -> list[Request]:
        """Requests of different markets, in the order in which they came."""
        if not self._held:
            try:
                self._held.append(self._queue.get(timeout=0.1))
            except queue.Empty:
                return []
        while len(self._held) < self._queue.maxsize:
            try:
                self._held.append(self._queue.get_nowait())
            except queue.Empty:
                break
        batch: list[Request] = []
        passed: list[Request] = []
        names: set[str] = set()
        now = time.monotonic()
        while self._held and len(batch) < self.settings.performance.batch_size:
            request = self._held.popleft()
            if not request.begin():
                continue
            if request.market in names:
                passed.append(request)
            elif request.done == 0 and now > request.deadline:
                self.metrics.refused.labels(reason="deadline").inc()
                _fail(request, LateError("its turn did not come in time"))
            elif request.rows or self._prepare(request):
                self.markets.touch(request.market)
                names.add(request.market)
                batch.append(request)
        self._held.extendleft(reversed(passed))
        return batch

    def _prepare(self, request: Request) -> bool:
        """Judge a request's ticks, all before the first is answered."""
        try:
            known = self.markets.find(request.market)
            request.rows = list(markets.rows(known, request.ticks, self.served))
        except (RefusedError, FullError) as error:
            reason = "markets" if isinstance(error, FullError) else "refused"
            self.metrics.refused.labels(reason=reason).inc()
            _fail(request, error)
            return False
        except Exception as error:
            # One request's trouble, whatever it is: the others go on.
            log.error("a request of market failed: %s", error, exc_info=True)
            self.metrics.refused.labels(reason="failed").inc()
            _fail(request, UnsoundError("it could not be answered"))
            return False
        return True

    def _answer(self, batch: list[Request]) -> None:
        """A tick of each request; those with more ticks go to the front of the queue."""
        began = time.perf_counter_ns()
        try:
            said = self._call(batch)
        except Exception as error:
            faults.report(log, error)
            if len(batch) > 1:
                for request in batch:
                    self._answer([request])
                return
            self.failed += 1
            self.metrics.refused.labels(reason="failed").inc()
            _fail(batch[0], UnsoundError(faults.name(error)))
            return
        spent = (time.perf_counter_ns() - began) // len(batch)
        again = []
        for index, request in enumerate(batch):
            if not said.finite[index]:
                self._reset(request)
                continue
            counts = dict(zip(self.served.sizes, said.counts[:, index].tolist(), strict=True))
            request.done += 1
            if request.done < len(request.rows):
                again.append(request)
                self._count(request, counts, spent, last=False)
                continue
            self._count(request, counts, spent, last=True)
            request.future.set_result(Said(said.chances[index], counts, spent))
        self._held.extendleft(reversed(again))

    def _call(self, batch: list[Request]) -> Any:
        """One compiled call: a `served.Answer` of NumPy arrays; good memories are taken over."""
        rows = [request.rows[request.done] for request in batch]
        known = [self.markets.known[request.market] for request in batch]
        extra = size_of(len(batch), self.settings.performance.batch_size) - len(batch)
        given = markets.differences(rows + rows[:1] * extra)
        news = [(row.news.back, row.news.label, row.news.asks) for row in rows]
        learner, after, answer = served.answer(
            self.served.form,
            self.served.arrays,
            self.served.learner,
            tuple(k.memory for k in known) + (self.served.fresh,) * extra,
            given,
            np.array(news + [(0, 0, False)] * extra, np.int32).T,
            np.int32(self.ticks % 2**31),
        )
        said = jax.device_get(answer)
        if self.served.learns and said.finite.all():
            self.served = replace(self.served, learner=learner)
        for index, (request, row, memory) in enumerate(zip(batch, rows, after, strict=False)):
            if said.finite[index]:
                self.markets.known[request.market] = replace(row.after, memory=memory)
        self.frames.append(said.sample.tolist())
        return said

    def _count(self, request: Request, counts: dict[str, int], spent: int, last: bool) -> None:
        self.ticks += 1
        self.answered += 1
        self.counter[:8] = self.ticks.to_bytes(8, "little")
        self.latencies.append(spent)
        metrics = self.metrics
        metrics.processing.observe(spent * 1e-9 / self.served.form.design.steps)
        metrics.simulated.inc(self.served.tick_s)
        for name, count in counts.items():
            self.total[name] = self.total.get(name, 0) + count
            metrics.spikes.labels(population=name).inc(count)
        self.last_counts = counts
        if last:
            metrics.tick.observe(time.perf_counter() - request.queued)
        log.debug("tick", extra={"fields": {"processing_time_ns": spent}})

    def _reset(self, request: Request) -> None:
        self.markets.reset(request.market)
        self.metrics.resets.inc()
        self.failed += 1
        log.error("the state of a market was not finite: reset")
        _fail(request, UnsoundError("the market's state was not finite, and is reset"))

    def _look_after(self, now: float) -> None:
        """What is due: a summary in the log, gauges, a checkpoint."""
        if now - self._said_at >= SUMMARY_S:
            self._summarise(now)
        if now - self._saved_at >= self.settings.training.checkpoint_interval and self._unsaved:
            self._save()

    def _summarise(self, now: float) -> None:
        self.publish()
        done, self.said_ticks = self.ticks - self.said_ticks, self.ticks
        spent, self._said_at = now - self._said_at, now
        if done <= 0 or not self.latencies:
            return
        p95 = int(np.percentile(list(self.latencies)[-done:], 95))
        told = {"processing_time_ns": p95, "ticks": done, "ticks_per_second": done / spent}
        log.info("ticks answered", extra={"fields": told})
        slo = slo_of(self.settings)
        if p95 * 1e-9 / self.served.form.design.steps > slo:
            told = {"processing_time_ns": p95, "slo_seconds": slo}
            log.warning("processing latency exceeded", extra={"fields": told})

    def publish(self) -> None:
        """Bring gauges that follow the engine up to date."""
        metrics = self.metrics
        for name, count in self.last_counts.items():
            metrics.rates.labels(population=name).set(self.rate(name, count))
        if self.latencies:
            metrics.realtime.set(self.latencies[-1] * 1e-9 / self.served.tick_s)
        metrics.queue.set(self.waiting)
        metrics.markets.set(len(self.markets.known))
        if self.keep.last_success is not None:
            metrics.saved.set(self.keep.last_success)
        failures, self._failures = self.keep.failures - self._failures, self.keep.failures
        metrics.failures.inc(failures)

    def rate(self, population: str, count: int) -> float:
        """Hz, of so many spikes in a tick."""
        return count / self.served.sizes.get(population, 1) / self.served.tick_s

    def tree(self) -> dict[str, Any]:
        """What markets remember, as arrays."""
        held = [known.memory for known in self.markets.known.values()]
        found: dict[str, Any] = {"markets": self.markets.stacked(held)}
        if self.served.learns:
            found["learner"] = unpack(self.served.form.learner, self.served.learner)
        return {**found, "ticks": np.int64(self.ticks)}

    def about(self) -> dict[str, Any]:
        """What is kept beside them."""
        return {
            "service": self.served.name,
            "digest": self.served.digest,
            "ticks": self.ticks,
            "markets": {name: markets.about(k) for name, k in self.markets.known.items()},
        }

    def _save(self) -> None:
        self._saved_at = time.monotonic()
        if self.keep.save(self.ticks, self.tree(), self.about()):
            self.saved_ticks = self.ticks


def _fail(request: Request, error: Exception) -> None:
    if not request.future.done() and request.begin():
        request.future.set_exception(error)


def size_of(count: int, most: int) -> int:
    """Markets that a compiled call takes for `count`: the next power of two, at most `most`."""
    return min(most, 1 << (count - 1).bit_length())


def slo_of(settings: Settings) -> float:
    """The longest good step, s."""
    given = settings.server.latency_slo
    return given if given is not None else 1e-3 if jax.default_backend() == "cpu" else 1e-5


def warm(model: Served, batch_size: int) -> None:
    """Compile every size of call and prove one inference.

    Raises:
      FailedError: what it says is not finite.
    """
    sizes = {size_of(count, batch_size) for count in range(1, batch_size + 1)}
    for size in sorted(sizes):
        _, _, said = served.answer(
            model.form,
            model.arrays,
            model.learner,
            (model.fresh,) * size,
            np.zeros((len(features.Tick.__dataclass_fields__), size), np.float32),
            np.zeros((3, size), np.int32),
            np.int32(0),
        )
        if not np.asarray(said.finite).all():
            raise FailedError(f"{model.name}: what it says is not finite; another model")
