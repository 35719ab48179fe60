"""How often a law is tried: on a third of its examples here, on all by `scripts/soak/tests`."""

import os

from hypothesis import settings

THOROUGH = bool(os.environ.get("CEREBELLUM_THOROUGH"))


def examples(count: int):
    """A law that is tried so often; each of its examples may be another program to compile."""
    return settings(max_examples=count if THOROUGH else -(-count // 3))
