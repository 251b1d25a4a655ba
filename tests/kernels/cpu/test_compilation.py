"""Threads of the parallel kernels."""

from collections.abc import Iterator

import numba
import pytest

from serve_app.kernels.cpu.compilation import limit_threads


@pytest.fixture(autouse=True)
def _threads_restored() -> Iterator[None]:
    before = numba.get_num_threads()
    yield
    numba.set_num_threads(before)


def test_threads_are_limited_to_the_count_and_to_the_machine() -> None:
    limit_threads(1)
    assert numba.get_num_threads() == 1
    limit_threads(10**6)
    assert numba.get_num_threads() == numba.config.NUMBA_NUM_THREADS
