"""The large circuit: 1,000 to 10 million granule cells, in beams, with a time step of 1 ms.

Granule cells lie in beams of up to 200,000, which is the number of parallel fibres that reach one
Purkinje cell. Every Purkinje cell of a beam has a weight for each granule cell of the beam.
Connections within the cortex do not leave their beam. The loop through nuclei and olive crosses
beams, as microzones do: they are strips at right angles to parallel fibres (Apps & Hawkes 2009).
Cells are current-based and integrated exactly. The table states total weights, which are divided by
the in-degree that the size of a circuit allows. A constant drive keeps all cells other than granule
cells near threshold. So the rates are those of the table at every size.

Numbers of cells follow the mouse scaffold (Casali et al. 2019; Kuriyama et al. 2021) except for
Purkinje cells, whose ratio is that of the production circuit: 15,000 to 4 million. The time
constants of the cells, the mossy-fibre and Golgi inputs of granule cells and the parallel-fibre
total are those of the common benchmark network; the other totals and drives are tuned.
"""

import math
from dataclasses import dataclass

from cerebellum.errors import UsageError, is_number, is_whole
from cerebellum.model.neurons import current, relay
from cerebellum.model.plasticity import Rule
from cerebellum.model.population import Population
from cerebellum.model.presets.protocol import Protocol
from cerebellum.model.projection import Dtype, Projection
from cerebellum.model.spec import Spec

BEAM_GRANULES = 200_000
"""Largest number of granule cells in a beam: about the number of parallel fibres that cross one
Purkinje dendrite."""

GRANULES_PER_CELL = {
    "mossy_fiber": 20.0,
    "golgi": 402.0,
    "purkinje": 800 / 3,
    "basket": 146.0,
    "stellate": 146.0,
    "nuclei": 8_000 / 3,
    "inferior_olive": 4_000 / 3,
}
"""Number of granule cells per cell of another population. For Golgi, basket and stellate cells it
is that of the mouse scaffold, 88,158 to 219, 603 and 603. There are ten Purkinje cells per nuclear
cell and five per olivary cell."""

FEWEST = {"mossy_fiber": 40, "nuclei": 4, "inferior_olive": 4}
"""Smallest number of cells of a population in a beam; 8 for populations that are not listed."""

CELLS = {
    "granule": current.Params(tau_m=8.0),
    "golgi": current.Params(tau_m=20.0, drive=14.5),
    "purkinje": current.Params(tau_m=20.0, drive=26.0),
    "basket": current.Params(tau_m=10.0, drive=15.1),
    "stellate": current.Params(tau_m=10.0, drive=15.1),
    "nuclei": current.Params(tau_m=15.0, drive=19.0),
    "inferior_olive": current.Params(tau_m=600.0, t_ref=20.0, drive=18.6),
}
"""The threshold is 15 mV above rest. An olivary cell fires on its own at about 1 Hz."""

TABLE = (
    # source, target, receptor, total mV, ms, in-degree
    ("mossy_fiber", "granule", "exc", 104.0, 1.0, 4),
    ("mossy_fiber", "golgi", "exc", 12.0, 1.0, 20),
    ("mossy_fiber", "nuclei", "exc", 40.0, 2.0, 20),
    ("golgi", "granule", "inh", 6.0, 2.0, 4),
    ("granule", "golgi", "exc", 40.0, 3.0, 400),
    ("granule", "purkinje", "exc", 700.0, 3.0, math.inf),
    ("granule", "basket", "exc", 65.0, 3.0, 1_000),
    ("granule", "stellate", "exc", 65.0, 3.0, 1_000),
    ("basket", "purkinje", "inh", 12.0, 2.0, 20),
    ("stellate", "purkinje", "inh", 12.0, 2.0, 20),
    ("purkinje", "nuclei", "inh", 8.0, 2.0, 30),
    ("nuclei", "inferior_olive", "inh", 2.0, 5.0, 8),
    ("inferior_olive", "purkinje", "exc", 40.0, 4.0, 1),
    ("inferior_olive", "nuclei", "exc", 5.0, 4.0, 4),
)
"""All projections. A total is the sum that one spike in each input of a cell would add."""

CROSSING = ("purkinje", "nuclei", "inferior_olive")
"""Populations whose projections reach every beam."""

WEIGHT_SPREAD = 0.5
"""Initial weights of parallel fibres onto Purkinje cells are uniform in 0.5 to 1.5 times their
mean; their upper bound is twice the mean."""

CLIMBING_HZ = 1.0
"""Climbing-fibre rate at which potentiation and depression balance."""

REFERENCE_HZ = {
    "background": {
        "mossy_fiber": 10.0,
        "granule": 0.80,
        "golgi": 6.8,
        "purkinje": 40.0,
        "basket": 23.0,
        "stellate": 23.0,
        "nuclei": 28.5,
        "inferior_olive": 0.97,
    },
    "burst": {
        "mossy_fiber": 19.0,
        "granule": 7.8,
        "golgi": 18.2,
        "purkinje": 68.7,
        "basket": 38.9,
        "stellate": 38.8,
        "nuclei": 20.5,
    },
}
"""Rates (Hz) with 100,000 granule cells, seed 0, 2 s of background and 0.6 s of burst, learning
off. Circuits of other sizes should have the same rates. Olivary cells are left out of the burst
because too few of them fire to compare."""

PROTOCOL = Protocol(
    input="mossy_fiber",
    background_hz=10.0,
    burst_hz=100.0,
    burst_ms=(600.0, 800.0),
    bursting=0.1,
    windows={"background": (200.0, 600.0), "burst": (600.0, 800.0)},
    spread=True,
    reference_hz=REFERENCE_HZ,
    note="ref.: this circuit with 100,000 granule cells.",
)
"""The stimulus of the common benchmark network: 10 Hz in all mossy fibres, and a burst of 100 Hz in
a tenth of them."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Numbers of cells by population; None stands for the number that the granule cells imply."""

    mossy_fiber: int | None = None
    golgi: int | None = None
    purkinje: int | None = None
    basket: int | None = None
    stellate: int | None = None
    nuclei: int | None = None
    inferior_olive: int | None = None


def counts(granule_size: int, beams: int | None = None, sizes: Sizes = Sizes()) -> dict[str, int]:
    """Numbers of cells by population: those in `sizes`, or else the anatomical number."""
    beams = beams or default_beams(granule_size)
    cells = {}
    for name, ratio in GRANULES_PER_CELL.items():
        anatomical = max(FEWEST.get(name, 8), round(granule_size / ratio / beams)) * beams
        explicit = getattr(sizes, name)
        cells[name] = anatomical if explicit is None else explicit
    return {"mossy_fiber": cells.pop("mossy_fiber"), "granule": granule_size, **cells}


def default_beams(granule_size: int) -> int:
    """The smallest number of beams that can hold the granule cells."""
    return max(1, -(-granule_size // BEAM_GRANULES))


def beams(
    granule_size: int = 100_000,
    *,
    beams: int | None = None,
    sizes: Sizes = Sizes(),
    dt: float = 1.0,
    learning_rate: float = 0.0,
    sparsity: float = 0.0,
    dtype: Dtype = "uint16",
) -> Spec:
    """The spec of the large circuit.

    Args:
      granule_size: number of granule cells, at least 100.
      beams: number of beams, which parallel fibres do not leave; by default the smallest number
        with at most 200,000 granule cells each.
      sizes: numbers of other cells that differ from the anatomical ones.
      dt: time step, ms.
      learning_rate: increase of a parallel-fibre weight at each of its spikes, as a share of the
        upper bound; 0 switches learning off.
      sparsity: share of the parallel fibres of a beam that have no contact with a given Purkinje
        cell.
      dtype: data type of parallel-fibre weights onto Purkinje cells.

    Raises:
      UsageError: the sizes do not fill the beams, or a step or a share is out of range.
    """
    if not is_whole(granule_size) or granule_size < 100:
        raise UsageError(f"granule_size: {granule_size!r}; a whole number, at least 100")
    if not is_number(sparsity) or not 0 <= sparsity < 1:
        raise UsageError(f"sparsity: {sparsity!r}; at least 0, below 1")
    if not is_number(learning_rate) or not 0 <= learning_rate <= 0.1:
        raise UsageError(f"learning_rate: {learning_rate!r}; between 0 and 0.1")
    if not isinstance(sizes, Sizes):
        raise UsageError(f"sizes: {type(sizes).__name__}; presets.Sizes(purkinje=...)")
    beams = default_beams(granule_size) if beams is None else beams
    if not is_whole(beams) or beams < 1:
        raise UsageError(f"beams: {beams!r}; a whole number, at least 1")
    beams = int(beams)
    cells = counts(int(granule_size), beams, sizes)
    return Spec(
        name="beams",
        populations=tuple(
            Population(
                name=name,
                size=size,
                model="current" if name in CELLS else "relay",
                params=CELLS.get(name, relay.Params()),
            )
            for name, size in cells.items()
        ),
        projections=tuple(
            _projection(row, cells, beams, learning_rate, sparsity, dtype) for row in TABLE
        ),
        dt=dt,
        beams=beams,
    )


def _projection(
    row: tuple,
    cells: dict[str, int],
    beams: int,
    learning_rate: float,
    sparsity: float,
    dtype: Dtype,
) -> Projection:
    """The projection of a row of `TABLE`.

    Args:
      cells: number of cells by population.
    """
    source, target, receptor, total, delay, full_degree = row
    smallest = cells[source] - (beams - 1) * -(-cells[source] // beams)
    if (source, target) != ("granule", "purkinje"):
        crosses = beams > 1 and source in CROSSING
        sources = cells[source] if crosses else smallest
        degree = min(full_degree, max(1, sources // 2))
        return Projection(
            source=source,
            target=target,
            receptor=receptor,
            weight=total / degree,
            delay=delay,
            in_degree=degree,
            crosses=crosses,
        )
    degree = smallest * (1 - sparsity)
    w_max = 2 * total / degree
    rule = Rule(
        teacher="inferior_olive_purkinje",
        per_spike=learning_rate * w_max,
        per_pair=-learning_rate * w_max / (CLIMBING_HZ * 1e-3 * Rule.tau),
    )
    return Projection(
        source=source,
        target=target,
        receptor=receptor,
        weight=total / degree,
        delay=delay,
        in_degree=degree,
        spread=WEIGHT_SPREAD,
        w_max=w_max,
        plastic=True,
        dtype=dtype,
        rule=rule if learning_rate else None,
    )
