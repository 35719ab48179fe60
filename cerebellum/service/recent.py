"""What happened lately: ticks by second, and refusals in the last minute."""

import time
from collections import deque
from dataclasses import dataclass, field

from prometheus_client import Counter

WINDOW_S = 120
"""Seconds that are remembered."""
RATE_S = 10
"""The rate of ticks is a mean over so many whole seconds and the present one."""


@dataclass
class Pace:
    """Ticks by second. One thread adds; any thread reads."""

    seconds: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=WINDOW_S))
    """(monotonic second, ticks), of seconds with ticks"""

    def add(self, now: float | None = None) -> None:
        """Count a tick; `now` in monotonic s."""
        second = int(time.monotonic() if now is None else now)
        if self.seconds and self.seconds[-1][0] == second:
            self.seconds[-1] = (second, self.seconds[-1][1] + 1)
        else:
            self.seconds.append((second, 1))

    def history(self, now: float | None = None) -> list[int]:
        """Ticks in each of the last `WINDOW_S` whole seconds, the oldest first.

        Args:
          now: monotonic s; the second that it lies in has not ended and is left out.
        """
        this = int(time.monotonic() if now is None else now)
        counts = dict(list(self.seconds))
        return [counts.get(second, 0) for second in range(this - WINDOW_S, this)]

    def per_second(self, now: float | None = None) -> float:
        """Ticks a second in the last `RATE_S` seconds; `now` in monotonic s."""
        at = time.monotonic() if now is None else now
        recent = [count for second, count in list(self.seconds) if second >= int(at) - RATE_S]
        return sum(recent) / (RATE_S + at - int(at))


SAMPLES = 7
"""Samples of the refusals that are kept. The engine takes one in ten seconds: a minute's."""


def totals(counter: Counter, label: str) -> dict[str, int]:
    """The values of a counter by one of its labels, summed over the others."""
    result: dict[str, int] = {}
    for family in counter.collect():
        for sample in family.samples:
            if sample.name.endswith("_total"):
                name = sample.labels[label]
                result[name] = result.get(name, 0) + int(sample.value)
    return result


@dataclass
class Refusals:
    """Requests that were refused, by reason. One thread samples; any thread reads."""

    counter: Counter
    """with a label `reason`"""
    samples: deque[dict[str, int]] = field(default_factory=lambda: deque(maxlen=SAMPLES))

    def sample(self) -> None:
        """Note how many there were so far."""
        self.samples.append(totals(self.counter, "reason"))

    def lately(self) -> dict[str, int]:
        """How many there were since the oldest sample, or since the start."""
        before = self.samples[0] if self.samples else {}
        now = totals(self.counter, "reason")
        return {reason: count - before.get(reason, 0) for reason, count in now.items()}
