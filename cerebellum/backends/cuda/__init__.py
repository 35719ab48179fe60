"""The CUDA backend: kernels of our own for NVIDIA GPUs, behind `jax.ffi`."""
