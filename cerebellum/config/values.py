"""Types of values that settings have, and what each refuses."""

import ipaddress
import re
from typing import Annotated, Any

from pydantic import BeforeValidator, ByteSize, Field


def whole(value: Any) -> Any:
    """Refuse floats and booleans, which pydantic would round or read as integers."""
    if isinstance(value, (bool, float)):
        raise ValueError("not a whole number")
    return value


def _not_bool(value: Any) -> Any:
    """Refuse booleans, which pydantic would read as numbers."""
    if isinstance(value, bool):
        raise ValueError("not a number")
    return value


def _size(value: Any) -> Any:
    """Accept bytes as an integer, or a number with a unit of bytes; "20Gb" is gigabits, refused."""
    if isinstance(value, (bool, float)) or (isinstance(value, int) and value < 1):
        raise ValueError("not a size")
    if isinstance(value, str) and not re.fullmatch(r"\d+(\.\d+)?\s*([kKMGTP]i?)?B?", value.strip()):
        raise ValueError("not a size")
    return value


Count = Annotated[int, BeforeValidator(whole), Field(ge=1, le=4_000_000_000)]
Number = Annotated[float, BeforeValidator(_not_bool), Field(allow_inf_nan=False)]
Positive = Annotated[Number, Field(gt=0)]
Share = Annotated[Number, Field(ge=0, le=1)]
Size = Annotated[ByteSize, BeforeValidator(_size)]


def _host_name(value: Any) -> Any:
    """Refuse what is no bare name of a host: one with a scheme, a port or a path."""
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*", value):
        raise ValueError("not a name of a host")
    return value.lower()


HostName = Annotated[str, BeforeValidator(_host_name)]


def is_loopback(host: str) -> bool:
    """Whether a host is this machine for itself alone: localhost, 127.0.0.0/8 or ::1."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
