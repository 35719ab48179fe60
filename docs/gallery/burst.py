"""A burst of mossy fibres in the mouse circuit.

A twentieth of the mouse circuit at rest; then its glomeruli fire at a higher rate for 50 ms. The
picture shows every recorded spike, one panel a population.
"""

import cerebellum as cb

spec = cb.presets.mouse(scale=0.05)
circuit = cb.build(spec, 0)
drive = cb.drive.standard(cb.presets.PRESETS["mouse"].protocol, spec, 0)
names = ["glomerulus", "granule", "golgi", "purkinje", "basket", "stellate"]
state, recording = cb.simulate(
    circuit, drive=drive, duration_ms=450, record=[f"raster:{name}" for name in names]
)
burst = {"burst": (300, 350)}
cb.plot.raster(recording, burst).savefig("raster.png", dpi=100)
for window in ((100, 300), (300, 350)):
    rates = cb.record.rates(recording, *window)
    print(window, "ms:", ", ".join(f"{name} {rates[name]:.1f}" for name in names), "Hz")
