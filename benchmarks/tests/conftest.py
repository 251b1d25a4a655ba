"""Fixtures of the tests, shared with the tests of the benchmarks' own logic."""

from tests.conftest import _seeded, nano

__all__ = ["_seeded", "nano"]
