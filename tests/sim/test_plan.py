"""What a step is said to cost is what a run counts."""

import jax
import numpy as np
import pytest

import cerebellum as cb
from cerebellum.model import events
from cerebellum.sim import memory, plan, shard


@pytest.mark.parametrize(
    ("beams", "shards"),
    [
        (4, 2),
        pytest.param(4, 1, marks=[pytest.mark.slow, pytest.mark.soak]),
        pytest.param(5, 3, marks=[pytest.mark.slow, pytest.mark.soak]),
    ],
)
def test_costs_are_those_of_a_run(beams, shards):
    sizes = cb.presets.Sizes(purkinje=100 * beams, nuclei=10 * beams)
    spec = cb.presets.beams(6_000 * beams, beams=beams, sizes=sizes, learning_rate=1e-3)
    whole = cb.build(spec, jax.random.key(0), path="event")
    cut = shard.split(whole, shard.mesh(shards))
    state = shard.init(cut, jax.random.key(1), spread=True)
    arrays = cut.params.weights, cut.wiring.fans, state
    resident = sum(leaf.addressable_data(0).nbytes for leaf in jax.tree.leaves(arrays))
    drive = {"mossy_fiber": cb.drive.poisson(10.0)}
    state, recording = cb.simulate(cut, state, drive, duration_ms=200)
    rates = cb.record.rates(recording)
    cost = plan.cost(spec, rates, shards, "event")
    # Lists are as wide as the longest, which is random.
    assert cost.resident_bytes == pytest.approx(resident, rel=0.05)

    # A shard has room for its share of the beams, rounded up.
    share = -(-beams // shards) / beams
    visited = synapses = 0.0
    for p in spec.projections:
        fired = recording.spikes[p.source].sum() / recording.steps
        fan = whole.wiring.fans[p.name]
        if isinstance(fan, events.AllToAll):
            width = spec.beam_size(p.target)
        else:
            used = np.asarray(fan.targets) < spec.population(p.target).size
            width = float(np.mean(used.sum(axis=1)))
        visited += fired * (share * shards if p.crosses else share)
        synapses += fired * width * share
    assert cost.events == pytest.approx(visited, rel=1e-3)
    assert cost.synaptic_events == pytest.approx(synapses, rel=1e-2)
    assert cost.received_bytes == shard.exchanged_bytes(cut.wiring.part, "event")
    assert cost.touched_bytes > 2 * sum(
        memory.cells(each, cut.wiring.part.size(each.name)) for each in spec.populations
    )
    assert cost.operations > cost.synaptic_events


def test_a_device_of_many_holds_a_part():
    """Memory falls with the number of devices; what each receives does not."""
    spec = cb.presets.beams(4_000_000_000, beams=20_000)
    rates = {**cb.presets.PRESETS["beams"].protocol.reference_hz["background"]}
    few, many = (plan.cost(spec, rates, devices, "event") for devices in (1_000, 4_000))
    assert few.resident_bytes > 3 * many.resident_bytes
    assert many.received_bytes == pytest.approx(few.received_bytes, rel=0.02)
    assert few.synaptic_events == pytest.approx(4 * many.synaptic_events, rel=0.01)
