"""What compiles a program, and what does not: counted in the cache of `chunk.advance`."""

from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from circuits import CELL, feed_forward

import cerebellum as cb
from cerebellum.model import functions
from cerebellum.sim import chunk, program

KEY = jax.random.key(7)
DRIVE = {"input": cb.drive.poisson(80.0)}


@pytest.fixture(scope="module")
def circuit():
    return cb.build(feed_forward(60, 40, 20, weight=3.0, dt=0.5), KEY, path="event")


def run(circuit, record="v:cells:3", ms=40.0, **options):
    state = cb.init(circuit, jax.random.key(1))
    return cb.simulate(circuit, state, DRIVE, duration_ms=ms, record=record, **options)[1]


def compiled(action) -> int:
    """How many programs something compiles."""
    before = chunk.advance._cache_size()
    action()
    return chunk.advance._cache_size() - before


def test_other_cells_and_durations_are_no_other_program(circuit):
    run(circuit)
    assert compiled(lambda: run(circuit, "v:cells:17")) == 0
    assert compiled(lambda: run(circuit, "v:cells:0,39,5")) == 0
    assert compiled(lambda: run(circuit, ms=36)) == 0
    long = run(circuit, ms=40, chunk_steps=50)
    assert compiled(lambda: run(circuit, ms=22.5, chunk_steps=50)) == 0
    np.testing.assert_array_equal(
        run(circuit, ms=22.5, chunk_steps=50).spikes["cells"], long.spikes["cells"][:45]
    )
    # Another variable is another program: the count can rise.
    assert compiled(lambda: run(circuit, "g_exc:cells:3")) == 1


def test_numbers_of_a_spec_are_no_other_program(circuit):
    run(circuit)
    spec = circuit.spec
    cells = replace(spec.population("cells"), params=replace(CELL, v_th=CELL.v_th + 1))
    other = replace(
        spec,
        name="another name",
        populations=(spec.population("input"), cells),
        projections=(replace(spec.projections[0], weight=4.0),),
    )
    changed = cb.build(other, KEY, path="event")
    results = []
    assert compiled(lambda: results.append(run(changed))) == 0
    # The numbers count although the program is the same.
    assert not np.array_equal(
        results[0].traces["v:cells"].values, run(circuit).traces["v:cells"].values
    )


BASE_HZ = 20.0


def rising(slope):
    return lambda t_ms: BASE_HZ + slope * jnp.minimum(t_ms, 30.0)


def test_functions_with_the_same_code_and_values_share_a_program(circuit, monkeypatch):
    def totals(function):
        drive = {"input": cb.drive.RateFunction(function)}
        state = cb.init(circuit, jax.random.key(1))
        return cb.simulate(circuit, state, drive, duration_ms=40)[1].spikes["input"]

    same, read = rising(10.0), rising(10.0)
    wanted = totals(same)
    assert compiled(lambda: totals(read)) == 0
    # Another value in the closure, other code, and another value of what is global.
    assert compiled(lambda: totals(rising(11.0))) == 1
    assert compiled(lambda: totals(lambda t_ms: BASE_HZ + 10.0 * jnp.maximum(t_ms, 30.0))) == 1
    monkeypatch.setitem(globals(), "BASE_HZ", 400.0)
    changed = totals(same)
    assert changed.sum() > 2 * wanted.sum()


@pytest.mark.parametrize("kind", ["list", "dict", "array", "object"])
def test_what_a_function_reads_counts_when_it_changes(circuit, kind):
    held = {"list": [5.0], "dict": {0: 5.0}, "array": np.full(1, 5.0), "object": None}[kind]
    place = SimpleNamespace(held=[5.0])

    def rate(t_ms):
        return 0 * t_ms + (place.held[0] if held is None else held[0])

    def total():
        state = cb.init(circuit, jax.random.key(1))
        drive = {"input": cb.drive.RateFunction(rate)}
        return cb.simulate(circuit, state, drive, duration_ms=40)[1].spikes["input"].sum()

    few = total()
    (place.held if held is None else held)[0] = 500.0
    assert total() > 10 * few


def test_a_function_of_what_may_change_unseen_is_only_itself():
    class Rates:
        top = 1.0

    rates = Rates()
    for unseen in (lambda t: rates.top * t, lambda t: globals()["BASE_HZ"] * t, {}.get):
        assert functions.known(unseen) is unseen
        assert functions.known_now(unseen) != functions.known_now(unseen)
    assert functions.known(rising(1.0)) == functions.known(rising(1.0))
    assert functions.known(rising(1.0)) != functions.known(rising(1))

    def repeated(t, depth=2):
        return repeated(t, depth - 1) if depth else t

    assert functions.known(repeated) == functions.known(repeated)


def test_what_a_step_depends_on_stays():
    circuit = cb.build(feed_forward(60, 40, 20, plastic=True), KEY)
    lean = program.canonical(circuit).spec
    assert [p.name for p in lean.projections] == [p.name for p in circuit.spec.projections]
    assert [p.plastic for p in lean.projections] == [p.plastic for p in circuit.spec.projections]
    assert lean.dt == circuit.spec.dt


def test_wiring_of_another_seed_is_no_other_program():
    """Lists have room for the largest fan-out of other seeds."""
    spec = cb.presets.mouse(scale=0.05)

    def wired(seed):
        circuit = cb.build(spec, jax.random.key(seed), path="event")
        drive = {"glomerulus": cb.drive.poisson(80.0)}
        return cb.simulate(circuit, cb.init(circuit, KEY), drive, duration_ms=5)[1]

    recordings = [wired(0)]
    assert compiled(lambda: recordings.extend(map(wired, range(1, 4)))) == 0
    totals = {int(r.spikes["granule"].sum()) for r in recordings}
    assert len(totals) > 1, "the wirings are the same"
