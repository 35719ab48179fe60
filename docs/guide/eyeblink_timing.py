"""Eyeblink conditioning with one's own timing: the puff 400 ms after the onset of the tone."""

import cerebellum as cb

phases = (("acquisition", "paired", 4),)
mouse, course = cb.tasks.eyeblink.condition(isi_ms=400, phases=phases, seed=0)
print("conditioned responses in blocks of ten trials:", course.percent["acquisition"], "%")
for name, session in (("before", mouse.before), ("after", course.after)):
    nuclei = session.rate("nuclei").mean(axis=0)[mouse.timing.onset :].reshape(-1, 20).mean(axis=1)
    print(f"{name} learning, nuclei: peak {nuclei.max():.0f} Hz at {20 * nuclei.argmax()} ms")
