"""`cerebellar-norse serve`: the service as a process, from its configuration to its exit code."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from importlib.metadata import version

import jax
import uvicorn

from cerebellum import config, configure
from cerebellum.config import Settings
from cerebellum.errors import FailedError, UsageError
from cerebellum.service import (
    app,
    connections,
    faults,
    guard,
    logs,
    metrics,
    notify,
    served,
    state,
)
from cerebellum.service.app import Service
from cerebellum.service.training import Trainer

LIVE = (
    ("logging", "level"),
    ("server", "latency_slo"),
    ("server", "max_markets"),
    ("training", "checkpoint_interval"),
)
"""Keys that SIGHUP changes; others need a restart."""
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

log = logging.getLogger("cerebellum.service")


def run(path: str | None) -> int:
    """Serve until a signal; returns the exit code.

    Raises:
      UsageError: a configuration that is not valid here, a port that is taken.
      FailedError: the model cannot be loaded, or state was not saved at the end.
    """
    problems = configure.validate(path) if path is not None else []
    if problems:
        raise UsageError("\n".join(problems))
    settings = config.load(path)
    configure.use_device(settings)
    keys = () if settings.server.api_key_file is None else guard.keys(settings.server.api_key_file)
    listener = logs.begin(settings.logging)
    try:
        with _listening(settings) as sock:
            return _serve(settings, path, keys, sock, listener)
    finally:
        listener.stop()


@contextlib.contextmanager
def _listening(settings: Settings) -> Iterator[socket.socket]:
    """A bound socket: a port that is taken is found before anything is loaded."""
    host, port = settings.server.host, settings.server.port
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, protocol)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
    except OSError as error:
        raise UsageError(
            f"server.port: {error.strerror} ({host}:{port}; an address that is free)"
        ) from None
    with sock:
        yield sock


class _Server(uvicorn.Server):
    """uvicorn's server, whose signals are ours: it would end with the signal, not with 0."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _serve(settings: Settings, path: str | None, keys: tuple[bytes, ...], sock, listener) -> int:
    info = {
        "version": version("cerebellar-norse"),
        "jax": jax.__version__,
        "python": ".".join(map(str, sys.version_info[:3])),
        "device": jax.default_backend(),
    }
    measured = metrics.build(POPULATIONS, info)
    service = Service(settings=settings, metrics=measured, trainer=Trainer(settings, path))
    problem: list[BaseException] = []

    def failed(error: BaseException) -> None:
        problem.append(error)
        server.should_exit = True

    def load() -> None:
        try:
            model = served.load(service.settings)
            log.info("model loaded", extra={"fields": {"model": model.name}})
            service.engine = state.build(service.settings, model, measured, failed)
            service.engine.start()
        except Exception as error:
            if not isinstance(error, UsageError | FailedError):
                faults.report(log, error)
            failed(error)
            return
        fields = {"model": model.name, "pid": os.getpid(), "port": sock.getsockname()[1]}
        log.info("ready", extra={"fields": fields})
        notify.tell("READY=1")

    loader = threading.Thread(target=load, name="loader", daemon=True)

    def end() -> None:
        service.trainer.stop()
        if service.engine is not None and service.engine.ready:
            try:
                service.engine.stop()
            except Exception as error:
                problem.append(error)

    inner = app.build(service, loader.start, end)
    outer = guard.guarded(inner, measured, app.path_of, settings.server.max_body_size, keys)
    given = settings.server
    server = _Server(
        uvicorn.Config(
            outer,
            http=connections.limited(given.max_connections, given.connection_timeout),
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=max(1, round(given.keep_alive_timeout)),
            timeout_graceful_shutdown=max(1, round(given.connection_timeout)),
            backlog=2_048,
        )
    )
    asyncio.run(_until_signal(server, service, path, sock))
    if loader.is_alive() and not problem:
        # Nothing was answered yet; a thread in the middle of compiling would not let us go.
        log.info("stopped while starting")
        listener.stop()
        os._exit(0)
    if problem:
        first = problem[0]
        log.critical("ended: %s", _first_line(first))
        if isinstance(first, UsageError | FailedError):
            raise first
        raise FailedError(_first_line(first)) from first
    return 0


def _first_line(error: BaseException) -> str:
    """What an error says, with its kind where it is none of ours."""
    said = (str(error).splitlines() or [""])[0]
    return (
        said if isinstance(error, UsageError | FailedError) else f"{type(error).__name__}: {said}"
    )


async def _until_signal(server: _Server, service: Service, path: str | None, sock) -> None:
    loop = asyncio.get_running_loop()

    def stop() -> None:
        service.stopping = server.should_exit = True
        log.info("stopping")
        notify.tell("STOPPING=1")

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)

    def again() -> None:
        threading.Thread(target=reread, args=(service, path), daemon=True).start()

    loop.add_signal_handler(signal.SIGHUP, again)
    await server.serve(sockets=[sock])


def reread(service: Service, path: str | None) -> None:
    """SIGHUP: take over what can change live, and name what cannot."""
    notify.tell("RELOADING=1")
    try:
        new = config.load(path)
    except UsageError as error:
        for line in str(error).splitlines():
            log.error("configuration not reread: %s", line)
        return
    finally:
        if service.engine is not None and service.engine.ready:
            notify.tell("READY=1")
    old, taken = service.settings, service.settings
    for section, fields in new:
        for key, value in fields:
            before, name = getattr(getattr(old, section), key), f"{section}.{key}"
            if value == before:
                continue
            if (section, key) not in LIVE:
                log.error("%s: cannot change live (%s; restart for %s)", name, before, value)
                continue
            changed = getattr(taken, section).model_copy(update={key: value})
            taken = taken.model_copy(update={section: changed})
            log.info("%s: now %s", name, value)
    logging.getLogger("cerebellum").setLevel(taken.logging.level)
    service.settings = taken
    if service.engine is not None:
        service.engine.configure(taken)
        _renew(service)


def _renew(service: Service) -> None:
    """Load a model that has come since, prove it, and only then let it take over."""
    engine = service.engine
    assert engine is not None
    if served.newest(service.settings) == engine.served.name:
        return
    if not service.renewing.acquire(blocking=False):
        log.warning("a model is being loaded already")
        return
    try:
        engine.replace_by(served.load(service.settings))
    except Exception as error:
        said = _first_line(error)
        log.error("the model was not renewed: %s; the old one serves on", said)
    finally:
        service.renewing.release()
