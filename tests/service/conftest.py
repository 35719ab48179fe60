"""One service for the tests that only ask it."""

import os

import pytest
import serving


@pytest.fixture(scope="session", autouse=True)
def _compiled_once(tmp_path_factory):
    """Programs that a service compiles are kept for the next one."""
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(tmp_path_factory.mktemp("compiled"))
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    yield
    del os.environ["JAX_COMPILATION_CACHE_DIR"]


@pytest.fixture(scope="session")
def service(tmp_path_factory):
    held = serving.serve(
        tmp_path_factory.mktemp("service"),
        performance={"batch_size": 8},
        server={"connection_timeout": 3.0},
    )
    yield held
    held.stop()
