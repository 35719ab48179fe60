"""Questions and answers of a live market: which ticks are questions, and when answers are known.

They are the same that `ticks.label` gives for a file, but need no future ticks.
"""

from dataclasses import dataclass

from cerebellum.learn.tasks.ticks import BUY, HOLD, HORIZON, SELL, Task


@dataclass(frozen=True, kw_only=True)
class Open:
    """The questions of a market that have no answer yet, and its last price."""

    prices: tuple[float, ...] = ()
    """Prices at the open questions, the oldest first."""
    last: float | None = None


@dataclass(frozen=True, kw_only=True)
class News:
    """The answer that a tick makes known, and whether it is a question; see `online.Event`."""

    back: int = 0
    label: int = 0
    asks: bool = False


def observe(questions: Open, price: float, task: Task, band: float) -> tuple[Open, News]:
    """The open questions after a tick at a price, and what the tick makes known.

    Args:
      band: dead band of h10.
    """
    if task == "event":
        if questions.last is None or price == questions.last:
            return Open(prices=questions.prices, last=price), News()
        label = BUY if price > questions.last else SELL
        news = News(back=len(questions.prices), label=label, asks=True)
        return Open(prices=(price,), last=price), news
    prices = (*questions.prices, price)
    if len(prices) <= HORIZON:
        return Open(prices=prices, last=price), News(asks=True)
    move = price - prices[0]
    label = BUY if move > band else SELL if move < -band else HOLD
    return Open(prices=prices[1:], last=price), News(back=HORIZON, label=label, asks=True)
