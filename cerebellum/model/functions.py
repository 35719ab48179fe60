"""Functions of a user, known by what they compute.

A compiled program belongs to the functions that it was traced from. Known by their code and the
values that it reads, the functions of a notebook's cell that runs again are the same ones, and a
function that reads another value now is another one.
"""

import builtins
import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from dis import get_instructions
from hashlib import sha256
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy

LIBRARIES = (math, np, jax, jnp, jax.lax, jax.nn, jax.random, scipy)
"""Modules of which a program reads nothing that changes."""
SAFE = {library.__name__.partition(".")[0] for library in LIBRARIES}
"""Names of these modules."""
HIDDEN = {"globals", "locals", "vars", "eval", "exec", "__import__"}
"""Functions by which others read what their code does not name."""


@dataclass(frozen=True)
class Known:
    """A function that equals others that compute the same."""

    function: Callable = field(compare=False)
    content: Hashable
    """its code, and the values that it reads"""

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*arguments)


class _Unknown(Exception):
    """A function reads something that may change without being another object."""


def known(function: Callable) -> Callable:
    """A function as `Known`; itself if it reads what may change without being another object."""
    try:
        return Known(function, _of_function(function, ()))
    except _Unknown:
        return function


def known_now(function: Callable) -> Known:
    """A function as `Known`; equal to no other if what it reads may change unseen."""
    result = known(function)
    return result if isinstance(result, Known) else Known(function, object())


def _of_function(function: Any, outer: tuple[CodeType, ...]) -> Hashable:
    """What a plain function computes with."""
    if not isinstance(function, FunctionType):
        raise _Unknown
    code = function.__code__
    if code in outer:
        return "itself"
    outer = (*outer, code)
    try:
        cells = tuple(cell.cell_contents for cell in function.__closure__ or ())
    except ValueError:  # A variable that has no value yet.
        raise _Unknown from None
    kept = (function.__defaults__, tuple(sorted((function.__kwdefaults__ or {}).items())))
    names = sorted(_names(code))
    if HIDDEN.intersection(names) or not _imports(code) <= SAFE:
        raise _Unknown
    read = [(n, function.__globals__[n]) for n in names if n in function.__globals__]
    missing = [n for n in names if n not in function.__globals__ and hasattr(builtins, n)]
    return (
        _of_code(code),
        tuple(_of_value(x, outer) for x in (*cells, *kept)),
        tuple((name, _of_value(x, outer)) for name, x in read),
        tuple(missing),
    )


def _names(code: CodeType) -> set[str]:
    """The names that code and the functions in it look up."""
    inner = [x for x in code.co_consts if isinstance(x, CodeType)]
    return set(code.co_names).union(*map(_names, inner))


def _imports(code: CodeType) -> set[str]:
    """The libraries that code and the functions in it import."""
    found = {
        x.argval.partition(".")[0] for x in get_instructions(code) if x.opname == "IMPORT_NAME"
    }
    inner = [x for x in code.co_consts if isinstance(x, CodeType)]
    return found.union(*map(_imports, inner))


def _of_code(code: CodeType) -> Hashable:
    """What code does, without where it stands."""
    constants = tuple(
        _of_code(x) if isinstance(x, CodeType) else _of_value(x, ()) for x in code.co_consts
    )
    shape = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags
    names = code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars
    return code.co_code, constants, shape, names


def _of_value(value: Any, outer: tuple[CodeType, ...]) -> Hashable:
    """A value by which equal ones are known; numbers of different types differ."""
    if value is None or value is Ellipsis or isinstance(value, bool | int | float | str | bytes):
        return type(value), repr(value)
    if type(value) in (tuple, list, frozenset, set):
        parts = sorted(value, key=repr) if isinstance(value, frozenset | set) else value
        return type(value), tuple(_of_value(x, outer) for x in parts)
    if type(value) is dict:
        return dict, tuple((_of_value(k, outer), _of_value(x, outer)) for k, x in value.items())
    if type(value) is np.ndarray and value.dtype.kind in "biufc":
        words = np.ascontiguousarray(value)
        return np.ndarray, value.dtype.str, value.shape, sha256(words.data).hexdigest()
    if isinstance(value, FunctionType) and not _of_library(value):
        return _of_function(value, outer)
    constant = isinstance(value, BuiltinFunctionType | np.ufunc | np.generic | type | jax.Array)
    if constant or any(value is x for x in LIBRARIES) or _of_library(value):
        # It is alive as long as the function that is remembered, so that no other has its number.
        return type(value), id(value)
    raise _Unknown


def _of_library(value: Any) -> bool:
    """Whether a function is one of the libraries'."""
    module = getattr(value, "__module__", None)
    plain = not isinstance(value, ModuleType) and callable(value)
    return plain and isinstance(module, str) and module.partition(".")[0] in SAFE
