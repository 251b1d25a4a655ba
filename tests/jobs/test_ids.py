"""Ids sort by their time, and those of one millisecond in the order in which they were drawn."""

import pytest

from serve_app.jobs.ids import is_id, new_id


@pytest.mark.parametrize("at_s", [None, 1_800_000_000.5])
def test_ids_drawn_at_once_sort_in_their_order(at_s: float | None) -> None:
    ids = [new_id(at_s) for _ in range(1000)]
    assert ids == sorted(set(ids))
    assert all(map(is_id, ids))


def test_ids_sort_by_time() -> None:
    assert new_id(1_800_000_000.0) < new_id(1_800_000_000.001) < new_id(1_900_000_000.0)


def test_the_next_id_of_a_millisecond_cannot_be_guessed() -> None:
    first, second = new_id(1_800_000_000.0), new_id(1_800_000_000.0)
    assert first[14:20] != second[14:20]
