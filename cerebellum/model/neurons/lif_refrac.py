"""LIF with an absolute refractory period counted in steps (Norse `functional/lif_refrac.py`).

The membrane keeps its old voltage while the cell is refractory; the synaptic current continues.
"""

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from cerebellum.model.neurons import lif


@struct.dataclass(kw_only=True)
class Params:
    membrane: lif.Params = lif.Params()
    rho_reset: float | Array = 5.0
    """refractory period, in steps"""


@struct.dataclass(kw_only=True)
class State:
    membrane: lif.State
    rho: Array
    """remaining steps of the refractory period, [..., n]"""


def init(params: Params, shape: tuple[int, ...], dtype=jnp.float32) -> State:
    """Cells at rest and ready to fire; `shape` is [..., n]."""
    return State(membrane=lif.init(params.membrane, shape, dtype), rho=jnp.zeros(shape, dtype))


def step(params: Params, state: State, input: Array, dt: float) -> tuple[State, Array]:
    """One step; `input` [..., n] as in `lif.step`, `dt` in ms; spikes [..., n]."""
    stepped, z = lif.step(params.membrane, state.membrane, input, dt)
    silent = (state.rho > 0).astype(z.dtype)
    v = (1 - silent) * stepped.v + silent * state.membrane.v
    z = (1 - silent) * z
    rho = (1 - z) * jax.nn.relu(state.rho - silent) + z * params.rho_reset
    return State(membrane=lif.State(v=v, i=stepped.i), rho=rho), z
