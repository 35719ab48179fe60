"""The common benchmark network: the one circuit on which simulators are timed side by side.

Current-based cells, exact integration, 1 ms, every delay 1 ms. With random wiring every simulator
can hold it; with anatomical wiring each Purkinje cell and interneuron of a beam receives every
parallel fibre of it, which is how a cerebellum is built and few simulators can hold.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from cerebellum.errors import UsageError
from cerebellum.model.neurons import current, relay
from cerebellum.model.presets.protocol import Protocol
from cerebellum.model.spec import Population, Projection, Spec

Size = Literal["S", "M", "L"]
Wiring = Literal["random", "anatomical"]


@dataclass(frozen=True)
class _Size:
    granule: int
    purkinje: int
    parallel_fibres: int
    """onto one Purkinje cell, random wiring"""
    beams: int
    """anatomical wiring"""
    interneurons: int
    """in all beams, anatomical wiring"""


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
"""Parallel fibres onto a Purkinje cell add up to `PARALLEL_MV`."""

PARALLEL_MV = 1_500.0
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
    """Spec of the common network.

    Args:
      size: "S" (10,000 granule cells), "M" (100,000) or "L" (1,000,000).
      wiring: "random", or "anatomical" with beams and rows of uint16 weights.

    Raises:
      UsageError: another size or wiring.
    """
    if size not in SIZES:
        raise UsageError(f"size: {size!r}; one of {', '.join(SIZES)}")
    if wiring not in get_args(Wiring):
        raise UsageError(f"wiring: {wiring!r}; one of {', '.join(get_args(Wiring))}")
    own, rows = SIZES[size], wiring == "anatomical"
    cells = {
        "mossy_fiber": max(200, own.granule // 20),
        "granule": own.granule,
        "golgi": own.granule // 400,
        "purkinje": own.purkinje,
        "interneuron": own.interneurons if rows else 5 * own.purkinje,
        "nuclei": own.purkinje // 10,
    }
    beams = own.beams if rows else 1
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
        projections=tuple(_projection(row, cells, own, beams, rows) for row in TABLE),
        dt=1.0,
        beams=beams,
    )


def _projection(row: tuple, cells: dict[str, int], own: _Size, beams: int, rows: bool):
    source, target, receptor, weight, degree = row
    parallel = source == "granule" and target in ("purkinje", "interneuron")
    if weight is None:
        weight, degree = PARALLEL_MV / own.parallel_fibres, own.parallel_fibres
    total, within = weight * degree, cells[source] // beams
    # With few beams at size S a cell's in-degree may exceed what its beam has.
    degree = within if parallel and rows else min(degree, within - 1)
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
