"""Arithmetic kernels: arrays in, arrays out. They know neither models nor files."""
