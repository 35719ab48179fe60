"""BPTT of the two-layer network of `bptt.py` in Norse: seconds of each update, JSON."""

import json
import sys
import time

import torch
from norse.torch.functional.lif import LIFFeedForwardState, LIFParameters, lif_feed_forward_step

inputs, hidden, outputs, batch, steps, updates = map(int, sys.argv[1:7])
torch.set_num_threads(1)
generator = torch.Generator().manual_seed(0)
spikes = (torch.rand(steps, batch, inputs, generator=generator) < 0.05).float()
labels = torch.randint(0, outputs, (batch,), generator=generator)
weights = [
    torch.randn(inputs, hidden, generator=generator) * 3 / inputs**0.5,
    torch.randn(hidden, outputs, generator=generator) * 3 / hidden**0.5,
]
for each in weights:
    each.requires_grad_()
optimiser = torch.optim.Adam(weights, lr=1e-3)
cell = LIFParameters(method="super", alpha=torch.tensor(10.0))
spans = []
for _ in range(updates):
    began = time.perf_counter()
    optimiser.zero_grad()
    states = [
        LIFFeedForwardState(v=torch.zeros(batch, n), i=torch.zeros(batch, n))
        for n in (hidden, outputs)
    ]
    total = torch.zeros(batch, outputs)
    for given in spikes:
        fired, states[0] = lif_feed_forward_step(given @ weights[0], states[0], cell)
        out, states[1] = lif_feed_forward_step(fired @ weights[1], states[1], cell)
        total = total + out
    loss = torch.nn.functional.cross_entropy(total, labels)
    loss.backward()
    optimiser.step()
    spans.append(time.perf_counter() - began)
print(json.dumps({"seconds": spans, "loss": loss.item(), "spikes": float(total.sum())}))
