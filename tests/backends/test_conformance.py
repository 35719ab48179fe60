"""Every backend gives what the reference gives, bit for bit but for some sums of floats.

Where one cannot be used on this machine its tests skip; in CI, where there is no GPU, only those of
the backends of a GPU do. These run in every place by the emulation of their kernels on a CPU.
"""

from dataclasses import replace

import chex
import emulated
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws import examples
from needed import need
from threads import printed

import cerebellum as cb
from cerebellum import backends
from cerebellum.backends import compiled
from cerebellum.backends.cpu import library
from cerebellum.model import events, fixed, noise, plasticity
from cerebellum.model.delivery import Delivery
from cerebellum.model.neurons import conductance, current, eglif
from cerebellum.model.noise import CellRange, Draws
from cerebellum.model.plasticity import Closing, Synapses
from cerebellum.model.primitives import REFERENCE
from cerebellum.sim import drive as drives
from cerebellum.sim.chunk import Inputs, advance
from cerebellum.sim.loop import chunk_of

KEY = jax.random.key(0)
EVERY = {**backends.BACKENDS, **emulated.BACKENDS}
OTHERS = [name for name in EVERY if name != "xla"]
OF_A_GPU = ("cuda", "cuda-step")
ANY = cb.presets.beams(1_000)


def usable(name: str):
    """The backend of a name; skips where it cannot be used."""
    backend = EVERY[name]
    why = backend.unavailable(jax.default_backend())
    if why is not None and name in OF_A_GPU:
        pytest.skip(f"{backend.name}: {why}")
    need(None if why is None else f"{backend.name}: {why}")
    return backend


# Their primitives are those of the backends that they are named after.
WITH_PRIMITIVES = [name for name in OTHERS if not name.startswith("cuda-step")]


@pytest.fixture(params=WITH_PRIMITIVES, scope="module")
def name(request) -> str:
    """The name of each backend but the reference."""
    return request.param


@pytest.fixture(scope="module")
def primitives(name):
    """The operations of a backend."""
    return usable(name).primitives(cb.build(ANY, KEY, path="event"))


def tables(rng, sources: int, targets: int, fan: int, dtype) -> np.ndarray:
    """Lists of which some end early."""
    table = rng.integers(0, targets, (sources, fan)).astype(dtype)
    ends = rng.integers(0, fan + 1, sources)
    table[np.arange(fan) >= ends[:, None]] = np.iinfo(dtype).max
    return table


def projections(rng, sources: int, beams: int):
    """One of every kind: fans, weights, gains and first values."""
    width, gain = 9, jnp.asarray(rng.random(sources), jnp.float32)
    lists = [events.FanOut(targets=jnp.asarray(tables(rng, sources, 40, 5, np.uint16)))]
    lists += [events.FanOut(targets=jnp.asarray(tables(rng, sources, 70_000, 7, np.uint32)))]
    list_weights = jnp.asarray(rng.normal(size=(sources, 7)), jnp.float32)
    rows = events.AllToAll(beams=beams, unit=1e-5)
    levels = jnp.asarray(rng.integers(0, 65_536, (sources, width)), jnp.uint16)
    floats = jnp.asarray(rng.normal(size=(sources, width)), jnp.float32)
    fans = (lists[0], lists[1], lists[0], rows, rows, rows)
    weights = (jnp.float32(0.7), list_weights, jnp.float32(0.1), levels, floats, floats)
    gains = (None, gain, gain, None, None, gain)
    sizes = (40, 70_000, 40, beams * width, beams * width - 1, beams * width)
    outs = tuple(jnp.asarray(rng.normal(size=size), jnp.float32) for size in sizes)
    return fans, weights, outs, gains


@examples(12)
@given(
    sources=st.sampled_from([1, 33, 700, 2_100]),
    share=st.sampled_from([0.0, 0.003, 0.1, 1.0]),
    seed=st.integers(0, 99),
    beams=st.sampled_from([1, 3]),
    members=st.sampled_from([0, 1, 3]),
)
def test_deliver(name, primitives, sources, share, seed, beams, members):
    rng = np.random.default_rng(seed)
    sources = max(sources, 2 * beams)
    fans, weights, outs, gains = projections(rng, sources, beams)
    fired = rng.random((members, sources) if members else sources) < share
    words = events.pack(jnp.asarray(fired))
    # The last projection scales its synapses.
    scales = (*[None] * (len(fans) - 1), jnp.asarray(rng.random(outs[-1].size), jnp.float32))
    ends = tuple(f"end {k}" for k in range(len(fans)))

    def run(table):
        def one(words):
            sent = Delivery(
                words=words, fans=fans, weights=weights, gains=gains, scales=scales, ends=ends
            )
            after = table.deliver([sent], dict(zip(ends, outs, strict=True)), table.sweep)
            return [after[end] for end in ends]

        return jax.jit(jax.vmap(one) if members else one)(words)

    ours, theirs = run(primitives), run(REFERENCE)
    # Lists with one weight, and uint16 rows; native adds to lists in the order of the reference.
    for k in (0, 1, 2, 3) if name == "native" else (0, 3):
        chex.assert_trees_all_equal(ours[k], theirs[k])
    # Other sums of floats are in another order, or in fixed point.
    chex.assert_trees_all_close(ours, theirs, rtol=1e-5, atol=2e-5)


@examples(12)
@given(
    kind=st.sampled_from(["uint16", "float32", "lists"]),
    share=st.sampled_from([1.0, 0.4]),
    fired=st.sampled_from([0.0, 0.05, 1.0]),
    seed=st.integers(0, 99),
    beams=st.sampled_from([1, 3]),
    width=st.sampled_from([9, 64, 131]),
)
def test_settle(primitives, kind, share, fired, seed, beams, width):
    rng = np.random.default_rng(seed)
    sources, w_max = 200, 0.5
    rule = plasticity.Rule(teacher="t", per_spike=3e-3, per_pair=-2e-2)
    fan = events.AllToAll(beams=beams, unit=fixed.unit(w_max))
    weights = jnp.asarray(rng.uniform(0, w_max, (sources, width)), jnp.float32)
    if kind == "uint16":
        weights = fixed.encode(weights, w_max)
    if kind == "lists":
        beams, share = 1, 1.0
        fan = events.FanOut(targets=jnp.asarray(tables(rng, sources, 11, width, np.uint16)))
    targets = 11 if kind == "lists" else beams * width
    change = rule.per_spike + rule.per_pair * rng.poisson(2.0, targets)
    closing = Closing(
        words=events.pack(jnp.asarray(rng.random(sources) < fired)),
        change=jnp.asarray(change, jnp.float32),
        key=jnp.uint32([seed, 1]),
    )
    synapses = Synapses(
        fan=fan, contacts_key=jnp.uint32([7, 8]), rule=rule, dt=1.0, share=share, w_max=w_max
    )
    ours, theirs = (
        jax.jit(table.settle)(weights, closing, synapses) for table in (primitives, REFERENCE)
    )
    chex.assert_trees_all_equal(ours, theirs)
    assert fired == 0 or (ours != weights).any()


SPECS = {
    "beams": lambda: cb.presets.beams(2_000, beams=2, learning_rate=2e-3),
    "mouse": lambda: cb.presets.mouse(scale=0.02),
    "mouse-eglif, dynamic terminals": lambda: cb.presets.mouse_eglif(dt=1.0, short_term=True),
}


@pytest.mark.slow
@pytest.mark.parametrize("backend", OTHERS)
@pytest.mark.parametrize(
    "name",
    ["beams", *(pytest.param(name, marks=pytest.mark.soak) for name in [*SPECS][1:])],
)
def test_a_circuit_runs_the_same(name, backend, monkeypatch):
    monkeypatch.setitem(backends.BACKENDS, backend, usable(backend))
    spec = SPECS[name]()
    source = spec.populations[0].name
    results = {}
    for backend_name in ("xla", backend):
        circuit = cb.build(spec, KEY, path="event", backend=backend_name)
        state = cb.init(circuit, KEY, spread=True)
        drive = {source: cb.drive.poisson(30.0)}
        results[backend_name] = cb.simulate(circuit, state, drive, duration_ms=60 * spec.dt)
        assert results[backend_name][1].spikes["granule"].sum() > 0
    chex.assert_trees_all_equal(results[backend][1].spikes, results["xla"][1].spikes)
    # Rows of floats again; and where the program differs, so may the last bit of a voltage.
    chex.assert_trees_all_close(
        results[backend][0].cells, results["xla"][0].cells, rtol=1e-4, atol=1e-4
    )


def test_without_a_compiler_xla_does_it(monkeypatch):
    none = library.Kernels(False, "no C++ compiler (c++)")
    monkeypatch.setattr(library, "kernels", lambda: none)
    assert backends.of(cb.build(ANY, KEY, path="event")).name == "xla"
    circuit = cb.build(ANY, KEY, path="event", backend="native")
    with pytest.raises(cb.UsageError, match="backend: 'native'; no C\\+\\+ compiler"):
        cb.simulate(circuit, cb.init(circuit, KEY), duration_ms=5)


@pytest.mark.parametrize(("compiler", "why"), [("false", "false: exit code 1"), (None, "no C++")])
def test_a_compiler_that_fails_is_said(monkeypatch, tmp_path, compiler, why):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("shutil.which", lambda name: compiler)
    monkeypatch.delenv("CXX", raising=False)
    kernels = library.kernels.__wrapped__()
    assert not kernels.ready
    assert kernels.why.startswith(why)
    assert not list(tmp_path.rglob("*.so"))


@examples(8)
@given(
    size=st.sampled_from([1, 31, 32, 33, 1_000]),
    seed=st.integers(0, 99),
    members=st.sampled_from([0, 3]),
    drive=st.sampled_from(["one", "each"]),
)
def test_integrate(primitives, size, seed, members, drive):
    """Over 40 steps: spikes the same, voltages to the last bits."""
    rng = np.random.default_rng(seed)
    params = current.Params(tau_m=8.0, v_leak=-1.0, v_reset=-3.0, drive=16.5)
    shape = (members, size) if members else (size,)
    initial = current.init(params, shape)
    arrivals = jnp.asarray(rng.exponential(0.3, (40, *shape)), jnp.float32)
    injected = jnp.asarray(rng.normal(0, 1, size if drive == "each" else ()), jnp.float32)

    def run(table):
        def run_member(state, arrivals):
            def body(state, weights):
                input = current.Input(current=injected)
                state, spikes, words = table.integrate(current, params, state, input, 1.0, None)
                return replace(state, exc=state.exc + weights), (spikes, words)

            return jax.lax.scan(body, state, arrivals)

        axes = (0, 1) if members else (None, None)
        return jax.jit(jax.vmap(run_member, axes) if members else run_member)(initial, arrivals)

    ours, theirs = run(primitives), run(REFERENCE)
    assert size == 1 or theirs[1][0].any()
    chex.assert_trees_all_equal(ours[1], theirs[1])
    chex.assert_trees_all_close(ours[0], theirs[0], rtol=1e-5, atol=1e-5)


CELLS = {
    "exponential": (conductance, conductance.Params(integrator="rk4", i_e=70.0)),
    "alpha": (conductance, conductance.Params(integrator="rk4", synapse="alpha", i_e=70.0)),
    "averaged": (conductance, conductance.Params(i_e=70.0)),
    "one receptor": (eglif, eglif.Params(i_e=9.0, e_rev=(0.0,), tau_syn=(3.0,))),
    "two receptors": (eglif, eglif.Params(i_e=9.0)),
    "wild": (eglif, eglif.Params(i_e=9.0, tau_v=40.0)),
    "own parameters": (eglif, eglif.Params(i_e=jnp.linspace(0.0, 20.0, 1_000))),
}


@examples(14)
@given(
    cells=st.sampled_from(list(CELLS)),
    size=st.sampled_from([1, 31, 33, 64, 65, 1_000]),
    seed=st.integers(0, 99),
    members=st.sampled_from([0, 3]),
    drive=st.sampled_from(["one", "each"]),
)
def test_integrate_conductances(primitives, cells, size, seed, members, drive):
    """Of one step, from the states of the reference, which may round otherwise in last bits.

    So voltages are the same to these, and a spike may differ where a cell is as near to its
    threshold, or its hazard to what was drawn.
    """
    rng = np.random.default_rng(seed)
    model, params = CELLS[cells]
    size = 1_000 if cells == "own parameters" else size
    shape = (members, size) if members else (size,)
    initial = model.spread(params, model.init(params, shape), jnp.asarray(rng.random(shape)))
    arrivals = jnp.asarray(rng.exponential(0.3, (30, *shape)), jnp.float32)
    # Now and then so much that the method needs the slower membrane.
    arrivals = arrivals * jnp.where(jnp.asarray(rng.random(arrivals.shape)) < 0.01, 1_000, 1)
    injected = jnp.asarray(rng.normal(0, 1, size if drive == "each" else ()), jnp.float32)

    def run(state, arrivals):
        def body(state, step):
            number, weights = step
            input = model.outside(injected)
            if model.DRAWS_NOISE:
                key = jnp.stack([jnp.uint32(seed), number.astype(jnp.uint32)])
                input = replace(input, uniform=Draws(key=key, cells=CellRange(size=size, offset=7)))
            operands = model, params, state, input, 0.1, None
            ours, theirs = (table.integrate(*operands) for table in (primitives, REFERENCE))
            received = {name: x + weights for name, x in model.receptors(theirs[0]).items()}
            return model.with_receptors(theirs[0], received), (ours, theirs)

        return jax.lax.scan(body, state, (jnp.arange(30), arrivals))[1]

    axes = (0, 1)
    ours, theirs = jax.jit(jax.vmap(run, axes) if members else run)(initial, arrivals)
    for state, spikes, words in (ours, theirs):
        chex.assert_trees_all_equal(words, events.pack(spikes))
        assert state.v.dtype == jnp.float32
    alike = np.asarray(ours[1] == theirs[1])
    assert (~alike).sum() <= max(1, 1e-4 * alike.size)
    assert size < 1_000 or np.asarray(theirs[1]).any()

    def check(a, b):
        kept = np.where(alike, np.asarray(a, np.float64), 0), np.where(alike, np.asarray(b), 0)
        np.testing.assert_allclose(*kept, rtol=2e-5, atol=2e-4)

    jax.tree.map(check, ours[0], theirs[0])


@examples(8)
@given(
    size=st.sampled_from([1, 31, 33, 1_000]),
    seed=st.integers(0, 99),
    rate=st.sampled_from([0.0, 1e-5, 40.0, 1_000.0]),
    step=st.integers(0, 10**6),
)
def test_draw(primitives, size, seed, rate, step):
    rates = np.random.default_rng(seed).uniform(0, 1, size) * rate
    for source in (cb.drive.poisson(rate), cb.drive.poisson(rates)):
        key = jax.random.key_data(jax.random.key(seed))
        now = drives.Moment(key=key, step=jnp.int32(step), dt=1.0)
        cells = noise.CellRange(size=size)
        ours, theirs = (
            drives.draw(source, "x", now, cells, table) for table in (primitives, REFERENCE)
        )
        np.testing.assert_array_equal(ours, theirs)


@examples(8)
@given(
    size=st.sampled_from([1, 63, 65, 1_000]),
    seed=st.integers(0, 99),
    rate=st.sampled_from([0.0, 1e-5, 40.0, 2_000.0, 40_000.0]),
    step=st.integers(0, 10**6),
)
def test_count(primitives, size, seed, rate, step):
    """Of a rate for all cells, one for each, and a function; above 16 a step, of several draws."""
    rates = np.random.default_rng(seed).uniform(0, 1, size) * rate
    key = jax.random.key_data(jax.random.key(seed))
    now = drives.Moment(key=key, step=jnp.int32(step), dt=1.0)
    function = cb.drive.RateFunction(lambda t_ms: jnp.asarray(rates, jnp.float32), weight=0.5)
    spec = cb.Spec("one", populations=(cb.Population("x", size, "current"),))
    for source in (*(cb.drive.poisson(r, weight=0.3) for r in (rate, rates)), function):
        (planned,) = drives.plan({"x.exc": source}, spec).drawn.values()
        cells = noise.CellRange(size=size)
        ours, theirs = (
            drives.draw(planned, "x.exc", now, cells, table) for table in (primitives, REFERENCE)
        )
        np.testing.assert_array_equal(ours, theirs)
        assert rate < 2_000 or np.any(ours > 0)


def test_the_library_is_kept_and_where_it_cannot_be_is_made_again(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert compiled.cache() == tmp_path / "cache" / "cerebellum"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert compiled.cache().name.startswith("cerebellum-")


def test_another_device_gets_none_of_it():
    """A circuit that is to run on native kernels, lowered for a GPU."""
    spec = cb.presets.beams(1_000, learning_rate=2e-3)
    circuit = cb.build(spec, KEY, backend="native", path="event")
    inputs = Inputs(sources={"mossy_fiber": cb.drive.poisson(10.0)})
    operands = circuit.params, circuit.wiring, cb.init(circuit, KEY), inputs
    traced = advance.trace(chunk_of(circuit, 5), *operands)
    assert "cerebellum_" in traced.lower(lowering_platforms=("cpu",)).as_text()
    assert "cerebellum_" not in traced.lower(lowering_platforms=("cuda",)).as_text()


def test_bits_past_the_last_cell_are_none(primitives):
    fan = events.FanOut(targets=jnp.zeros((40, 1), jnp.uint16))
    every = jnp.full(2, 0xFFFFFFFF, jnp.uint32)
    sent = Delivery(
        words=every,
        fans=(fan,),
        weights=(jnp.float32(1),),
        gains=(None,),
        scales=(None,),
        ends=("end",),
    )
    after = primitives.deliver([sent], {"end": jnp.zeros(1)}, primitives.sweep)
    assert after["end"][0] == 40


@examples(8)
@given(
    kernel=st.sampled_from(sorted(plasticity.WINDOWS)),
    targets=st.sampled_from([1, 40, 700]),
    share=st.sampled_from([0.0, 0.01, 1.0]),
    step=st.integers(0, 10**6),
    seed=st.integers(0, 99),
)
def test_incur(primitives, kernel, targets, share, step, seed):
    rng = np.random.default_rng(seed)
    rule = plasticity.Rule(teacher="t", per_pair=1.0, kernel=kernel, window=30.0, back=5.0)
    pending = rng.normal(size=(sum(plasticity.ring_steps(rule, 1.0)), targets + 3))
    # Several teaching spikes may arrive at once; up to two, a product with their number is exact.
    teaching = rng.integers(1, 3, targets) * (rng.random(targets) < share)
    operands = jnp.asarray(pending, jnp.float32), jnp.asarray(teaching, jnp.float32)

    def run(table):
        return jax.jit(lambda *x: table.incur(*x, rule, 1.0))(*operands, jnp.int32(step))

    ours, theirs = run(primitives), run(REFERENCE)
    chex.assert_trees_all_equal(ours, theirs)
    assert (ours != operands[0]).any() == teaching.any()


THREADS = """
import hashlib, jax, jax.numpy as jnp, numpy as np
from dataclasses import replace
import cerebellum as cb
from cerebellum.backends.cpu import operations
from cerebellum.model.neurons import conductance
from cerebellum.model.presets.common import PROTOCOL, common

key = jax.random.key(0)
listed, beams = common("M"), cb.presets.beams(40_000, learning_rate=1e-3)
runs = (listed, cb.drive.standard(PROTOCOL, listed, key)), (
    beams,
    {"mossy_fiber": cb.drive.poisson(60.0)},
)
for spec, drive in runs:
    circuit = cb.build(spec, key, path="event", backend="native")
    state = cb.init(circuit, key, spread=True)
    state, recording = cb.simulate(circuit, state, drive, duration_ms=260, progress=False)
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(state):
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        digest.update(np.asarray(leaf).tobytes())
    print(digest.hexdigest(), int(np.asarray(recording.spikes["granule"]).sum()) > 1_000)

# Conductances that decay below what a float holds with all its bits.
silent = conductance.init(params := conductance.Params(integrator="rk4"), (100_000,))
silent = replace(silent, exc=conductance.Synapse(g=jnp.full(100_000, 1.3e-38, jnp.float32)))
operands = conductance.Input(), 0.1, None
step = jax.jit(lambda state: operations.integrate(conductance, params, state, *operands)[0])
decayed = np.asarray(step(silent).exc.g)
print(hashlib.sha256(decayed.tobytes()).hexdigest(), (decayed == decayed[0]).all())
"""


@pytest.mark.slow
def test_threads_change_nothing():
    one = printed(THREADS, 1)
    assert one.count("True") == 3
    assert printed(THREADS, 3) == one
