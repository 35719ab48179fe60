"""Train a circuit on one's own arrays: X [n, time, features] and labels y [n].

The data are made here: ten "words", each three bands of energy that move through 40 channels, as
formants do in a spectrogram. A word comes early or late, fast or slow, high or low, and in noise.
"""

import jax
import numpy as np
import optax

import cerebellum as cb
from cerebellum.learn import arrays, losses
from cerebellum.model.surrogate import Surrogate

CLASSES, CHANNELS, TIME, HIDDEN, EPOCHS = 10, 40, 50, 100, 4
BINS = 5


def words(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
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


spec = cb.Spec(
    name="words",
    populations=(
        cb.Population(name="input", size=CHANNELS, model="relay", params=cb.neurons.relay.Params()),
        cb.Population(
            name="hidden", size=HIDDEN, model="current", params=cb.neurons.current.Params()
        ),
    ),
    projections=(
        cb.Projection(
            source="input",
            target="hidden",
            receptor="exc",
            weight=1.0,
            delay=1.0,
            in_degree=CHANNELS,
        ),
    ),
    surrogate=Surrogate(),
)
circuit = cb.build(spec, jax.random.key(0), path="dense")
keys = (jax.random.key(seed) for seed in range(1, 100))
x_train, y_train = words(1_000, seed=1)
x_test, y_test = words(500, seed=2)

model = arrays.kaiming(circuit, next(keys)), arrays.linear(BINS * HIDDEN, CLASSES, next(keys))
optimizer = optax.adam(optax.cosine_decay_schedule(0.5, 20 * EPOCHS))
memory = optimizer.init(model)


def logits(model, spikes):
    weights, readout = model
    ran = arrays.run(circuit, weights, {"input": spikes})
    return readout(arrays.spike_count(ran.spikes["hidden"], BINS) / TIME)


@jax.jit
def update(model, memory, spikes, y):
    gradient = jax.grad(lambda m: losses.cross_entropy(logits(m, spikes), y).mean())(model)
    change, memory = optimizer.update(gradient, memory)
    return optax.apply_updates(model, change), memory


for _ in range(EPOCHS):
    spikes = arrays.rate(x_train, next(keys), most_hz=200)
    for some, labels in arrays.batches(spikes, y_train, 50, next(keys)):
        model, memory = update(model, memory, some, labels)

spikes = arrays.rate(x_test, next(keys), most_hz=200)
share = arrays.accuracy(jax.jit(logits)(model, spikes), y_test)
print(f"accuracy on new samples: {100 * share:.1f} %, chance {100 / CLASSES:.0f} %")
