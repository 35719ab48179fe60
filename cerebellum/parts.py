"""The optional parts of the distribution, and what is said where one is missing.

`pip install cerebellar-norse` installs what simulating needs. The other packages come in parts,
which are the extras of pyproject.toml: `pip install "cerebellar-norse[service,ticks]"`.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from cerebellum.errors import UsageError

PARTS = {
    "analysis": ("elephant", "neo"),
    "bsb": ("h5py",),
    "eval": ("sklearn",),
    "neo": ("neo",),
    "nir": ("nir",),
    "nwb": ("pynwb",),
    "pandas": ("pandas",),
    "service": ("fastapi", "httptools", "prometheus_client", "uvicorn"),
    "sonata": ("h5py",),
    "ticks": ("polars",),
}
"""The modules that each part brings."""


def is_there(part: str) -> bool:
    """Whether all modules of a part can be imported. None of them is imported for that."""
    return all(map(found, PARTS[part]))


def need(what: str, *parts: str) -> None:
    """Check that parts are installed, before their modules are imported.

    Args:
      what: what needs them, for the message: a command, a function or a file.

    Raises:
      UsageError: one is missing; the line has the command that installs it.
    """
    missing = [part for part in parts if not is_there(part)]
    if missing:
        raise _missing(what, *missing)


def optional(module: str, part: str, what: str) -> Any:
    """Import a module of a part.

    Args:
      what: what needs it, as for `need`.

    Raises:
      UsageError: the part is not installed; the line has the command that installs it.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        library = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != library:
            raise
        raise _missing(what, part) from None


def _missing(what: str, *parts: str) -> UsageError:
    noun = "part" if len(parts) == 1 else "parts"
    return UsageError(
        f"{what}: needs the {' and '.join(parts)} {noun}: "
        f'pip install "cerebellar-norse[{",".join(parts)}]"'
    )


def found(module: str) -> bool:
    """Whether a top-level module can be imported. It is not imported for that."""
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        # A finder that refuses the module, or one that was put into `sys.modules` by hand.
        return False
