"""Train a network on one's own arrays: X [n, time, features] and labels y [n].

The data are made here: ten "words", each three bands of energy that move through 40 channels, as
formants do in a spectrogram. A word comes early or late, fast or slow, high or low, and in noise.
"""

import norse.torch as norse
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

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
    return np.clip(energy + rng.normal(0, 0.1, energy.shape), 0, 1).astype(np.float32), y


torch.manual_seed(0)
hidden = norse.SequentialState(nn.Linear(CHANNELS, HIDDEN), norse.LIF())
readout = nn.Linear(BINS * HIDDEN, CLASSES)


def logits(x):
    spikes, _ = hidden(torch.bernoulli(0.4 * x).swapaxes(0, 1))
    return readout(spikes.unflatten(0, (BINS, -1)).sum(1).swapaxes(0, 1).flatten(1))


train = TensorDataset(*map(torch.from_numpy, words(1_000, seed=1)))
x_test, y_test = map(torch.from_numpy, words(500, seed=2))
optimizer = torch.optim.Adam([*hidden.parameters(), *readout.parameters()], 2e-2)
for _ in range(EPOCHS):
    for x, y in DataLoader(train, 50, shuffle=True):
        optimizer.zero_grad()
        nn.functional.cross_entropy(logits(x), y).backward()
        optimizer.step()

with torch.no_grad():
    share = (logits(x_test).argmax(dim=1) == y_test).float().mean()
print(f"accuracy on new samples: {100 * share:.1f} %, chance {100 / CLASSES:.0f} %")
