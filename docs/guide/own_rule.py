"""A rule of plasticity of one's own: pairs of spikes (Song, Miller & Abbott 2000), 200 inputs."""

import cerebellum as cb

Stdp = cb.define_rule(
    "stdp",
    params={"a_plus": 0.02, "a_minus": 0.021, "tau": 20.0},
    pre={"x": "tau"},
    post={"y": "tau"},
    on_pre=lambda p, w, pre, post: -p.a_minus * post.y,
    on_post=lambda p, w, pre, post: p.a_plus * pre.x,
)
cell = {"c_m": 200.0, "tau_m": 20.0, "tau_exc": 5.0, "v_th": -54.0, "v_reset": -60.0}
link = {"weight": 0.5, "delay": 1.0, "connect": cb.connect.AllToAll(), "w_max": 1.0}
spec = cb.Spec(
    "own rule",
    (cb.Population("inputs", 200, "relay"), cb.Population("cells", 10, "conductance", cell)),
    (cb.Projection("inputs", "cells", "exc", **link, rule=Stdp()),),
    dt=0.1,
)
circuit, drive = cb.build(spec, 0), {"inputs": cb.drive.poisson(10.0)}
state = cb.init(circuit, 1)
for second in range(1, 6):
    state, recording = cb.simulate(circuit, state, drive, duration_ms=1_000)
    weights = circuit.edges("inputs_cells", state).weight
    rate = cb.record.rates(recording)["cells"]
    print(f"{second} s: {rate:5.1f} Hz, weight {weights.mean():.3f} +- {weights.std():.3f} nS")
