"""Eight seeds at once: what is the circuit's, and what is chance.

A batch runs eight copies of a circuit in one program, each with noise of its own. The line is the
mean over copies in a sinusoidal input, and the shaded range is that of the copies.
"""

from functools import partial

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import cerebellum as cb

circuit = cb.build(cb.presets.beams(2_000), 0)
keys = jax.random.split(jax.random.key(1), 8)
states = jax.vmap(partial(cb.init, spread=True), (None, 0))(circuit, keys)
wave = cb.drive.RateFunction(lambda t_ms: 10 * (1 + jnp.sin(2 * jnp.pi * t_ms / 200)))
drive = {"mossy_fiber": wave}
states, recordings = cb.simulate_batch(circuit, states, drive, duration_ms=1_000)
figure, axes = plt.subplots(3, 1, figsize=(8, 5), sharex=True, layout="constrained")
for axis, name in zip(axes, ("mossy_fiber", "granule", "purkinje"), strict=True):
    courses = [cb.record.rate_course(each, bin_ms=10) for each in recordings]
    time_ms, rates = courses[0][0], np.array([rate[name] for _, rate in courses])
    colour = cb.plot.COLOURS[name]
    axis.fill_between(time_ms, rates.min(axis=0), rates.max(axis=0), color=colour, alpha=0.2)
    axis.plot(time_ms, rates.mean(axis=0), color=colour)
    axis.set(ylabel=f"{name} (Hz)".replace("_", " "), ylim=(0, None))
    print(f"{name}: {rates.mean():.2f} Hz; between copies {rates.mean(axis=1).std():.2f} Hz (SD)")
axes[-1].set_xlabel("time (ms)")
figure.savefig("seeds.png", dpi=100)
