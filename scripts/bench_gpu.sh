#!/usr/bin/env bash
# Measures a GPU in one call of under four minutes: the laws of the backends on the device first, then
# the time of a step of every circuit, path and rate, ticks of the service, and training; last, the table.
# Nothing is installed. PYTHON chooses the interpreter, whose JAX must be one for CUDA; OUT the folder of
# results (default: results/gpu). --help lists the options; docs/gpu.md explains the table.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
export JAX_COMPILATION_CACHE_DIR=${JAX_COMPILATION_CACHE_DIR:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/cerebellum/xla}
exec "${PYTHON:-python3}" -m cerebellum.bench.gpu.main "$@"
