"""Tests of the kernels run without the measurement of coverage, which leaves the kernels out."""

from pathlib import Path

import pytest

from tests.untraced import untraced

FOLDER = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(FOLDER):
            assert isinstance(item, pytest.Function)
            item.obj = untraced(item.obj)
