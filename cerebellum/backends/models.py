"""The neuron models that have a kernel, and how it takes them.

The C++ kernels (cpu/current.cc and others) and the CUDA kernels (cuda/cells/*.h) have one order of
constants and of arrays.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from cerebellum.model.neurons import conductance, current, eglif

MOST_RECEPTORS = 4
"""Most receptors of an E-GLIF cell for which there is a kernel."""


@dataclass(frozen=True)
class Model:
    """How the kernel of a model takes it."""

    name: str
    """that of its C++ kernel"""
    number: int
    """as in cuda/primitives.cu"""
    variant: Callable[[Any, Any], int | None]
    """(parameters, state): the variant of the kernel, or None where there is none"""
    constants: Callable[[Any, float], list[Any]]
    """(parameters, dt): scalars or [n], in the order of `Constants` in the model's header"""
    current: Callable[[Any, Any, float], Any]
    """(parameters, input, dt): what drives a cell in this step, a scalar or [n]"""
    arrays: Callable[[Any], list[Array]]
    """the arrays of a state but the counter, in the order of `load` in its header"""
    rebuilt: Callable[[Any, list[Array]], Any]
    """the state with these arrays in place of its own"""


def _current_constants(params: current.Params, dt: float) -> list[Any]:
    return [
        jnp.exp(-dt / params.tau_m),
        current.propagator(params.tau_m, params.tau_exc, dt),
        current.propagator(params.tau_m, params.tau_inh, dt),
        *(params.v_leak, params.v_th, params.v_reset),
        jnp.exp(-dt / params.tau_exc),
        jnp.exp(-dt / params.tau_inh),
        jnp.round(jnp.asarray(params.t_ref) / dt),
    ]


def _current_bias(params: current.Params, input: current.Input, dt: float) -> Any:
    return (1 - jnp.exp(-dt / params.tau_m)) * (params.drive + jnp.asarray(input.current))


def _synapse(tau: Any, h: float) -> list[Any]:
    """`synapse::Constants` for the time h."""
    keep = jnp.exp(-h / tau)
    mean, rise = tau / h * (1 - keep), jnp.e / h * (tau - (tau + h) * keep)
    return [keep, jnp.e / tau * h, mean, rise]


def _conductance_constants(params: conductance.Params, dt: float) -> list[Any]:
    leak = 1.0 / params.tau_m
    return [
        *(leak, 1.0 / params.c_m, leak * params.e_l, params.e_exc, params.e_inh),
        *(params.v_th, params.v_reset, jnp.round(jnp.asarray(params.t_ref) / dt), dt, dt / 6),
        *_synapse(params.tau_exc, dt),
        *_synapse(params.tau_inh, dt),
        *_synapse(params.tau_exc, dt / 2),
        *_synapse(params.tau_inh, dt / 2),
    ]


def _conductance_variant(params: conductance.Params, state: conductance.State) -> int:
    return 2 * (params.synapse == "alpha") + (params.integrator == "rk4")


def _conductance_arrays(state: conductance.State) -> list[Array]:
    parts = state.v, state.exc.g, state.exc.rise, state.inh.g, state.inh.rise
    return [x for x in parts if x is not None]


def _conductance_rebuilt(state: conductance.State, arrays: list[Array]) -> conductance.State:
    v, *rest = arrays
    names = ("g", "rise")[: len(rest) // 2]
    exc, inh = (
        conductance.Synapse(**dict(zip(names, part, strict=True)))
        for part in (rest[: len(names)], rest[len(names) :])
    )
    return replace(state, v=v, exc=exc, inh=inh)


def _eglif_constants(params: eglif.Params, dt: float) -> list[Any]:
    receptors = zip(params.e_rev, params.tau_syn, strict=True)
    return [
        *(1.0 / params.tau_m, 1.0 / params.c_m),
        *(params.e_l, params.v_min, params.v_th, params.v_reset),
        *(params.k_adap, params.k_2, params.a_1, params.a_2),
        *(params.lambda_0 * dt, 1.0 / params.tau_v),
        *(jnp.exp(-dt / 2 * params.k_1), jnp.exp(-dt * params.k_1)),
        *(jnp.round(jnp.asarray(params.t_ref) / dt), dt, dt / 6),
        *(x for e_rev, tau in receptors for x in (e_rev, *_synapse(tau, dt))),
    ]


def _eglif_variant(params: eglif.Params, state: eglif.State) -> int | None:
    receptors = len(state.synapses)
    whole = all(synapse.rise is not None for synapse in state.synapses)
    return receptors if whole and 1 <= receptors <= MOST_RECEPTORS else None


def _eglif_arrays(state: eglif.State) -> list[Array]:
    synapses = [x for s in state.synapses for x in (s.g, s.rise) if x is not None]
    return [state.v, state.i_adap, state.i_dep, *synapses]


def _eglif_rebuilt(state: eglif.State, arrays: list[Array]) -> eglif.State:
    v, i_adap, i_dep, *rest = arrays
    pairs = zip(rest[::2], rest[1::2], strict=True)
    synapses = tuple(conductance.Synapse(g=g, rise=rise) for g, rise in pairs)
    return replace(state, v=v, i_adap=i_adap, i_dep=i_dep, synapses=synapses)


def _charge(params: Any, input: Any, dt: float) -> Any:
    """Constant and injected current, pA."""
    return params.i_e + jnp.asarray(input.current)


CURRENT = Model(
    name="current",
    number=0,
    variant=lambda params, state: 0,
    constants=_current_constants,
    current=_current_bias,
    arrays=lambda state: [state.v, state.exc, state.inh],
    rebuilt=lambda state, arrays: replace(
        state, **dict(zip(("v", "exc", "inh"), arrays, strict=True))
    ),
)
CONDUCTANCE = Model(
    name="conductance",
    number=1,
    variant=_conductance_variant,
    constants=_conductance_constants,
    current=_charge,
    arrays=_conductance_arrays,
    rebuilt=_conductance_rebuilt,
)
EGLIF = Model(
    name="eglif",
    number=2,
    variant=_eglif_variant,
    constants=_eglif_constants,
    current=_charge,
    arrays=_eglif_arrays,
    rebuilt=_eglif_rebuilt,
)


def of(model: Any) -> Model | None:
    """How the kernels take a neuron model, or None if they do not."""
    kernels = ((current, CURRENT), (conductance, CONDUCTANCE), (eglif, EGLIF))
    return next((kernel for module, kernel in kernels if module is model), None)


def by_cell(values: list[Any]) -> Array:
    """Constants that are scalars or [n], as floats [constants, 1 or n]."""
    rows = [jnp.atleast_1d(jnp.asarray(value, jnp.float32)) for value in values]
    return jnp.stack([*jnp.broadcast_arrays(*rows)])


def takes(model: Model, state: Any, input: Any) -> bool:
    """Whether the kernels know the types of a state, and all of the input is a current."""
    floats = all(x.dtype == jnp.float32 and x.ndim == 1 for x in model.arrays(state))
    counted = state.refractory.dtype in (jnp.uint8, jnp.uint16)
    others = (getattr(input, name, 0.0) for name in ("exc", "inh"))
    return floats and counted and all(isinstance(x, float) and np.equal(x, 0) for x in others)
