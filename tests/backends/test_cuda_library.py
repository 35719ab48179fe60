"""How CUDA kernels are compiled: nvcc is found, called once, and its errors are said."""

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import jax
import needed
import pytest

from cerebellum.backends.cuda import compiler, library, resources

KERNEL = """
#include <cuda_runtime.h>
#include "xla/ffi/api/ffi.h"
namespace ffi = xla::ffi;

template <int N> __global__ void scale(float* x) { x[threadIdx.x] *= N; }

ffi::Error Scale(cudaStream_t stream, ffi::AnyBuffer x) {
  scale<3><<<1, 32, 0, stream>>>(static_cast<float*>(x.untyped_data()));
  return ffi::Error::Success();
}

XLA_FFI_DEFINE_HANDLER_SYMBOL(example_scale, Scale,
    ffi::Ffi::Bind().Ctx<ffi::PlatformStream<cudaStream_t>>().Arg<ffi::AnyBuffer>());
"""

FAKE = """#!/bin/sh
echo "$@" >>"$LOG"
case "$*" in *--version*) echo fake 13.0; exit ;; esac
[ -z "$FAILS" ] || { echo "In file included from a.cu:1:"; echo "a.cu(7): $FAILS"; exit 2; }
sleep 0.1
while [ "$1" != -o ]; do shift; done
echo >"$2"
"""


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """A folder of kernels in place of the package's, and an empty cache."""
    folder = tmp_path / "kernels"
    folder.mkdir()
    (folder / "scale.cu").write_text(KERNEL)
    (folder / "shapes.h").write_text("// shapes\n")
    monkeypatch.setattr(library, "FOLDER", folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def nvcc(sources, tmp_path, monkeypatch):
    """A compiler that writes down its calls; the text of these calls, one a line."""
    home = tmp_path / "toolkit"
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "nvcc").write_text(FAKE)
    (home / "bin" / "nvcc").chmod(0o755)
    log = tmp_path / "log"
    log.touch()
    monkeypatch.delenv("CUDACXX", raising=False)
    for name, value in {"CUDA_HOME": home, "LOG": log, "FAILS": ""}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr(compiler, "find_spec", lambda name: None)
    return log


def gpu(monkeypatch, *capabilities: str) -> list[tuple[str, str]]:
    """Let JAX find GPUs of these compute capabilities; targets that are registered, as a list."""
    devices = [SimpleNamespace(compute_capability=each) for each in capabilities]
    registered = []
    monkeypatch.setattr(jax, "local_devices", lambda backend: devices)
    monkeypatch.setattr(
        jax.ffi,
        "register_ffi_target",
        lambda name, handler, platform: registered.append((name, platform)),
    )
    return registered


def test_the_library_is_compiled_once_for_what_it_depends_on(nvcc, sources):
    found = compiler.find()
    path = library.build(found, ["sm_80", "sm_90a"])
    assert path == library.build(found, ["sm_80", "sm_90a"])
    calls = [line for line in nvcc.read_text().splitlines() if "--version" not in line]
    compile_call, link_call = calls
    for flag in (
        *("-std=c++17", "-fmad=false", "-ccbin"),
        *("arch=compute_80,code=sm_80", "arch=compute_90a,code=sm_90a"),
    ):
        assert flag in compile_call
    assert "-shared" in link_call
    (sources / "shapes.h").write_text("// other shapes\n")
    others = {library.build(found, ["sm_80", "sm_90a"]), library.build(found, ["sm_80"])}
    assert len(others | {path}) == 3
    assert sorted(path.parent.iterdir()) == sorted(others | {path})


def test_processes_that_need_it_at_once_wait_for_one(nvcc):
    found = compiler.find()
    with ThreadPoolExecutor(3) as pool:
        paths = list(pool.map(lambda _: library.build(found, ["sm_80"]), range(3)))
    assert len(set(paths)) == 1
    assert nvcc.read_text().count("-shared") == 1


def test_a_compiler_that_fails_is_said_by_its_first_error(nvcc, monkeypatch, caplog, tmp_path):
    registered = gpu(monkeypatch, "9.0")
    monkeypatch.setenv("FAILS", 'error: identifier "warp" is undefined')
    kernels = library.kernels.__wrapped__()
    assert not kernels.ready
    assert kernels.why == (
        f'{tmp_path}/toolkit/bin/nvcc: a.cu(7): error: identifier "warp" is undefined'
    )
    assert caplog.messages[-1].startswith(f"no CUDA kernels: {kernels.why}; circuits run on XLA")
    assert not list((tmp_path / "cache").rglob("*.so"))
    assert registered == []


def test_what_is_missing_is_one_line(nvcc, monkeypatch, tmp_path):
    gpu(monkeypatch, "7.5", "9.0")
    why = library.kernels.__wrapped__().why
    assert why == "the GPU has compute capability 7.5; 8.0 or later"
    gpu(monkeypatch, "9.0")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    why = library.kernels.__wrapped__().why
    assert why == "nvcc needs a C++ compiler (g++, c++, clang++, or CXX)"
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "nowhere"))
    why = library.kernels.__wrapped__().why
    assert why.endswith('; pip install "cerebellar-norse[cuda]"')
    assert "\n" not in why


def test_a_machine_without_a_gpu_says_so(monkeypatch):
    def refuse(backend):
        raise RuntimeError(f"Unknown backend {backend}")

    monkeypatch.setattr(jax, "local_devices", refuse)
    assert library.kernels.__wrapped__().why.startswith("JAX finds no GPU of NVIDIA; it computes")


def test_the_wheels_come_first_if_they_are_complete(nvcc, tmp_path, monkeypatch):
    site = tmp_path / "site" / "nvidia"
    for name in compiler.WHEEL:
        path = site / "cu13" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    package = SimpleNamespace(submodule_search_locations=[str(site)])
    monkeypatch.setattr(compiler, "find_spec", lambda name: package)
    assert compiler.find().nvcc == str(site / "cu13/bin/nvcc")
    (site / "cu13" / compiler.WHEEL[-1]).unlink()
    assert compiler.find().nvcc == str(tmp_path / "toolkit/bin/nvcc")
    monkeypatch.delenv("CUDA_HOME")
    monkeypatch.setenv("CUDACXX", str(tmp_path / "toolkit/bin/nvcc"))
    assert compiler.find().nvcc == str(tmp_path / "toolkit/bin/nvcc")


@pytest.mark.parametrize(
    ("capability", "name"), [("8.0", "sm_80"), ("9.0", "sm_90a"), ("10.0", "sm_100")]
)
def test_the_architecture_of_a_device(capability, name):
    assert compiler.architecture(capability) == name


def test_resources_are_read_from_what_the_assembler_says():
    text = """ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_Z4heldi' for 'sm_80'
ptxas info    : Function properties for _Z4heldi
    16 bytes stack frame, 12 bytes spill stores, 8 bytes spill loads
ptxas info    : Used 64 registers, used 1 barriers, 16 bytes stack, 1024 bytes smem
ptxas info    : Compiling entry function '_Z5plainv' for 'sm_80'
ptxas info    : Used 8 registers, used 0 barriers
"""
    held, plain = resources.read(text, "sm_80")
    numbers = (held.registers, held.spill_stores, held.spill_loads, held.stack, held.shared)
    assert numbers == (64, 12, 8, 16, 1_024)
    assert (plain.registers, plain.spill_stores, plain.shared) == (8, 0, 0)
    if shutil.which("c++filt"):
        assert (held.kernel, plain.kernel) == ("held", "plain")


LOAD = """
from cerebellum.backends.cuda import compiler, library, resources
import ctypes, pathlib, sys

library.FOLDER = pathlib.Path(sys.argv[1])
found = compiler.find()
if isinstance(found, str):
    sys.exit(found)
path = library.build(found, ["sm_80", "sm_90a"])
names = library.targets()
assert all(hasattr(ctypes.CDLL(str(path)), name) for name in names)
print(*names, path)
"""


@pytest.mark.slow
def test_nvcc_compiles_a_kernel_that_loads(sources):
    """By two programs at once, for two architectures, with what XLA's headers need."""
    found = needed.nvcc()
    command = [sys.executable, "-c", LOAD, str(sources)]
    programs = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outputs = [program.communicate(timeout=600) for program in programs]
    assert [program.returncode for program in programs] == [0, 0], outputs
    assert outputs[0][0] == outputs[1][0]
    assert outputs[0][0].startswith("example_scale ")
    assert sum("compiling the CUDA kernels" in error for _, error in outputs) == 1
    (kernel,) = resources.of_units(found, ["sm_80"])
    assert kernel.kernel.startswith("scale<3>")
    assert 0 < kernel.registers < 64
    assert kernel.spill_stores == kernel.spill_loads == 0
