"""Sizes of a stream's chunks: small at first, for early audio, and larger as the listener's audio in hand grows."""

from collections.abc import Iterator

from serve_app.engine.pace import MOST_SHARE


def chunk_sizes(first_frames: int, most_frames: int) -> Iterator[int]:
    """Yield the frames of the first chunk, and of each later one up to `most_frames`, without end.

    A chunk is so small that it is ready before a listener has played what came before it, as long
    as a step takes no more than MOST_SHARE of the time that its frame is played: at the slowest
    pace that is kept up, chunks grow by a twentieth. Sizes depend on no measured time, so that a
    track's chunks, and with them its samples, are the same bits at any load.
    """
    yield first_frames
    in_hand = float(first_frames)  # frames that the listener has when a chunk arrives
    while True:
        size = max(1, min(most_frames, int(in_hand / MOST_SHARE)))
        yield size
        in_hand += size * (1 - MOST_SHARE)
