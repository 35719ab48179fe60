"""The HTTP application: it checks requests and formats answers. The engine does the rest."""

import asyncio
import os
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import anyio.to_thread
import numpy as np
from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from cerebellum import program
from cerebellum.config import Settings
from cerebellum.service import bodies, markets, overview, training
from cerebellum.service.engine import Engine
from cerebellum.service.guard import TooLargeError
from cerebellum.service.logfile import Losses
from cerebellum.service.markets import FullError
from cerebellum.service.metrics import Metrics
from cerebellum.service.models import UNTRAINED
from cerebellum.service.requests import (
    Market,
    Problem,
    Process,
    Reset,
    Signals,
    Start,
    Started,
    Tick,
)
from cerebellum.service.requests_queue import BusyError, LateError, UnsoundError
from cerebellum.service.training import Trainer

PATHS = (
    "/",
    "/health",
    "/ready",
    "/metrics",
    "/openapi.json",
    "/overview",
    "/neural/metrics",
    "/neural/raster",
    "/neural/process",
    "/markets/reset",
    "/training/start",
)
PAGE = Path(__file__).with_name("page.html")
PAGE_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; connect-src 'self'; img-src data:; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
RETRY_S = "1"
STATUSES = ("healthy", "degraded", "unhealthy")
"""Of a check; their places are the values of the metric check_status."""
ANSWER_S = 600.0
"""How long the ticks of one request may take once its turn has come."""
SCHEMAS = "#/components/schemas/"
EDGES_US = (10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000)


@dataclass
class Service:
    """The parts of the service that the application uses."""

    settings: Settings
    metrics: Metrics
    trainer: Trainer
    engine: Engine | None = None
    """None until the model is loaded"""
    keys: tuple[bytes, ...] = ()
    """API keys; if there are none, no key is needed"""
    stopping: bool = False
    damaged: set[Path] = field(default_factory=set)
    """models that were found damaged, and counted"""
    renewing: threading.Lock = field(default_factory=threading.Lock)
    """held while another model is loaded"""
    waiting: threading.Lock = field(default_factory=threading.Lock)
    """held while somebody waits for that"""
    losses: Losses = field(default_factory=Losses)
    """lines of the log that were lost"""
    lines_published: int = 0
    """lost lines that metrics know of"""
    configuration_problem: str | None = None
    """why the configuration was not reread, if that failed"""
    pending: tuple[str, ...] = ()
    """keys whose values in the configuration wait for a restart"""
    began: float = field(default_factory=time.monotonic)
    """monotonic s"""


def path_of(path: str) -> str:
    """The name of a path in metrics."""
    if path in PATHS:
        return path
    return "/training/status/{id}" if re.fullmatch(r"/training/status/[^/]+", path) else "other"


def build(service: Service, begin: Callable[[], Any], end: Callable[[], Any]) -> FastAPI:
    """The application.

    Args:
      begin: called when the application starts.
      end: called when the last request was answered.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI):
        _limit_threads(service.settings.server.worker_threads)
        begin()
        yield
        await asyncio.to_thread(end)

    app = FastAPI(
        title="cerebellar-norse",
        description="Ticks of markets in, signals of a cerebellum out.",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(TooLargeError, _too_large)
    app.add_exception_handler(ClientDisconnect, _disconnected)
    app.add_exception_handler(Exception, _internal_error)
    _add_monitoring(app, service)
    _add_work(app, service)
    app.openapi = partial(_document, app)
    return app


def _limit_threads(count: int) -> None:
    """Let blocking work of this event loop have so many threads: that of endpoints, and the rest.

    Endpoints that are plain functions take theirs from anyio, `asyncio.to_thread` from the loop.
    """
    anyio.to_thread.current_default_thread_limiter().total_tokens = count
    workers = ThreadPoolExecutor(count, thread_name_prefix="worker")
    asyncio.get_running_loop().set_default_executor(workers)


async def _http_error(request: Request, error: Any) -> JSONResponse:
    headers = getattr(error, "headers", None)
    return JSONResponse({"detail": str(error.detail)}, error.status_code, headers=headers)


async def _disconnected(request: Request, error: Exception) -> Response:
    """The client has left and reads nothing; metrics count the status."""
    return Response(status_code=499)


async def _too_large(request: Request, error: Exception) -> JSONResponse:
    headers = {"connection": "close"}
    return JSONResponse({"detail": "body: more than server.max_body_size"}, 413, headers)


async def _internal_error(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": "internal error; the log says which"}, 500)


def _add_monitoring(app: FastAPI, service: Service) -> None:
    """Add the endpoints that operators and their tools read."""

    @app.get("/health", responses={503: {"model": dict[str, Any]}})
    def health() -> Response:
        report = health_of(service)
        return JSONResponse(report, 503 if report["status"] == "unhealthy" else 200)

    @app.get("/ready", responses={503: {"model": dict[str, Any]}})
    async def ready() -> Response:
        if _ready(service):
            return JSONResponse({"ready": True, "status": "ready"})
        status = "stopping" if service.stopping else "starting"
        return JSONResponse({"ready": False, "status": status}, 503, {"retry-after": RETRY_S})

    @app.get("/metrics", response_class=Response)
    def metrics() -> Response:
        if service.engine is not None:
            service.engine.publish()
        service.trainer.publish(service.metrics)
        _publish(service)
        return Response(generate_latest(service.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/neural/metrics", responses={503: {"model": Problem}})
    def neural_metrics() -> Response:
        return JSONResponse(neural(_engine(service)))

    @app.get("/overview", responses={503: {"model": Problem}})
    def overview_() -> Response:
        status = service.trainer.status("latest")
        return JSONResponse(overview.overview(_engine(service), health_of(service), status))

    @app.get("/neural/raster", responses={503: {"model": Problem}})
    def raster() -> Response:
        engine = _engine(service)
        frames = {
            "populations": list(engine.served.sizes),
            "frames": list(engine.statistics.frames),
            "steps": engine.served.form.design.steps,
            "dt_ms": engine.served.form.design.dt,
        }
        return JSONResponse(frames)

    @app.get("/training/status/{id}", responses={404: {"model": Problem}})
    def training_status(id: str) -> Response:
        status = service.trainer.status(id)
        if status is None:
            raise HTTPException(404, "id: no such training run")
        return JSONResponse(status)

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return Response(PAGE.read_bytes(), media_type="text/html", headers=PAGE_HEADERS)


def _add_work(app: FastAPI, service: Service) -> None:
    """Add the endpoints that process ticks and start training."""

    @app.post(
        "/neural/process",
        response_model=Signals,
        openapi_extra=_body(Process),
        responses={code: {"model": Problem} for code in (401, 413, 422, 429, 503)},
    )
    async def process(request: Request) -> Response:
        parsed = bodies.parsed(Process, await request.body())
        if service.engine is None or not service.engine.ready:
            service.metrics.refused.labels(reason="busy").inc()
        engine = _engine(service)
        ticks = parsed.ticks
        _check_clock(ticks, service)
        limit = service.settings.server.connection_timeout
        try:
            future = engine.submit(parsed.market_id, ticks, limit)
            reply = await asyncio.wait_for(asyncio.wrap_future(future), limit + ANSWER_S)
        except markets.RefusedError as error:
            raise HTTPException(422, str(error)) from None
        except FullError as error:
            raise _later(429, f"market_id: {error}") from None
        except TimeoutError:
            raise _later(503, "no answer in time") from None
        except (BusyError, LateError, UnsoundError) as error:
            raise _later(503, str(error)) from None
        counts = reply.counts
        signals = {
            "market_id": parsed.market_id,
            "trading_signals": _signals(reply.chances),
            "confidence": float(reply.chances.max()),
            "processing_time_ns": reply.processing_ns,
            "neural_metrics": {
                "spike_counts": counts,
                "firing_rates": {name: engine.served.rate(name, n) for name, n in counts.items()},
            },
            "model": engine.served.name,
            "ticks": len(ticks),
        }
        return Response(to_json(signals), media_type="application/json")

    @app.post(
        "/markets/reset",
        response_model=Reset,
        openapi_extra=_body(Market),
        responses={code: {"model": Problem} for code in (401, 404, 413, 422, 503)},
    )
    async def reset(request: Request) -> Response:
        parsed = bodies.parsed(Market, await request.body())
        try:
            future = _engine(service).reset(parsed.market_id)
            known = await asyncio.wait_for(asyncio.wrap_future(future), ANSWER_S)
        except TimeoutError:
            raise _later(503, "no answer in time") from None
        except BusyError as error:
            raise _later(503, str(error)) from None
        except OSError as error:
            raise _disk_refused(error) from None
        if not known:
            raise HTTPException(404, "market_id: no such market")
        return JSONResponse({"market_id": parsed.market_id, "reset": True})

    @app.post(
        "/training/start",
        status_code=202,
        response_model=Started,
        openapi_extra=_body(Start),
        responses={code: {"model": Problem} for code in (401, 409, 413, 422, 503)},
    )
    async def start(request: Request) -> Response:
        parsed = bodies.parsed(Start, await request.body() or b"{}")
        try:
            id = await asyncio.to_thread(service.trainer.start, parsed)
        except training.RefusedError as error:
            raise HTTPException(422, str(error)) from None
        except training.RunningError as error:
            raise HTTPException(409, str(error), {"retry-after": "60"}) from None
        except OSError as error:
            raise _disk_refused(error) from None
        return JSONResponse({"id": id, "status": f"/training/status/{id}"}, 202)


def _body(model: Any) -> dict[str, Any]:
    """The OpenAPI entry of a body that `bodies.parsed` parses, and not FastAPI."""
    return {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": SCHEMAS + model.__name__}}},
        }
    }


def _document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document of the application, with the schemas of request bodies."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=program.__version__,
            description=app.description,
            routes=app.routes,
        )
        for model in (Process, Market, Start):
            schema = model.model_json_schema(ref_template=SCHEMAS + "{model}")
            document["components"]["schemas"] |= {**schema.pop("$defs", {}), model.__name__: schema}
        app.openapi_schema = document
    return app.openapi_schema


def _later(code: int, detail: str) -> HTTPException:
    return HTTPException(code, detail, {"retry-after": RETRY_S})


def _disk_refused(error: OSError) -> HTTPException:
    return _later(503, f"storage.models: {os.strerror(error.errno or 0)}")


def _check_clock(ticks: list[Tick], service: Service) -> None:
    """Refuse ticks from the future: after one, a market would take none until then.

    Raises:
      HTTPException: 422; a timestamp is too far ahead of this machine's clock.
    """
    tolerance_s = service.settings.server.clock_tolerance
    latest, now = max(tick.timestamp for tick in ticks) * 1e-3, time.time()
    if latest > now + tolerance_s:
        service.metrics.refused.labels(reason="refused").inc()
        raise HTTPException(
            422,
            f"timestamp: {latest * 1e3:.0f} is {latest - now:.0f} s ahead of this machine's clock; "
            f"at most {tolerance_s:g} s (server.clock_tolerance)",
        )


def _signals(chances: np.ndarray) -> list[float]:
    """Probabilities in double precision, so that their sum is one."""
    exact = chances.astype(np.float64)
    return (exact / exact.sum()).tolist()


def _publish(service: Service) -> None:
    """Set the gauges of health and readiness, and count the lines that the log has lost."""
    metrics = service.metrics
    metrics.ready.set(_ready(service))
    for check in health_of(service)["checks"]:
        metrics.status.labels(check=check["name"]).set(STATUSES.index(check["status"]))
    lost = service.losses.total
    metrics.lines_lost.inc(lost - service.lines_published)
    service.lines_published = lost


def _ready(service: Service) -> bool:
    engine = service.engine
    if engine is None or service.stopping:
        return False
    return engine.ready and engine.alive and not engine.stuck


def _engine(service: Service) -> Engine:
    if service.engine is None or not service.engine.ready:
        raise _later(503, "starting")
    return service.engine


def health_of(service: Service) -> dict[str, Any]:
    """The health of the service. A high load is healthy; an engine without progress is not."""
    engine, checks = service.engine, []

    def check(name: str, status: str, message: str) -> None:
        checks.append({"name": name, "status": status, "message": message})

    if engine is None or not engine.ready:
        check("engine", "healthy", "starting: the model is loaded and compiled")
    elif not engine.alive:
        check("engine", "unhealthy", "the engine is not running; the log says why; restart")
    elif engine.stuck:
        check("engine", "unhealthy", f"no progress, and {engine.waiting} requests wait; restart")
    else:
        check("engine", "healthy", f"{engine.ticks} ticks answered, {engine.waiting} wait")
    if engine is not None:
        name = engine.served.name
        message = "untrained: the circuit as configured" if name == UNTRAINED else name
        if engine.model_problem is None:
            check("model", "healthy", message)
        else:
            check("model", "degraded", f"{message}; {engine.model_problem}")
        if engine.persistence.failed:
            check(
                "checkpoints",
                "degraded",
                f"not saved: {engine.persistence.failed}; it is tried again",
            )
        else:
            check("checkpoints", "healthy", f"{engine.persistence.folder}")
    if service.configuration_problem is not None:
        check("configuration", "degraded", f"not reread: {service.configuration_problem}")
    else:
        pending = ", ".join(service.pending)
        check("configuration", "healthy", f"a restart changes {pending}" if pending else "as read")
    if service.losses.problem is not None:
        check("log", "degraded", f"{service.losses.current} lines lost: {service.losses.problem}")
    else:
        check("log", "healthy", "written")
    statuses = {entry["status"] for entry in checks}
    status = next(s for s in reversed(STATUSES) if s in statuses)
    return {
        "status": status,
        "uptime_seconds": time.monotonic() - service.began,
        "model": engine.served.name if engine is not None else None,
        "checks": checks,
    }


def neural(engine: Engine) -> dict[str, Any]:
    """The spikes, rates and latencies of /neural/metrics."""
    statistics = engine.statistics
    latencies = np.array(list(statistics.latencies) or [0])
    counts = statistics.last_counts
    ticks = statistics.answered + statistics.failed
    edges = np.array([0, *EDGES_US, np.inf]) * 1e3
    return {
        "model": engine.served.name,
        "neural_metrics": {
            "cells": engine.served.sizes,
            "spike_counts": statistics.total,
            "firing_rates": {name: engine.served.rate(name, n) for name, n in counts.items()},
        },
        "performance_metrics": {
            "avg_latency_ns": float(latencies.mean()),
            "p95_latency_ns": float(np.percentile(latencies, 95)),
            "p99_latency_ns": float(np.percentile(latencies, 99)),
            "throughput_ticks_per_second": statistics.pace.per_second(),
            "error_rate": statistics.failed / ticks if ticks else 0.0,
            "ticks": statistics.answered,
            "latency_histogram": {
                "below_us": list(EDGES_US),
                "ticks": np.histogram(latencies, edges)[0].tolist() if statistics.latencies else [],
            },
        },
    }
