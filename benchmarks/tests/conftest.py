"""Tests of the benchmarks' own logic are long ones; they share fixtures with the other tests."""

from pathlib import Path

import pytest

from tests.conftest import _seeded, nano

__all__ = ["_seeded", "nano"]

FOLDER = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(FOLDER):
            item.add_marker(pytest.mark.long)
