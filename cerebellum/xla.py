"""Compiler versions that need care. Imported before anything touches JAX.

jax 0.10.2 and 0.11.1 to 0.11.2 miscompile on CPU: fused dots with elementwise work and a
reduction give wrong numbers without an error. Emptying one fusion type avoids it. Versions
without the fault may not know the flag, and refuse to start with it.
"""

import os
from importlib.metadata import version

FAULTY = {"0.10.2", "0.11.1", "0.11.2"}
"""jaxlib versions with the fault."""

GUARD = "--xla_cpu_experimental_ynn_fusion_type="
ONE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"


def _add(flag: str) -> None:
    flags = os.environ.get("XLA_FLAGS", "")
    if flag not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {flag}".strip()


def guard() -> None:
    """Keep the faulty fusion off; has no effect once a backend has started."""
    if version("jaxlib") in FAULTY:
        _add(GUARD)


def one_thread() -> None:
    """One thread an operation: the event path's small loops are slower when they are shared out.

    For programs, before JAX starts; never called by importing the library.
    """
    _add(ONE_THREAD)
