"""Train a circuit on one's own arrays: X [n, time, features] and labels y [n].

The data are made here: ten "words", each three bands of energy that move through 40 channels, as
formants do in a spectrogram. A word comes early or late, fast or slow, high or low, and in noise.
"""

import numpy as np
import optax

import cerebellum as cb

CLASSES, CHANNELS, TIME, HIDDEN, BINS, EPOCHS = 10, 40, 50, 100, 5, 4


def words(n, seed):
    """Spectrograms, 0 to 1, [n, TIME, CHANNELS], and which word each is, [n]."""
    shapes = np.random.default_rng(0).uniform(0.1, 0.9, (CLASSES, 3, 4))
    rng = np.random.default_rng(seed)
    y = rng.integers(0, CLASSES, n)
    when = np.linspace(0, 1, TIME) * rng.uniform(0.8, 1.2, (n, 1)) + rng.uniform(-0.1, 0.1, (n, 1))
    bands = [
        [np.interp(t, np.linspace(0, 1, 4), band) for band in shapes[label]]
        for t, label in zip(when, y, strict=True)
    ]
    centre = CHANNELS * np.array(bands)[..., None] + rng.normal(0, 1, (n, 1, 1, 1))
    energy = np.exp(-(((np.arange(CHANNELS) - centre) / 2) ** 2)).max(axis=1)
    return np.clip(energy + rng.normal(0, 0.1, energy.shape), 0, 1), y


cells = cb.Population("input", CHANNELS, "relay"), cb.Population("hidden", HIDDEN, "current")
link = cb.Projection("input", "hidden", "exc", weight=1.0, delay=1.0, in_degree=CHANNELS)
circuit = cb.build(cb.Spec("words", cells, (link,), surrogate=cb.Surrogate()), 0, path="dense")


def logits(model, spikes):
    weights, readout = model
    hidden = cb.arrays.run(circuit, weights, {"input": spikes}).spikes["hidden"]
    return readout(cb.arrays.spike_count(hidden, BINS) / TIME)


x_train, y_train = words(1_000, seed=1)
x_test, y_test = words(500, seed=2)
model = cb.arrays.kaiming(circuit, 1), cb.arrays.linear(BINS * HIDDEN, CLASSES, 2)
training = cb.arrays.training(logits, model, optax.adam(0.3), cb.losses.cross_entropy)
for epoch in range(EPOCHS):
    spikes = cb.arrays.rate(x_train, epoch, most_hz=400)
    for some, labels in cb.arrays.batches(spikes, y_train, 50, epoch):
        training, loss = training.step(some, labels)

spikes = cb.arrays.rate(x_test, EPOCHS, most_hz=400)
share = cb.arrays.accuracy(logits(training.model, spikes), y_test)
print(f"accuracy on new samples: {100 * share:.1f} %, chance {100 / CLASSES:.0f} %")
