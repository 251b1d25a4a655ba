"""The CPU kernels are compiled without the measurement of coverage, which leaves them out."""

from collections.abc import Iterator

import pytest

from tests.untraced import untraced_compilation


@pytest.fixture(scope="session", autouse=True)
def _untraced_compilation() -> Iterator[None]:
    with untraced_compilation():
        yield
