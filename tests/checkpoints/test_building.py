"""Modules are built without memory, and impossible ones named."""

import subprocess
import sys
from pathlib import Path

import pytest
from torch import nn

from serve_app.checkpoints.building import build
from serve_app.errors import CheckpointError
from tests.conftest import EMBEDDED

FILE = Path("config.json")


def test_a_module_takes_no_memory() -> None:
    assert build(FILE, lambda: nn.Linear(10**6, 10**6)).weight.is_meta


@pytest.mark.parametrize("size", [-1, 2**62])
def test_an_impossible_module_is_named(size: int) -> None:
    with pytest.raises(CheckpointError, match=r"config.json: describes no possible model"):
        build(FILE, lambda: nn.Linear(size, size))


def test_a_load_imports_no_compiler_and_no_models_of_transformers() -> None:
    """Each takes more than a second of a replica's start."""
    load = f"""
import sys
from serve_app.checkpoints.checkpoint import load_checkpoint
load_checkpoint("{EMBEDDED}")
print(sorted({{"torch._dynamo", "sympy", "transformers.modeling_utils"}} & set(sys.modules)))
"""
    command = [sys.executable, "-W", "ignore", "-c", load]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
