"""Complex spikes that leave a pause, for Model B, whose published Purkinje cell has none.

A climbing-fibre spike of Model B makes a Purkinje cell fire two or three times in 3 ms, and then go
on as before. What mice have in addition is known, and is added here:

* The calcium of a complex spike opens SK channels, whose outward current stops simple spikes for
  some tens of ms (Jin et al. 2017, Front Cell Neurosci 11:247). They are a receptor of Purkinje
  cells, which a climbing-fibre spike reaches some ms after the synapse, so that spikelets come
  first.
* The synaptic current lasts for some ms (Llano et al. 1991, J Physiol), where the published one has
  a time constant of 0.4 ms. A second, slow receptor has what is left of it, a fiftieth of the
  peak: without it the channels would cut short the inhibition of the nuclei.
* Climbing fibres depress (Dittman & Regehr 1998, J Neurosci 18:6147), so that a burst of the olive
  gives a Purkinje cell fewer spikes. The channels depress with the synapse, whose current lets the
  calcium in. The first spike after a rest has the published weight.

What is chosen was chosen on seeds 0 to 2 (`reproduce complex-spike`).
"""

from dataclasses import replace
from typing import Any, Literal, get_args

from cerebellum.errors import UsageError
from cerebellum.model.projection import Projection
from cerebellum.model.short_term import ShortTerm
from cerebellum.model.spec import Spec

ComplexSpike = Literal["published", "pausing"]

CLIMBING = "inferior_olive_climbing_purkinje"
"""The published projection of climbing fibres."""

POTASSIUM_MV = -85.0
"""Reversal potential of potassium in a Purkinje cell (De Schutter & Bower 1994, J Neurophysiol)."""
POTASSIUM_MS = 10.0
"""Time constant of the channels' activation by calcium (`K2` of De Schutter & Bower 1994), of an
alpha function here, so that it is also the time of the peak."""
POTASSIUM_NS = 25.0
"""Conductance at the peak after a single spike; chosen for the length of the pause."""
POTASSIUM_DELAY_MS = 8.0
"""From the olive; that of the synaptic current is 4 ms. Chosen."""

SLOW_MV, SLOW_MS, SLOW_NS, SLOW_DELAY_MS = 0.0, 3.0, 15.0, 4.0
"""Reversal potential, time constant, peak after a single spike and delay of the slow part of the
synaptic current. Time constant and peak are chosen; the rest is that of the fast part."""

RELEASE, RECOVERY_MS = 0.35, 100.0
"""Share of its resources that a spike of a climbing fibre uses (Dittman, Kreitzer & Regehr 2000,
from memory), and the time constant of the fast phase of recovery (Dittman & Regehr 1998), ms."""

ADDED = {
    # label: reversal potential in mV, time constant in ms, peak in nS, delay in ms
    "potassium": (POTASSIUM_MV, POTASSIUM_MS, POTASSIUM_NS, POTASSIUM_DELAY_MS),
    "slow": (SLOW_MV, SLOW_MS, SLOW_NS, SLOW_DELAY_MS),
}
"""The projections of climbing fibres that are added, each onto a receptor of its own, by label."""
NAMES = tuple(f"inferior_olive_{label}_purkinje" for label in ADDED)
"""Their names."""


def check(kind: Any) -> None:
    """Raise UsageError if complex spikes are of no known kind."""
    if kind not in get_args(ComplexSpike):
        raise UsageError(f"complex_spike: {kind!r}; one of {', '.join(get_args(ComplexSpike))}")


def with_pause(spec: Spec) -> Spec:
    """The spec of Model B with the added conductances, and climbing fibres that depress."""
    depression = ShortTerm(utilisation=RELEASE, tau_rec=RECOVERY_MS, tau_fac=0.0)
    (weight,) = (p.weight for p in spec.projections if p.name == CLIMBING)
    assert isinstance(weight, float)
    spec = spec.with_projection(CLIMBING, weight=weight / RELEASE, short_term=depression)
    for label, (reversal, tau, peak, delay) in ADDED.items():
        cells = spec.population("purkinje").params
        receptors = replace(cells, e_rev=(*cells.e_rev, reversal), tau_syn=(*cells.tau_syn, tau))
        added = Projection(
            "inferior_olive",
            "purkinje",
            f"r{len(receptors.e_rev)}",
            label=label,
            weight=peak / RELEASE,
            delay=delay,
            in_degree=1.0,
            short_term=depression,
        )
        spec = spec.with_population("purkinje", params=receptors)
        spec = replace(spec, projections=(*spec.projections, added))
    return spec
