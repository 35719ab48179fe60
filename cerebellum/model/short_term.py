"""Short-term plasticity: the resources of a presynaptic terminal, and how much of it a spike uses.

    between spikes    dx/dt = (1 - x) / tau_rec,  dc/dt = -c / tau_fac
    at a spike        u = U + c;  the weight counts u x times;  x = x - u x,  c = u (1 - U)

This is the model of Tsodyks and Markram (1997; Tsodyks, Uziel & Markram 2000, equations 3 and 4)
in the form of NEST's `tsodyks2_synapse`, solved exactly between steps. All terminals of one source
cell in one projection receive the same spikes, so there is one x and one c per source cell. The
factor of a spike is computed when the spike arrives. Terminals may differ between source cells, not
between the synapses of one: there would be an x and a c for each synapse, and every one of them
would have to be advanced in every step, where now those that fire are visited.
"""

import math
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array

from cerebellum.documented import documented
from cerebellum.model.values import PerCell, hashable, is_number


@documented
@dataclass(frozen=True, kw_only=True)
class ShortTerm:
    """How the terminals of a projection depress and facilitate.

    Each field is one number for all terminals, or a list or an array of one number a source cell,
    which is kept as `PerCell`.
    """

    utilisation: Any
    """U: the share of the resources that a first spike uses, above 0, at most 1"""
    tau_rec: Any
    """time constant of recovery, ms"""
    tau_fac: Any
    """time constant of facilitation, ms; 0 for none"""

    def __post_init__(self):
        for field, value in vars(self).items():
            value = list(value) if isinstance(value, tuple) else value
            object.__setattr__(self, field, hashable(value, f"short_term.{field}"))

    def problem(self, sources: int, beams: int) -> str | None:
        """What is wrong with a field for a projection from so many cells, or None."""
        for field, value in vars(self).items():
            if isinstance(value, PerCell):
                if len(value) != sources or beams > 1:
                    right = f"one or {sources}" if beams == 1 else "one in a circuit with beams"
                    return f"{field}: {len(value)} values; {right}"
            elif not is_number(value):
                return f"{field}: {value!r}; a number, or a list of one a source cell"
        for field, right, rightly in (
            ("utilisation", "above 0, at most 1", lambda x: (x > 0) & (x <= 1)),
            ("tau_rec", "above zero", lambda x: (x > 0) & np.isfinite(x)),
            ("tau_fac", "zero or more", lambda x: (x >= 0) & np.isfinite(x)),
        ):
            each = np.atleast_1d(np.asarray(getattr(self, field), float))
            wrong = each[~rightly(each)]
            if wrong.size:
                unit = "" if field == "utilisation" else " ms"
                return f"{field}: {wrong[0]}{unit}; {right}"
        return None


@struct.dataclass(kw_only=True)
class Terminals:
    """The terminals of each source cell, just before the spikes of the present step."""

    left: Array
    """x: the share of the resources that is available, [N]"""
    raised: Array
    """c: the amount that earlier spikes add to the utilisation, [N]"""


def rested(size: int) -> Terminals:
    """Terminals that have not been used."""
    return Terminals(left=jnp.ones(size), raised=jnp.zeros(size))


def use(terminals: Terminals, spikes: Array, rule: ShortTerm, dt: float) -> tuple[Terminals, Array]:
    """Advance the terminals by one step.

    Args:
      spikes: the spikes that arrive in this step, 0 or 1, [N].
      dt: time step, ms.

    Returns:
      The terminals one step later, and the factor on the weights of a spike in this step, [N].
    """
    recovery = _decay(rule.tau_rec, dt)
    decay = _decay(rule.tau_fac, dt)
    rested = _numbers(rule.utilisation)
    utilisation = rested + terminals.raised
    factor = utilisation * terminals.left
    fired = spikes > 0
    left = jnp.where(fired, terminals.left - factor, terminals.left)
    raised = jnp.where(fired, utilisation * (1 - rested), terminals.raised)
    return Terminals(left=1 - (1 - left) * recovery, raised=raised * decay), factor


def _numbers(value: Any) -> float | Array:
    """A number, or those of the source cells, float32 [N]."""
    return jnp.asarray(value.values, jnp.float32) if isinstance(value, PerCell) else value


def _decay(tau: Any, dt: float) -> float | Array:
    """What is left after a step of what decays with this time constant; 0 where it is 0."""
    if not isinstance(tau, PerCell):
        return math.exp(-dt / tau) if tau else 0.0
    decays = tau.values > 0
    left = np.exp(-dt / np.where(decays, tau.values, 1.0))
    return jnp.asarray(np.where(decays, left, 0.0), jnp.float32)


def mean_factor(rule: ShortTerm, rate_hz: float) -> Any:
    """Mean factor on the weight of a spike in a Poisson train; [N] if terminals differ.

    The mean of u is exact; it is multiplied by the x that u would leave if it were constant, as in
    the mean-field equations of Tsodyks, Pawelzik & Markram 1998.
    """
    rate = rate_hz * 1e-3
    u, tau_rec, tau_fac = (
        value.values if isinstance(value, PerCell) else float(np.asarray(value))
        for value in (rule.utilisation, rule.tau_rec, rule.tau_fac)
    )
    raised = rate * u * (1 - u) * tau_fac / (1 + rate * u * tau_fac)
    return (u + raised) / (1 + (u + raised) * rate * tau_rec)
