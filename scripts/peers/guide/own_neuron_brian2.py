"""A neuron model of one's own: adaptive exponential cells (Brette & Gerstner 2005) in a network."""

import brian2
import numpy as np
from brian2 import Hz, NeuronGroup, PoissonGroup, SpikeMonitor, Synapses, ms, mV, nS, pA, pF

brian2.seed(1)
brian2.defaultclock.dt = 0.1 * ms
c_m, g_l, e_l, v_t, d_t, v_peak = 200 * pF, 10 * nS, -70 * mV, -50 * mV, 2 * mV, 0 * mV
a, b, tau_w, v_reset, tau_exc = 2 * nS, 60 * pA, 100 * ms, -58 * mV, 5 * ms
equations = """
dv/dt = (g_l * (e_l - v) + g_l * d_t * exp((v - v_t) / d_t) - w + exc + current) / c_m : volt
dw/dt = (a * (v - e_l) - w) / tau_w : amp
dexc/dt = -exc / tau_exc : amp
current : amp
"""
mossy = PoissonGroup(50, 20 * Hz)
cells = NeuronGroup(
    100, equations, threshold="v > v_peak", reset="v = v_reset; w += b", method="euler"
)
cells.v = e_l
cells.current[:50] = 500 * pA
synapses = Synapses(mossy, cells, on_pre="exc += 120 * pA", delay=1 * ms)
synapses.connect(p=20 / 50)
raster = SpikeMonitor(cells)
brian2.run(500 * ms)
trains = list(raster.spike_trains().values())
for name, group in (("with current", trains[:50]), ("without", trains[50:])):
    print(f"{name:12} {sum(map(len, group)) / 50 / 0.5:5.1f} Hz", end=", ")
    print(f"intervals {(np.diff(group[0])[:5] / ms).round(1)} ms")
