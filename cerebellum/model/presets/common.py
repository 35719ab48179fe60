"""The common benchmark network: the circuit on which simulators are timed side by side.

Cells are current-based and integrated exactly, with a time step of 1 ms and all delays 1 ms. Every
simulator can hold the network with random wiring. With anatomical wiring, each Purkinje cell and
interneuron of a beam receives every parallel fibre of the beam: this is the structure of a
cerebellum, and few simulators can hold it.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from cerebellum.errors import UsageError
from cerebellum.model.neurons import current, relay
from cerebellum.model.population import Population
from cerebellum.model.presets.protocol import Protocol
from cerebellum.model.projection import Projection
from cerebellum.model.spec import Spec

Size = Literal["S", "M", "L"]
Wiring = Literal["random", "anatomical"]


@dataclass(frozen=True)
class _Size:
    """Numbers that a size stands for."""

    granule: int
    purkinje: int
    parallel_fibres: int
    """number of parallel fibres onto one Purkinje cell, for random wiring"""
    beams: int
    """number of beams, for anatomical wiring"""
    interneurons: int
    """number of interneurons in all beams, for anatomical wiring"""


SIZES: dict[Size, _Size] = {
    "S": _Size(10_000, 40, 2_500, 1, 50),
    "M": _Size(100_000, 400, 10_000, 4, 500),
    "L": _Size(1_000_000, 1_000, 20_000, 5, 1_250),
}

CELLS = {
    "granule": current.Params(tau_m=8.0),
    "golgi": current.Params(tau_m=20.0, drive=12.0),
    "purkinje": current.Params(tau_m=20.0, drive=21.95),
    "interneuron": current.Params(tau_m=10.0, drive=14.0),
    "nuclei": current.Params(tau_m=15.0, drive=40.0),
}

TABLE = (
    # source, target, receptor, mV a spike, in-degree
    ("mossy_fiber", "granule", "exc", 26.0, 4),
    ("mossy_fiber", "golgi", "exc", 3.0, 20),
    ("mossy_fiber", "nuclei", "exc", 3.0, 20),
    ("golgi", "granule", "inh", 1.5, 4),
    ("granule", "golgi", "exc", 3.0, 50),
    ("granule", "purkinje", "exc", None, None),
    ("granule", "interneuron", "exc", 2.5, 200),
    ("interneuron", "purkinje", "inh", 1.5, 20),
    ("purkinje", "nuclei", "inh", 1.5, 30),
)
"""The weights of all parallel fibres onto a Purkinje cell add up to `PARALLEL_MV`."""

PARALLEL_MV = 1_500.0
"""Sum of the parallel-fibre weights onto a Purkinje cell, mV."""
SPREAD = 0.5
"""Parallel-fibre weights are uniform in 0.5 to 1.5 times their mean."""

PROTOCOL = Protocol(
    input="mossy_fiber",
    background_hz=10.0,
    burst_hz=100.0,
    burst_ms=(300.0, 500.0),
    bursting=0.1,
    windows={"background": (100.0, 300.0), "burst": (300.0, 500.0)},
    spread=True,
    reference_hz={
        "background": {
            "granule": 0.87,
            "golgi": 4.8,
            "purkinje": 30.0,
            "interneuron": 23.0,
            "nuclei": 75.0,
        },
        "burst": {
            "granule": 7.2,
            "golgi": 28.5,
            "purkinje": 61.0,
            "interneuron": 87.0,
            "nuclei": 26.0,
        },
    },
    note="ref.: middle of six simulators at size M, random wiring.",
)


def common(size: Size = "M", *, wiring: Wiring = "random") -> Spec:
    """The spec of the common network.

    Args:
      size: "S" (10,000 granule cells), "M" (100,000) or "L" (1,000,000).
      wiring: "random", or "anatomical" with beams and rows of uint16 weights.

    Raises:
      UsageError: the size or the wiring is unknown.
    """
    if size not in SIZES:
        raise UsageError(f"size: {size!r}; one of {', '.join(SIZES)}")
    if wiring not in get_args(Wiring):
        raise UsageError(f"wiring: {wiring!r}; one of {', '.join(get_args(Wiring))}")
    sizes, rows = SIZES[size], wiring == "anatomical"
    cells = {
        "mossy_fiber": max(200, sizes.granule // 20),
        "granule": sizes.granule,
        "golgi": sizes.granule // 400,
        "purkinje": sizes.purkinje,
        "interneuron": sizes.interneurons if rows else 5 * sizes.purkinje,
        "nuclei": sizes.purkinje // 10,
    }
    beams = sizes.beams if rows else 1
    return Spec(
        name=f"common-{size}-{wiring}",
        populations=tuple(
            Population(
                name=name,
                size=count,
                model="current" if name in CELLS else "relay",
                params=CELLS.get(name, relay.Params()),
            )
            for name, count in cells.items()
        ),
        projections=tuple(_projection(row, cells, sizes, beams, rows) for row in TABLE),
        dt=1.0,
        beams=beams,
    )


def _projection(row: tuple, cells: dict[str, int], sizes: _Size, beams: int, rows: bool):
    """The projection of a row of `TABLE`.

    Args:
      cells: number of cells by population.
      rows: whether the wiring is anatomical, with rows of weights.
    """
    source, target, receptor, weight, degree = row
    parallel = source == "granule" and target in ("purkinje", "interneuron")
    if weight is None:
        weight, degree = PARALLEL_MV / sizes.parallel_fibres, sizes.parallel_fibres
    total, beam_sources = weight * degree, cells[source] // beams
    # With few beams at size S, the in-degree of a cell may exceed the number of sources in a beam.
    degree = beam_sources if parallel and rows else min(degree, beam_sources - 1)
    weight = total / degree
    return Projection(
        source=source,
        target=target,
        receptor=receptor,
        weight=weight,
        delay=1.0,
        in_degree=degree,
        spread=SPREAD if parallel else 0.0,
        plastic=parallel and rows,
        dtype="uint16" if parallel and rows else "float32",
        w_max=2 * weight if parallel and rows else None,
    )
