"""Where the big weights should lie: gather, potentiation and depression at production size.

    python scripts/experiments/weights_layout.py [--granules N] [--steps N] [--rates HZ ...]

Parallel-fibre weights are [granule, target in beam], 20 beams, 750 Purkinje cells each. Every
candidate does the same work a step: sum the rows of the granules that fired; potentiate those
synapses; depress the synapses of each Purkinje cell with a climbing-fibre spike, by how recently
their granule fired. They differ in when and where the depression is written:

    read         sums only, no plasticity: the floor
    potentiate   sums and potentiation, no depression
    column       depression at the climbing-fibre spike, down a strided column of rows
    tiled        the same, in tiles of 16 granules by 2 targets: 64 bytes, a cache line, in uint16
    transposed   the same, each Purkinje cell's weights in sequence
    low-rank     depressions wait in a list, are paid by every row that is read, and by a sweep over
                 all rows every 200 ms, before the list is too long
    next-spike   each row settles its debt when its granule fires again (and, if that comes late,
                 when the window closes)
    deferred     each granule spike settles once, when the window after it has closed: potentiation
                 and kernel-weighted depression in one visit; no eligibility is stored

Weights are float32 or uint16 fixed point with stochastic rounding. Everything is one donated scan.
"""

import argparse
import time
from functools import partial

from cerebellum import xla

xla.one_thread()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from jax import lax  # noqa: E402

from cerebellum.model.ordering import materialize_once  # noqa: E402

BEAMS, TARGETS, WINDOW, BLOCK = 20, 750, 200, 4
FLUSH, PENDING = 200, 256
LINE = 64
CLIMBING_HZ, LTP, LTD, TAU = 1.0, 2e-4, 2e-3, 50.0
SCALE = 65535.0


def mix(x):
    """A counter-based 32-bit hash (the finaliser of MurmurHash3)."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)


def changed(rows, delta, ids, step):
    """Rows after a change in [0, 1] units; uint16 rounds it at random, unbiased.

    The noise of a synapse is the sum, modulo 2**32, of one hash for its row and one for its
    column: uniform for each synapse, at one addition apiece.
    """
    if rows.dtype == jnp.float32:
        return jnp.clip(rows + delta, 0.0, 1.0)
    now = step.astype(jnp.uint32) * jnp.uint32(2_654_435_761)
    row = mix(ids.astype(jnp.uint32) + now)[..., None]
    column = mix(jnp.arange(rows.shape[-1], dtype=jnp.uint32) ^ ~now)
    noise = ((row + column) >> 16).astype(jnp.int32)
    units = (jnp.round(delta * (SCALE * 65_536)).astype(jnp.int32) + noise) >> 16
    return jnp.clip(rows.astype(jnp.int32) + units, 0, 65_535).astype(jnp.uint16)


def total(rows):
    """Sum over a block of rows, exact for uint16."""
    return jnp.sum(rows.astype(jnp.float32 if rows.dtype == jnp.float32 else jnp.int32), axis=1)


def visit(w, ids, body, out):
    """Walk over [BEAMS, K] row numbers in blocks; body(w, out, block of ids, place) -> (w, out)."""
    blocks = ids.shape[1] // BLOCK

    def one(i, carry):
        block = lax.dynamic_slice_in_dim(ids, i * BLOCK, BLOCK, axis=1)
        return body(*carry, block, i * BLOCK)

    return lax.fori_loop(0, blocks, one, (w, out))


def step_read(w, extra, fired, climbing, step):
    w, out = visit(w, fired, lambda w, out, b, _: (w, out + total(w[b])), extra["sum"] * 0)
    return w, {**extra, "sum": out}


def step_potentiate(w, extra, fired, climbing, step):
    def body(w, out, b, _):
        rows = w[b]
        return w.at[b].set(changed(rows, LTP, b, step), unique_indices=True), out + total(rows)

    w, out = visit(w, fired, body, extra["sum"] * 0)
    return w, {**extra, "sum": out}


def step_eager(w, extra, fired, climbing, step):
    """Weights in tiles of `a` granules by `b` targets, [granules / a, TARGETS / b, a, b].

    Tiles of one granule and all targets are rows; of a beam's granules and one target, columns.
    """
    _, _, a, b = w.shape
    size = extra["last"].shape[0] // BEAMS

    def body(w, out, ids, _):
        rows = w[ids // a, :, ids % a]
        flat = rows.reshape(*ids.shape, TARGETS)
        new = changed(flat, LTP, ids, step).reshape(rows.shape)
        return w.at[ids // a, :, ids % a].set(new, unique_indices=True), out + total(flat)

    w, out = visit(w, fired, body, extra["sum"] * 0)
    last = extra["last"].at[fired].set(step)

    def one(carry):
        i, w = carry
        beam, target = climbing[i] // TARGETS, climbing[i] % TARGETS
        ids = beam * size + jnp.arange(size)
        recent = jnp.exp((lax.dynamic_slice(last, (beam * size,), (size,)) - step) / TAU)
        place = (beam * (size // a), target // b, 0, target % b)
        column = lax.dynamic_slice(w, place, (size // a, 1, a, 1))
        column = changed(column.reshape(size, 1), -LTD * recent[:, None], ids, step)
        return i + 1, lax.dynamic_update_slice(w, column.reshape(size // a, 1, a, 1), place)

    _, w = lax.while_loop(partial(more, climbing), one, (jnp.int32(0), w))
    return w, {**extra, "sum": out, "last": last}


def more(climbing, carry):
    """Whether the list of climbing-fibre spikes, ended by -1, goes on."""
    return (carry[0] < climbing.shape[0]) & (climbing[carry[0]] >= 0)


def step_low_rank(w, extra, fired, climbing, step):
    """Pending depressions of the last FLUSH steps, [BEAMS, P] of (time, target), rank P.

    Every row that is read pays what it has not yet paid: (its trace at each pending time) times
    (the pending targets). A sweep pays 1 / FLUSH of all rows a step: none is pending longer.
    """
    size = w.shape[0] // BEAMS
    share = size // FLUSH
    swept = (step % FLUSH) * share + jnp.arange(share) + jnp.arange(BEAMS)[:, None] * size
    when, where = extra["when"], extra["where"]
    onehot = jax.nn.one_hot(where, TARGETS, dtype=jnp.float32)
    onehot = materialize_once((jnp.float32(0), onehot))[1]

    def pay(w, ids, last, paid):
        rows = w[ids]
        trace = jnp.exp((last[ids][..., None] - when[:, None]) / TAU)
        trace = jnp.where(when[:, None] > paid[ids][..., None], trace, 0.0)
        return rows, -LTD * jnp.einsum("gkp,gpt->gkt", trace, onehot)

    def spike(w, carry, ids, _):
        out, last, paid = carry
        rows, owed = pay(w, ids, last, paid)
        w = w.at[ids].set(changed(rows, LTP + owed, ids, step), unique_indices=True)
        last, paid = last.at[ids].set(step), paid.at[ids].set(step)
        return w, (out + total(rows), last, paid)

    def sweep(w, carry, ids, _):
        out, last, paid = carry
        rows, owed = pay(w, ids, last, paid)
        w = w.at[ids].set(changed(rows, owed, ids, step), unique_indices=True)
        return w, (out, last, paid.at[ids].set(step))

    carry = (extra["sum"] * 0, extra["last"], extra["paid"])
    w, carry = visit(w, fired, spike, carry)
    w, (out, last, paid) = visit(w, swept, sweep, carry)

    def one(carry):
        i, when, where = carry
        beam, target = climbing[i] // TARGETS, climbing[i] % TARGETS
        oldest = jnp.argmin(when[beam])
        return i + 1, when.at[beam, oldest].set(step), where.at[beam, oldest].set(target)

    _, when, where = lax.while_loop(partial(more, climbing), one, (jnp.int32(0), when, where))
    new = {"sum": out, "last": last, "paid": paid, "when": when, "where": where}
    return w, {**extra, **new}


def take_due(extra, step):
    """What is owed by granule spikes of WINDOW steps ago, and the debts without it.

    The row passes `materialize_once` and is cleared with what was read from it, times zero: so the
    compiler knows that the read comes first, and does not copy the array.
    """
    owed = materialize_once(
        lax.dynamic_index_in_dim(extra["debt"], step % WINDOW, 0, keepdims=False)
    )
    return owed, lax.dynamic_update_index_in_dim(extra["debt"], owed * 0, step % WINDOW, 0)


def add_debt(debt, climbing, step, kernel):
    """Debts of a granule spike at each of the last WINDOW steps, [WINDOW, BEAMS, TARGETS]."""
    age = jnp.remainder(step - jnp.arange(WINDOW), WINDOW)
    value = kernel[age]

    def one(carry):
        i, debt = carry
        beam, target = climbing[i] // TARGETS, climbing[i] % TARGETS
        column = lax.dynamic_slice(debt, (0, beam, target), (WINDOW, 1, 1))
        return i + 1, lax.dynamic_update_slice(
            debt, column + value[:, None, None], (0, beam, target)
        )

    return lax.while_loop(partial(more, climbing), one, (jnp.int32(0), debt))[1]


def step_deferred(w, extra, fired, climbing, step):
    kernel = jnp.exp(-jnp.arange(WINDOW) / TAU)
    due = lax.dynamic_index_in_dim(extra["waiting"], step % WINDOW, 0, keepdims=False)
    due = materialize_once((jnp.float32(0), due))[1]
    waiting = lax.dynamic_update_index_in_dim(extra["waiting"], fired + 0 * due, step % WINDOW, 0)
    owed, debt = take_due(extra, step)
    delta = (LTP - LTD * owed)[:, None, :]

    def body(w, out, b, start):
        # One gather for both: a second one beside the write would make XLA copy the array.
        old = lax.dynamic_slice_in_dim(due, start, BLOCK, axis=1)
        rows = w[jnp.concatenate([b, old], axis=1)]
        new = changed(rows[:, BLOCK:], delta, old, step)
        return w.at[old].set(new, unique_indices=True), out + total(rows[:, :BLOCK])

    w, out = visit(w, fired, body, extra["sum"] * 0)
    debt = add_debt(debt, climbing, step, kernel)
    return w, {**extra, "sum": out, "waiting": waiting, "debt": debt}


def step_next_spike(w, extra, fired, climbing, step):
    """As `deferred`, with a further settling visit at each spike: twice the rows written."""
    kernel = jnp.exp(-jnp.arange(WINDOW) / TAU)
    due = lax.dynamic_index_in_dim(extra["waiting"], step % WINDOW, 0, keepdims=False)
    due = materialize_once((jnp.float32(0), due))[1]
    waiting = lax.dynamic_update_index_in_dim(extra["waiting"], fired + 0 * due, step % WINDOW, 0)
    last = extra["last"]

    def body(w, out, b, start):
        old = lax.dynamic_slice_in_dim(due, start, BLOCK, axis=1)
        ids = jnp.concatenate([b, old], axis=1)
        rows, since = w[ids], last[ids]
        owed = extra["debt"][since % WINDOW, jnp.arange(BEAMS)[:, None]]
        owed = jnp.where((step - since < WINDOW)[..., None], owed, 0.0)
        new = changed(rows, LTP - LTD * owed, ids, step)
        return w.at[ids].set(new), out + total(rows[:, :BLOCK])

    w, out = visit(w, fired, body, extra["sum"] * 0)
    debt = add_debt(take_due(extra, step)[1], climbing, step, kernel)
    last = last.at[fired].set(step)
    return w, {**extra, "sum": out, "waiting": waiting, "debt": debt, "last": last}


CANDIDATES = {
    "read": step_read,
    "potentiate": step_potentiate,
    "column": step_eager,
    "tiled": step_eager,
    "transposed": step_eager,
    "low-rank": step_low_rank,
    "next-spike": step_next_spike,
    "deferred": step_deferred,
}


def tile(name: str, granules: int) -> tuple[int, int] | None:
    """Granules and targets of a tile, for the candidates that write at the climbing-fibre spike."""
    return {"column": (1, TARGETS), "tiled": (16, 2), "transposed": (granules // BEAMS, 1)}.get(
        name
    )


def traffic(name: str, granules: int, rows: int, climbing: float, item: int) -> float:
    """Bytes of weights that a step must move between memory and core, in whole cache lines.

    A line that is written is moved twice.
    """
    a, b = tile(name, granules) or (1, TARGETS)

    def lines(tiles, run):
        return tiles * max(1, run * item / LINE) * LINE

    row = lines(TARGETS / b, b)
    column = lines(granules / BEAMS / a, a if b * item < LINE else 1)
    swept = granules / FLUSH
    return {
        "read": rows * row,
        "potentiate": 2 * rows * row,
        "low-rank": 2 * (rows + swept) * row,
        "next-spike": 4 * rows * row,
        "deferred": 3 * rows * row,
    }.get(name, 2 * rows * row + 2 * climbing * column)


def measure(name: str, dtype, granules: int, rate_hz: float, steps: int) -> dict[str, float]:
    """Compile and run one candidate: seconds a step, temporary bytes, compile seconds."""
    rng = np.random.default_rng(0)
    each = granules // BEAMS
    count = max(BLOCK, round(each * rate_hz * 1e-3 / BLOCK) * BLOCK)
    fired = np.stack(
        [
            np.stack([rng.choice(each, count, replace=False) + b * each for b in range(BEAMS)])
            for _ in range(steps)
        ]
    ).astype(np.int32)
    drawn = rng.poisson(BEAMS * TARGETS * CLIMBING_HZ * 1e-3, steps)
    climbing = np.full((steps, 64), -1, np.int32)
    for row, n in zip(climbing, drawn, strict=True):
        row[:n] = rng.choice(BEAMS * TARGETS, n, replace=False)

    extra = {"sum": jnp.zeros((BEAMS, TARGETS), jnp.float32 if dtype == "float32" else jnp.int32)}
    tiles = tile(name, granules)
    if tiles or name in ("next-spike", "low-rank"):
        extra["last"] = jnp.zeros(granules, jnp.int32)
    if name in ("deferred", "next-spike"):
        extra["debt"] = jnp.zeros((WINDOW, BEAMS, TARGETS))
        first = np.stack([rng.choice(each, count) + b * each for b in range(BEAMS)])
        extra["waiting"] = jnp.asarray(np.broadcast_to(first, (WINDOW, BEAMS, count)), jnp.int32)
    if name == "low-rank":
        extra["paid"] = jnp.zeros(granules, jnp.int32)
        extra["when"] = jnp.asarray(-rng.integers(0, FLUSH, (BEAMS, PENDING)), jnp.int32)
        extra["where"] = jnp.asarray(rng.integers(0, TARGETS, (BEAMS, PENDING)), jnp.int32)
    one = CANDIDATES[name]

    @partial(jax.jit, donate_argnums=(0, 1))
    def run(w, extra, fired, climbing, start):
        def body(carry, now):
            fired, climbing, step = now
            return one(carry[0], carry[1], fired, climbing, step), None

        numbers = start + jnp.arange(fired.shape[0])
        return lax.scan(body, (w, extra), (fired, climbing, numbers))[0]

    value = 0.5 if dtype == "float32" else 32_768
    shape = (granules, TARGETS)
    if tiles:
        shape = (granules // tiles[0], TARGETS // tiles[1], *tiles)
    w = jnp.full(shape, value, dtype)
    began = time.perf_counter()
    half = steps // 2
    first = (fired[:half], climbing[:half], jnp.int32(0))
    compiled = run.lower(w, extra, *first).compile()
    compile_s = time.perf_counter() - began
    w, extra = compiled(w, extra, *first)
    jax.block_until_ready(w)
    began = time.perf_counter()
    w, extra = compiled(w, extra, fired[half:], climbing[half:], jnp.int32(half))
    jax.block_until_ready(w)
    memory = compiled.memory_analysis()
    if memory is None:
        raise SystemExit("memory: this backend's compiled programs do not tell theirs; run on CPU")
    return {
        "rows": count * BEAMS,
        "step_s": (time.perf_counter() - began) / (steps - half),
        "temporary": memory.temp_size_in_bytes,
        "peak": memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
        + memory.temp_size_in_bytes,
        "moved": traffic(name, granules, count * BEAMS, float(drawn.mean()), w.dtype.itemsize),
        "compile_s": compile_s,
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--granules", type=int, default=4_000_000)
    arguments.add_argument("--steps", type=int, default=40)
    arguments.add_argument("--rates", type=float, nargs="+", default=[1.0, 2.0, 5.0])
    arguments.add_argument("--dtypes", nargs="+", default=["uint16", "float32"])
    arguments.add_argument("--candidates", nargs="+", default=list(CANDIDATES))
    given = arguments.parse_args()
    print("| weights | candidate | granule Hz | rows a step | ms a step | ns a synapse", end="")
    print(" | MB moved a step | temporary MB | peak GB |\n|---|---|---|---|---|---|---|---|---|")
    for dtype in given.dtypes:
        for name in given.candidates:
            for rate in given.rates:
                got = measure(name, dtype, given.granules, rate, given.steps)
                each = got["step_s"] / (got["rows"] * TARGETS) * 1e9
                print(
                    f"| {dtype} | {name} | {rate:g} | {got['rows']:,} | {got['step_s'] * 1e3:.2f} "
                    f"| {each:.2f} | {got['moved'] / 1e6:.0f} | {got['temporary'] / 1e6:.1f} "
                    f"| {got['peak'] / 1e9:.2f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
