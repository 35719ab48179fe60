"""Two rules that are no window, as a user would write them."""

from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
import numpy as np


@dataclass(frozen=True, kw_only=True)
class Triplet:
    """Triplet STDP, all to all, minimal (Pfister & Gerstner 2006, equations 3 and 4, A3- = 0)."""

    KEEPS_BOUNDS: ClassVar[bool] = False

    a2_plus: float = 0.02
    a3_plus: float = 0.03
    a2_minus: float = 0.025
    tau_plus: float = 16.8
    tau_minus: float = 33.7
    tau_y: float = 114.0

    @property
    def teachers(self):
        return ()

    def history(self, dt):
        return 0

    def problem(self, projection):
        return None if self.tau_plus > 0 else f"tau_plus: {self.tau_plus} ms; above zero"

    def axes(self):
        return {"r": "source", "o1": "target", "o2": "target"}

    def begin(self, sizes, dt):
        sources, targets = jnp.zeros(sizes.sources), jnp.zeros(sizes.targets)
        return {"r": sources, "o1": targets, "o2": targets}

    def learn(self, weights, state, moment, synapses):
        dt, shape = synapses.dt, weights.shape
        fading = {"r": self.tau_plus, "o1": self.tau_minus, "o2": self.tau_y}
        r, o1, o2 = (state[name] * np.exp(-dt / tau) for name, tau in fading.items())
        ltp = moment.fired * (self.a2_plus + self.a3_plus * o2)
        change = r[:, None] * synapses.at_targets(ltp, shape)
        change -= moment.arrived[:, None] * synapses.at_targets(self.a2_minus * o1, shape)
        fired, weights = moment.fired, weights + moment.gain * change
        return weights, {"r": r + moment.arrived, "o1": o1 + fired, "o2": o2 + fired}


@dataclass(frozen=True, kw_only=True)
class Rewarded:
    """Hebbian pairs leave an eligibility at each synapse; spikes of a teacher turn it into change.

    Each target's voltage says how much it was depolarised: so much does a spike count.
    """

    KEEPS_BOUNDS: ClassVar[bool] = False

    reward: str
    rate: float = 0.05
    tau: float = 100.0

    @property
    def teachers(self):
        return (self.reward,)

    def history(self, dt):
        return 0

    def problem(self, projection):
        return None

    def axes(self):
        return "synapse"

    def begin(self, sizes, dt):
        return jnp.zeros(sizes.weights)

    def learn(self, weights, state, moment, synapses):
        depolarised = jnp.maximum(moment.cells["v"] + 70.0, 0.0)
        at_target = synapses.at_targets(depolarised, weights.shape)
        state = state * np.exp(-synapses.dt / self.tau) + moment.arrived[:, None] * at_target
        reward = synapses.at_targets(moment.teaching_spikes[self.reward], weights.shape)
        return weights + moment.gain * self.rate * reward * state, state
