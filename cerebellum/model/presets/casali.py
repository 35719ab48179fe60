"""Model A: the mouse cerebellar cortex of Casali et al. 2019 with nuclei, 400 x 400 x 330 um.

It has 96,737 conductance-based LIF neurons and 4.2 million synapses, and is the network with
published NEST, SpiNNaker and GPU runs. Numbers of cells are those of Kuriyama et al. 2021. Cells,
weights and delays are those of Casali et al. 2019, table 2, as run in Bogdan et al. 2021
(SpiNNCer), whose values are used where the two differ. In-degrees were counted in the published
scaffold, and the wiring is random with these in-degrees, or laid out in space by its rules.

The scaffold has no inferior olive. This preset adds one: 11 cells that are silent unless they are
driven. Each Purkinje cell receives one climbing fibre with the weight and delay of De Schepper et
al. 2022.
"""

import math
from dataclasses import replace
from functools import partial
from typing import Literal, get_args

from cerebellum.errors import UsageError
from cerebellum.model.neurons import conductance, relay
from cerebellum.model.population import Population
from cerebellum.model.presets.casali_space import place
from cerebellum.model.presets.coarse import with_whole_periods
from cerebellum.model.presets.protocol import Protocol
from cerebellum.model.projection import Projection
from cerebellum.model.spec import Spec

Wiring = Literal["random", "space"]

SIZES = {
    "glomerulus": 7_073,
    "granule": 88_158,
    "golgi": 219,
    "purkinje": 69,
    "basket": 603,
    "stellate": 603,
    "nuclei": 12,
    "inferior_olive": 11,
}
"""Number of cells by population (Kuriyama et al. 2021); the inferior olive is an addition."""

_INTERNEURON = conductance.Params(
    c_m=14.6,
    tau_m=14.6,
    e_l=-68.0,
    v_th=-53.0,
    v_reset=-78.0,
    t_ref=1.6,
    i_e=15.6,
    tau_exc=0.64,
    tau_inh=2.0,
)

CELLS = {
    "granule": conductance.Params(
        c_m=3.0,
        tau_m=2.0,
        e_l=-74.0,
        v_th=-42.0,
        v_reset=-84.0,
        t_ref=1.5,
        i_e=0.0,
        tau_exc=0.5,
        tau_inh=10.0,
        integrator="rk4",
    ),
    "golgi": conductance.Params(
        c_m=76.0,
        tau_m=21.0,
        e_l=-65.0,
        v_th=-55.0,
        v_reset=-75.0,
        t_ref=2.0,
        i_e=36.8,
        tau_exc=0.5,
        tau_inh=10.0,
    ),
    "purkinje": conductance.Params(
        c_m=620.0,
        tau_m=88.0,
        e_l=-62.0,
        v_th=-47.0,
        v_reset=-72.0,
        t_ref=0.8,
        i_e=600.0,
        tau_exc=0.5,
        tau_inh=1.6,
    ),
    "basket": _INTERNEURON,
    "stellate": _INTERNEURON,
    "nuclei": conductance.Params(
        c_m=89.0,
        tau_m=57.0,
        e_l=-59.0,
        v_th=-48.0,
        v_reset=-69.0,
        t_ref=3.7,
        i_e=55.8,
        tau_exc=7.1,
        tau_inh=13.6,
    ),
    "inferior_olive": conductance.Params(
        c_m=189.0,
        tau_m=11.0,
        e_l=-45.0,
        v_th=-35.0,
        v_reset=-45.0,
        t_ref=1.0,
        i_e=0.0,
        tau_exc=1.0,
        tau_inh=60.0,
        e_inh=-80.0,
    ),
}
"""Cells of Bogdan et al. 2021, CELL_PARAMS; those of the olive follow Kuriyama et al. 2021, second
LIF set. The granule cell needs Runge-Kutta: its synapse of 9 nS and 0.5 ms on 3 pF is stiff at 0.1
ms."""

RK4_DT = 0.2
"""Longest time step (ms) at which the granule cell is integrated by Runge-Kutta."""

_TABLE = (
    # source, label, target, receptor, nS, ms, in-degree
    ("glomerulus", "", "granule", "exc", 9.0, 4.0, 4.0),
    ("glomerulus", "", "golgi", "exc", 2.0, 4.0, 65.8),
    ("glomerulus", "", "nuclei", "exc", 0.006, 4.0, 147.0),
    ("golgi", "", "granule", "inh", 5.0, 2.0, 2.34),
    ("golgi", "", "golgi", "inh", 8.0, 1.0, 33.8),
    ("granule", "ascending", "golgi", "exc", 20.0, 2.0, 361.0),
    ("granule", "ascending", "purkinje", "exc", 75.0, 2.0, 250.0),
    ("granule", "parallel", "golgi", "exc", 0.4, 5.0, 1_600.0),
    ("granule", "parallel", "purkinje", "exc", 0.02, 5.0, 28_363.0),
    ("granule", "parallel", "basket", "exc", 0.2, 5.0, 995.0),
    ("granule", "parallel", "stellate", "exc", 0.2, 5.0, 1_028.0),
    ("basket", "", "purkinje", "inh", 9.0, 4.0, 19.9),
    ("stellate", "", "purkinje", "inh", 8.5, 5.0, 20.0),
    ("basket", "", "basket", "inh", 2.5, 4.0, 4.0),
    ("stellate", "", "stellate", "inh", 2.0, 1.0, 4.0),
    ("purkinje", "", "nuclei", "inh", 0.03, 4.0, 26.2),
    ("inferior_olive", "climbing", "purkinje", "exc", 300.0, 4.0, 1.0),
)
"""All projections; weights and delays are those of Bogdan et al. 2021, CONNECTIVITY_MAP. There and
here, the gap junctions of interneurons are chemical synapses."""

DENDRITES = 4
"""Number of dendrites of a granule cell; each is reached by a Golgi axon or not (mean 2.34, at most
4)."""

PLASTIC = {
    ("granule", "parallel", "purkinje"),
    ("granule", "parallel", "basket"),
    ("granule", "parallel", "stellate"),
    ("glomerulus", "", "nuclei"),
    ("purkinje", "", "nuclei"),
}
"""Projections that can learn: the state holds their weights, one per synapse."""

REFERENCE_HZ = {
    "background": {
        "glomerulus": 0.97,
        "granule": 2.33,
        "golgi": 15.4,
        "purkinje": 68.6,
        "basket": 38.5,
        "stellate": 35.6,
        "nuclei": 12.0,
    },
    "burst": {
        "glomerulus": 62.9,
        "granule": 27.3,
        "golgi": 103.0,
        "purkinje": 374.0,
        "basket": 153.0,
        "stellate": 179.0,
        "nuclei": 0.0,
    },
}
"""Mean rates (Hz) of an independent run of this network with random wiring and the published
stimulus: background 50 to 300 ms, burst 300 to 350 ms."""

PUBLISHED_LOW_HZ = {
    "glomerulus": 0.92,
    "granule": 2.05,
    "golgi": 18.63,
    "stellate": 31.68,
    "basket": 27.93,
    "purkinje": 47.68,
    "nuclei": 17.74,
}
"""Bogdan et al. 2021, background rates (Hz) of the spatially wired scaffold."""

PROTOCOL = Protocol(
    input="glomerulus",
    background_hz=1.0,
    burst_hz=150.0,
    burst_ms=(300.0, 350.0),
    bursting=2_910 / 7_073,
    windows={"background": (50.0, 300.0), "burst": (300.0, 350.0)},
    reference_hz=REFERENCE_HZ,
    published_hz=PUBLISHED_LOW_HZ,
    note="ref.: an independent run of this network, with the published stimulus. published: Bogdan "
    "et al. 2021, background, spatially wired. A Purkinje cell is driven mostly by 250 strong "
    "ascending-axon synapses, so its rate is steep in granule rate and wiring: Purkinje cells and "
    "interneurons are slower there, and the nuclei that they inhibit are faster.",
)
"""Background and burst of Bogdan et al. 2021; the stimulated share is Kuriyama et al. 2021's."""


_PLACE = partial(place, sizes=SIZES)
"""The `place` function of the spec; there is one, so that equal specs compare as equal."""


def mouse(*, scale: float = 1.0, dt: float = 0.1, wiring: Wiring = "random") -> Spec:
    """The spec of Model A.

    Args:
      scale: share of the cells. In-degrees do not change, except those that would include more
        than half of a smaller source population: these shrink, and their weights grow to match.
      dt: time step, ms; published is 0.1. Refractory periods are whole steps: at 0.5 ms, 1 ms
        instead of 0.8.
      wiring: "random" with the published in-degrees, or in "space", by the rules of the published
        scaffold (see `casali_space`), from which in-degrees follow. The contacts of nuclei and
        olive are random in both.

    Raises:
      UsageError: the scale is not above zero, or not 1 in space, the wiring is unknown, or the
        cells or delays do not allow the time step.
    """
    if not 0 < scale < math.inf:
        raise UsageError(f"scale: {scale}; above 0, 1 is the published size")
    if wiring not in get_args(Wiring):
        raise UsageError(f"wiring: {wiring!r}; one of {', '.join(get_args(Wiring))}")
    if wiring == "space" and scale != 1:
        raise UsageError(f"scale: {scale}; 1 with wiring='space', whose rules are for that size")
    sizes = {name: max(4, round(size * scale)) for name, size in SIZES.items()}
    granule = CELLS["granule"] if dt <= RK4_DT else replace(CELLS["granule"], integrator="averaged")
    cells = {**CELLS, "granule": granule}
    populations = [
        Population(
            name=name,
            size=size,
            model="conductance" if name in cells else "relay",
            params=cells.get(name, relay.Params()),
        )
        for name, size in sizes.items()
    ]
    projections = []
    for source, label, target, receptor, weight, delay, in_degree in _TABLE:
        limit = in_degree if scale == 1.0 else sizes[source] / 2
        projections.append(
            Projection(
                source=source,
                label=label,
                target=target,
                receptor=receptor,
                weight=weight * max(1.0, in_degree / limit),
                delay=delay,
                in_degree=min(in_degree, limit),
                sites=DENDRITES if (source, target) == ("golgi", "granule") else None,
                plastic=(source, label, target) in PLASTIC,
            )
        )
    spec = Spec(
        name="mouse" if wiring == "random" else "mouse-space",
        populations=tuple(populations),
        projections=tuple(projections),
        dt=dt,
        place=_PLACE if wiring == "space" else None,
    )
    return with_whole_periods(spec)
