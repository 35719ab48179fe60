"""A market as its ticks come: which ticks are questions, and when an answer is known.

The same questions and answers that `ticks.label` gives a file, without its future.
"""

from dataclasses import dataclass

from cerebellum.learn.tasks.ticks import BUY, HOLD, HORIZON, SELL, Task


@dataclass(frozen=True, kw_only=True)
class Open:
    """Prices at questions that have no answer yet, the oldest first, and the last price."""

    prices: tuple[float, ...] = ()
    last: float | None = None


@dataclass(frozen=True, kw_only=True)
class News:
    """What a tick asks and makes known; see `online.Event`."""

    back: int = 0
    label: int = 0
    asks: bool = False


def hear(open_: Open, price: float, task: Task, band: float) -> tuple[Open, News]:
    """A tick at a price."""
    if task == "event":
        if open_.last is None or price == open_.last:
            return Open(prices=open_.prices, last=price), News()
        label = BUY if price > open_.last else SELL
        news = News(back=len(open_.prices), label=label, asks=True)
        return Open(prices=(price,), last=price), news
    prices = (*open_.prices, price)
    if len(prices) <= HORIZON:
        return Open(prices=prices, last=price), News(asks=True)
    move = price - prices[0]
    label = BUY if move > band else SELL if move < -band else HOLD
    return Open(prices=prices[1:], last=price), News(back=HORIZON, label=label, asks=True)
