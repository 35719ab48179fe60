"""What a test needs of a machine: it skips where that is missing, and fails in CI, which has it."""

import os

import emulated
import jax
import pytest

from cerebellum.backends.cuda import compiler
from cerebellum.backends.cuda.compiler import Compiler


def need(problem: str | None) -> None:
    """Skip a test, or fail it in CI, if there is a problem."""
    if problem is not None and "CI" not in os.environ:
        pytest.skip(problem)
    assert problem is None, problem


def nvcc() -> Compiler:
    """NVIDIA's compiler."""
    found = compiler.find()
    need(found if isinstance(found, str) else None)
    assert isinstance(found, Compiler)
    return found


def emulation() -> None:
    """The CUDA kernels on a CPU, which is a matter of a C++ compiler."""
    need(emulated.BACKENDS["cuda-emulated"].unavailable(jax.default_backend()))
