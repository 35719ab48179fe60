"""Training a circuit of one's own on one's own arrays: X [n, time, features] and labels y [n].

    spikes = arrays.rate(X, key)                       encode
    weights = arrays.kaiming(circuit, key)             first weights
    ran = arrays.run(circuit, weights, {"input": x})   differentiable
    logits = readout(arrays.spike_count(ran.spikes["hidden"]))
    training, loss = training.step(x, y)               one step of an Optax optimiser

This package is `cb.arrays`, and the losses are `cb.losses`. A key is a random key of JAX, or a
seed. The circuit is on the dense path and its spec has a surrogate. The weights that the
initialisers draw have both signs, as in Norse or snnTorch; `jax.tree.map(jnp.abs, weights)` keeps
to Dale's law. `docs/guide/own_data.py` is a whole script.

Dimensions: n samples, B samples of a batch, T steps, F features, N cells, C classes.
"""

from cerebellum.learn.arrays.encoders import fields, latency, rate
from cerebellum.learn.arrays.optimise import Training, training
from cerebellum.learn.arrays.readouts import Linear, accuracy, linear, mean_voltage, spike_count
from cerebellum.learn.arrays.running import Run, run
from cerebellum.learn.arrays.samples import batches, check
from cerebellum.learn.arrays.weights import kaiming, normal, orthogonal

__all__ = [
    "Linear",
    "Run",
    "Training",
    "accuracy",
    "batches",
    "check",
    "fields",
    "kaiming",
    "latency",
    "linear",
    "mean_voltage",
    "normal",
    "orthogonal",
    "rate",
    "run",
    "spike_count",
    "training",
]
