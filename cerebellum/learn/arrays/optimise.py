"""Steps of an Optax optimiser down the gradient of a batch.

Dimensions: n samples, B samples of a batch, T steps, F features, N cells, C classes.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import Array

from cerebellum.errors import UsageError
from cerebellum.learn import losses


@struct.dataclass(kw_only=True)
class Training:
    """A model while it is trained; each step returns the next one, as a TrainState of Flax."""

    model: Any
    """what is learned: a pytree of floats, such as (weights, readout)"""
    memory: Any
    """the state of the optimiser"""
    answer: Callable[[Any, Any], Array] = struct.field(pytree_node=False)
    """answer(model, inputs): logits [B, C], or what else the loss takes"""
    loss: Callable[[Array, Array], Array] = struct.field(pytree_node=False)
    """loss(answer, labels), [B]"""
    optimizer: optax.GradientTransformation = struct.field(pytree_node=False)
    """one of Optax"""

    @jax.jit
    def step(self, inputs: Any, labels: Any) -> tuple["Training", Array]:
        """The training after a step down the gradient of a batch, and the batch's mean loss."""

        def mean_loss(model: Any) -> Array:
            return jnp.mean(self.loss(self.answer(model, inputs), labels))

        loss, gradient = jax.value_and_grad(mean_loss)(self.model)
        change, memory = self.optimizer.update(gradient, self.memory, self.model)
        return replace(self, model=optax.apply_updates(self.model, change), memory=memory), loss


def training(
    answer: Callable[[Any, Any], Array],
    model: Any,
    optimizer: optax.GradientTransformation,
    loss: Callable[[Array, Array], Array] = losses.cross_entropy,
) -> Training:
    """A training before its first step.

    Args:
      answer: a function of the model and a batch of inputs, within which is `run`.
      model: what is learned: a pytree of floats, such as (weights, readout).
      optimizer: one of Optax.
      loss: a function of the answer and the labels, such as those of `cb.losses`.

    Raises:
      UsageError: the optimiser is none of Optax, or the answer or the loss is no function.
    """
    for name, function in (("answer", answer), ("loss", loss)):
        if not callable(function):
            raise UsageError(f"{name}: {type(function).__name__}; a function")
    if not isinstance(optimizer, optax.GradientTransformation):
        kind = type(optimizer).__name__
        raise UsageError(f"optimizer: {kind}; one of Optax, such as optax.adam(0.5)")
    return Training(
        model=model, memory=optimizer.init(model), answer=answer, loss=loss, optimizer=optimizer
    )
