"""Every test here interprets the kernels that it launches on CPU tensors."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import triton

from tests.kernels.cuda.compiled import Launch
from tests.kernels.cuda.interpreter import interpreted


@pytest.fixture(autouse=True)
def launches() -> Iterator[list[Launch]]:
    """The launches of the test so far."""
    with interpreted() as launches:
        yield launches


@pytest.fixture(scope="session", autouse=True)
def _cache(pytestconfig: pytest.Config) -> Iterator[None]:
    """Triton's cache of binaries, beside pytest's own: its keys include the kernels' sources."""
    with triton.knobs.cache.scope(), triton.knobs.compilation.scope():
        triton.knobs.cache.dir = str(Path(pytestconfig.cache.mkdir("triton")))
        triton.knobs.compilation.disable_line_info = True  # disassembling takes longer with it
        yield
