"""Flags of the XLA compiler, set before JAX starts.

jax 0.10.2 and 0.11.1 to 0.11.2 miscompile on CPU: a dot product that is fused with elementwise
operations and a reduction gives wrong numbers without an error. Emptying one fusion type avoids
this. Versions without the fault may not know the flag, and then refuse to start.
"""

import os
from importlib.metadata import version

FAULTY = {"0.10.2", "0.11.1", "0.11.2"}
"""jaxlib versions with the fault."""

GUARD = "--xla_cpu_experimental_ynn_fusion_type="
ONE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"


def _add(flag: str) -> None:
    """Add a flag to XLA_FLAGS, once."""
    flags = os.environ.get("XLA_FLAGS", "")
    if flag not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {flag}".strip()


def guard() -> None:
    """Switch the faulty fusion off; this has no effect once a backend has started."""
    if version("jaxlib") in FAULTY:
        _add(GUARD)


def one_thread() -> None:
    """Limit each operation to one thread.

    Intra-op threading slows down the small loops of the event path. Programs call this before JAX
    starts; importing the library does not.
    """
    _add(ONE_THREAD)
