"""A chunk is late if a listener has played all audio before it."""

from serve_app.engine.playback import Playback


def test_chunks_in_time_are_not_late() -> None:
    playback = Playback()
    assert [playback.add(at, 1.0) for at in (5.0, 5.2, 6.9, 8.0)] == [False] * 4


def test_a_late_chunk_moves_the_ones_after_it() -> None:
    """After a pause of half a second the listener plays on, half a second later than before."""
    playback = Playback()
    assert not playback.add(0.0, 0.4)
    assert playback.add(0.9, 1.0)
    assert not playback.add(1.8, 1.0)
    assert not playback.add(2.9, 1.0)
    assert playback.add(4.0, 1.0)


def test_a_stream_slower_than_the_music_is_late_with_each_chunk() -> None:
    playback = Playback()
    late = [playback.add(1.1 * second, 1.0) for second in range(10)]
    assert late == [False] + [True] * 9
