"""Errors of the device, under the names that operators search logs for."""

import logging

import jax

NAMES = (
    ("RESOURCE_EXHAUSTED", "CUDA_ERROR_OUT_OF_MEMORY"),
    ("out of memory", "CUDA_ERROR_OUT_OF_MEMORY"),
    ("invalid device", "CUDA_ERROR_INVALID_DEVICE"),
    ("no CUDA-capable device", "CUDA_ERROR_INVALID_DEVICE"),
    ("LAUNCH_FAILED", "CUDA_ERROR_LAUNCH_FAILED"),
    ("launch fail", "CUDA_ERROR_LAUNCH_FAILED"),
)
"""A fragment of a message, and the code that it stands for."""
LOWER = {
    "CUDA_ERROR_OUT_OF_MEMORY": "neural.granule_size, performance.batch_size or server.max_markets",
    "CUDA_ERROR_INVALID_DEVICE": "performance.device",
    "CUDA_ERROR_LAUNCH_FAILED": "the compilation cache: clear it, and start again",
}
"""The remedy for a code."""


def name(error: BaseException) -> str:
    """The code of an error; the name of its type if there is no code."""
    text = str(error)
    return next((code for fragment, code in NAMES if fragment in text), type(error).__name__)


def report(log: logging.Logger, error: BaseException) -> None:
    """Log one ERROR line: the code, the message, the free memory and what to lower."""
    code = name(error)
    stats = jax.devices()[0].memory_stats() or {}
    free = stats.get("bytes_limit", 0) - stats.get("bytes_in_use", 0) if stats else None
    message = str(error).splitlines()[0] if str(error) else ""
    title = f"{code}: allocation failed" if code.endswith("OUT_OF_MEMORY") else code
    fields = {"code": code, "free_bytes": free, "lower": LOWER.get(code)}
    log.error("%s: %s", title, message, extra={"fields": fields})
