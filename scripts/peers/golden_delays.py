"""A network with a weight and a delay for every synapse, in NEST: the tests' fixture of spikes.

    .peers/nest/bin/python golden_delays.py write   runs NEST, checks, writes the fixture
    python golden_delays.py check                   checks the fixture with the reference alone

The network is the common one of size S (`params.py`) at a step of 0.1 ms. Weights are normal with a
standard deviation of a fifth, and delays uniform in 0.1 to 3.0 ms, both drawn for every synapse.
Mossy fibres fire at listed times. Everything is drawn from a seed, in NumPy, by the functions
below, so that NEST, the reference integrator in this file and our simulator have the same network.

NEST's conventions, which `simulate` reproduces spike for spike in double precision:

- The cells of step n (counted from 0) go from time n dt to (n + 1) dt. A spike of step n has the
  time stamp (n + 1) dt, and one that a spike generator is given for that time counts as of step n.
- A spike of step n with a delay of d steps is added at the end of step n + d: the current contains
  it from (n + d + 1) dt on, which is the time stamp and the delay, and first moves the voltage in
  step n + d + 1.
- A step integrates the voltage from the currents as they were at its beginning, then lets the
  currents decay, then adds arrivals, then compares the voltage with the threshold (at or above).
- After a spike of step n the voltage is held at the reset for steps n + 1 to n + t_ref / dt, while
  currents go on.
- Weights are in pA. With C_m in pF equal to tau_m in ms, the resistance is 1, and they are our mV.
  A negative weight goes to the inhibitory current.
"""

import hashlib
import math
import sys
from pathlib import Path

import numpy as np
import params

SIZE, SEED = "S", 2
"""With this seed no voltage comes nearer to threshold than 1.9e-5 mV, so that single precision
gives the same spikes. Of seeds 1 to 35, single precision moves a first spike by a step in 25 (2 to
145 of some 8,500 spikes differ at the end), where the nearest voltage is within some 1e-5 mV."""
DT, STEPS = 0.1, 2_000
SHORTEST, LONGEST = 1, 30
"""Delays in steps."""
WEIGHT_SD = 0.2
WEIGHT_UNIT = 2.0**-10
"""Weights are multiples of this number of mV. Sums of arrivals are then exact, in single precision
too, and do not depend on the order of addition."""
BURST_STEPS = (1_000, 1_500)
FIXTURE = Path(__file__).resolve().parents[2] / "tests/fixtures/nest_delays.npz"


def stream(name: str) -> np.random.Generator:
    """The random numbers of one subject."""
    return np.random.Generator(np.random.Philox([SEED, *name.encode()]))


def edges() -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Synapses by projection, `source_target`: pre, post, weight and delay, [E] each.

    pre and post are numbers of cells (int32), weights positive and in mV (float64; the receptor has
    the sign), delays in ms (float64). A pair of cells has one synapse at most. Ordered by target.
    """
    cells, found = params.cells(SIZE), {}
    for source, target, _, weight, degree, _ in params.projections(SIZE):
        name = f"{source}_{target}"
        rng = stream(name)
        keys = rng.random((cells[target], cells[source]))
        # In the order of their numbers: the order of a partition depends on the processor.
        pre = np.sort(np.argpartition(keys, degree, axis=1)[:, :degree], axis=1)
        pre = pre.astype(np.int32).ravel()
        post = np.repeat(np.arange(cells[target], dtype=np.int32), degree)
        drawn = abs(weight) * (1 + WEIGHT_SD * rng.standard_normal(pre.size))
        units = np.maximum(1, np.round(drawn / WEIGHT_UNIT))
        steps = rng.integers(SHORTEST, LONGEST + 1, pre.size)
        found[name] = pre, post, units * WEIGHT_UNIT, np.round(steps * DT, 1)
    return found


def inputs() -> np.ndarray:
    """Spikes of the mossy fibres: bool [STEPS, cells]."""
    cells = params.cells(SIZE)["mossy_fiber"]
    rate = np.full((STEPS, cells), params.BACKGROUND_HZ)
    rate[slice(*BURST_STEPS), : round(cells * params.BURST_SHARE)] = params.BURST_HZ
    return stream("input").random((STEPS, cells)) < rate * DT * 1e-3


def voltages() -> dict[str, np.ndarray]:
    """Voltages at the start by population, mV, float32 [cells]: 0 in granule cells."""
    cells = params.cells(SIZE)
    return {
        name: (stream(f"{name}.v").random(cells[name]) * params.THRESHOLD).astype(np.float32)
        * (name != "granule")
        for name in params.TAU_M_AND_DRIVE
    }


def digest() -> str:
    """SHA-256 of all that is drawn."""
    held = hashlib.sha256()
    for arrays in (*edges().values(), [inputs()], voltages().values()):
        for array in arrays:
            held.update(np.ascontiguousarray(array).tobytes())
    return held.hexdigest()


def receptor(name: str) -> str:
    """ "exc" or "inh", of a projection."""
    return next(
        {"E": "exc", "I": "inh"}[kind]
        for (source, target), (kind, _, _) in params.PROJECTIONS.items()
        if f"{source}_{target}" == name
    )


def in_nest() -> dict[str, np.ndarray]:
    """Spikes by population in NEST: step and cell, [2, spikes], ordered by step, then by cell."""
    import nest

    nest.set_verbosity("M_ERROR")
    nest.ResetKernel()
    nest.resolution = DT
    cells, start = params.cells(SIZE), voltages()
    groups = {}
    for name in params.TAU_M_AND_DRIVE:
        groups[name] = nest.Create("iaf_psc_exp", cells[name], params.nest_cell(name))
        groups[name].V_m = start[name].astype(float).tolist()
    fires = inputs()
    times = [np.round((np.flatnonzero(train) + 1) * DT, 1) for train in fires.T]
    groups["mossy_fiber"] = nest.Create("spike_generator", cells["mossy_fiber"])
    groups["mossy_fiber"].set([{"spike_times": each} for each in times])
    found = edges()
    for source, target in params.PROJECTIONS:
        pre, post, weight, delay = found[f"{source}_{target}"]
        sign = 1.0 if receptor(f"{source}_{target}") == "exc" else -1.0
        nest.Connect(
            np.asarray(groups[source].tolist())[pre],
            np.asarray(groups[target].tolist())[post],
            "one_to_one",
            {"synapse_model": "static_synapse", "weight": sign * weight, "delay": delay},
        )
    recorders = {name: nest.Create("spike_recorder") for name in params.TAU_M_AND_DRIVE}
    for name, recorder in recorders.items():
        nest.Connect(groups[name], recorder)
    nest.Simulate(STEPS * DT)
    spikes = {}
    for name, recorder in recorders.items():
        events = recorder.get("events")
        step = np.round(np.asarray(events["times"]) / DT).astype(int) - 1
        spikes[name] = ordered(step, np.asarray(events["senders"]) - groups[name].tolist()[0])
    return spikes


def ordered(step: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Spikes in the order and type of the fixture, uint16 [2, spikes]."""
    order = np.lexsort((cell, step))
    return np.stack([step[order], cell[order]]).astype(np.uint16)


def propagators(name: str) -> dict[str, float]:
    """What one step multiplies by, exactly (Rotter & Diesmann 1999)."""
    tau_m, drive = params.TAU_M_AND_DRIVE[name]
    held = math.exp(-DT / tau_m)
    reached = {
        kind: tau / (tau - tau_m) * (math.exp(-DT / tau) - held)
        if tau != tau_m
        else held * DT / tau_m
        for kind, tau in (("exc", params.TAU_E), ("inh", params.TAU_I))
    }
    return {"held": held, **reached, "drive": drive * (1 - held)}


def in_reference(dtype: type = np.float64) -> tuple[dict[str, np.ndarray], float]:
    """Spikes as `in_nest` gives them, by a plain event-driven integrator in NumPy.

    Args:
      dtype: precision of the state of the cells and of every operation on it.

    Returns:
      The spikes, and the smallest distance of a voltage outside refractory periods from the
      threshold in any step, mV.
    """
    cells, fires = params.cells(SIZE), inputs()
    constants = {n: {k: dtype(x) for k, x in propagators(n).items()} for n in voltages()}
    keep = {"exc": dtype(math.exp(-DT / params.TAU_E)), "inh": dtype(math.exp(-DT / params.TAU_I))}
    v = {name: start.astype(dtype) for name, start in voltages().items()}
    refractory = {name: np.zeros(cells[name], int) for name in v}
    current = {name: {kind: np.zeros(cells[name], dtype) for kind in keep} for name in v}
    ring = {
        name: {kind: np.zeros((LONGEST + 1, cells[name]), dtype) for kind in keep} for name in v
    }
    by_source, drawn = [], edges()
    for source, target in params.PROJECTIONS:
        name = f"{source}_{target}"
        pre, post, weight, delay = drawn[name]
        order = np.argsort(pre, kind="stable")
        first = np.searchsorted(pre[order], np.arange(cells[source] + 1))
        steps = np.round(delay / DT).astype(int)[order]
        by_source.append(
            (source, ring[target][receptor(name)], first, post[order], weight[order], steps)
        )
    found, nearest = {name: [] for name in v}, np.inf
    for n in range(STEPS):
        fired = {"mossy_fiber": np.flatnonzero(fires[n])}
        for name, p in constants.items():
            free, now = refractory[name] == 0, current[name]
            moved = p["held"] * v[name] + p["exc"] * now["exc"] - p["inh"] * now["inh"] + p["drive"]
            v[name] = np.where(free, moved, v[name])
            refractory[name] -= ~free
            for kind, decay in keep.items():
                row = ring[name][kind][n % (LONGEST + 1)]
                now[kind] = now[kind] * decay + row
                row[:] = 0
            nearest = float(np.abs(v[name][free] - params.THRESHOLD).min(initial=nearest))
            spiking = free & (v[name] >= params.THRESHOLD)
            v[name][spiking] = 0
            refractory[name][spiking] = round(params.T_REF / DT)
            fired[name] = np.flatnonzero(spiking)
            found[name].append(fired[name])
        for source, rows, first, post, weight, steps in by_source:
            for cell in fired[source]:
                own = slice(first[cell], first[cell + 1])
                # A source meets a target once, so no place is named twice.
                rows[(n + steps[own]) % (LONGEST + 1), post[own]] += weight[own].astype(dtype)
    spikes = {}
    for name, each in found.items():
        step = np.repeat(np.arange(STEPS), [x.size for x in each])
        spikes[name] = ordered(step, np.concatenate(each))
    return spikes, nearest


def first_difference(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> str | None:
    """The earliest spike that one of two runs has and the other has not, in words; or None."""
    found = []
    for name in theirs:
        a, b = ({tuple(x) for x in spikes[name].T.tolist()} for spikes in (ours, theirs))
        if a != b:
            step, cell = min(a ^ b)
            found.append((step, f"{name} {cell} in step {step}, of {len(a ^ b)} that differ"))
    return min(found)[1] if found else None


def main() -> None:
    if sys.argv[1:] == ["write"]:
        spikes = in_nest()
        FIXTURE.parent.mkdir(exist_ok=True)
        np.savez_compressed(FIXTURE, digest=digest(), **spikes)
    with np.load(FIXTURE) as held:
        stored = {name: held[name] for name in params.TAU_M_AND_DRIVE}
        assert str(held["digest"]) == digest(), "NumPy draws another network here"
    cells = params.cells(SIZE)
    for name, spikes in stored.items():
        rate = spikes.shape[1] / cells[name] / (STEPS * DT * 1e-3)
        print(f"{name}: {spikes.shape[1]} spikes, {rate:.2f} Hz")
    print(f"fixture: {FIXTURE.stat().st_size} bytes")
    for dtype in (np.float64, np.float32):
        reference, nearest = in_reference(dtype)
        differs = first_difference(reference, stored)
        print(f"{dtype.__name__}: first difference from NEST: {differs}; nearest {nearest:.1e} mV")


if __name__ == "__main__":
    main()
