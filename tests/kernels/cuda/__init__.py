"""Tests of the Triton kernels on a machine without a GPU: interpreted, and compiled ahead of time."""
