"""Surrogate gradients side by side.

The derivative that a spike passes on, by the distance of the voltage from threshold: what
`cb.Surrogate` and training choose from.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

from cerebellum.model.surrogate import SURROGATES, spike

distance = jnp.linspace(-1, 1, 401)
figure, axis = plt.subplots(figsize=(6, 3.5), layout="constrained")
for name in SURROGATES:
    slope = jax.vmap(jax.grad(lambda x, name=name: spike(x, name, 10.0)))(distance)
    axis.plot(distance, slope / slope.max(), label=name)
axis.set(
    xlabel="voltage minus threshold, in units of the width",
    ylabel="share of the largest slope",
    title="sharpness 10",
)
axis.legend(frameon=False, ncols=2, fontsize=8)
figure.savefig("surrogates.png", dpi=120)
print(len(SURROGATES), "surrogates:", ", ".join(SURROGATES))
