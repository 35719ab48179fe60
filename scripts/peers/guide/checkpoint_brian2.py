"""Checkpoints: a run that is saved, loaded and continued equals, bit for bit, one in one piece.

The mouse circuit does not come with Brian2; a population with a Poisson input stands for it.
"""

import sys
import tempfile

import numpy as np
from brian2 import NeuronGroup, PoissonInput, SpikeMonitor, ms, restore, run, store

folder = sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()
granule = NeuronGroup(
    400,
    "dv/dt = (-74 - v) / (20*ms) : 1 (unless refractory)",
    threshold="v > -42",
    reset="v = -84",
    refractory=1.5 * ms,
    method="exact",
)
granule.v = -74
inputs = PoissonInput(granule, "v", 40, rate=1 / (20 * ms), weight=2.0)
raster = SpikeMonitor(granule)
store("start")
run(200 * ms)
whole_t, whole_i = np.array(raster.t), np.array(raster.i)
restore("start", restore_random_state=True)
run(100 * ms)
store("middle", filename=f"{folder}/checkpoint")

restore("middle", filename=f"{folder}/checkpoint", restore_random_state=True)
run(100 * ms)
same = np.array_equal(raster.t, whole_t) and np.array_equal(raster.i, whole_i)
print(f"{raster.num_spikes} spikes; the same as in one run: {same}")
