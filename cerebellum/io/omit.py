"""What a circuit has that a format has no place for: named, never dropped in silence."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from cerebellum.errors import UsageError
from cerebellum.model import events
from cerebellum.model.circuit import Circuit

Lacks = Mapping[str, list[str]]
"""Names of populations or projections by what they have, such as {"rule": ["granule_purkinje"]}."""


def beyond_cells_and_weights(circuit: Circuit) -> dict[str, list[str]]:
    """What a circuit has beside cells with parameters and synapses with weights and delays.

    The words are fields of `cb.Projection`, `cb.Population` and `cb.Spec`, and "silenced".
    """
    spec = circuit.spec
    found: dict[str, list[str]] = {}
    for field in ("rule", "scaling", "short_term"):
        found[field] = [p.name for p in spec.projections if getattr(p, field) is not None]
    for field in ("homeostasis", "gap_junctions"):
        found[field] = [p.name for p in spec.populations if getattr(p, field) is not None]
    junctions = [*found["gap_junctions"], *circuit.wiring.partners]
    found["gap_junctions"] = list(dict.fromkeys(junctions))
    found["silenced"] = [
        p.name
        for p in spec.populations
        if p.name in circuit.wiring.alive
        and not np.asarray(events.unpack(circuit.wiring.alive[p.name], p.size)).all()
    ]
    found["beams"] = [spec.name] if spec.beams > 1 else []
    return {word: names for word, names in found.items() if names}


def check(what: str, found: Lacks, leave_out: Any) -> dict[str, list[str]]:
    """What is left out, after checking that all of it is meant to be.

    Args:
      what: the format, for the message.
      found: what the format has no place for.
      leave_out: the words that a user has given.

    Raises:
      UsageError: something that the format has no place for was not named, or an unknown word was.
    """
    words = [leave_out] if isinstance(leave_out, str) else leave_out
    if not isinstance(words, Collection) or not all(isinstance(word, str) for word in words):
        raise UsageError(f"leave_out: {leave_out!r}; words such as ('rule', 'gap_junctions')")
    unknown = [word for word in words if word not in found]
    if unknown:
        known = ", ".join(found) or "nothing"
        raise UsageError(f"leave_out: {unknown[0]!r}; what must be left out here is {known}")
    kept = {word: names for word, names in found.items() if word not in words}
    if kept:
        listed = "; ".join(f"{word} of {_some(names)}" for word, names in kept.items())
        right = ", ".join(repr(word) for word in found)
        raise UsageError(f"{what} has no place for {listed}; leave_out=[{right}] writes the rest")
    return dict(found)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
