"""Eyeblink conditioning with one's own timing: the puff 400 ms after the onset of the tone."""

import cerebellum as cb

eyeblink = cb.tasks.eyeblink
phases = (("acquisition", "paired", 4),)
mouse, course = eyeblink.condition(isi_ms=400, phases=phases, seed=0)
print("conditioned responses in blocks of ten trials:", course.percent["acquisition"], "%")
onset = mouse.timing.onset
for name, session in (("before", mouse.before), ("after", course.after)):
    response = eyeblink.response(session).mean(axis=0)[onset + 100 : onset + 400]
    early, middle, late = response.reshape(3, 100).mean(axis=1)
    print(f"nuclei {name} learning, 100 to 400 ms: {early:.1f}, {middle:.1f}, {late:.1f} Hz")
