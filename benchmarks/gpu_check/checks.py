"""The ten checks in the order in which they run: those that tell most come first."""

from benchmarks.gpu_check import (
    capture,
    codec,
    company,
    environment,
    equality,
    faults,
    kernels,
    service,
    speed,
    threads,
)
from benchmarks.gpu_check.measurement import Check

_BLOCKING = {"CUDA_LAUNCH_BLOCKING": "1"}

CHECKS = (
    Check("1", "environment", "Environment", environment.run, 60, needs_gpu=False),
    Check("2", "capture", "Capture of CUDA graphs", capture.run, 120),
    Check("3", "equality", "Equal codes and distributions", equality.run, 120),
    Check("8", "speed", "Speed", speed.run, 180),
    Check("4", "company", "Alone as in company", company.run, 120),
    Check("5", "threads", "Prompts' threads", threads.run, 90),
    Check("5b", "threads-blocking", "The same, CUDA_LAUNCH_BLOCKING=1", threads.run, 90,
          environment=_BLOCKING),
    Check("6", "faults", "Faults", faults.run, 150),
    Check("7", "kernels", "Kernels", kernels.run, 180),
    Check("9", "service", "Streams", service.run, 90),
    Check("10", "codec", "Codec", codec.run, 120, needs_gpu=False),
)  # fmt: skip
