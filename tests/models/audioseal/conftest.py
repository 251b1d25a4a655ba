"""Random weights of AudioSeal's published shape."""

import pytest
import torch

from serve_app.models.audioseal.generator import Generator


@pytest.fixture(scope="package")
def generator() -> Generator:
    torch.manual_seed(0)
    return Generator(causal=False).eval().requires_grad_(False)
