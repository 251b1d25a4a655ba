"""Places in a line, against a list."""

from collections import defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st

from serve_app.gateway.permits import place_tree
from serve_app.gateway.permits.place_tree import Place, PlaceTree


@settings(deadline=None, derandomize=True, database=None)
@given(st.lists(st.one_of(st.integers(1, 120_000), st.floats(0, 0.999)), max_size=60))
def test_places_are_those_of_a_list(actions: list[int | float]) -> None:
    """An integer enters with as much music; a fraction picks one of those who wait, who leaves."""
    tree = PlaceTree()
    waiting: list[tuple[int, int]] = []
    for action in actions:
        if isinstance(action, int):
            waiting.append((tree.append(action), action))
        elif waiting:
            tree.remove(*waiting.pop(int(action * len(waiting))))
        ahead_ms = 0
        for index, (number, music_ms) in enumerate(waiting):
            assert tree.place(number) == Place(index + 1, ahead_ms)
            ahead_ms += music_ms
        assert (tree.count, tree.total_ms) == (len(waiting), ahead_ms)


def test_an_operation_takes_few_steps_with_ten_thousand_waiting() -> None:
    tree = PlaceTree()
    numbers = [tree.append(1000) for _ in range(10_000)]
    assert tree.place(numbers[-1]) == Place(10_000, 9_999_000)
    steps = CountingDict(int, tree._counts)
    tree._counts = steps
    tree.place(numbers[8190])
    assert 5 < steps.reads <= 14, "log2 of 10,000"
    steps.writes = 0
    tree.remove(numbers[0], 1000)
    tree.append(1000)
    assert steps.writes <= 2 * 15


def test_a_short_line_takes_fewer_steps() -> None:
    tree = PlaceTree()
    steps = CountingDict(int)
    tree._counts = steps
    for _ in range(4):
        tree.append(1000)
    assert steps.writes <= 4 * 3


def test_an_emptied_line_keeps_no_memory() -> None:
    tree = PlaceTree()
    for number in [tree.append(5) for _ in range(1000)]:
        tree.remove(number, 5)
    assert not tree._counts
    assert not tree._sums_ms
    assert tree.append(5) == 1
    assert place_tree.PlaceTree().count == 0


class CountingDict(defaultdict[int, int]):
    """Counts the reads and the writes."""

    reads = 0
    writes = 0

    def get(self, key: int, default: int = 0) -> int:  # type: ignore[override]
        self.reads += 1
        return super().get(key, default)

    def __setitem__(self, key: int, value: int) -> None:
        self.writes += 1
        super().__setitem__(key, value)
