"""An inferior olive that fires, for Model B, whose published olive is silent unless it is driven.

The olive of the awake mouse fires at 1.79 +- 0.63 Hz, irregularly, and answers a puff of air at
18.4 +- 2.8 Hz (Kim, Ohmae & Medina 2020). The cells stay the published ones. Two things are chosen
here to reach these rates: each cell receives a background of excitatory Poisson spikes, and the
spikes of its afferent weigh less. With the published weight a puff of five spikes makes a cell fire
more than five times; with this one it fires once, as a climbing fibre does.

The background comes from a population of its own, whose cells fire with a constant hazard. Most of
its spikes stay below threshold, because the nuclei inhibit the olive, so that this inhibition sets
the rate of the olive.
"""

from dataclasses import replace
from typing import Any, Literal, get_args

import numpy as np

from cerebellum.errors import UsageError, is_number
from cerebellum.model.connect import OneToOne
from cerebellum.model.gap_junctions import GapJunctions
from cerebellum.model.neurons.eglif import Params
from cerebellum.model.population import Population
from cerebellum.model.projection import Projection
from cerebellum.model.spec import Spec

Olive = Literal["silent", "firing"]

BACKGROUND_HZ = 10.0
"""Rate of the background spikes of each olivary cell; chosen."""
BACKGROUND_NS = {"vitro": 67.0, "awake": 70.5}
"""Weight of a background spike, nS; chosen for the rate at rest."""
AFFERENT_NS = {"vitro": 23.3, "awake": 25.4}
"""Weight of a spike of an afferent, nS; chosen for the rate in a puff."""

POISSON = Params(
    lambda_0=BACKGROUND_HZ * 1e-3,
    tau_v=1e9,
    t_ref=0.0,
    v_reset=-62.0,
    e_l=-62.0,
    i_e=0.0,
    a_1=0.0,
    a_2=0.0,
)
"""Cells whose hazard does not depend on their voltage, which never changes: Poisson spikes."""


def check(olive: Any, coupling: Any) -> None:
    """Raise UsageError if an olive is of no known kind, or a coupling no conductance."""
    if olive not in get_args(Olive):
        raise UsageError(f"olive: {olive!r}; one of {', '.join(get_args(Olive))}")
    if not is_number(coupling) or not 0 <= coupling < np.inf:
        raise UsageError(f"olive_coupling: {coupling!r}; a conductance, nS, zero or more")


def with_olive(spec: Spec, condition: str, olive: Olive, coupling: float) -> Spec:
    """The spec of Model B with an olive of some kind.

    Args:
      coupling: conductance of its gap junctions, nS, between the pairs that `spec.place` returns; 0
        for none.
    """
    if olive == "firing":
        spec = _firing(spec, condition)
    if coupling:
        spec = spec.with_population("inferior_olive", gap_junctions=GapJunctions(coupling))
    return spec


def _firing(spec: Spec, condition: str) -> Spec:
    """The spec with a background of the olive, and with weaker afferents."""
    cells = spec.population("inferior_olive").size
    background = Population("olivary_background", cells, params=POISSON)
    synapse = Projection(
        "olivary_background",
        "inferior_olive",
        "r1",
        weight=BACKGROUND_NS[condition],
        delay=1.0,
        connect=OneToOne(),
    )
    weaker = spec.with_projection("olivary_afferent_inferior_olive", weight=AFFERENT_NS[condition])
    return replace(
        weaker,
        populations=(*weaker.populations, background),
        projections=(*weaker.projections, synapse),
    )
