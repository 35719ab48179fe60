"""A sweep: the small mouse circuit with each of some values of two numbers, as a table."""

import cerebellum as cb

circuit = cb.build(cb.presets.mouse(scale=0.05), 0)
values = {"golgi_granule.weight": [0.0, 1.0, 2.0], "granule.v_th": [-44.0, -42.0]}
drive = {"glomerulus": cb.drive.poisson(4.0)}
table = cb.sweep(circuit, values, drive, duration_ms=300, skip_ms=100)
for row in zip(*(table[name] for name in [*values, "rate.granule", "rate.golgi"]), strict=True):
    print("weight {:.1f} nS, threshold {:.0f} mV: granule {:.2f} Hz, golgi {:.2f} Hz".format(*row))
