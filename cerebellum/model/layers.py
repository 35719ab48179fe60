"""Networks of layers of Norse's cells: feed-forward and recurrent, spiking and not.

The cells are those of `neurons.lif` and `neurons.leaky_integrator`, so a step is Norse's: forward
Euler, where an arriving weight acts in its own step. A layer hears inputs and earlier layers
without a delay, and itself and later layers one step late, as in nirtorch.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array, lax

from cerebellum.documented import documented
from cerebellum.errors import UsageError, nearest
from cerebellum.model.neurons import leaky_integrator, lif


@documented
@struct.dataclass(kw_only=True)
class Layer:
    """Cells of one kind, and what they hear."""

    params: lif.Params
    """scalars, or one value a cell"""
    weights: dict[str, Array]
    """weights [cells, sources] by the input or layer that they come from"""
    bias: float | Array = 0.0
    """a current that is added in every step, as a weight is: one number, or [cells]"""
    spiking: bool = struct.field(pytree_node=False, default=True)
    """LIF cells, which put out spikes; otherwise leaky integrators, which put out their voltage"""

    @property
    def size(self) -> int:
        """Number of cells."""
        return next(iter(self.weights.values())).shape[0]


@documented
@struct.dataclass(kw_only=True)
class Network:
    """Layers in the order in which a step computes them."""

    layers: dict[str, Layer]
    """layers by name; a source that is no layer is an input"""
    order: tuple[str, ...] = struct.field(pytree_node=False)
    """the names of the layers in the order of a step"""
    outputs: tuple[str, ...] = struct.field(pytree_node=False)
    """the layers whose output is returned"""

    @property
    def inputs(self) -> dict[str, int]:
        """The number of channels of each input."""
        return {
            source: weight.shape[1]
            for name in self.order
            for source, weight in self.layers[name].weights.items()
            if source not in self.layers
        }


def run(network: Network, drive: Mapping[str, Array], dt: float) -> dict[str, Array]:
    """Run a network from rest.

    Args:
      drive: what each input carries, spikes or currents, [steps, ..., channels].
      dt: time step, ms.

    Returns:
      What each of the outputs puts out, spikes (0 or 1) or voltages, [steps, ..., cells].

    Raises:
      UsageError: an input is missing, unknown, or has another number of channels.
    """
    arrays = _checked(network, drive)
    batch = next(iter(arrays.values())).shape[1:-1]
    cells = {
        name: lif.init(layer.params, (*batch, layer.size)) for name, layer in network.layers.items()
    }
    rest = {name: jnp.zeros_like(state.v) for name, state in cells.items()}

    def body(carry, now):
        states, before = carry
        after, states = dict(before), dict(states)
        for name in network.order:
            layer = network.layers[name]
            heard = {**after, **now}
            current = jnp.zeros_like(states[name].v) + layer.bias
            for source, weight in layer.weights.items():
                current += heard[source] @ weight.T
            step = lif.step if layer.spiking else leaky_integrator.step
            states[name], after[name] = step(layer.params, states[name], current, dt)
        return (states, after), {name: after[name] for name in network.outputs}

    _, put_out = lax.scan(body, (cells, rest), arrays)
    return put_out


def _checked(network: Network, drive: Mapping[str, Array]) -> dict[str, Array]:
    """The drive as arrays, or UsageError."""
    inputs = network.inputs
    for name in drive:
        if name not in inputs:
            raise UsageError(f"drive {name!r}: {nearest(name, list(inputs), 'the network')}")
    for name, channels in inputs.items():
        if name not in drive:
            raise UsageError(f"drive: without {name!r}; an array [steps, {channels}] of each input")
        shape = jax.numpy.shape(drive[name])
        if len(shape) < 2 or shape[-1] != channels:
            raise UsageError(f"drive {name!r}: {list(shape)}; [steps, {channels}]")
    return {name: jnp.asarray(drive[name], jnp.float32) for name in inputs}
