"""Acceptance run of the GPU path: ten checks, each in a process of its own.

python -m benchmarks.gpu_check --out FOLDER
"""
