"""Guard against compilers that give wrong numbers (see cerebellum/xla.py)."""

import subprocess
import sys

import pytest
from conftest import in_full

from cerebellum import xla
from cerebellum.errors import UsageError

PATTERNS = """
import cerebellum  # sets the guard
import jax
import jax.numpy as jnp
import numpy as np

rows = np.random.default_rng(0).normal(size=(32_769, 3)).astype(np.float32)
got = jax.jit(jax.vmap(lambda r: ((jnp.eye(3) @ r) ** 2).sum()))(rows)
np.testing.assert_allclose(got, (rows**2).sum(axis=1), rtol=1e-5)

e = np.random.default_rng(1).normal(size=(5, 60, 60)).astype(np.float32)
got = jax.jit(lambda e: ((e @ jnp.full_like(e, 2.0)) * e).sum(-1))(e)
np.testing.assert_allclose(got, ((e @ np.full_like(e, 2.0)) * e).sum(-1), rtol=1e-3, atol=1e-3)
print("right")
"""


def test_what_some_versions_miscompile_is_right():
    """A fused dot, multiply and reduce, compiled as users compile: with no flag of the tests'."""
    environment = {name: value for name, value in in_full().items() if name != "XLA_FLAGS"}
    command = [sys.executable, "-c", PATTERNS]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.stdout.strip() == "right", done.stderr


@pytest.mark.parametrize(("version", "guarded"), [("0.10.1", False), ("0.11.2", True)])
def test_the_guard_is_set_for_faulty_versions_only(monkeypatch, version, guarded):
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=false")
    monkeypatch.setattr(xla, "version", lambda name: version)
    xla.guard()
    xla.guard()
    flags = xla.os.environ["XLA_FLAGS"]
    assert flags.startswith("--xla_cpu_enable_fast_math=false")
    assert flags.count(xla.GUARD) == guarded


@pytest.mark.parametrize("value", sorted(xla.RECORDED))
def test_xla_starts_with_the_flags_of_command_buffers(value):
    """In a process of its own: JAX refuses to start with a flag or a word that it does not know."""
    script = "import cerebellum, jax, os; jax.numpy.ones(3); print(os.environ['XLA_FLAGS'])"
    environment = {**in_full(), xla.COMMAND_BUFFERS: value}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert xla.RECORDED[value] in done.stdout, done.stderr


def test_command_buffers_that_are_unknown_are_refused(monkeypatch):
    monkeypatch.setenv(xla.COMMAND_BUFFERS, "some")
    with pytest.raises(UsageError, match="CEREBELLUM_COMMAND_BUFFERS: 'some'; one of all, none"):
        xla.command_buffers()
    flags = "--xla_cpu_enable_fast_math=false"
    monkeypatch.setenv("XLA_FLAGS", flags)
    monkeypatch.delenv(xla.COMMAND_BUFFERS)
    xla.command_buffers()
    assert xla.os.environ["XLA_FLAGS"] == flags
