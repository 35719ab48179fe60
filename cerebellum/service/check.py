"""Checks of a configuration before a start: whatever would end the start is found here first.

The start itself and `--validate-only` make the same checks. That another program has the port or
the folder of models is left to the start, because it may be this service that runs.
"""

import errno

from cerebellum import config, configure
from cerebellum.config import Settings
from cerebellum.errors import UsageError
from cerebellum.service import guard, listening, served

PRIVILEGED = 1_024
"""Ports below this one may need a right that this user lacks."""


def validate(path: str | None) -> list[str]:
    """The problems that a start with a configuration file would have, a line each.

    Raises:
      UsageError: the file cannot be read, or its settings are not valid on any machine.
    """
    settings = config.load(path)
    lines = configure.problems(settings) + problems(settings)
    return [configure.in_file(path, line) for line in lines]


def problems(settings: Settings) -> list[str]:
    """The problems that valid settings have for the service alone, a line each."""
    lines = []
    for check in (_keys, _address, _connections, served.check):
        try:
            check(settings)
        except UsageError as error:
            lines.append(str(error))
    return lines


def notes(settings: Settings) -> list[str]:
    """What holds on this machine though it is not wrong, a line each."""
    lines, wanted = configure.notes(settings), settings.server.max_connections
    most = listening.room(wanted)
    if most < wanted:
        lines.append(
            f"server.max_connections: {wanted}, of which this process may have {most} open "
            "(`ulimit -n`, LimitNOFILE of the unit)"
        )
    return lines


def _keys(settings: Settings) -> None:
    if settings.server.api_key_file is not None:
        guard.keys(settings.server.api_key_file)


def _connections(settings: Settings) -> None:
    listening.room(settings.server.max_connections)


def _address(settings: Settings) -> None:
    host, port = settings.server.host, settings.server.port
    listening.bound(host, 0).close()
    if port >= PRIVILEGED:
        return
    try:
        listening.bound(host, port).close()
    except UsageError as error:
        cause = error.__cause__
        if not (isinstance(cause, OSError) and cause.errno == errno.EADDRINUSE):
            raise
