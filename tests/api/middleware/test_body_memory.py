"""Bound on the memory of all bodies. tests/service/test_edge.py covers it under attack."""

import pytest

from serve_app.api.errors import Overloaded
from serve_app.api.middleware.body_memory import BodyMemory


def test_bodies_beyond_the_bound_are_refused_until_others_end() -> None:
    memory = BodyMemory(max_bytes=100, free_bytes=10)
    with memory.share() as second:
        with memory.share() as first:
            first.grow_to(40)
            first.grow_to(60)
            second.grow_to(40)
            with pytest.raises(Overloaded, match="100 bytes in all, and may hold 100 bytes"):
                second.grow_to(41)
        second.grow_to(100)


def test_short_bodies_are_always_taken() -> None:
    memory = BodyMemory(max_bytes=100, free_bytes=10)
    with memory.share() as large, memory.share() as short:
        large.grow_to(100)
        short.grow_to(10)
        with pytest.raises(Overloaded):
            short.grow_to(11)
