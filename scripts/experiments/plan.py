"""What a circuit costs each of many devices a step, and what named hardware makes of it.

    python scripts/experiments/plan.py                       the plan: 4 billion granule cells
    python scripts/experiments/plan.py --check [--granules]  a run in shards beside its estimate
    python scripts/experiments/plan.py --weak                one device's program, alone and of 8

The check builds the circuit, runs it on two shards, and prints for each quantity what was
estimated and what was counted: bytes of arrays, spikes and synaptic events of the recording, bytes
of the collective in the compiled program.
"""

import argparse
import json
import re
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from cerebellum import xla

HARDWARE = {
    # name: bytes of memory; bytes a second of memory and of network; operations a second
    "H100 SXM, 400 Gbit/s": (80e9, 3.35e12, 50e9, 67e12),
    "H200 SXM, 400 Gbit/s": (141e9, 4.8e12, 50e9, 67e12),
    "B200, 800 Gbit/s": (180e9, 7.7e12, 100e9, 80e12),
}
"""Data sheets of the makers."""

MESSAGE_S = 5e-6
"""What a collective costs at least, however little it carries: two switches there and back."""


def production(granules: int):
    """The production circuit, or so many times as large, learning."""
    import cerebellum as cb

    beams = max(1, granules // 200_000)
    sizes = cb.presets.Sizes(golgi=20 * beams, purkinje=750 * beams, nuclei=75 * beams)
    return cb.presets.beams(granules, beams=beams, sizes=sizes, learning_rate=2e-4)


def plan(granules: int, rates: Mapping[str, float]) -> None:
    from cerebellum.sim.plan import cost

    spec = production(granules)
    for devices in (100, 250, 500, 1_000, 2_000, 4_000):
        found = cost(spec, rates, devices, "event")
        row = {"devices": devices, **{k: float(f"{v:.4g}") for k, v in vars(found).items()}}
        for name, (size, bandwidth, network, speed) in HARDWARE.items():
            fits = found.resident_bytes < 0.9 * size
            inside = max(found.touched_bytes / bandwidth, found.operations / speed)
            outside = MESSAGE_S + found.received_bytes / network
            row[name] = {
                "fits": fits,
                "memory_us": round(inside * 1e6, 1),
                "network_us": round(outside * 1e6, 1),
                "share_of_memory": round(found.resident_bytes / size, 2),
            }
        print(json.dumps(row), flush=True)


def compiled(cut, state, drive, steps: int):
    """The program of a chunk."""
    from cerebellum.sim import shard
    from cerebellum.sim.chunk import Inputs, advance
    from cerebellum.sim.loop import chunk_of

    inputs = Inputs(sources=shard.split_sources(cut, drive))
    operands = cut.params, cut.wiring, state, inputs
    return advance.lower(chunk_of(cut, steps), *operands).compile()


def received_bytes(program) -> int:
    """What the collectives of a program's step bring to each device."""
    shapes = re.findall(r"= u32\[([\d,]+)\]\S* all-gather(?:-start)?\(", program.as_text())
    return sum(4 * int(np.prod([int(n) for n in each.split(",")])) for each in shapes)


def weak(granules: int) -> None:
    """The same number of cells on every device: what XLA counts in the program of one."""
    import cerebellum as cb

    jax.config.update("jax_num_cpu_devices", 8)
    drive = {"mossy_fiber": cb.drive.poisson(10.0)}
    for devices in (1, 2, 4, 8):
        spec = cb.presets.beams(granules * devices, beams=devices, learning_rate=2e-4)
        # XLA does not look into native kernels.
        whole = cb.build(spec, jax.random.key(0), backend="xla", path="event")
        cut = cb.shard.split(whole, cb.shard.mesh(devices))
        program = compiled(cut, cb.shard.init(cut, jax.random.key(1)), drive, 1)
        counted: Any = program.cost_analysis()
        print(
            f"{devices} devices: {counted['flops']:12,.0f} operations, "
            f"{counted['bytes accessed']:13,.0f} bytes of memory, "
            f"{received_bytes(program):5,} bytes received"
        )


def check(granules: int, duration_ms: int) -> None:
    import cerebellum as cb
    from cerebellum.model import events
    from cerebellum.sim import plan, shard

    jax.config.update("jax_num_cpu_devices", 2)
    spec, key = production(granules), jax.random.key(0)
    whole = cb.build(spec, key, path="event")
    cut = shard.split(whole, shard.mesh(2))
    drive = {"mossy_fiber": cb.drive.poisson(10.0)}
    state = shard.init(cut, jax.random.key(1), spread=True)
    received = received_bytes(compiled(cut, state, drive, duration_ms))
    held = sum(
        leaf.addressable_data(0).nbytes
        for leaf in jax.tree.leaves((cut.params.weights, cut.wiring.fans, state))
    )
    state, _ = cb.simulate(cut, state, drive, duration_ms=duration_ms)
    state, told = cb.simulate(cut, state, drive, duration_ms=duration_ms)
    rates = cb.record.rates(told)
    estimate = plan.cost(spec, rates, 2)
    looked = synapses = 0.0
    for p in spec.projections:
        fan, fired = whole.wiring.fans[p.name], told.spikes[p.source].sum() / told.steps
        looked += fired * (1 if p.crosses else 0.5)
        targets = spec.population(p.target).size
        if isinstance(fan, events.AllToAll):
            width = spec.beam_size(p.target)
        else:
            width = float(np.mean((np.asarray(fan.targets) < targets).sum(axis=1)))
        synapses += fired * width / 2
    seconds = told.seconds["run"] / told.steps
    print(f"{granules} granule cells, Hz:", {k: round(v, 2) for k, v in rates.items()})
    for name, counted in (
        ("resident_bytes", held),
        ("events", looked),
        ("synaptic_events", synapses),
        ("received_bytes", received),
    ):
        ours = getattr(estimate, name)
        print(f"{name:16} estimated {ours:14,.0f} counted {counted:14,.0f}  {ours / counted:.3f}")
    print(
        f"a step: {seconds * 1e3:.2f} ms; {estimate.touched_bytes / 1e6:,.1f} MB a shard touched: "
        f"{2 * estimate.touched_bytes / seconds / 1e9:.1f} GB/s on two cores together"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--weak", action="store_true")
    parser.add_argument("--granules", type=int)
    parser.add_argument("--duration-ms", type=int, default=200)
    arguments = parser.parse_args()
    xla.one_thread()
    from cerebellum.model.presets.beams import REFERENCE_HZ

    if arguments.check:
        check(arguments.granules or 4_000_000, arguments.duration_ms)
    elif arguments.weak:
        weak(arguments.granules or 50_000)
    else:
        plan(arguments.granules or 4_000_000_000, REFERENCE_HZ["background"])


if __name__ == "__main__":
    main()
