"""Batches of many markets: the calls that they are divided into, and what these take to compile."""

from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest
import serving

from cerebellum import config
from cerebellum.service import inference, models, packed, served, stacking
from cerebellum.store import learned

pytestmark = pytest.mark.usefixtures("broadcasting_everywhere")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    small = {f"neural.{name}": size for name, size in serving.SMALL.items()}
    folder = str(tmp_path_factory.mktemp("model"))
    return served.untrained(config.load(None, {**small, "storage.models": folder}))


@pytest.mark.parametrize("most", [1, 3, 8, 12, 64, 100, 512])
def test_every_batch_goes_into_calls_of_few_sizes(most):
    sizes = inference.sizes(most)
    assert len(sizes) <= 6
    for count in range(1, most + 1):
        ranges = list(inference.ranges(count, most))
        assert [i for part in ranges for i in range(count)[part]] == list(range(count))
        for part in ranges:
            taken = part.stop - part.start
            padding = inference.size_of(taken, most) - taken
            assert 0 <= padding < max(1, taken)


@pytest.mark.parametrize("count", [1, 8, 9, 64, 70, 600])
def test_memories_are_stacked_and_taken_apart(count):
    memories: list[Any] = [(np.arange(3.0) + i, np.full((2, 2), i)) for i in range(count)]
    stacks = stacking.join(memories)
    assert len(stacks) <= stacking.GROUP
    for before, after in zip(memories, stacking.part(stacks), strict=True):
        for one, other in zip(before, after, strict=True):
            np.testing.assert_array_equal(one, other)


def answers(model, memories, inputs):
    return served.answer(model.form, model.arrays, model.learner, memories, inputs, np.int32(0))


def moved(log_returns, **given):
    """Inputs of markets whose prices moved."""
    zero = served.zero_inputs(len(log_returns))
    tick = replace(zero.tick, log_return=log_returns)
    return replace(zero, tick=tick, **given)


@pytest.fixture(params=["untrained", "climbing_fiber", "surrogate_gradient"])
def served_model(request, model, trained, tmp_path, monkeypatch):
    """That of the configuration, and one that learns on, as each of the methods taught it."""
    if request.param == "untrained":
        return model
    run = learned.load(trained[0])
    taught = replace(run, plan=replace(run.plan, method=request.param))
    monkeypatch.setattr(served.learned, "read", lambda path: taught)
    method = {"training.method": "climbing_fiber", "storage.models": str(tmp_path)}
    return served.load(models.find(trained[0]), config.load(None, method))


@pytest.mark.slow
def test_a_market_in_a_large_call_is_answered_as_alone(served_model):
    """Each with prices of its own, and with questions; one call of twelve in stacks, and twelve.

    Only the first market learns an outcome, at the second tick: what all learn is then what it
    learns. Compiled in full, as for users: otherwise the compiler fuses too little to differ.
    """
    count, first = 12, np.arange(12, dtype=np.int32) == 0
    together, alone = [served_model.fresh] * count, [served_model.fresh] * count
    for tick in range(2):
        moves = np.linspace(-1e-3, 1e-3, count, dtype=np.float32) * (1 + tick)
        back = (first & (tick == 1) & served_model.learns).astype(np.int32)
        told = {"back": back, "label": back, "asks": np.full(count, served_model.learns, np.int32)}
        inputs = moved(moves, **told)
        _, memories, answer = answers(served_model, together, inputs)
        each = [
            answers(served_model, [alone[i]], jax.tree.map(lambda x, i=i: x[i : i + 1], inputs))
            for i in range(count)
        ]
        # What the first has learned changes the circuit of the others only where they are together.
        same = range(1 if back.any() else count)
        for i in same:
            np.testing.assert_array_equal(answer.chances[i], each[i][2].chances[0])
            for one, other in zip(memories[i], each[i][1][0], strict=True):
                np.testing.assert_array_equal(one, other)
        together, alone = list(memories), [memory for _, (memory,), _ in each]


def test_the_program_for_many_markets_is_hardly_larger_than_for_eight(model):
    """What the compiler is given; with a part for each market it took minutes for 64."""

    def lines(size: int) -> int:
        memories = (model.fresh,) * size if size <= 8 else stacking.join((model.fresh,) * size)
        inputs = packed.pack_on_host(served._inputs_layout(size), served.zero_inputs(size))
        lowered = served.compiled_answer.lower(
            model.form, model.arrays, model.learner, memories, inputs, np.int32(0), size
        )
        return len(lowered.as_text().splitlines())

    assert lines(512) < 1.1 * lines(8)
