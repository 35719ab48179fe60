"""The first weights of rows as versions before December 2026 drew them.

Their noise was a 32-bit hash in which many rows were shifted copies of others. A circuit that such
a version saved keeps the rows that it was built with. What it draws from now on, while it runs, is
the noise of this version.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

from cerebellum.errors import UsageError
from cerebellum.model import events, fixed, noise
from cerebellum.model.circuit import Circuit
from cerebellum.model.projection import Projection

VERSION = 2
"""The way in which this version draws; checkpoints have it in their `about` under "noise"."""

BLOCK = 65_536
"""Rows that are drawn at once."""


def is_old(about: dict[str, Any]) -> bool:
    """Whether the circuit of a checkpoint was drawn in the old way."""
    return about.get("noise", 1) < VERSION


def redrawn(circuit: Circuit) -> Circuit:
    """A circuit with the rows that an older version drew from its seed.

    Raises:
      UsageError: a rule needs to know which contacts exist, which the old noise decided.
    """
    weights = dict(circuit.params.weights)
    for projection in circuit.spec.projections:
        fan = circuit.wiring.fans[projection.name]
        share = circuit.spec.share(projection)
        if not isinstance(fan, events.AllToAll) or (share == 1 and not projection.spread):
            continue
        if projection.rule is not None and share < 1:
            raise UsageError(
                f"{projection.name}: {share:.0%} of its contacts, drawn by an older version in a "
                "way that this one has not; build and train the circuit again"
            )
        if projection.dtype == "uint16" or projection.rule is not None or share == 1:
            weights[projection.name] = jnp.asarray(_rows(circuit, projection))
    return dataclasses.replace(circuit, params=dataclasses.replace(circuit.params, weights=weights))


def _rows(circuit: Circuit, projection: Projection) -> np.ndarray:
    """First weights [N, R], float32, or uint16 as the projection has it."""
    spec = circuit.spec
    sources, width = spec.population(projection.source).size, spec.beam_size(projection.target)
    seed = np.asarray(circuit.wiring.seed, np.uint32)
    number = np.uint32(noise.name_number(projection.name))
    own = _mix(seed[:1] ^ _mix(seed[1:] ^ number))
    encoded = projection.dtype == "uint16"
    rows = np.empty((sources, width), np.uint16 if encoded else np.float32)
    for first in range(0, sources, BLOCK):
        numbers = np.arange(first, min(first + BLOCK, sources), dtype=np.uint32)
        drawn = jnp.asarray(_drawn(own, numbers, width, projection, spec.share(projection)))
        w_max = projection.w_max
        rows[numbers] = fixed.encode(drawn, w_max) if encoded and w_max else drawn
    return rows


def _drawn(
    seed: np.ndarray, numbers: np.ndarray, width: int, projection: Projection, share: float
) -> np.ndarray:
    """First weights of some rows, float32 [K, width]."""
    mean = np.float32(projection.mean_weight * projection.contacts)
    weights = np.full((numbers.size, width), mean)
    if projection.spread:
        upper = (_noise(seed, numbers, width) >> np.uint32(8)).astype(np.float32)
        deviation = upper * np.float32(2.0**-23) - np.float32(1)
        weights = weights * (np.float32(1) + np.float32(projection.spread) * deviation)
    if share < 1:
        contacts = _noise(seed ^ np.uint32(0x5BD1E995), numbers, width) >> np.uint32(8)
        weights = np.where(contacts < fixed.threshold(share), weights, np.float32(0))
    return weights


def _noise(seed: np.ndarray, numbers: np.ndarray, width: int) -> np.ndarray:
    row = _mix(numbers ^ seed) * np.uint32(0x9E3779B1)
    return _mix(row[:, None] + np.arange(width, dtype=np.uint32)[None])


def _mix(x: np.ndarray) -> np.ndarray:
    """The finalizer of MurmurHash3 (Appleby 2011), uint32."""
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    x = (x ^ (x >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return x ^ (x >> np.uint32(16))
