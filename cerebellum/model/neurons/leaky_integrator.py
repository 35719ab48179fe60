"""Leaky integrator, a LIF readout without threshold (Norse `functional/leaky_integrator.py`)."""

from jax import Array

from cerebellum.model.neurons import lif

Params = lif.Params
State = lif.State
init = lif.init


def step(params: Params, state: State, input: Array, dt: float) -> tuple[State, Array]:
    """One step; `input` [..., n], `dt` in ms. The second result is the voltage, not spikes."""
    v, i = lif.integrate(params, state, input, dt)
    return State(v=v, i=i), v
