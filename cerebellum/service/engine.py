"""The engine: one thread that owns the device and answers ticks in batches.

It composes a queue of requests, inference, statistics, persistence and the markets. Whatever waits
when a call ends goes into the next one: at most `batch_size` markets, one tick of each. When
nothing waits, a tick goes alone and at once.
"""

import gc
import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace

import numpy as np

from cerebellum.config import Settings
from cerebellum.errors import FailedError, UsageError
from cerebellum.service import inference, markets, notify, persistence
from cerebellum.service.inference import Failure, Inference, Result
from cerebellum.service.markets import FullError, Markets, RefusedError
from cerebellum.service.persistence import Persistence
from cerebellum.service.requests import Tick
from cerebellum.service.requests_queue import BusyError, Request, RequestQueue, UnsoundError
from cerebellum.service.served import Served
from cerebellum.service.statistics import Statistics, slo_of

PATIENCE_S = 30.0
"""Without progress for so long while something waits, the engine counts as dead."""

log = logging.getLogger("cerebellum.service.engine")


@dataclass(frozen=True)
class Reply:
    """The answer to a request: that of its last tick."""

    chances: np.ndarray
    """of buy, hold and sell, float32 [3]"""
    counts: dict[str, int]
    """spikes, by population"""
    processing_ns: int


@dataclass
class Engine:
    """A model in service. `start` it; `submit` from any thread; `stop` it."""

    settings: Settings
    requests: RequestQueue
    inference: Inference
    statistics: Statistics
    persistence: Persistence
    markets: Markets
    died: Callable[[BaseException], None] | None = None
    """called when the thread has ended by an error"""
    progress: float = field(default_factory=time.monotonic)
    """when the thread's loop last began a turn, monotonic s"""
    ready: bool = False
    draining: bool = False
    """whether it is being stopped"""
    _batch: list[Request] = field(default_factory=list)
    """requests that are being answered"""
    _thread: threading.Thread | None = None
    _next: Served | None = None
    """a model that is to take over"""
    _saved_for_next: bool = False
    """whether the state was saved for the case that the present model comes back"""
    model_problem: str | None = None
    """why the model that answers is not the one that should, if it is not"""
    _resets: queue.SimpleQueue[tuple[str, Future[bool]]] = field(default_factory=queue.SimpleQueue)
    """markets that are to be reset"""

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def stuck(self) -> bool:
        """Whether it has made no progress for long though there was something to do."""
        busy = self.waiting > 0 or bool(self._batch)
        return busy and time.monotonic() - self.progress > PATIENCE_S

    @property
    def waiting(self) -> int:
        """Requests that wait."""
        return len(self.requests)

    @property
    def ticks(self) -> int:
        """Ticks that were answered, ever."""
        return self.statistics.ticks

    @property
    def served(self) -> Served:
        """The model that answers."""
        return self.inference.served

    def configure(self, settings: Settings) -> None:
        """Take over the settings that may change while it runs."""
        self.settings = settings
        self.markets.most = settings.server.max_markets
        metrics = self.statistics.metrics
        metrics.slo.set(slo_of(settings))
        metrics.interval.set(settings.training.checkpoint_interval)

    def start(self) -> None:
        """Compile, warm up, then take requests."""
        inference.warm(self.served, self.settings.performance.batch_size)
        # What was traced and compiled stays. Each later collection would spend 0.3 s on it.
        gc.collect()
        gc.freeze()
        self._announce()
        self._thread = threading.Thread(target=self._guarded, name="engine", daemon=True)
        self._thread.start()
        self.ready = True

    def submit(self, market: str, ticks: list[Tick], timeout: float) -> "Future[Reply]":
        """Ask for the answer to some ticks of a market.

        Args:
          timeout: how long the request may wait for its first turn, s.

        Raises:
          BusyError: it takes no requests now.
        """
        if self.draining or not self.alive:
            self.statistics.metrics.refused.labels(reason="busy").inc()
            raise BusyError("stopping" if self.draining else "the engine is not running")
        request = Request(market, ticks, time.monotonic() + timeout, Future())
        self.requests.put(request)
        return request.future

    def reset(self, market: str) -> "Future[bool]":
        """Ask that a market starts fresh at its next tick.

        Returns:
          Whether the market was known, once it is done; or an OSError if it could not be written.

        Raises:
          BusyError: it takes no requests now.
        """
        if self.draining or not self.alive:
            raise BusyError("stopping" if self.draining else "the engine is not running")
        done: Future[bool] = Future()
        self._resets.put((market, done))
        return done

    def replace_by(self, model: Served) -> None:
        """Let another model take over, once it is proven and the state of the old one is saved.

        Markets keep their clocks. What they remember of the model, if it was served before, comes
        back.

        Raises:
          FailedError: an answer of the model is not finite.
        """
        inference.warm(model, self.settings.performance.batch_size)
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
        self.persistence.close(self.served, self.markets, self.ticks)
        log.info("stopped", extra={"fields": {"ticks": self.ticks}})

    def publish(self) -> None:
        """Set the gauges that follow the engine."""
        self.statistics.publish(self.served, self.waiting, len(self.markets.states))
        self.statistics.metrics.unsaved.set(self.persistence.unsaved(self.ticks))
        self.persistence.publish(self.statistics.metrics)

    def _guarded(self) -> None:
        try:
            self._run()
        except BaseException as error:
            log.critical("the engine ended: %s", error, exc_info=True)
            for request in [*self._batch, *self.requests.drain()]:
                if not request.future.done():
                    self.statistics.metrics.refused.labels(reason="busy").inc()
                request.fail(BusyError("the engine is not running"))
            if self.died is not None:
                self.died(error)

    def _run(self) -> None:
        notified, pulse_s = time.monotonic(), notify.watchdog_s()
        while True:
            self.progress = now = time.monotonic()
            if pulse_s is not None and now - notified >= pulse_s:
                notified = now
                notify.tell("WATCHDOG=1")
            if self._next is not None and not self.persistence.writing:
                self._take_over(self._next)
            self._reset_as_asked()
            batch = self.requests.take(self.settings.performance.batch_size, self._admit)
            if batch:
                self._batch = batch
                self._answer(batch)
                self._batch = []
            elif self.draining and self.waiting == 0:
                return
            self._summarise_and_save(now)

    def _take_over(self, model: Served) -> None:
        """Save for the old model; when that is on the disk, let the other one take over."""
        if not self._saved_for_next and self.persistence.changed(self.ticks):
            self._saved_for_next = True
            self.persistence.save(self.served, self.markets, self.ticks)
            return
        self._next, self._saved_for_next = None, False
        old = self.served.name
        try:
            if self.persistence.failed is not None:
                raise FailedError(f"the state was not saved: {self.persistence.failed}")
            newest = self.persistence.change(model, self.ticks)
        except (UsageError, FailedError, OSError) as error:
            self.model_problem = f"{model.name} has not taken over: {error}"
            log.error("the model was not replaced: %s; %s serves on", error, old)
            return
        current = self.markets
        self.inference.served = current.take_over(
            model, lambda: newest and persistence.restore(model, current, newest)
        )
        self.statistics.forget_spikes()
        self.requests.check_again()
        self.persistence.save(self.served, current, self.ticks)
        log.info("model replaced", extra={"fields": {"model": model.name, "old": old}})
        self._announce()

    def _announce(self) -> None:
        """Let the metrics say which model answers, and since when."""
        metrics = self.statistics.metrics
        metrics.model.info({"name": self.served.name, "version": self.served.version[:12]})
        metrics.model_loaded.set(time.time())

    def _reset_as_asked(self) -> None:
        while not self._resets.empty():
            market, done = self._resets.get()
            try:
                known = self.markets.forget(market)
            except OSError as error:
                done.set_exception(error)
                continue
            self.requests.check_again(market)
            if known:
                log.info("a market was reset, as asked")
            done.set_result(known)

    def _admit(self, request: Request) -> bool:
        """Check a request's ticks, all before the first is answered; whether they are good."""
        try:
            if not request.rows:
                state = self.markets.find(request.market)
                request.rows = list(markets.rows(state, request.ticks, self.served))
        except (RefusedError, FullError) as error:
            reason = "markets" if isinstance(error, FullError) else "refused"
            self.statistics.metrics.refused.labels(reason=reason).inc()
            request.fail(error)
            return False
        except Exception as error:
            # The error concerns this request alone, whatever it is: the others go on.
            log.error("a request of market failed: %s", error, exc_info=True)
            self.statistics.metrics.refused.labels(reason="failed").inc()
            request.fail(UnsoundError("it could not be answered"))
            return False
        self.markets.touch(request.market)
        return True

    def _answer(self, batch: list[Request]) -> None:
        """Answer one tick of each request; those with more ticks go to the front, in order."""
        rows = [request.row for request in batch]
        memories = [self.markets.states[request.market].memory for request in batch]
        unfinished = []
        for called, result in self.inference.calls(rows, memories, lambda: self.ticks):
            if isinstance(result, Result):
                unfinished += self._accept(batch[called], result)
            else:
                self._refuse(batch[called], result)
        self.requests.put_back(unfinished)

    def _accept(self, batch: list[Request], result: Result) -> list[Request]:
        """Take over what a call has computed; returns the requests that have more ticks."""
        answer = result.answer
        self.statistics.frames.append(answer.sample.tolist())
        unfinished = []
        # What is answered has been counted. Once a call: the write lets other threads run.
        self.persistence.count(self.ticks + int(answer.finite[: len(batch)].sum()))
        for index, request in enumerate(batch):
            if not answer.finite[index]:
                self._reset(request)
                continue
            after = replace(request.row.after, memory=result.memories[index])
            self.markets.states[request.market] = after
            counts = dict(zip(self.served.sizes, answer.counts[:, index].tolist(), strict=True))
            request.done += 1
            last = request.done == len(request.rows)
            waited_s = time.perf_counter() - request.queued if last else None
            self.statistics.record(self.served, counts, result.processing_ns, waited_s)
            if last:
                reply = Reply(answer.chances[index], counts, result.processing_ns)
                self.statistics.said(request.market, reply.chances)
                request.future.set_result(reply)
            else:
                unfinished.append(request)
        return unfinished

    def _refuse(self, batch: list[Request], failure: Failure) -> None:
        for request in batch:
            self.statistics.failed += 1
            self.statistics.metrics.refused.labels(reason="failed").inc()
            request.fail(UnsoundError(failure.code))

    def _reset(self, request: Request) -> None:
        self.markets.reset(request.market)
        self.markets.lost("not_finite", 1)
        self.statistics.failed += 1
        log.error("the state of a market was not finite: reset")
        request.fail(UnsoundError("the market's state was not finite, and is reset"))

    def _summarise_and_save(self, now: float) -> None:
        """Write a summary to the log and a checkpoint to the disk, where they are due."""
        if self.statistics.summary_due(now):
            self._summarise(now)
        interval_s = self.settings.training.checkpoint_interval
        if self.persistence.due(now, interval_s) and self.persistence.changed(self.ticks):
            self.persistence.save(self.served, self.markets, self.ticks)

    def _summarise(self, now: float) -> None:
        self.publish()
        self.statistics.summarise(self.served, self.settings, now)
