"""The emulation that runs CUDA kernels on a CPU runs them as a GPU would."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from emulation import compiler, register
from needed import need

KERNELS = ("sum", "compact", "shuffle", "hang")


@pytest.fixture(scope="module", autouse=True)
def kernels():
    need(None if compiler() else "no C++ compiler")
    register(Path(__file__).with_name("emulation.cu"))


def run(kernel: str, values, size: int, **attributes: int) -> np.ndarray:
    shapes = jax.ShapeDtypeStruct((size,), jnp.int32), jax.ShapeDtypeStruct((2,), jnp.uint32)
    call = jax.ffi.ffi_call("cerebellum_test_run", shapes)
    attributes = {"blocks": 1, "threads": 32, "rounds": 1, **attributes}
    numbers = {name: np.int64(value) for name, value in attributes.items()}
    values = jnp.asarray(values, jnp.int32)
    return np.asarray(call(values, kernel=np.int64(KERNELS.index(kernel)), **numbers)[0])


@pytest.fixture(params=["0", "1", "2"])
def order(request, monkeypatch):
    """Threads in the order of their numbers, and in two that are drawn."""
    monkeypatch.setenv("CEREBELLUM_EMULATE_SEED", request.param)


@pytest.mark.parametrize(("blocks", "threads"), [(1, 32), (8, 128), (3, 96)])
def test_blocks_wait_for_each_other(order, blocks, threads):
    values = np.arange(blocks * threads * 2 + 1)
    out = run("sum", values, 3, blocks=blocks, threads=threads, rounds=7)
    assert out.tolist() == [7 * values.sum(), 7 * blocks, 0]


def test_votes(order):
    values = np.random.default_rng(0).integers(-5, 5, 333)
    out = run("compact", values, 334, threads=64)
    positive = values[values > 0]
    assert out[0] == positive.size
    np.testing.assert_array_equal(out[1 : 1 + positive.size], positive)


def test_shuffles(order):
    out = run("shuffle", np.arange(64) * 3, 256, threads=64).reshape(64, 4) // 3
    lane, warp = np.arange(64) % 32, np.arange(64) // 32 * 32
    np.testing.assert_array_equal(out[:, 0], warp + np.maximum(lane - 1, 0))
    np.testing.assert_array_equal(out[:, 1], warp + np.minimum(lane + 1, 31))
    np.testing.assert_array_equal(out[:, 2], warp + 5)
    np.testing.assert_array_equal(out[:, 3], warp + (lane ^ 1))


def test_what_would_hang_is_an_error(order):
    with pytest.raises(Exception, match="threads wait for others that do not come"):
        run("hang", [1], 1, threads=64)
    assert run("shuffle", np.arange(32), 128)[2] == 5


@pytest.mark.parametrize(
    ("attributes", "why"),
    [
        ({"threads": 48}, "whole warps"),
        ({"threads": 2_048}, "up to 1,024"),
        ({"blocks": 9}, "too many blocks at once"),
    ],
)
def test_a_launch_that_no_device_takes_is_an_error(attributes, why):
    with pytest.raises(Exception, match=why):
        run("sum", [1], 3, **attributes)
