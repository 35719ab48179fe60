"""Random streams on the host, one to a name, so that nothing depends on the order of drawing."""

import jax
import numpy as np
from jax import Array

from cerebellum.model import noise


def stream(key: Array, name: str) -> np.random.Generator:
    """The random stream (Philox) that belongs to a name, such as a projection's, in a circuit."""
    words = np.asarray(jax.random.key_data(key)).astype(np.uint32).ravel().tolist()
    seed = np.random.SeedSequence([*words, noise.name_number(name)])
    return np.random.Generator(np.random.Philox(seed))
