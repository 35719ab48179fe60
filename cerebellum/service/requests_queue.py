"""The queue of requests: bounded, with deadlines, at most one tick of a market in a batch.

Requests keep the order in which they came. A request of several ticks goes back to the front of
the queue after each of them but the last.
"""

import queue
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from prometheus_client import Counter

from cerebellum.service.markets import Row
from cerebellum.service.requests import Tick

POLL_S = 0.1
"""How long `take` waits for a request when there is none."""


class BusyError(Exception):
    """The queue is full, or the engine is going down."""


class LateError(Exception):
    """The deadline of a request has passed before its turn came."""


class UnsoundError(Exception):
    """A market's memory was not finite and is reset; or the device failed."""


@dataclass
class Request:
    """Some ticks of one market, and the future of their answer."""

    market: str
    ticks: list[Tick]
    deadline: float
    """monotonic s"""
    future: Future
    queued: float = field(default_factory=time.perf_counter)
    """when it was put into the queue, s of `time.perf_counter`"""
    rows: list[Row] = field(default_factory=list)
    """the ticks once they are checked; empty before"""
    done: int = 0
    """ticks of `rows` that are answered"""

    @property
    def row(self) -> Row:
        """The tick that is answered next."""
        return self.rows[self.done]

    def begin(self) -> bool:
        """Whether an answer is still wanted; from here on the future cannot be cancelled."""
        if self.future.done():
            return False
        return self.future.running() or self.future.set_running_or_notify_cancel()

    def fail(self, error: Exception) -> None:
        """Answer with an error, unless there is an answer or the future is cancelled."""
        if not self.future.done() and self.begin():
            self.future.set_exception(error)

    def check_again(self) -> None:
        """Let the ticks that are not answered yet be checked anew, for another model."""
        self.ticks = self.ticks[self.done :]
        self.rows, self.done = [], 0


class RequestQueue:
    """Requests that wait. `put` from any thread; everything else from the engine's thread."""

    def __init__(self, capacity: int, refused: Counter) -> None:
        """Make an empty queue.

        Args:
          capacity: the most requests that wait.
          refused: counts, by reason, the requests for which the queue was full ("busy") or whose
            deadline passed ("deadline").
        """
        self._refused = refused
        self._arrivals: queue.Queue[Request] = queue.Queue(capacity)
        self._ordered: deque[Request] = deque()
        """requests that were taken from `_arrivals` and wait for their market's turn"""

    def __len__(self) -> int:
        return self._arrivals.qsize() + len(self._ordered)

    def put(self, request: Request) -> None:
        """Add a request.

        Raises:
          BusyError: the queue is full.
        """
        try:
            self._arrivals.put_nowait(request)
        except queue.Full:
            self._refused.labels(reason="busy").inc()
            raise BusyError(f"{self._arrivals.maxsize} requests wait already") from None

    def take(self, most: int, admit: Callable[[Request], bool]) -> list[Request]:
        """The next batch: at most `most` requests of different markets, in order of arrival.

        A request whose deadline has passed before its first tick fails with LateError.

        Args:
          admit: whether a request may join the batch. Where it says no, it has answered the
            request.
        """
        if not self._collect():
            return []
        batch: list[Request] = []
        passed: list[Request] = []
        markets: set[str] = set()
        now, seen = time.monotonic(), 0
        # They leave the queue only when all are decided on: an error in between loses none.
        for request in self._ordered:
            if len(batch) == most:
                break
            seen += 1
            if not request.begin():
                continue
            if request.market in markets:
                passed.append(request)
            elif request.done == 0 and now > request.deadline:
                self._refused.labels(reason="deadline").inc()
                request.fail(LateError("its turn did not come in time"))
            elif admit(request):
                markets.add(request.market)
                batch.append(request)
        for _ in range(seen):
            self._ordered.popleft()
        self._ordered.extendleft(reversed(passed))
        return batch

    def _collect(self) -> bool:
        """Move arrivals into `_ordered`; wait a moment if there are none. Whether any wait now."""
        if not self._ordered:
            try:
                self._ordered.append(self._arrivals.get(timeout=POLL_S))
            except queue.Empty:
                return False
        while len(self._ordered) < self._arrivals.maxsize:
            try:
                self._ordered.append(self._arrivals.get_nowait())
            except queue.Empty:
                break
        return True

    def put_back(self, requests: Sequence[Request]) -> None:
        """Put requests at the front, because they have more ticks."""
        self._ordered.extendleft(reversed(requests))

    def check_again(self, market: str | None = None) -> None:
        """Let the waiting ticks be checked anew, for another model or after a reset.

        Args:
          market: whose ticks; None: all.
        """
        for request in self._ordered:
            if market in (None, request.market):
                request.check_again()

    def drain(self) -> list[Request]:
        """Take out every request that waits."""
        requests = list(self._ordered)
        self._ordered.clear()
        while True:
            try:
                requests.append(self._arrivals.get_nowait())
            except queue.Empty:
                return requests
