"""Eyeblink conditioning with one's own timing: the puff 300 ms after the onset of the tone.

Twenty times as fast as mice learn. The circuit answers the whole tone, not the time of the puff.
"""

import cerebellum as cb

eyeblink, detector = cb.tasks.eyeblink, cb.tasks.eyeblink_response
fast = {"phases": (("acquisition", "paired", 2),), "block": 10, "learning": 20}
mouse, course = eyeblink.condition(isi_ms=300, seed=0, **fast)
print("conditioned responses in blocks of ten trials:", course.percent["acquisition"], "%")
onset = mouse.timing.onset
for name, session in (("before", mouse.before), ("after", course.after)):
    response = detector.response(session).mean(axis=0)
    early, middle, late = response[onset : onset + 300].reshape(3, 100).mean(axis=1)
    print(f"nuclei {name} learning, 0 to 300 ms: {early:.1f}, {middle:.1f}, {late:.1f} Hz")
    onset_ms = detector.times(response, session).rise_ms[0]
    print(f"onset {name} learning: {onset_ms:.0f} ms, early: {detector.early(session).mean():.0%}")
