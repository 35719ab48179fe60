"""Flags of the XLA compiler, set before JAX starts.

jax 0.10.2 and 0.11.1 to 0.11.2 miscompile on CPU: a dot product that is fused with elementwise
operations and a reduction gives wrong numbers without an error. Emptying one fusion type avoids
this. Versions without the fault may not know the flag, and then refuse to start.
"""

import os
from importlib.metadata import version

from cerebellum.errors import UsageError

FAULTY = {"0.10.2", "0.11.1", "0.11.2"}
"""jaxlib versions with the fault."""

GUARD = "--xla_cpu_experimental_ynn_fusion_type="
ONE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
POOL = "PJRT_NPROC"
"""The variable that XLA takes the number of threads from to which it hands out operations."""


COMMAND_BUFFERS = "CEREBELLUM_COMMAND_BUFFERS"
"""The variable that chooses what XLA records once and then launches as a whole on a GPU."""

RECORDED = {
    "all": "--xla_gpu_enable_command_buffer=+CUSTOM_CALL,+DYNAMIC_SLICE_FUSION,+CONDITIONAL,+WHILE",
    "none": "--xla_gpu_enable_command_buffer=",
}
"""Flags by its value. "all" adds loops, conditionals and calls of kernels to what XLA records by
default. jaxlib 0.10.1 knows these words; a version that does not refuses to start."""


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
    """Let XLA compute on one thread: each operation, and all operations of a step.

    It would divide small loops, and hand every small operation to whichever thread is idle, which
    costs more than the operation. Native kernels divide their own work. Programs call this before
    JAX starts; importing the library does not. A number of threads that is set already stays.
    """
    _add(ONE_THREAD)
    os.environ.setdefault(POOL, "1")


def command_buffers() -> None:
    """Set the flag that `COMMAND_BUFFERS` asks for; without it XLA's default stays.

    Raises:
      UsageError: the variable has another value.
    """
    value = os.environ.get(COMMAND_BUFFERS, "")
    if value and value not in RECORDED:
        raise UsageError(f"{COMMAND_BUFFERS}: {value!r}; one of {', '.join(RECORDED)}")
    if value:
        _add(RECORDED[value])
