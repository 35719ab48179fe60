"""The common network in numbers that every peer reads; `python params.py > params.h` for C.

A synaptic current is in mV (resistance 1: a capacitance in pF is the time constant in ms).
tests/test_common.py holds it to `cerebellum.model.presets.common`.
"""

import math

DT = 1.0
TAU_E, TAU_I, T_REF, THRESHOLD = 3.0, 10.0, 2, 15.0
BACKGROUND_HZ, BURST_HZ, BURST_SHARE = 10.0, 100.0, 0.1
BURST_START, BURST_STOP, STEPS = 300, 500, 1000

TAU_M_AND_DRIVE = {
    "granule": (8.0, 0.0),
    "golgi": (20.0, 12.0),
    "purkinje": (20.0, 21.95),
    "interneuron": (10.0, 14.0),
    "nuclei": (15.0, 40.0),
}
SIZES = {"S": (10_000, 40, 2_500), "M": (100_000, 400, 10_000), "L": (1_000_000, 1_000, 20_000)}
"""granule cells, Purkinje cells, parallel fibres of one"""

ANATOMICAL = "-anatomical"
"""Behind a size: beams, of which every Purkinje cell and interneuron has all parallel fibres."""

BEAMS = {"S": (1, 50), "M": (4, 500), "L": (5, 1_250)}
"""beams, interneurons in all of them"""

PARALLEL_MV = 1_500.0
SPREAD = 0.5
PROJECTIONS = {
    # source, target: receptor, mV, in-degree
    ("mossy_fiber", "granule"): ("E", 26.0, 4),
    ("golgi", "granule"): ("I", -1.5, 4),
    ("granule", "golgi"): ("E", 3.0, 50),
    ("mossy_fiber", "golgi"): ("E", 3.0, 20),
    ("granule", "purkinje"): ("E", None, None),
    ("granule", "interneuron"): ("E", 2.5, 200),
    ("interneuron", "purkinje"): ("I", -1.5, 20),
    ("purkinje", "nuclei"): ("I", -1.5, 30),
    ("mossy_fiber", "nuclei"): ("E", 3.0, 20),
}


def cells(size: str) -> dict[str, int]:
    """Cells by population."""
    plain = size.removesuffix(ANATOMICAL)
    granule, purkinje, _ = SIZES[plain]
    return {
        "mossy_fiber": max(200, granule // 20),
        "granule": granule,
        "golgi": granule // 400,
        "purkinje": purkinje,
        "interneuron": 5 * purkinje if size == plain else BEAMS[plain][1],
        "nuclei": purkinje // 10,
    }


def projections(size: str) -> list[tuple[str, str, str, float, int, bool]]:
    """source, target, receptor, mV, in-degree, and whether every synapse has its own weight."""
    fibres, found = SIZES[size.removesuffix(ANATOMICAL)][2], []
    for (source, target), (receptor, weight, degree) in PROJECTIONS.items():
        if weight is None:
            weight, degree = PARALLEL_MV / fibres, fibres
        own = source == "granule" and target != "golgi"
        if own and beams(size):
            total, degree = weight * degree, cells(size)[source] // beams(size)
            weight = total / degree
        found.append((source, target, receptor, weight, degree, own))
    return found


def beams(size: str) -> int:
    """How many beams parallel fibres keep to; 0 where they end anywhere."""
    plain = size.removesuffix(ANATOMICAL)
    return 0 if plain == size else BEAMS[plain][0]


def sources(rng, size: str, source: str, target: str, degree: int, own: bool):
    """Sources of every target's synapses, one target after the other: int32 [targets degree]."""
    import numpy as np

    there, targets = cells(size)[source], cells(size)[target]
    if own and beams(size):
        beam = np.arange(there, dtype=np.int32).reshape(beams(size), 1, degree)
        return np.broadcast_to(beam, (beams(size), targets // beams(size), degree)).reshape(-1)
    return rng.integers(0, there, targets * degree, dtype=np.int32)


def propagators(population: str) -> dict[str, float]:
    """What one step multiplies by, exactly (Rotter & Diesmann 1999)."""
    tau_m, drive = TAU_M_AND_DRIVE[population]

    def reached(tau: float) -> float:
        if tau == tau_m:
            return math.exp(-DT / tau_m) * DT / tau_m
        return tau / (tau - tau_m) * (math.exp(-DT / tau) - math.exp(-DT / tau_m))

    held = math.exp(-DT / tau_m)
    return {
        "held": held,
        "from_exc": reached(TAU_E),
        "from_inh": reached(TAU_I),
        "drive": drive * (1 - held),
        "keep_exc": math.exp(-DT / TAU_E),
        "keep_inh": math.exp(-DT / TAU_I),
    }


def nest_cell(name: str) -> dict[str, float]:
    """Parameters of NEST's `iaf_psc_exp` for the cells of a population; with C_m = tau_m a current
    in pA is the voltage in mV that it would maintain."""
    tau_m, drive = TAU_M_AND_DRIVE[name]
    return {
        "tau_m": tau_m,
        "C_m": tau_m,
        "I_e": drive,
        "E_L": 0.0,
        "V_reset": 0.0,
        "V_th": THRESHOLD,
        "t_ref": float(T_REF),
        "tau_syn_ex": TAU_E,
        "tau_syn_in": TAU_I,
    }


def rates(counts, size: str) -> dict[str, list[float]]:
    """Hz over the whole second, in the background and in the burst: counts by step, [1000]."""
    spans = ((0, STEPS), (100, BURST_START), (BURST_START, BURST_STOP))
    return {
        name: [round(float(counts[name][a:b].sum()) * 1e3 / (b - a) / number, 3) for a, b in spans]
        for name, number in cells(size).items()
    }


if __name__ == "__main__":
    for name in TAU_M_AND_DRIVE:
        values = ", ".join(f"{value:.9e}f" for value in propagators(name).values())
        print(f"#define CELLS_{name} {{{values}}}")
    for (source, target), (_, weight, degree) in PROJECTIONS.items():
        if weight is not None:
            print(f"#define W_{source}_{target} {weight}f\n#define IN_{source}_{target} {degree}")
    for name in ("PARALLEL_MV", "THRESHOLD"):
        print(f"#define {name} {globals()[name]}f")
    for name in ("T_REF", "BACKGROUND_HZ", "BURST_HZ", "BURST_SHARE", "BURST_START", "BURST_STOP"):
        print(f"#define {name} {globals()[name]}")
    print(f"#define STEPS {STEPS}")
