"""`cerebellar-norse serve`: the service as a process, from its configuration to its exit code."""

import asyncio
import contextlib
import logging
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from logging.handlers import QueueListener
from pathlib import Path

import jax
import uvicorn
from starlette.types import ASGIApp

from cerebellum import config, program, store
from cerebellum.config import Settings
from cerebellum.errors import FailedError, UsageError, first_line
from cerebellum.service import (
    app,
    check,
    connections,
    faults,
    guard,
    listening,
    logs,
    metrics,
    notify,
    renewal,
    served,
    state,
    uncaught,
)
from cerebellum.service.app import Service
from cerebellum.service.training import Trainer

LIVE = (
    ("logging", "level"),
    ("server", "api_key_file"),
    ("server", "clock_tolerance"),
    ("server", "latency_slo"),
    ("server", "max_markets"),
    ("training", "checkpoint_interval"),
)
"""Keys that SIGHUP changes; the others need a restart."""
POPULATIONS = (
    "mossy_fiber",
    "granule",
    "golgi",
    "purkinje",
    "basket",
    "stellate",
    "nuclei",
    "inferior_olive",
)

ACCEPT_S = 1.0
"""At the end, how long connections that the system holds already are accepted."""

log = logging.getLogger("cerebellum.service")


def run(path: str | None) -> int:
    """Serve until a signal; returns the exit code.

    Raises:
      UsageError: a configuration that is not valid here, a port that is taken.
      FailedError: the model cannot be loaded, or state was not saved at the end.
    """
    problems = check.validate(path)
    if problems:
        raise UsageError("\n".join(problems))
    settings = config.load(path)
    keys = () if settings.server.api_key_file is None else guard.keys(settings.server.api_key_file)
    listener = logs.begin(settings.logging)
    try:
        for line in check.notes(settings):
            log.warning(line)
        # Before the model is loaded, so that a port or a folder that is taken is found at once.
        with (
            uncaught.logged(),
            listening.open_socket(settings.server.host, settings.server.port) as sock,
            store.locked(Path(settings.storage.models)),
        ):
            return _serve(settings, path, keys, sock, listener)
    finally:
        listener.stop()


class _Server(uvicorn.Server):
    """uvicorn's server without its signal handlers, which takes in who waits before it ends.

    With them the process would end by the signal and not with exit code 0.
    """

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept the connections that the system holds already, then stop to listen, and end."""
        deadline = time.monotonic() + ACCEPT_S
        while time.monotonic() < deadline and any(map(_is_readable, sockets or [])):
            await asyncio.sleep(0)
        # Those that were accepted last become connections.
        await asyncio.sleep(connections.FRESH_S)
        await super().shutdown(sockets)


def _is_readable(sock: socket.socket) -> bool:
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


@dataclass
class _Process:
    """The service of this process: it loads a model, serves until a signal, and ends."""

    service: Service
    port: int
    problems: list[BaseException] = field(default_factory=list)
    """errors that end the process, in the order in which they came"""
    server: _Server | None = None
    loader: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self.loader = threading.Thread(target=self._load, name="loader", daemon=True)

    def fail(self, error: BaseException) -> None:
        """End because of an error."""
        self.problems.append(error)
        if self.server is not None:
            self.server.should_exit = True

    def _load(self) -> None:
        service = self.service
        try:
            found = renewal.find(service)
            model = served.load(found, service.settings)
            log.info("model loaded", extra={"fields": {"model": model.name}})
            service.engine = state.build(service.settings, model, service.metrics, self.fail)
            service.engine.model_problem = found.problem
            service.engine.start()
        except Exception as error:
            if not isinstance(error, UsageError | FailedError):
                faults.report(log, error)
            self.fail(error)
            return
        fields = {"model": model.name, "pid": os.getpid(), "port": self.port}
        log.info("ready", extra={"fields": fields})
        notify.tell("READY=1")

    def end(self) -> None:
        """Stop training and the engine, which saves what markets remember."""
        self.service.trainer.stop()
        if self.service.engine is not None and self.service.engine.ready:
            try:
                self.service.engine.stop()
            except Exception as error:
                self.problems.append(error)


def _serve(
    settings: Settings,
    path: str | None,
    keys: tuple[bytes, ...],
    sock: socket.socket,
    listener: QueueListener,
) -> int:
    """Serve on a bound socket until a signal; returns the exit code."""
    info = {
        "version": program.__version__,
        "source": program.digest(),
        "jax": jax.__version__,
        "python": ".".join(map(str, sys.version_info[:3])),
        "device": jax.default_backend(),
    }
    measured = metrics.build(POPULATIONS, info)
    trainer = Trainer(settings, path)
    trainer.adopt()
    service = Service(
        settings=settings,
        metrics=measured,
        trainer=trainer,
        losses=logs.losses(listener),
        keys=keys,
    )
    process = _Process(service, sock.getsockname()[1])
    inner = app.build(service, process.loader.start, process.end)
    outer = guard.guarded(
        inner,
        measured,
        app.path_of,
        settings.server.max_body_size,
        lambda: service.keys,
        guard.hosts(settings.server.host, settings.server.allowed_hosts),
    )
    process.server = _server(
        settings.server, outer, measured, listening.room(settings.server.max_connections)
    )
    state_of_server = process.server.server_state
    measured.connections.set_function(lambda: len(state_of_server.connections))
    asyncio.run(_until_signal(process.server, service, path, sock))
    if process.loader.is_alive() and not process.problems:
        # Nothing was answered yet, and a thread that compiles cannot be interrupted.
        log.info("stopped while starting")
        listener.stop()
        os._exit(0)
    if process.problems:
        problem = process.problems[0]
        log.critical("ended: %s", first_line(problem))
        if isinstance(problem, UsageError | FailedError):
            raise problem
        raise FailedError(first_line(problem)) from problem
    return 0


def _server(
    settings: config.Server, application: ASGIApp, measured: metrics.Metrics, most: int
) -> _Server:
    """uvicorn's server for at most `most` connections."""
    return _Server(
        uvicorn.Config(
            application,
            http=connections.limited(most, settings.connection_timeout, measured),
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=max(1, round(settings.keep_alive_timeout)),
            timeout_graceful_shutdown=max(1, round(settings.connection_timeout)),
            backlog=listening.BACKLOG,
        )
    )


async def _until_signal(
    server: _Server, service: Service, path: str | None, sock: socket.socket
) -> None:
    """Serve until SIGTERM or SIGINT; SIGHUP rereads the configuration."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        service.stopping = server.should_exit = True
        log.info("stopping")
        notify.tell("STOPPING=1")

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)

    def reread_beside() -> None:
        threading.Thread(target=reread, args=(service, path), daemon=True).start()

    loop.set_exception_handler(connections.report)
    loop.add_signal_handler(signal.SIGHUP, reread_beside)
    # The program holds it back from its first moment on; one that came meanwhile comes now.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
    await server.serve(sockets=[sock])


def reread(service: Service, path: str | None) -> None:
    """Reread the configuration: apply what can change live, and log what cannot."""
    notify.tell("RELOADING=1")
    try:
        new = config.load(path)
    except UsageError as error:
        for line in str(error).splitlines():
            log.error("configuration not reread: %s", line)
        service.configuration_problem = first_line(error)
        return
    finally:
        if service.engine is not None and service.engine.ready:
            notify.tell("READY=1")
    pending = []
    old, applied = service.settings, service.settings
    for section, values in new:
        for key, value in values:
            before, name = getattr(getattr(old, section), key), f"{section}.{key}"
            if value == before:
                continue
            unguarded = key == "api_key_file" and value is None
            if (section, key) not in LIVE or unguarded:
                log.error("%s: cannot change live (%s; restart for %s)", name, before, value)
                pending.append(name)
                continue
            changed = getattr(applied, section).model_copy(update={key: value})
            applied = applied.model_copy(update={section: changed})
            log.info("%s: now %s", name, value)
    logging.getLogger("cerebellum").setLevel(applied.logging.level)
    service.settings, service.pending = applied, tuple(pending)
    service.configuration_problem = _renew_keys(service)
    if service.engine is not None:
        service.engine.configure(applied)
        renewal.renew(service)


def _renew_keys(service: Service) -> str | None:
    """Read the file of API keys again. Where it is not valid, the keys stay, and it says why."""
    path = service.settings.server.api_key_file
    if path is None:
        return None
    try:
        new = guard.keys(path)
    except UsageError as error:
        log.error("%s; the keys stay as they were", error)
        return first_line(error)
    before, after = set(service.keys), set(new)
    service.keys = new
    if before != after:
        counts = len(after), len(after - before), len(before - after)
        log.info("server.api_key_file: %d keys, %d of them new; %d withdrawn", *counts)
    return None
