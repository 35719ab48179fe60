"""What optimisers of training have in common: the course of the learning rate, and units."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

WARM_UP = 0.05
"""Share of a run's steps in which the learning rate rises."""
LAST = 0.02
"""Share of the learning rate that is left at the end."""


def learning_rate(peak: float, steps: int) -> optax.Schedule:
    """A learning rate that rises to its peak and then falls with a cosine, over so many steps."""
    warm_up = max(1, round(WARM_UP * steps))
    return optax.warmup_cosine_decay_schedule(
        0.0, peak, warm_up, max(steps, warm_up + 1), LAST * peak
    )


def in_units(units: Any) -> optax.GradientTransformation:
    """Multiply updates by a pytree of units, one for each array."""
    return optax.stateless(lambda updates, _: jax.tree.map(jnp.multiply, updates, units))
