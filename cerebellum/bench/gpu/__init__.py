"""The benchmark of a GPU: every path, circuit and rate in one call, `bash scripts/bench_gpu.sh`.

`main` starts programs, ends those that take too long, and prints the table. It loads no JAX, so
that it outlives whatever a kernel does. `circuits` builds a circuit on the processor, `worker`
measures cases, `laws` runs the tests of backends on the device, and `small` is what the sanitizer
watches.
"""
