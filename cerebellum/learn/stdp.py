"""Learning by spike timing: STDP of mossy fibres onto nuclear cells, with a teacher's spikes.

While a tick is shown, a teacher gives every nuclear cell the spikes that it should fire: cells in
the zone of the right choice at twice their mean rate, the others correspondingly less often. A
pair of a mossy-fibre spike and a teacher's spike changes the synapse by pair-based STDP,

    mossy-fibre spike s ms before       w += a_plus exp(-s / tau_pre)       s >= 0
    mossy-fibre spike s ms after        w -= a_minus exp(-s / tau_post)     s > 0

and a pair with a spike that the cell has fired itself changes it by as much in the other direction
(ReSuMe: Ponulak & Kasinski 2010, Neural Computation 22:467; all pairs count). Weights come to rest
where cells fire as they are taught. There is no backward pass, and no error but that of the spikes.

Within a tick the rates of the fibres hardly change, so the second kind of pairs mostly cancels the
first: `a_minus tau_post` must stay well below `a_plus tau_pre`.

Dimensions: L ticks, B streams, S steps to a tick, T = L S steps, M mossy fibres, N nuclear cells.
"""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from cerebellum.errors import UsageError
from cerebellum.learn import network
from cerebellum.learn.network import RATES, Design, Learner, Net

PROJECTION = "mossy_fiber_nuclei"
"""The projection that learns."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """The constants of the rule; static.

    Weights and their changes are shares of the largest weight (`network.bound`). A change is that
    for one such pair in every sample of an update.
    """

    tau_pre: float = 20.0
    """Time constant of pairs whose mossy-fibre spike comes first, ms."""
    tau_post: float = 20.0
    """Time constant of the other pairs, ms."""
    a_plus: float = 0.01
    """Change for a pair of the first kind without a lag."""
    a_minus: float = 0.001
    """Change for a pair of the second kind without a lag."""
    w_min: float = 0.0
    """Smallest weight of a contact."""
    w_max: float = 1.0
    """Largest weight of a contact."""

    def __post_init__(self):
        for name in ("tau_pre", "tau_post"):
            if not 0 < getattr(self, name) < np.inf:
                raise UsageError(f"stdp.{name}: {getattr(self, name)} ms; above 0")
        for name in ("a_plus", "a_minus"):
            if not 0 <= getattr(self, name) < np.inf:
                raise UsageError(f"stdp.{name}: {getattr(self, name)}; 0 or above")
        if not 0 <= self.w_min < self.w_max <= 1:
            raise UsageError(
                f"stdp.w_min, w_max: {self.w_min}, {self.w_max}; shares of the largest weight, "
                "from 0 to 1, in this order"
            )


def teaching_spikes(design: Design, labels: Array, key: Array) -> Array:
    """Draw the teacher's spikes for ticks with these labels [L, B]: float32 [T, B, N].

    Over choices that are equally frequent, cells are taught the mean rate that they have.
    """
    choices, rate = len(design.choices), RATES["nuclei"]
    others = rate * (choices - 2) / max(1, choices - 1)
    right = jnp.asarray(design.zone(design.nuclei))[None, None] == labels[..., None]
    chance = jnp.where(right, min(1.0, 2 * rate), others)
    shape = labels.shape[0], design.steps, *chance.shape[1:]
    fired = jax.random.uniform(key, shape) < chance[:, None]
    return fired.reshape(-1, *shape[2:]).astype(jnp.float32)


def change(timing: Timing, dt: float, mossy: Array, post: Array) -> Array:
    """The sum of the changes over all pairs of spikes and all streams, [M, N].

    Args:
      dt: time step, ms.
      mossy: spikes of mossy fibres, [T, B, M].
      post: weight of the spikes at nuclear cells, negative for those that they fired, [T, B, N].
    """
    keep_pre, keep_post = (float(np.exp(-dt / tau)) for tau in (timing.tau_pre, timing.tau_post))

    def step(traces: tuple[Array, Array], spikes: tuple[Array, Array]):
        before, after = traces[0] * keep_pre + spikes[0], traces[1] * keep_post
        return (before, after + spikes[1]), (before, after)

    start = jnp.zeros_like(mossy[0]), jnp.zeros_like(post[0])
    _, (before, after) = lax.scan(step, start, (mossy, post))
    gained = jnp.einsum("tbm,tbn->mn", before, post)
    lost = jnp.einsum("tbm,tbn->mn", mossy, after)
    return timing.a_plus * gained - timing.a_minus * lost


def teach(
    net: Net,
    learner: Learner,
    timing: Timing,
    mossy: Array,
    post: Array,
    gain_share: Array,
) -> Learner:
    """The learner after the spikes of some ticks.

    Args:
      mossy, post: see `change`; pairs within these ticks count.
      gain_share: factor on all changes.
    """
    initial_weights = net.circuit.params.weights[PROJECTION]
    bound = network.bound(net.design, initial_weights)
    weights = learner.weights[PROJECTION]
    weights = weights + gain_share * bound * change(timing, net.design.dt, mossy, post)
    weights = jnp.clip(weights, timing.w_min * bound, timing.w_max * bound)
    return network.bounded(net, replace(learner, weights={**learner.weights, PROJECTION: weights}))
