"""Eyeblink conditioning with one's own timing: the puff 300 ms after the onset of the tone.

Twenty times as fast as mice learn. The response comes before the puff, not with the tone.
"""

import cerebellum as cb

eyeblink, detector = cb.tasks.eyeblink, cb.tasks.eyeblink_response
fast = {"phases": (("acquisition", "paired", 4),), "block": 10, "learning": 20}
mouse, course = eyeblink.condition(isi_ms=300, seed=0, **fast)
print("conditioned responses in blocks of ten trials:", course.percent["acquisition"], "%")
onset = mouse.timing.onset
for name, session in (("before", mouse.before), ("after", course.probes)):
    response = detector.response(session).mean(axis=0)
    early, middle, late = response[onset : onset + 300].reshape(3, 100).mean(axis=1)
    print(f"nuclei {name} learning, 0 to 300 ms: {early:.1f}, {middle:.1f}, {late:.1f} Hz")
    peak = detector.times(response, session).peak_ms
    print(f"peak {name} learning: {peak:.0f} ms; Purkinje pause {detector.pause(session):.0f} %")
