"""Tests of the benchmarks' own logic are long ones, but for the GPU's figures that documents and slots rest on.

They share fixtures with the other tests.
"""

from pathlib import Path

import pytest

from tests.conftest import _seeded, nano

__all__ = ["_seeded", "nano"]

FOLDER = Path(__file__).parent
# Kernels of a step, slots that keep up with the music, costs, precisions of a device: seconds in all.
QUICK = {"test_step_kernels", "test_speed_model", "test_cost", "test_device_precisions"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(FOLDER) and item.path.stem not in QUICK:
            item.add_marker(pytest.mark.long)
