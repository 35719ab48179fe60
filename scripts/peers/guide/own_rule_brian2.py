"""A rule of plasticity of one's own: pairs of spikes (Song, Miller & Abbott 2000), 200 inputs."""

import brian2
from brian2 import Hz, NeuronGroup, PoissonGroup, SpikeMonitor, Synapses, ms, second

brian2.seed(1)
brian2.defaultclock.dt = 0.1 * ms
a_plus, a_minus, tau, w_max = 0.02, 0.021, 20 * ms, 1.0
equations = """
dv/dt = (-74 - v) / (20 * ms) + g * (0 - v) / (200 * ms) : 1 (unless refractory)
dg/dt = -g / (5 * ms) : 1
"""
inputs = PoissonGroup(200, 10 * Hz)
cells = NeuronGroup(
    10, equations, threshold="v > -54", reset="v = -60", refractory=1.5 * ms, method="euler"
)
cells.v = -74
synapses = Synapses(
    inputs,
    cells,
    """w : 1
    dx/dt = -x / tau : 1 (event-driven)
    dy/dt = -y / tau : 1 (event-driven)""",
    on_pre="""g += w
    w = clip(w - a_minus * y, 0, w_max)
    x += 1""",
    on_post="""w = clip(w + a_plus * x, 0, w_max)
    y += 1""",
    delay={"pre": 1 * ms},
)
synapses.connect()
synapses.w = 0.5
spikes = SpikeMonitor(cells)
before = 0
for passed in range(1, 6):
    brian2.run(1 * second)
    rate, before = (spikes.num_spikes - before) / 10, spikes.num_spikes
    weights = synapses.w[:]
    print(f"{passed} s: {rate:5.1f} Hz, weight {weights.mean():.3f} +- {weights.std():.3f} nS")
