"""Modules are built without memory, and impossible ones named."""

from pathlib import Path

import pytest
from torch import nn

from serve_app.checkpoints.building import build
from serve_app.errors import CheckpointError

FILE = Path("config.json")


def test_a_module_takes_no_memory() -> None:
    assert build(FILE, lambda: nn.Linear(10**6, 10**6)).weight.is_meta


@pytest.mark.parametrize("size", [-1, 2**62])
def test_an_impossible_module_is_named(size: int) -> None:
    with pytest.raises(CheckpointError, match=r"config.json: describes no possible model"):
        build(FILE, lambda: nn.Linear(size, size))
