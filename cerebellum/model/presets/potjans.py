"""The cortical microcircuit of Potjans & Diesmann (2014), below 1 mm2 of early sensory cortex.

77,169 current-based cells in four layers and 0.3 billion synapses at full scale. It is the network
that simulators are compared on, and is here to show that circuits other than the cerebellum run:
it uses nothing that a user's own circuit cannot use. Numbers are those of Tables 4 and 5 of the
paper; where the paper and its reference implementation in PyNEST differ, those of the latter.
"""

import math

import numpy as np

from cerebellum.errors import UsageError, is_number
from cerebellum.model.connect import FixedTotal
from cerebellum.model.neurons import current
from cerebellum.model.population import Population
from cerebellum.model.projection import Projection
from cerebellum.model.spec import Spec
from cerebellum.model.values import Normal

SIZES = {
    "L23E": 20_683,
    "L23I": 5_834,
    "L4E": 21_915,
    "L4I": 5_479,
    "L5E": 4_850,
    "L5I": 1_065,
    "L6E": 14_395,
    "L6I": 2_948,
}
"""numbers of cells at full scale"""

PROBABILITIES = (
    (0.1009, 0.1689, 0.0437, 0.0818, 0.0323, 0.0, 0.0076, 0.0),
    (0.1346, 0.1371, 0.0316, 0.0515, 0.0755, 0.0, 0.0042, 0.0),
    (0.0077, 0.0059, 0.0497, 0.1350, 0.0067, 0.0003, 0.0453, 0.0),
    (0.0691, 0.0029, 0.0794, 0.1597, 0.0033, 0.0, 0.1057, 0.0),
    (0.1004, 0.0622, 0.0505, 0.0057, 0.0831, 0.3726, 0.0204, 0.0),
    (0.0548, 0.0269, 0.0257, 0.0022, 0.0600, 0.3158, 0.0086, 0.0),
    (0.0156, 0.0066, 0.0211, 0.0166, 0.0572, 0.0197, 0.0396, 0.2252),
    (0.0364, 0.0010, 0.0034, 0.0005, 0.0277, 0.0080, 0.0658, 0.1443),
)
"""chance that a pair has at least one synapse, by target (rows) and source (columns)"""

EXTERNAL = (1_600, 1_500, 2_100, 1_900, 2_000, 1_900, 2_900, 2_100)
"""external inputs of a cell, by population"""

EXTERNAL_HZ = 8.0
"""rate of each external input, Hz"""

RATES_HZ = (0.903, 2.965, 4.414, 5.876, 7.569, 8.633, 1.105, 7.829)
"""Mean rates at full scale in the reference implementation (`full_mean_rates` of PyNEST's
microcircuit example), which a network of reduced size uses to make up for missing input."""

START_MV = (-68.28, -63.16, -63.33, -63.45, -63.11, -61.66, -66.72, -61.43)
START_SD_MV = (5.36, 4.57, 4.74, 4.94, 4.94, 4.55, 5.46, 4.48)
"""Mean and standard deviation of the first voltages, by population, near those of the network in
activity, so that no burst begins the run (`optimized` in the reference implementation)."""

TAU_M, TAU_SYN = 10.0, 0.5
"""membrane and synaptic time constants, ms"""

PSP = 0.15
"""peak of the voltage after one excitatory spike, mV"""

INHIBITION = 4.0
"""weight of an inhibitory synapse relative to an excitatory one"""


def weight() -> float:
    """The weight, mV, with which an excitatory spike raises the voltage by `PSP` at its peak.

    A weight w is a current that would hold the voltage w higher. It decays with `TAU_SYN`, and the
    voltage, w (exp(-t / tau_m) - exp(-t / tau_syn)) tau_syn / (tau_m - tau_syn), peaks once.
    """
    peak = math.log(TAU_M / TAU_SYN) / (1 / TAU_SYN - 1 / TAU_M)
    course = math.exp(-peak / TAU_M) - math.exp(-peak / TAU_SYN)
    return PSP / (course * TAU_SYN / (TAU_M - TAU_SYN))


def synapses(probability: float, sources: int, targets: int) -> float:
    """The number of synapses drawn at random with which this share of the pairs has one."""
    return math.log(1 - probability) / math.log(1 - 1 / (sources * targets))


def microcircuit(scale: float = 1.0, dt: float = 0.1) -> Spec:
    """The circuit, or a smaller one in which each cell has fewer inputs.

    A smaller one has `scale` times the cells and `scale` times the inputs of each. Weights grow by
    1 / sqrt(scale), and a constant current makes up for the lost mean input (van Albada, Helias &
    Diesmann 2015), so that rates stay near those of the whole; correlations do not.

    Args:
      scale: share of the cells, above 0, at most 1.
      dt: time step, ms.
    """
    if not is_number(scale) or not 0 < scale <= 1:
        raise UsageError(f"scale: {scale!r}; above 0, at most 1")
    names, full = list(SIZES), list(SIZES.values())
    sizes = [max(1, round(size * scale)) for size in full]
    unit, grown = weight(), 1 / math.sqrt(scale)
    projections, lost = [], np.zeros(len(names))
    for t, row in enumerate(PROBABILITIES):
        for s, probability in enumerate(row):
            if not probability:
                continue
            inputs = synapses(probability, full[s], full[t]) / full[t]
            excitatory = names[s].endswith("E")
            mean = unit * (1 if excitatory else INHIBITION)
            if (names[s], names[t]) == ("L4E", "L23E"):
                mean *= 2
            lost[t] += inputs * RATES_HZ[s] * mean * (1 if excitatory else -1)
            delay = 1.5 if excitatory else 0.75
            projections.append(
                Projection(
                    source=names[s],
                    target=names[t],
                    receptor="exc" if excitatory else "inh",
                    weight=Normal(mean * grown, 0.1 * mean * grown, low=0.0),
                    delay=Normal(delay, delay / 2, low=dt),
                    connect=FixedTotal(round(inputs * scale * sizes[t])),
                )
            )
    lost += np.array(EXTERNAL) * EXTERNAL_HZ * unit
    constant = (1 - math.sqrt(scale)) * TAU_SYN * 1e-3 * lost
    populations = [
        Population(
            name=name,
            size=size,
            model="current",
            params=current.Params(
                tau_m=TAU_M,
                v_leak=-65.0,
                v_th=-50.0,
                v_reset=-65.0,
                t_ref=2.0,
                drive=float(current_mv),
                tau_exc=TAU_SYN,
                tau_inh=TAU_SYN,
            ),
        )
        for name, size, current_mv in zip(names, sizes, constant, strict=True)
    ]
    return Spec(
        name="microcircuit", populations=tuple(populations), projections=tuple(projections), dt=dt
    )


def background(scale: float = 1.0) -> dict[str, tuple[float, float]]:
    """What comes from outside, by population: rate of all external spikes of a cell together, Hz,
    and the weight of each, mV."""
    grown = weight() / math.sqrt(scale)
    return {n: (k * scale * EXTERNAL_HZ, grown) for n, k in zip(SIZES, EXTERNAL, strict=True)}
