"""Lesions of the mouse circuit in mid-run: a silent population, a halved weight, a parameter."""

import cerebellum as cb

circuit = cb.build(cb.presets.mouse(scale=0.05), 0)
drive = {"glomerulus": cb.drive.poisson(4.0)}
changes = {
    "control": circuit,
    "golgi cells silenced": cb.silence(circuit, "golgi"),
    "golgi to granule halved": cb.scale_weights(circuit, "golgi_granule", 0.5),
    "granule threshold -45 mV": cb.with_params(circuit, "granule", v_th=-45.0),
}
state, _ = cb.simulate(circuit, cb.init(circuit, 1), drive, duration_ms=200)
for name, changed in changes.items():
    state, recording = cb.simulate(changed, state, drive, duration_ms=200)
    rate, compile_s = cb.record.rates(recording)["granule"], recording.seconds["compile"]
    print(f"{name:26} granule {rate:5.2f} Hz, compiled for {compile_s:.1f} s")
