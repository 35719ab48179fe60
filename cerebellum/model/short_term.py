"""Short-term plasticity: what a presynaptic terminal has left, and how much of it a spike uses.

    between spikes    dx/dt = (1 - x) / tau_rec,  dc/dt = -c / tau_fac
    at a spike        u = U + c;  the weight counts u x times;  x = x - u x,  c = u (1 - U)

This is the model of Tsodyks and Markram (1997; Tsodyks, Uziel & Markram 2000, equations 3 and 4)
in the form of NEST's `tsodyks2_synapse`, solved exactly between steps. Terminals of one source cell
in one projection see the same spikes, so there is one x and one c a source cell, and a spike's
factor is worked out when it arrives.
"""

import math
from dataclasses import dataclass

import jax.numpy as jnp
from flax import struct
from jax import Array


@dataclass(frozen=True, kw_only=True)
class ShortTerm:
    """How a projection's terminals depress and facilitate."""

    utilisation: float
    """U: share of what is there that a first spike uses, above 0, at most 1"""
    tau_rec: float
    """time constant of recovery, ms"""
    tau_fac: float
    """time constant of facilitation, ms; 0 for none"""


@struct.dataclass(kw_only=True)
class Terminals:
    """One a source cell, just before a spike that may arrive now."""

    left: Array
    """x: share of the resources that is there, [N]"""
    raised: Array
    """c: what earlier spikes add to the utilisation, [N]"""


def rested(size: int) -> Terminals:
    """Terminals that have not been used."""
    return Terminals(left=jnp.ones(size), raised=jnp.zeros(size))


def use(terminals: Terminals, spikes: Array, rule: ShortTerm, dt: float) -> tuple[Terminals, Array]:
    """One step.

    Args:
      spikes: that arrive in this step, 0 or 1, [N].
      dt: ms.

    Returns:
      The terminals one step later, and what the weights of a spike now are multiplied by, [N].
    """
    recovery = math.exp(-dt / rule.tau_rec)
    fading = math.exp(-dt / rule.tau_fac) if rule.tau_fac else 0.0
    share = rule.utilisation + terminals.raised
    factor = share * terminals.left
    fired = spikes > 0
    left = jnp.where(fired, terminals.left - factor, terminals.left)
    raised = jnp.where(fired, share * (1 - rule.utilisation), terminals.raised)
    return Terminals(left=1 - (1 - left) * recovery, raised=raised * fading), factor
