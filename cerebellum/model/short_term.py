"""Short-term plasticity: the resources of a presynaptic terminal, and how much of it a spike uses.

    between spikes    dx/dt = (1 - x) / tau_rec,  dc/dt = -c / tau_fac
    at a spike        u = U + c;  the weight counts u x times;  x = x - u x,  c = u (1 - U)

This is the model of Tsodyks and Markram (1997; Tsodyks, Uziel & Markram 2000, equations 3 and 4)
in the form of NEST's `tsodyks2_synapse`, solved exactly between steps. All terminals of one source
cell in one projection receive the same spikes, so there is one x and one c per source cell. The
factor of a spike is computed when the spike arrives.
"""

import math
from dataclasses import dataclass

import jax.numpy as jnp
from flax import struct
from jax import Array

from cerebellum.documented import documented


@documented
@dataclass(frozen=True, kw_only=True)
class ShortTerm:
    """How the terminals of a projection depress and facilitate."""

    utilisation: float
    """U: the share of the resources that a first spike uses, above 0, at most 1"""
    tau_rec: float
    """time constant of recovery, ms"""
    tau_fac: float
    """time constant of facilitation, ms; 0 for none"""


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
    recovery = math.exp(-dt / rule.tau_rec)
    decay = math.exp(-dt / rule.tau_fac) if rule.tau_fac else 0.0
    utilisation = rule.utilisation + terminals.raised
    factor = utilisation * terminals.left
    fired = spikes > 0
    left = jnp.where(fired, terminals.left - factor, terminals.left)
    raised = jnp.where(fired, utilisation * (1 - rule.utilisation), terminals.raised)
    return Terminals(left=1 - (1 - left) * recovery, raised=raised * decay), factor
