"""The CUDA backend: kernels for NVIDIA's GPUs behind `jax.ffi`, compiled on this machine."""
