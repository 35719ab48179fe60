"""A layer that learns which way something moves.

A bump of activity moves up or down over forty inputs, sooner or later and in noise. Fifty spiking
cells are trained through their spikes by surrogate gradients, with a linear readout of their
counts.
"""

import matplotlib.pyplot as plt
import numpy as np
import optax

import cerebellum as cb

TIME, INPUTS, HIDDEN, BINS = 40, 40, 50, 4


def bumps(samples, seed):
    """Rates from 0 to 1, [samples, TIME, INPUTS], and which way each moves, 0 or 1."""
    rng = np.random.default_rng(seed)
    up = rng.integers(0, 2, samples)
    time = np.arange(TIME)[:, None] - rng.uniform(-5, 5, (samples, 1, 1))
    place = np.where(up[:, None, None], time, TIME - time)
    rates = np.exp(-(((np.arange(INPUTS) - place) / 4) ** 2))
    return np.clip(rates + rng.normal(0, 0.1, rates.shape), 0, 1), up


cells = cb.Population("input", INPUTS, "relay"), cb.Population("hidden", HIDDEN, "current")
link = cb.Projection("input", "hidden", "exc", weight=1.0, delay=1.0, in_degree=INPUTS)
circuit = cb.build(cb.Spec("bumps", cells, (link,), surrogate=cb.Surrogate()), 0, path="dense")


def logits(model, spikes):
    weights, readout = model
    hidden = cb.arrays.run(circuit, weights, {"input": spikes}).spikes["hidden"]
    return readout(cb.arrays.spike_count(hidden, BINS) / TIME)


rates, labels = bumps(300, seed=1)
unseen, truth = bumps(300, seed=2)
unseen = cb.arrays.rate(unseen, 99, most_hz=400)
model = cb.arrays.kaiming(circuit, 1), cb.arrays.linear(BINS * HIDDEN, 2, 2)
training = cb.arrays.training(logits, model, optax.adam(0.1), cb.losses.cross_entropy)
losses, shares = [], []
for epoch in range(5):
    spikes = cb.arrays.rate(rates, epoch, most_hz=400)
    for some, their in cb.arrays.batches(spikes, labels, 50, epoch):
        training, loss = training.step(some, their)
        losses.append(float(loss))
    shares.append(100 * float(cb.arrays.accuracy(logits(training.model, unseen), truth)))
print("right in new samples, by epoch:", ", ".join(f"{share:.0f} %" for share in shares))
figure, axes = plt.subplots(1, 3, figsize=(9, 3), layout="constrained")
axes[0].imshow(rates[0].T, aspect="auto", cmap="Greys", origin="lower")
axes[0].set(xlabel="time (ms)", ylabel="input", title="a sample")
axes[1].plot(losses)
axes[1].set(xlabel="step", title="loss", ylim=(0, None))
axes[2].plot(range(1, 6), shares, "o-")
axes[2].set(xlabel="epoch", title="right in new samples (%)", ylim=(40, 102))
figure.savefig("training.png", dpi=100)
