"""Triton kernels for NVIDIA GPUs: tensors in, tensors out, without a synchronization of the host."""
