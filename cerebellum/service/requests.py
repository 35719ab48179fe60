"""The OpenAPI models of what clients send to the service over HTTP and of what it answers."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

Finite = Annotated[float, Field(allow_inf_nan=False)]
Price = Annotated[Finite, Field(ge=1e-12, le=1e12)]
Amount = Annotated[Finite, Field(ge=0, le=1e18)]
LAST_MS = 253_402_300_800_000
"""The end of the year 9999."""
OF_SECONDS = 1e8, 1e11
"""From 1973 to the year 5138 in seconds; in ms, from the second of January 1970 to 1973."""
MOST_TICKS = 1_000
"""in one request"""


def _of_ms(timestamp: float) -> float:
    """The timestamp, ms.

    Raises:
      ValueError: it is so small that it must be in seconds.
    """
    if OF_SECONDS[0] <= timestamp < OF_SECONDS[1]:
        raise ValueError(f"{timestamp:.0f}, which looks like seconds; ms since 1970")
    return timestamp


Timestamp = Annotated[
    Finite, Field(ge=0, lt=LAST_MS, description="ms since 1970"), AfterValidator(_of_ms)
]


class Tick(BaseModel):
    """One tick of a market."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    price: Price
    volume: Amount
    timestamp: Timestamp
    bid: Price | None = None
    ask: Price | None = None
    bid_size: Amount | None = None
    ask_size: Amount | None = None
    side: Literal["buy", "sell"] | None = Field(default=None, description="of the aggressor")


class Process(BaseModel):
    """A tick of a market, or several in `batch_data`, in order."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        json_schema_extra={
            "anyOf": [
                {"required": ["price", "volume", "timestamp"]},
                {"required": ["batch_data"]},
            ],
            "examples": [
                {
                    "market_id": "EUR/USD",
                    "price": 1.0853,
                    "volume": 2.5,
                    "timestamp": 1_700_000_000_000,
                }
            ],
        },
    )

    market_id: Annotated[str, Field(min_length=1, max_length=128)]
    price: Price | None = None
    volume: Amount | None = None
    timestamp: Timestamp | None = None
    bid: Price | None = None
    ask: Price | None = None
    bid_size: Amount | None = None
    ask_size: Amount | None = None
    side: Literal["buy", "sell"] | None = Field(default=None, description="of the aggressor")
    batch_data: Annotated[list[Tick], Field(min_length=1, max_length=MOST_TICKS)] | None = None

    @model_validator(mode="after")
    def _one_or_many(self) -> Self:
        tick_fields = self.model_fields_set - {"market_id", "batch_data"}
        if self.batch_data is not None:
            if tick_fields:
                raise ValueError(f"{min(tick_fields)}: not beside batch_data")
            return self
        for name in ("price", "volume", "timestamp"):
            if getattr(self, name) is None:
                raise ValueError(f"{name}: missing; a number, or ticks in batch_data")
        return self

    @property
    def ticks(self) -> list[Tick]:
        """The ticks of the request, in order; at least one."""
        if self.batch_data is not None:
            return self.batch_data
        return [Tick(**{name: getattr(self, name) for name in Tick.model_fields})]


class Market(BaseModel):
    """A market that is to be reset."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    market_id: Annotated[str, Field(min_length=1, max_length=128)]


class Reset(BaseModel):
    """A market that was reset."""

    market_id: str
    reset: bool


class NeuralMetrics(BaseModel):
    """The activity of the circuit in a tick."""

    spike_counts: dict[str, int]
    firing_rates: dict[str, float] = Field(description="Hz")


class Signals(BaseModel):
    """The forecast at a market's last tick."""

    market_id: str
    trading_signals: list[float] = Field(description="buy, hold, sell; sum 1")
    confidence: float = Field(description="the largest of them")
    processing_time_ns: int = Field(description="of the engine, for a tick")
    neural_metrics: NeuralMetrics
    model: str
    ticks: int = Field(description="of this request")


class Problem(BaseModel):
    """The reason of an error."""

    detail: str


class Start(BaseModel):
    """A training run to start."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    data: str | None = Field(
        default=None, max_length=512, description="below storage.data; default training.data"
    )
    task: Literal["event", "h10"] = "event"
    method: Literal["climbing_fiber", "surrogate_gradient", "hybrid", "stdp"] | None = None
    epochs: Annotated[int, Field(ge=1, le=10_000)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None


class Started(BaseModel):
    id: str
    status: str = Field(description="where to ask how it goes")
